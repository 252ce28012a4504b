#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <ballast/report/page_parts.h>
#include <ballast/report/svg_chart.h>

namespace ballast {

/// Writes the sections of one run; private to the room. Its functions stand in the files named after what they show:
/// page_result, page_curves, page_classes, page_samples, page_model, page_layers,
/// page_setup, page_history.
class RunSections {
 public:
  RunSections(Html& h, const RunPage& run, const PageOptions& options, std::string prefix,
              int level, PageEntries& entries);
  void all();

 private:
  void alerts();
  void fact(const std::string& name, const std::string& value, const std::string& detail = "",
            bool first = false);
  std::string check_place(const CheckRow& c) const;
  void result();
  void metric_table(const std::vector<std::pair<std::string, const CheckRow*>>& columns);
  std::string reason_text() const;
  std::string length_text() const;
  std::string rate_text() const;
  // A curve of the training rows.
  ChartSeries train_series(const std::string& name, double TrainRow::*field, int style) const;
  ChartSeries check_series(const std::string& split, const std::string& metric, int style) const;
  std::string trend(const ChartSeries& s, bool share) const;
  LineChart stopping() const;
  void curves();
  double smoothing() const;
  void classes();
  void confusion();
  void calibration();
  void gallery(const std::vector<PagePicture>& pictures, const char* kind,
               const std::string& label);
  // The names of the samples, where there are no pictures of them.
  void sample_list(bool wrong);
  void pictures();
  void first_batch();
  struct Node;
  static Node& child(Node& parent, const std::string& name);
  static void add_up(Node& node);
  void tree_row(const Node& node, bool group);
  void tree(const Node& node);
  void model();
  void watched_layers();
  void config_rows(const std::vector<const ConfigValue*>& values, const std::string& caption);
  void configuration();
  void data();
  void time();
  void history();
  void provenance();

  void begin(const std::string& id, const std::string& title) {
    std::string full = prefix_ + id;
    entries_.emplace_back(full, title);
    if (level_ == 2) {
      h_.open("section", {{"id", full}, {"aria-labelledby", full + "-h"}});
    } else {
      h_.open("section", {{"id", full}});  // one of many of its name: no landmark
    }
    h_.element(level_ == 2 ? "h2" : "h3", title, {{"id", full + "-h"}});
  }
  void end() { h_.close(); }
  const char* sub() const { return level_ == 2 ? "h3" : "h4"; }
  const std::vector<PredictionRow>& rows() const {
    static const std::vector<PredictionRow> kNothing;
    auto it = r_.predictions.find(split_);
    return it == r_.predictions.end() ? kNothing : it->second;
  }
  static std::string or_else(const std::string& text, const char* otherwise) {
    return text.empty() ? otherwise : text;
  }
  std::string part_name() const {
    return split_ == "test" ? "the test part" : split_ == "val" ? "the validation part" : split_;
  }

  Html& h_;
  const RunPage& run_;
  const RecordedRun& r_;
  const PageOptions& options_;
  std::string prefix_;
  int level_;
  PageEntries& entries_;
  std::string split_;
  std::vector<std::string> names_;
};

}  // namespace ballast
