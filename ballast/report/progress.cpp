#include "progress.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <ballast/base/check.h>
#include <ballast/report/table.h>

namespace ballast {
namespace {

constexpr double kWindowSeconds = 20;
const double kLossDecay = std::pow(0.5, 1.0 / 20);  // half-life of 20 steps
constexpr std::string_view kClearLine = "\r\x1b[2K";

// 75 -> "1:15", 3700 -> "1:01:40"; "-" if unknown.
std::string clock(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e8) {
    return "-";
  }
  auto s = static_cast<int64_t>(std::ceil(seconds));
  auto two = [](int64_t v) { return std::string(v < 10 ? "0" : "").append(std::to_string(v)); };
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
  return text.starts_with('-') ? text : "+" + text;
}

}  // namespace

ProgressStyle choose_progress_style(bool is_terminal, const char* term, const char* no_color) {
  std::string_view name = term ? term : "";
  if (!is_terminal || name.empty() || name == "dumb") {
    return {ProgressMode::plain, false};
  }
  return {ProgressMode::bar, no_color == nullptr || *no_color == '\0'};
}

Progress::Progress(const ProgressOptions& options, Sink sink) : options_(options), sink_(std::move(sink)) {
  ballast::check(static_cast<bool>(sink_), "progress", "a sink is required, got none");
  ballast::check(options.bar_interval >= 0 && options.plain_interval >= 0, "progress",
                 "intervals must be at least 0, got ", options.bar_interval, " and ", options.plain_interval);
}

double Progress::images_per_second() const {
  if (window_.size() < 2 || window_.back().time <= window_.front().time) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  return static_cast<double>(window_.back().images - window_.front().images) /
         (window_.back().time - window_.front().time);
}

double Progress::smoothed_loss() const {
  return loss_weight_ > 0 ? loss_sum_ / loss_weight_ : std::numeric_limits<double>::quiet_NaN();
}

double Progress::seconds_left_epoch(const ProgressNumbers& p) const {
  int64_t left = p.images_in_epoch * (p.epoch + 1) - p.images;
  return static_cast<double>(std::max<int64_t>(0, left)) / images_per_second();
}

double Progress::seconds_left_run(const ProgressNumbers& p) const {
  int64_t left = p.images_in_epoch * p.epochs - p.images;
  double seconds = static_cast<double>(std::max<int64_t>(0, left)) / images_per_second();
  // Checks still to come: as often as before, as long as before.
  if (checks_ > 0 && p.epoch > 0) {
    double per_epoch = check_seconds_ / static_cast<double>(p.epoch);
    seconds += per_epoch * static_cast<double>(p.epochs - p.epoch);
  }
  return seconds;
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
      {2, rate_text(images_per_second())},
      {4, "epoch " + clock(seconds_left_epoch(p))},
      {1, "left " + clock(seconds_left_run(p))},
      {1, "loss " + format_fixed(smoothed_loss(), 3)},
      {5, "lr " + format_significant(p.lr, 3)},
      {3, last_check_},
  };
  std::string head = "epoch " + std::to_string(std::min(p.epoch + 1, p.epochs)) + "/" + std::to_string(p.epochs);
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
  double share = p.steps > 0 ? std::clamp(static_cast<double>(p.step) / static_cast<double>(p.steps), 0.0, 1.0) : 0;
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
  std::string text = "epoch " + std::to_string(std::min(p.epoch + 1, p.epochs)) + "/" + std::to_string(p.epochs) +
                     "  step " + std::to_string(p.step) + "/" + std::to_string(p.steps) + "  " +
                     rate_text(images_per_second()) + "  epoch " + clock(seconds_left_epoch(p)) + "  left " +
                     clock(seconds_left_run(p)) + "  loss " + format_fixed(smoothed_loss(), 3) + "  lr " +
                     format_significant(p.lr, 3);
  if (!last_check_.empty()) {
    text += "  " + last_check_;
  }
  return text;
}

void Progress::update(const ProgressNumbers& p, double now) {
  if (std::isfinite(p.loss)) {
    loss_sum_ = kLossDecay * loss_sum_ + (1 - kLossDecay) * p.loss;
    loss_weight_ = kLossDecay * loss_weight_ + (1 - kLossDecay);
  }
  if (window_.empty() && last_drawn_ < 0 && options_.mode == ProgressMode::plain) {
    last_drawn_ = now;  // the first plain line comes after an interval, when there is a rate to tell
  }
  last_time_ = now;
  window_.push_back({now - pause_, p.images});
  // Never shorter than the window, so that the rate does not jump when one slow step leaves it.
  while (window_.size() > 2 && window_[1].time <= window_.back().time - kWindowSeconds) {
    window_.pop_front();
  }
  double interval = options_.mode == ProgressMode::bar ? options_.bar_interval : options_.plain_interval;
  bool last_step = options_.mode == ProgressMode::bar && p.step == p.steps;
  if (options_.mode == ProgressMode::none || (now - last_drawn_ < interval && !last_step)) {
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

void Progress::check(const ProgressCheck& c, double now) {
  if (!window_.empty()) {
    pause_ += std::max(0.0, now - last_time_);
    check_seconds_ += std::max(0.0, now - last_time_);
    last_time_ = now;
  }
  ++checks_;
  std::string change = change_text(c);
  last_check_ = c.split + " " + value_text(c) + (change.empty() ? "" : " " + change);
  if (options_.mode == ProgressMode::none) {
    return;
  }
  std::string text = "epoch " + std::to_string(c.epoch) + "/" + std::to_string(c.epochs) + "  " + printable(c.split) +
                     "  " + printable(c.metric) + " " + paint("1", value_text(c));
  if (!change.empty()) {
    text += " (" + change + ")";
  }
  if (std::isfinite(c.loss)) {
    text += "  loss " + format_fixed(c.loss, 4);
  }
  double train = smoothed_loss();
  if (std::isfinite(train)) {
    text += "  train loss " + format_fixed(train, 4);
  }
  if (c.improved) {
    text += "  " + paint("32", "best");
  } else if (c.patience > 0) {
    text += "  " + paint("33", "no better for " + std::to_string(c.wait) + " of " + std::to_string(c.patience));
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
