#include "torch_run_events.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdlib>

#include <ballast/report/table.h>

namespace ballast::cli {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int64_t terminal_width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

ProgressOptions progress_options(const Session& session, const std::string& asked) {
  const ProgressStyle style =
      choose_progress_style(isatty(STDERR_FILENO) == 1, std::getenv("TERM"), std::getenv("NO_COLOR"));
  ProgressOptions options;
  options.mode = asked == "bar" ? ProgressMode::bar
      : asked == "plain"        ? ProgressMode::plain
      : asked == "none"         ? ProgressMode::none
                                : style.mode;
  if (session.quiet) {
    options.mode = ProgressMode::none;
  }
  options.color = session.color_err && options.mode == ProgressMode::bar;
  options.width = terminal_width();
  return options;
}

void to_stderr(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

std::string si(double value) {
  return value >= 1e9 ? format_significant(value / 1e9, 3) + " G"
      : value >= 1e6  ? format_significant(value / 1e6, 3) + " M"
      : value >= 1e3  ? format_significant(value / 1e3, 3) + " k"
                      : format_significant(value, 3);
}

}  // namespace

TerminalEvents::TerminalEvents(const Session& session, const std::string& progress, volatile std::sig_atomic_t* starting)
    : session_(session),
      progress_(progress_options(session, progress), to_stderr),
      bar_(progress_options(session, progress).mode == ProgressMode::bar),
      starting_(starting) {}

std::string plan_text(const RunPlan& p) {
  const auto line = [](const char* what, const std::string& text) {
    std::string head = std::string("  ") + what;
    head.resize(12, ' ');
    return head + text + "\n";
  };
  std::string data = p.data_name + " (" + p.data_format + "): " + format_count(p.train_images) + " train, " +
      format_count(p.val_images) + " val, " + format_count(p.test_images) + " test; " + std::to_string(p.classes.size()) +
      " classes, " + (p.channels == 1 ? "gray" : "colour") + ", about " + std::to_string(p.source_width) + " x " +
      std::to_string(p.source_height) + " px";
  std::string train = format_count(p.epochs) + " epochs x " + format_count(p.steps_per_epoch) + " steps, " +
      (p.batch_text.empty() ? "batch " + std::to_string(p.batch_size) : p.batch_text) + "; " + p.optimizer + ", " + p.schedule +
      ", lr " + format_significant(p.lr, 4) + ", weight decay " + format_significant(p.weight_decay, 3);
  if (p.label_smoothing > 0) {
    train += ", label smoothing " + format_significant(p.label_smoothing, 3);
  }
  std::string start;
  for (const std::string& text : start_lines(p.start)) {
    start += line(start.empty() ? "start" : "", text);
  }
  std::string out = "plan\n" + line("data", data) +
      line("model", p.model + " at " + std::to_string(p.width) + " x " + std::to_string(p.height) + " px: " +
                        si(static_cast<double>(p.parameters)) + " parameters, " +
                        si(static_cast<double>(p.multiply_adds)) + " multiply-adds a picture; start: " + p.init) +
      start + (p.teacher.empty() ? "" : line("teacher", p.teacher)) + line("augment", p.train_pipeline) + line("train", train) + line("best by", p.monitor) +
      line("machine", p.device + ", " + std::to_string(p.threads) + (p.threads == 1 ? " thread, " : " threads, ") + p.layout +
                          (p.precision == "bf16" ? ", bf16" : "") + ", seed " + std::to_string(p.seed) + ", fingerprint " + p.fingerprint);
  if (p.seconds_estimate > 0) {
    out += line("time", "about " + format_duration(p.seconds_estimate) + " on this machine (" +
                            format_count(std::llround(p.images_per_second)) + " images/s)");
  }
  if (!p.folder.empty()) {
    out += line("folder", p.folder.string());
  }
  if (p.resumed_step > 0) {
    out += line("goes on", "behind step " + format_count(p.resumed_step) + " of " + format_count(p.steps) + ", from " + p.resumed_from);
  }
  for (const std::string& edit : p.edits) {
    out += line("change", edit);
  }
  for (const std::string& hint : p.hints) {
    out += line("", hint);
  }
  return out;
}

nlohmann::ordered_json plan_json(const RunPlan& p) {
  nlohmann::ordered_json plan = {{"data", p.data_name}, {"format", p.data_format}, {"train_images", p.train_images}, {"val_images", p.val_images},
          {"test_images", p.test_images}, {"classes", p.classes}, {"channels", p.channels}, {"model", p.model}, {"init", p.init},
          {"height", p.height}, {"width", p.width}, {"parameters", p.parameters}, {"multiply_adds", p.multiply_adds},
          {"train_pipeline", p.train_pipeline}, {"eval_pipeline", p.eval_pipeline}, {"epochs", p.epochs},
          {"steps_per_epoch", p.steps_per_epoch}, {"steps", p.steps}, {"batch_size", p.batch_size},
          {"micro_batch", p.micro_batch}, {"optimizer", p.optimizer}, {"schedule", p.schedule}, {"lr", p.lr},
          {"weight_decay", p.weight_decay}, {"label_smoothing", p.label_smoothing}, {"monitor", p.monitor},
          {"device", p.device}, {"layout", p.layout}, {"precision", p.precision}, {"threads", p.threads}, {"workers", p.workers}, {"seed", p.seed},
          {"fingerprint", p.fingerprint}, {"images_per_second", p.images_per_second},
          {"seconds_estimate", p.seconds_estimate}};
  if (!p.teacher.empty()) {
    plan["teacher"] = p.teacher;
  }
  plan["resumed_step"] = p.resumed_step;
  plan["start"] = nlohmann::ordered_json::parse(start_json(p.start).text());
  return plan;
}

void TerminalEvents::on_plan(const RunPlan& plan) {
  plan_ = plan;
  finish();
  if (starting_ != nullptr) {
    *starting_ = 0;
  }
  if (!session_.quiet) {
    to_stderr(plan_text(plan));
  }
}

void TerminalEvents::on_progress(const RunProgress& p) {
  ProgressNumbers n;
  n.epoch = p.epoch;
  n.epochs = p.epochs;
  n.step = p.step_in_epoch;
  n.steps = p.steps_per_epoch;
  n.images_per_second = p.images_per_second > 0 ? p.images_per_second : std::nan("");
  n.seconds_left_epoch = p.seconds_left_epoch;
  n.seconds_left_run = p.seconds_left;
  n.loss = p.loss;
  n.lr = p.lr;
  n.phase = p.phase == "train" ? "" : p.phase;
  progress_.update(n, now());
}

void TerminalEvents::on_check(const RunCheck& c) {
  ProgressCheck check;
  check.epoch = c.epoch;
  check.epochs = c.epochs;
  check.split = c.split;
  check.train_loss = c.train_loss;
  check.wait = c.wait;
  check.patience = c.patience;
  check.improved = c.improved;
  for (const auto& [name, value] : c.metrics) {
    if (name == "loss") {
      check.loss = value;
    }
    if (name == "top1" || name == "map") {  // of one label a picture, of several
      check.metric = name;
      check.value = value;
    }
  }
  if (c.split == "val") {
    check.best = best_.value_or(std::nan(""));
    best_ = best_ ? std::max(*best_, check.value) : check.value;
  }
  check.percent = true;
  progress_.check(check);
}

void TerminalEvents::on_warning(const std::string& text) { progress_.line("ballast: warning: " + text); }

void TerminalEvents::on_phase(const std::string& text) {
  if (session_.verbose || bar_) {
    progress_.line(text);
  }
}

bool TerminalEvents::stop_requested() {
  const int signal = session_.stop_signal();
  if (signal != 0 && !told_stop_) {
    told_stop_ = true;
    progress_.line(signal == SIGINT ? "ballast: saving and stopping after this batch (Ctrl-C again: at once, unsaved)"
                                    : "ballast: saving and stopping after this batch");
  }
  return signal != 0;
}

bool TerminalEvents::save_requested() {
  const int asked = session_.save_signals();
  const bool now = asked != saves_asked_;
  saves_asked_ = asked;
  return now;
}

void TerminalEvents::finish() { progress_.finish(); }

}  // namespace ballast::cli
