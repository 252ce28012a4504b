#include <filesystem>

#include <ballast/base/check.h>

#include "command.h"
#include "requests.h"
#include "torch_side.h"

namespace ballast::cli {
namespace {

struct ReportFlags {
  std::string out;
  bool no_times = false;
};
template <class Visitor>
void describe(Visitor& visit, ReportFlags& o) {
  visit("out", o.out, {.help = "the page to write (default: report.html in the run's folder; of several runs ./report.html)",
                       .flags = "--out", .value_name = "FILE"});
  visit("no_times", o.no_times, {.help = "leave out what depends on the clock: equal runs give equal bytes",
                                 .flags = "--no-times"});
}

class ReportCommand : public Command {
 public:
  ReportCommand() { own_.add("report", flags_); }
  CommandText text() const override {
    return {
        .name = "report",
        .summary = "the HTML page of a run, or of several side by side",
        .operands = "RUN...",
        .about = "Writes one file that needs no network and no script. `train` writes it at its end by itself.",
        .examples =
            {
                {"one run", "ballast report runs/photos-resnet18-1"},
                {"several side by side", "ballast report runs/a runs/b --out compare.html"},
            },
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 1000}; }
  int run(const Session& session, const Arguments& arguments) override {
    ReportRequest request;
    for (const std::string& run : arguments.operands) {
      std::error_code error;
      if (!std::filesystem::is_directory(run, error)) {
        throw DataError(run + ": no such run folder");
      }
      if (!std::filesystem::exists(std::filesystem::path(run) / "metrics.jsonl", error)) {
        throw DataError(run + " is no run folder: there is no metrics.jsonl in it");
      }
      request.runs.emplace_back(run);
    }
    request.out = flags_.out;
    request.no_times = flags_.no_times;
    return load_torch_side(0).report(session, request);
  }

 private:
  ReportFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_report_command() { return std::make_unique<ReportCommand>(); }

}  // namespace ballast::cli
