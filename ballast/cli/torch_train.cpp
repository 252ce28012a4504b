#include "torch_commands.h"

#include <csignal>
#include <cstring>

#include <ballast/report/table.h>
#include <ballast/train/allocator.h>
#include <ballast/train/overfit.h>

#include "torch_run_events.h"

namespace ballast::cli {
namespace {

using nlohmann::ordered_json;

ordered_json metrics_json(const std::vector<std::pair<std::string, double>>& metrics) {
  ordered_json out = ordered_json::object();
  for (const auto& [name, value] : metrics) {
    out[name] = value;
  }
  return out;
}

std::string metrics_text(const std::vector<std::pair<std::string, double>>& metrics) {
  std::string out;
  for (const auto& [name, value] : metrics) {
    const bool share = name == "top1" || name == "top5" || name == "balanced_acc" || name == "map" ||
        name == "micro_f1" || name == "exact_match";
    if (name.find(".se") != std::string::npos) {
      continue;
    }
    out += (out.empty() ? "" : "   ") + name + " " + (share ? format_fixed(100 * value, 2) + " %" : format_significant(value, 4));
  }
  return out;
}

int overfit_with_torch(const Session& session, const TrainRequest& request) {
  TerminalEvents events(session, request.progress);
  const OverfitResult r = overfit(request.options, request.overfit, events);
  events.finish();
  if (r.interrupted) {
    return exit_code_of_signal(session.stop_signal());
  }
  std::string text = "overfit   " + std::string(r.passed ? "passed" : "FAILED") + ": " + format_count(r.samples) + " pictures in " +
      format_count(r.batches) + (r.batches == 1 ? " batch" : " batches") + ", loss " + format_significant(r.first_loss, 4) + " -> " +
      format_significant(r.loss, 3) + " (goal " + format_significant(r.goal, 3) + ") in " + format_count(r.steps) + " steps, " +
      format_fixed(100 * r.accuracy, 1) + " % right\n";
  for (const std::string& suspect : r.suspects) {
    text += "suspect   " + suspect + "\n";
  }
  session.print(text);
  session.document({{"passed", r.passed}, {"batches", r.batches}, {"samples", r.samples}, {"classes", r.classes}, {"steps", r.steps},
                    {"first_loss", r.first_loss}, {"loss", r.loss}, {"goal", r.goal}, {"accuracy", r.accuracy},
                    {"suspects", r.suspects}});
  return r.passed ? kDone : kNonFinite;
}

}  // namespace

int train_with_torch(const Session& session, const TrainRequest& request) {
  install_caching_allocator();
  if (request.overfit > 0) {
    return overfit_with_torch(session, request);
  }
  TerminalEvents events(session, request.progress, request.starting);
  const RunResult result = run_training(request.options, events);
  events.finish();

  int code = kDone;
  if (result.interrupted) {
    code = exit_code_of_signal(session.stop_signal());
  } else if (result.reason == "diverged" || result.reason == "non_finite") {
    code = kNonFinite;
  }
  std::string text;
  if (result.was_finished) {
    text = "the run in " + result.folder.string() + " had ended (" + result.reason + " after " + format_count(result.epochs) +
        " epochs): nothing is left to do; --resume " + result.folder.string() + " --epochs N makes it longer\n";
  }
  if (request.options.dry_run) {
    text = "dry run: two steps went well, nothing was written\n";
  } else {
    text += "ended     " + result.reason + " after " + format_count(result.epochs) + " epochs, " + format_count(result.steps) + " steps";
    if (!result.was_finished) {
      text += ", " + format_duration(result.seconds) + " (" + format_count(std::llround(result.images_per_second)) + " images/s)";
    }
    text += "\n";
    if (result.best_epoch > 0) {
      text += "best      epoch " + std::to_string(result.best_epoch) + "\n";
    }
    if (!result.val.empty()) {
      text += "val       " + metrics_text(result.val) + "\n";
    }
    if (!result.test.empty()) {
      text += "test      " + metrics_text(result.test) + "\n";
    }
    if (!result.teacher.empty()) {
      text += "teacher   " + metrics_text(result.teacher) + "\n";
    }
    if (result.bad_samples > 0) {
      text += "bad       " + format_count(result.bad_samples) + " pictures could not be read: see bad_samples.csv\n";
    }
    text += "model     " + (result.folder / "model").string() + "\n";
    if (!result.report.empty()) {
      text += "report    " + result.report.string() + "\n";
    }
  }
  session.print(text);
  ordered_json document = {
      {"folder", result.folder.empty() ? ordered_json() : ordered_json(result.folder.string())},
      {"report", result.report.empty() ? ordered_json() : ordered_json(result.report.string())},
      {"reason", result.reason},
      {"interrupted", result.interrupted},
      {"was_finished", result.was_finished},
      {"epochs", result.epochs},
      {"steps", result.steps},
      {"best_epoch", result.best_epoch},
      {"best_step", result.best_step},
      {"val", metrics_json(result.val)},
      {"test", metrics_json(result.test)},
      {"seconds", result.seconds},
      {"train_seconds", result.train_seconds},
      {"images_per_second", result.images_per_second},
      {"bad_samples", result.bad_samples},
  };
  if (!result.teacher.empty()) {
    document["teacher"] = metrics_json(result.teacher);
  }
  document["plan"] = events.plan() ? plan_json(*events.plan()) : ordered_json();
  session.document(document);
  if (result.interrupted) {
    const int signal = session.stop_signal();
    session.warn("stopped by " + std::string(signal == 0 ? "--session-time" : signal == SIGINT ? "Ctrl-C" : strsignal(signal)) + "; ballast train --resume " +
                 result.folder.string() + " goes on where it stands");
  }
  return code;
}

}  // namespace ballast::cli
