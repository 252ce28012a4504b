#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "session.h"

namespace ballast::cli {

// The commands that run models stand in a module that links LibTorch. The program loads it when it is needed: commands
// without torch start in milliseconds, and what LibTorch reads only while it is loaded (OpenMP, BLAS) is set before.

struct TrainRequest;
struct LrFindRequest;
struct EvalRequest;
struct PredictRequest;
struct InspectRequest;
struct ConvertRequest;
struct CompareRequest;
struct ExportRequest;
struct ProbeRequest;
struct ReportRequest;
struct DoctorRequest;
struct BenchRequest;
struct DropPreviewRequest;
struct SoupRequest;

/// What the module offers. It throws as the library does.
struct TorchSide {
  virtual ~TorchSide() = default;
  virtual std::string libtorch_version() = 0;
  virtual int train(const Session& session, const TrainRequest& request) = 0;
  virtual int lr_find(const Session& session, const LrFindRequest& request) = 0;
  virtual int eval(const Session& session, const EvalRequest& request) = 0;
  virtual int predict(const Session& session, const PredictRequest& request) = 0;
  virtual int inspect(const Session& session, const InspectRequest& request) = 0;
  virtual int convert(const Session& session, const ConvertRequest& request) = 0;
  virtual int export_model(const Session& session, const ExportRequest& request) = 0;
  virtual int compare(const Session& session, const CompareRequest& request) = 0;
  virtual int report(const Session& session, const ReportRequest& request) = 0;
  virtual int doctor(const Session& session, const DoctorRequest& request) = 0;
  virtual int bench(const Session& session, const BenchRequest& request) = 0;
  virtual int probe(const Session& session, const ProbeRequest& request) = 0;
  virtual int soup(const Session& session, const SoupRequest& request) = 0;
  virtual int drop_preview(const Session& session, const DropPreviewRequest& request) = 0;
};
/// The module's one symbol, of type `TorchSide& ()`.
inline constexpr const char* kTorchSideSymbol = "ballast_torch_side";

/// Threads for computing and decoding as asked for; 0: the cores that this process may use.
int usable_threads(int64_t asked);

/// Sets what LibTorch reads while it is loaded (unless the user has set it), then loads the module. `threads` as above; `math` is
/// math.level of a run: portable chooses the kernels, which the user's variables do not overrule.
/// Throws std::runtime_error that says where the module was looked for.
TorchSide& load_torch_side(int64_t threads, const std::string& math = "");

}  // namespace ballast::cli
