#include <algorithm>
#include <cmath>
#include <set>

#include <ballast/report/run_record.h>

namespace ballast {

double CheckRow::metric(const std::string& name) const {
  auto it = metrics.find(name);
  return it == metrics.end() ? kNone : it->second;
}

std::string RecordedRun::config_text(std::string_view key) const {
  for (const ConfigValue& value : config) {
    if (value.key == key) {
      std::string text = value.value;
      if (text.size() >= 2 && (text.front() == '"' || text.front() == '\'') &&
          text.back() == text.front()) {
        text = text.substr(1, text.size() - 2);
      }
      return text;
    }
  }
  return {};
}

int64_t RecordedRun::params() const {
  int64_t sum = 0;
  for (const ModelLayer& layer : layers) {
    sum += layer.params;
  }
  return sum;
}

int64_t RecordedRun::macs() const {
  int64_t sum = 0;
  for (const ModelLayer& layer : layers) {
    sum += layer.macs;
  }
  return sum;
}

std::vector<const CheckRow*> RecordedRun::checks_of(std::string_view split) const {
  std::vector<const CheckRow*> rows;
  for (const CheckRow& c : checks) {
    if (c.split == split) {
      rows.push_back(&c);
    }
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const CheckRow* a, const CheckRow* b) { return a->step < b->step; });
  return rows;
}

std::string RecordedRun::monitor() const {
  std::string text = config_text("stop.monitor");
  size_t slash = text.find('/');
  if (slash != std::string::npos) {
    text = text.substr(slash + 1);
  }
  return text.empty() ? "loss" : text;
}

bool RecordedRun::monitor_is_maximized() const {
  std::string metric = monitor();
  return metric == "top1" || metric == "top5" || metric == "balanced_acc" || metric == "map" ||
         metric == "micro_f1" || metric == "exact_match";
}

const CheckRow* RecordedRun::best_check() const {
  std::vector<const CheckRow*> rows = checks_of("val");
  const CheckRow* best = nullptr;
  std::string metric = monitor();
  double sign = monitor_is_maximized() ? -1 : 1;
  for (const CheckRow* row : rows) {
    double value = row->metric(metric);
    if (std::isfinite(value) && (!best || sign * value < sign * best->metric(metric))) {
      best = row;
    }
  }
  return best || rows.empty() ? best : rows.back();
}

const CheckRow* RecordedRun::last_check() const {
  std::vector<const CheckRow*> rows = checks_of("val");
  return rows.empty() ? nullptr : rows.back();
}

const CheckRow* RecordedRun::test_check() const {
  std::vector<const CheckRow*> rows = checks_of("test");
  return rows.empty() ? nullptr : rows.back();
}

std::string RecordedRun::class_name(int64_t label) const {
  if (label >= 0 && label < static_cast<int64_t>(facts.classes.size())) {
    return facts.classes[static_cast<size_t>(label)];
  }
  return std::to_string(label);
}

int64_t RecordedRun::num_classes() const {
  auto n = static_cast<int64_t>(facts.classes.size());
  for (const CheckRow& c : checks) {
    n = std::max(n, static_cast<int64_t>(c.per_class.size()));
  }
  for (const auto& [split, rows] : predictions) {
    for (const PredictionRow& row : rows) {
      n = std::max({n, row.target + 1, row.pred + 1});
    }
  }
  return n;
}

std::string RecordedRun::sample_name(int64_t index) const {
  // Rows stand in order of their index as a rule.
  auto it = std::lower_bound(split_rows.begin(), split_rows.end(), index,
                             [](const SplitRow& row, int64_t i) { return row.index < i; });
  if (it == split_rows.end() || it->index != index) {
    it = std::find_if(split_rows.begin(), split_rows.end(),
                      [&](const SplitRow& row) { return row.index == index; });
  }
  if (it != split_rows.end() && !it->path.empty()) {
    return it->path;
  }
  return "#" + std::to_string(index);
}

std::string RecordedRun::reason() const {
  for (auto it = decisions.rbegin(); it != decisions.rend(); ++it) {
    if (it->what == "stop" || it->what == "end") {
      return it->reason;
    }
  }
  return {};
}

}  // namespace ballast
