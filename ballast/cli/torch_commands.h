#pragma once

#include <chrono>

#include "requests.h"
#include "session.h"

namespace ballast::cli {

// The commands of the module that links LibTorch, one file each. They return the exit code and throw as the library does.

int train_with_torch(const Session& session, const TrainRequest& request);
int lr_find_with_torch(const Session& session, const LrFindRequest& request);
int eval_with_torch(const Session& session, const EvalRequest& request);
int predict_with_torch(const Session& session, const PredictRequest& request);
int inspect_with_torch(const Session& session, const InspectRequest& request);
int convert_with_torch(const Session& session, const ConvertRequest& request);
int export_with_torch(const Session& session, const ExportRequest& request);
int compare_with_torch(const Session& session, const CompareRequest& request);
int probe_with_torch(const Session& session, const ProbeRequest& request);
int report_with_torch(const Session& session, const ReportRequest& request);
int doctor_with_torch(const Session& session, const DoctorRequest& request);
int bench_with_torch(const Session& session, const BenchRequest& request);
int soup_with_torch(const Session& session, const SoupRequest& request);
int drop_preview_with_torch(const Session& session, const DropPreviewRequest& request);

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace ballast::cli
