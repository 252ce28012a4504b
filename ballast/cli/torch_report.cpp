#include "torch_commands.h"

#include <ballast/train/run_report.h>

namespace ballast::cli {

int report_with_torch(const Session& session, const ReportRequest& request) {
  const std::filesystem::path page = write_report(request.runs, {.out = request.out, .no_times = request.no_times});
  session.print(page.string() + "\n");
  nlohmann::ordered_json runs = nlohmann::ordered_json::array();
  for (const std::filesystem::path& run : request.runs) {
    runs.push_back(run.string());
  }
  session.document({{"report", page.string()}, {"runs", runs}});
  return kDone;
}

}  // namespace ballast::cli
