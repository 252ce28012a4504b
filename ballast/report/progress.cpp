#include "progress.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <ballast/base/check.h>
#include <ballast/report/table.h>

namespace ballast {
namespace {

constexpr std::string_view kClearLine = "\r\x1b[2K";

// 75 -> "1:15", 3700 -> "1:01:40"; "-" if unknown.
std::string clock(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e8) {
    return "-";
  }
  auto s = static_cast<int64_t>(std::ceil(seconds));
  auto two = [](int64_t v) {
    return (v < 10 ? std::string(1, '0') : std::string()).append(std::to_string(v));
  };
  if (s < 3600) {
    return std::to_string(s / 60) + ":" + two(s % 60);
  }
  return std::to_string(s / 3600) + ":" + two(s / 60 % 60) + ":" + two(s % 60);
}

std::string rate_text(double rate) {
  if (!std::isfinite(rate)) {
    return "- images/s";
  }
  return (rate >= 10 ? format_count(std::llround(rate)) : format_fixed(rate, 1)) + " images/s";
}

std::string value_text(const ProgressCheck& c) {
  return c.percent ? format_fixed(100 * c.value, 1) + " %" : format_significant(c.value, 4);
}

std::string change_text(const ProgressCheck& c) {
  double change = c.value - c.best;
  if (!std::isfinite(change)) {
    return {};
  }
  std::string text = c.percent ? format_fixed(100 * change, 1) : format_significant(change, 3);
  return text.starts_with('-') ? text : std::string(1, '+').append(text);
}

}  // namespace

ProgressStyle choose_progress_style(bool is_terminal, const char* term, const char* no_color) {
  std::string_view name = term ? term : "";
  if (!is_terminal || name.empty() || name == "dumb") {
    return {ProgressMode::plain, false};
  }
  return {ProgressMode::bar, no_color == nullptr || *no_color == '\0'};
}

Progress::Progress(const ProgressOptions& options, Sink sink)
    : options_(options), sink_(std::move(sink)) {
  ballast::check(static_cast<bool>(sink_), "progress", "a sink is required, got none");
  ballast::check(options.bar_interval >= 0 && options.plain_interval >= 0, "progress",
                 "intervals must be at least 0, got ", options.bar_interval, " and ",
                 options.plain_interval);
}

std::string Progress::paint(std::string_view code, std::string_view text) const {
  if (!options_.color) {
    return std::string(text);
  }
  return "\x1b[" + std::string(code) + "m" + std::string(text) + "\x1b[0m";
}

std::string Progress::bar(const ProgressNumbers& p) const {
  struct Part {
    int rank;  // the highest is left out first
    std::string text;
  };
  std::string count = std::to_string(p.step) + "/" + std::to_string(p.steps);
  std::vector<Part> parts = {
      {2, rate_text(p.images_per_second)},      {4, "epoch " + clock(p.seconds_left_epoch)},
      {1, "left " + clock(p.seconds_left_run)}, {1, "loss " + format_fixed(p.loss, 3)},
      {5, "lr " + format_significant(p.lr, 3)}, {3, last_check_},
  };
  std::string head = "epoch " + std::to_string(p.epoch) + "/" + std::to_string(p.epochs);
  if (!p.phase.empty()) {
    head.append(1, ' ').append(printable(p.phase));
  }
  auto length = [&](int keep, int64_t bar_width) {
    int64_t n = display_width(head) + 1 + bar_width + 1 + display_width(count);
    for (const Part& part : parts) {
      if (part.rank <= keep && !part.text.empty()) {
        n += 2 + display_width(part.text);
      }
    }
    return n;
  };
  int64_t room = std::max<int64_t>(20, options_.width - 1);
  int keep = 5;
  constexpr int64_t kShortest = 8;
  while (keep > 0 && length(keep, kShortest) > room) {
    --keep;
  }
  int64_t bar_width = std::clamp<int64_t>(room - length(keep, 0), 0, 24);
  double share =
      p.steps > 0 ? std::clamp(static_cast<double>(p.step) / static_cast<double>(p.steps), 0.0, 1.0)
                  : 0;
  auto full = static_cast<int64_t>(std::floor(share * static_cast<double>(bar_width) + 1e-9));
  std::string done;
  std::string rest;
  for (int64_t i = 0; i < bar_width; ++i) {
    (i < full ? done : rest) += i < full ? "━" : "─";
  }
  std::string text = paint("1", head) + " " + paint("36", done) + paint("2", rest) + " " + count;
  for (const Part& part : parts) {
    if (part.rank <= keep && !part.text.empty()) {
      text += "  " + part.text;
    }
  }
  return text;
}

std::string Progress::plain(const ProgressNumbers& p) const {
  std::string text =
      "epoch " + std::to_string(p.epoch) + "/" + std::to_string(p.epochs) +
      (p.phase.empty() ? std::string() : std::string(1, ' ').append(printable(p.phase))) +
      "  step " + std::to_string(p.step) + "/" + std::to_string(p.steps) + "  " +
      rate_text(p.images_per_second) + "  epoch " + clock(p.seconds_left_epoch) + "  left " +
      clock(p.seconds_left_run) + "  loss " + format_fixed(p.loss, 3) + "  lr " +
      format_significant(p.lr, 3);
  if (!last_check_.empty()) {
    text += "  " + last_check_;
  }
  return text;
}

void Progress::update(const ProgressNumbers& p, double now) {
  bool draw = true;
  if (options_.mode == ProgressMode::bar) {
    draw = !last_drawn_ || now - *last_drawn_ >= options_.bar_interval ||
           (p.step == p.steps && p.phase.empty());
  } else if (!last_drawn_) {
    last_drawn_ =
        now;  // the first plain line comes after an interval, when there is something to tell
    draw = options_.plain_interval == 0;
  } else {
    draw = now - *last_drawn_ >= options_.plain_interval;
  }
  if (options_.mode == ProgressMode::none || !draw) {
    return;
  }
  last_drawn_ = now;
  if (options_.mode == ProgressMode::bar) {
    sink_(std::string(kClearLine) + bar(p));
    bar_visible_ = true;
  } else {
    sink_(plain(p) + "\n");
  }
}

void Progress::check(const ProgressCheck& c) {
  std::string change = change_text(c);
  last_check_ = c.split + " " + value_text(c) + (change.empty() ? "" : " " + change);
  if (options_.mode == ProgressMode::none) {
    return;
  }
  std::string text = "epoch " + std::to_string(c.epoch) + "/" + std::to_string(c.epochs) + "  " +
                     printable(c.split) + "  " + printable(c.metric) + " " +
                     paint("1", value_text(c));
  if (!change.empty()) {
    text += " (" + change + ")";
  }
  if (std::isfinite(c.loss)) {
    text += "  loss " + format_fixed(c.loss, 4);
  }
  if (std::isfinite(c.train_loss)) {
    text += "  train loss " + format_fixed(c.train_loss, 4);
  }
  if (c.improved) {
    text += "  " + paint("32", "best");
  } else if (c.patience > 0) {
    text += "  " + paint("33", "no better for " + std::to_string(c.wait) + " of " +
                                   std::to_string(c.patience));
  }
  line(text);
}

void Progress::line(std::string_view text) {
  if (options_.mode == ProgressMode::none) {
    return;
  }
  clear_bar();
  sink_(std::string(text) + "\n");
}

void Progress::finish() { clear_bar(); }

void Progress::clear_bar() {
  if (bar_visible_) {
    sink_(kClearLine);
    bar_visible_ = false;
  }
}

}  // namespace ballast
