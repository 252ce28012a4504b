#include "page_parts.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <set>

#include <ballast/report/page_sections.h>
#include <ballast/report/table.h>
#include <ballast/report/wilson.h>

namespace ballast {

constexpr double kZ95 = 1.959963984540054;

std::string percent_text(double share, int digits) {
  return format_fixed(100 * share, digits) + " %";
}

std::string share_text(int64_t part, int64_t whole) {
  return whole > 0 ? percent_text(static_cast<double>(part) / static_cast<double>(whole)) : "-";
}

// A metric of a check with its 95 % interval: Wilson's where it is a share of counted samples.
std::string interval_text(const CheckRow& check, const std::string& metric) {
  double value = check.metric(metric);
  if (!std::isfinite(value)) {
    return {};
  }
  if ((metric == "top1" || metric == "top5" || metric == "exact_match") && check.samples > 0 && value >= 0 && value <= 1) {
    auto n = check.samples;
    auto k = std::clamp<int64_t>(std::llround(value * static_cast<double>(n)), 0, n);
    Interval i = wilson_interval(k, n);
    return "95 %: " + format_fixed(100 * i.low, 1) + " to " + percent_text(i.high);
  }
  double se = check.metric(metric + ".se");
  if (!std::isfinite(se)) {
    return {};
  }
  if (metric_is_share(metric)) {
    return "95 %: " + format_fixed(100 * (value - kZ95 * se), 1) + " to " +
           percent_text(value + kZ95 * se);
  }
  return "95 %: " + format_significant(value - kZ95 * se, 4) + " to " +
         format_significant(value + kZ95 * se, 4);
}

namespace {

// Seconds of "2026-01-31T12:00:00Z"; NaN for anything else.
double utc_seconds(const std::string& text) {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  if (std::sscanf(text.c_str(), "%4d-%2d-%2dT%2d:%2d:%2dZ", &year, &month, &day, &hour, &minute,
                  &second) != 6) {
    return kNone;
  }
  std::chrono::year_month_day date(std::chrono::year(year),
                                   std::chrono::month(static_cast<unsigned>(month)),
                                   std::chrono::day(static_cast<unsigned>(day)));
  if (!date.ok()) {
    return kNone;
  }
  auto days = static_cast<double>(std::chrono::sys_days(date).time_since_epoch().count());
  return ((days * 24 + hour) * 60 + minute) * 60 + second;
}

}  // namespace

double total_seconds(const RecordedRun& r) {
  double sum = 0;
  bool any = false;
  for (const TimingRow& t : r.timing) {
    for (double v : {t.data, t.forward, t.backward, t.optimizer, t.reduce, t.check, t.save}) {
      if (std::isfinite(v)) {
        sum += v;
        any = true;
      }
    }
  }
  if (any || r.events.size() < 2) {
    return any ? sum : kNone;
  }
  // A run too short for a row: from its first event to its last.
  return utc_seconds(r.events.back().time) - utc_seconds(r.events.front().time);
}

RunSections::RunSections(Html& h, const RunPage& run, const PageOptions& options,
                         std::string prefix, int level, PageEntries& entries)
    : h_(h),
      run_(run),
      r_(run.record),
      options_(options),
      prefix_(std::move(prefix)),
      level_(level),
      entries_(entries) {
  split_ = run.predictions_split;
  if (!r_.predictions.contains(split_)) {
    split_ = r_.predictions.contains("test") ? "test" : r_.predictions.contains("val") ? "val" : "";
  }
  for (int64_t k = 0; k < std::min<int64_t>(r_.num_classes(), 100'000); ++k) {
    names_.push_back(r_.class_name(k));
  }
}

void RunSections::all() {
  alerts();
  result();
  curves();
  classes();
  pictures();
  first_batch();
  calibration();
  model();
  watched_layers();
  configuration();
  data();
  if (!options_.no_times) {
    time();
    history();
  }
  provenance();
}

std::string base64(std::string_view bytes) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    auto at = [&](size_t k) {
      return k < bytes.size() ? static_cast<uint32_t>(static_cast<unsigned char>(bytes[k])) : 0u;
    };
    uint32_t v = at(i) << 16 | at(i + 1) << 8 | at(i + 2);
    out += kDigits[v >> 18];
    out += kDigits[v >> 12 & 63];
    out += i + 1 < bytes.size() ? kDigits[v >> 6 & 63] : '=';
    out += i + 2 < bytes.size() ? kDigits[v & 63] : '=';
  }
  return out;
}

bool metric_is_share(const std::string& metric) {
  return metric == "top1" || metric == "top5" || metric == "balanced_acc" || metric == "ece" ||
         metric == "ace" || metric == "map" || metric == "micro_f1" || metric == "exact_match";
}

std::string metric_text(const std::string& metric, double value) {
  return metric_is_share(metric) && std::isfinite(value) ? percent_text(value, 2)
                                                         : format_significant(value, 4);
}

bool depends_on_place(std::string_view key) {
  static const std::set<std::string_view> kConfig = {"run.name", "run.out", "run.overwrite",
                                                     "run.workers"};
  if (kConfig.contains(key)) {
    return true;
  }
  for (std::string_view part :
       {"time", "date", "start", "host", "pid", "folder", "path", "cwd", "directory", "command",
        "memory", "load", "user", "free", "process"}) {
    if (key.find(part) != std::string_view::npos && !key.starts_with("run.max")) {
      return key.find('.') == std::string_view::npos || !key.starts_with("data.");
    }
  }
  return false;
}

std::string run_title(const RecordedRun& r, bool no_times) {
  if (!no_times && !r.name.empty()) {
    return r.name;
  }
  std::string data = std::filesystem::path(r.config_text("data.source")).filename().string();
  std::string model = r.architecture.empty() ? r.config_text("model.name") : r.architecture;
  std::string title = data + (data.empty() || model.empty() ? "" : ", ") + model;
  return title.empty() ? "A run" : title;
}

std::string run_label(const std::vector<RunPage>& runs, size_t i, bool no_times) {
  std::string label = run_title(runs[i].record, no_times);
  int before = 0;
  int same = 0;
  for (size_t k = 0; k < runs.size(); ++k) {
    if (run_title(runs[k].record, no_times) == label) {
      ++same;
      before += k < i ? 1 : 0;
    }
  }
  return same > 1 ? label + " (" + std::to_string(before + 1) + ")" : label;
}

std::string run_lead(const RecordedRun& r, bool no_times) {
  std::string model = r.architecture.empty() ? r.config_text("model.name") : r.architecture;
  std::string data = std::filesystem::path(r.config_text("data.source")).filename().string();
  std::string text = (model.empty() ? "A model" : model) + (data.empty() ? "" : " on " + data);
  auto n = r.split_sizes.find("train");
  if (n != r.split_sizes.end()) {
    text += ": " + format_count(n->second) + " training pictures, " +
            std::to_string(r.num_classes()) + " classes";
  }
  double seconds = total_seconds(r);
  if (!no_times && std::isfinite(seconds)) {
    text += ", " + format_duration(seconds);
  }
  return text + ".";
}

bool steps_are_epochs(const RecordedRun& r) { return r.facts.steps_per_epoch > 0; }

double epoch_of_step(const RecordedRun& r, int64_t step) {
  return steps_are_epochs(r)
             ? static_cast<double>(step) / static_cast<double>(r.facts.steps_per_epoch)
             : static_cast<double>(step);
}

std::vector<std::pair<double, double>> check_points(const RecordedRun& r, const std::string& split,
                                                    const std::string& metric) {
  std::vector<std::pair<double, double>> points;
  for (const CheckRow* c : r.checks_of(split)) {
    double v = c->metric(metric);
    if (std::isfinite(v)) {
      points.emplace_back(epoch_of_step(r, c->step), v);
    }
  }
  return points;
}

void run_sections(Html& h, const RunPage& run, const PageOptions& options,
                  const std::string& prefix, int level, PageEntries& entries) {
  RunSections(h, run, options, prefix, level, entries).all();
}

}  // namespace ballast
