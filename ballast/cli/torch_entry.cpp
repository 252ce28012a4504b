#include <ballast/train/libtorch.h>

#include "torch_commands.h"
#include "torch_side.h"

namespace ballast::cli {
namespace {

struct Side final : TorchSide {
  std::string libtorch_version() override { return ballast::libtorch_version(); }
  int train(const Session& s, const TrainRequest& r) override { return train_with_torch(s, r); }
  int lr_find(const Session& s, const LrFindRequest& r) override { return lr_find_with_torch(s, r); }
  int eval(const Session& s, const EvalRequest& r) override { return eval_with_torch(s, r); }
  int predict(const Session& s, const PredictRequest& r) override { return predict_with_torch(s, r); }
  int inspect(const Session& s, const InspectRequest& r) override { return inspect_with_torch(s, r); }
  int convert(const Session& s, const ConvertRequest& r) override { return convert_with_torch(s, r); }
  int export_model(const Session& s, const ExportRequest& r) override { return export_with_torch(s, r); }
  int compare(const Session& s, const CompareRequest& r) override { return compare_with_torch(s, r); }
  int probe(const Session& s, const ProbeRequest& r) override { return probe_with_torch(s, r); }
  int report(const Session& s, const ReportRequest& r) override { return report_with_torch(s, r); }
  int doctor(const Session& s, const DoctorRequest& r) override { return doctor_with_torch(s, r); }
  int bench(const Session& s, const BenchRequest& r) override { return bench_with_torch(s, r); }
  int soup(const Session& s, const SoupRequest& r) override { return soup_with_torch(s, r); }
  int drop_preview(const Session& s, const DropPreviewRequest& r) override { return drop_preview_with_torch(s, r); }
};

}  // namespace
}  // namespace ballast::cli

extern "C" ballast::cli::TorchSide& ballast_torch_side() {
  static ballast::cli::Side side;
  return side;
}
