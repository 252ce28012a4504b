#include "page_parts.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <map>
#include <set>

#include <ballast/report/alerts.h>
#include <ballast/report/svg_chart.h>
#include <ballast/report/table.h>
#include <ballast/report/wilson.h>

namespace ballast {
namespace {

constexpr double kZ95 = 1.959963984540054;

std::string percent(double share, int digits = 1) {
  return format_fixed(100 * share, digits) + " %";
}

std::string share_text(int64_t part, int64_t whole) {
  return whole > 0 ? percent(static_cast<double>(part) / static_cast<double>(whole)) : "-";
}

// A metric of a check with its 95 % interval: Wilson's where it is a share of counted samples.
std::string interval_text(const CheckRow& check, const std::string& metric) {
  double value = check.metric(metric);
  if (!std::isfinite(value)) {
    return {};
  }
  if ((metric == "top1" || metric == "top5") && check.samples > 0 && value >= 0 && value <= 1) {
    auto n = check.samples;
    auto k = std::clamp<int64_t>(std::llround(value * static_cast<double>(n)), 0, n);
    Interval i = wilson_interval(k, n);
    return "95 %: " + format_fixed(100 * i.low, 1) + " to " + percent(i.high);
  }
  double se = check.metric(metric + ".se");
  if (!std::isfinite(se)) {
    return {};
  }
  if (metric_is_share(metric)) {
    return "95 %: " + format_fixed(100 * (value - kZ95 * se), 1) + " to " +
           percent(value + kZ95 * se);
  }
  return "95 %: " + format_significant(value - kZ95 * se, 4) + " to " +
         format_significant(value + kZ95 * se, 4);
}

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
  return any ? sum : kNone;
}

class Sections {
 public:
  Sections(Html& h, const RunPage& run, const PageOptions& options, std::string prefix, int level,
           PageEntries& entries)
      : h_(h),
        run_(run),
        r_(run.record),
        options_(options),
        prefix_(std::move(prefix)),
        level_(level),
        entries_(entries) {
    split_ = run.predictions_split;
    if (!r_.predictions.contains(split_)) {
      split_ = r_.predictions.contains("test")  ? "test"
               : r_.predictions.contains("val") ? "val"
                                                : "";
    }
    for (int64_t k = 0; k < std::min<int64_t>(r_.num_classes(), 100'000); ++k) {
      names_.push_back(r_.class_name(k));
    }
  }

  void all() {
    alerts();
    result();
    curves();
    classes();
    pictures();
    first_batch();
    calibration();
    model();
    configuration();
    data();
    if (!options_.no_times) {
      time();
    }
    provenance();
  }

 private:
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

  void alerts() {
    begin("alerts", "Alerts");
    std::vector<Alert> found = find_alerts(r_, options_.no_times);
    if (found.empty()) {
      h_.element("p",
                 "Nothing stands out: the run ended as planned, every class is recognized, and the "
                 "loss on held-out "
                 "pictures did not rise again.");
      end();
      return;
    }
    h_.open("ul", {{"class", "alerts"}});
    for (const Alert& a : found) {
      const char* kind = a.severity == Severity::problem   ? "problem"
                         : a.severity == Severity::warning ? "warning"
                                                           : "note";
      const char* word = a.severity == Severity::problem   ? "\u2716 Problem"
                         : a.severity == Severity::warning ? "\u25b2 Warning"
                                                           : "\u25cf Note";
      h_.open("li", {{"class", std::string("alert ") + kind}});
      h_.open(sub()).element("span", word, {{"class", "tag"}}).text(" " + a.title).close();
      h_.element("p", a.evidence);
      if (!a.remedy.empty()) {
        h_.element("p", a.remedy, {{"class", "soft"}});
      }
      h_.close();
    }
    h_.close();
    end();
  }

  void fact(const std::string& name, const std::string& value, const std::string& detail = "",
            bool first = false) {
    if (value.empty() || value == "-") {
      return;
    }
    h_.open("div", {{"class", first ? "first" : "fact"}})
        .element("dt", name)
        .open("dd")
        .text(value);
    if (!detail.empty()) {
      h_.element("small", detail);
    }
    h_.close().close();
  }

  std::string check_place(const CheckRow& c) const {
    return std::isfinite(c.epoch) ? "epoch " + format_significant(c.epoch, 4)
                                  : "step " + format_count(c.step);
  }

  void result() {
    begin("result", "Result");
    const CheckRow* test = r_.test_check();
    const CheckRow* best = r_.best_check();
    const CheckRow* last = r_.last_check();
    const CheckRow* main = test ? test : best;
    h_.open("dl", {{"class", "hero"}});
    if (main) {
      double top1 = main->metric("top1");
      fact(std::isfinite(top1) ? (test ? "Test accuracy" : "Validation accuracy")
                               : main->split + " loss",
           std::isfinite(top1) ? percent(top1, 2) : format_significant(main->metric("loss"), 4),
           interval_text(*main, std::isfinite(top1) ? "top1" : "loss"), true);
    }
    if (test && best) {
      fact("Best validation", metric_text("top1", best->metric("top1")),
           "at " + check_place(*best));
    }
    if (last && last != best) {
      fact("Last validation", metric_text("top1", last->metric("top1")),
           "at " + check_place(*last));
    }
    fact("Ended", r_.reason().empty() ? "" : reason_text(),
         r_.train.empty() ? "" : "after " + length_text());
    if (!options_.no_times) {
      fact("Time", format_duration(total_seconds(r_)), rate_text());
    }
    if (r_.params() > 0) {
      fact("Parameters", format_count(r_.params()), r_.architecture);
    }
    h_.close();

    std::vector<std::pair<std::string, const CheckRow*>> columns;
    if (test) {
      columns.emplace_back("test", test);
    }
    if (best) {
      columns.emplace_back("val, best", best);
    }
    if (last && last != best) {
      columns.emplace_back("val, last", last);
    }
    if (!columns.empty()) {
      metric_table(columns);
    }
    std::string metric = r_.monitor();
    if (best) {
      h_.element("p",
                 "The weights kept are those with the best val/" + metric + ", at " +
                     check_place(*best) + ". The test part had no say in any choice.",
                 {{"class", "soft"}});
    }
    if (!r_.command.empty() && !options_.no_times) {
      h_.element(sub(), "To repeat it");
      h_.element(
          "pre", r_.command,
          {{"tabindex", "0"}, {"role", "group"}, {"aria-label", "Command to repeat the run"}});
    }
    end();
  }

  void metric_table(const std::vector<std::pair<std::string, const CheckRow*>>& columns) {
    static const std::map<std::string, std::string> kTitles = {
        {"top1", "accuracy (top 1)"},          {"top5", "right among the first 5"},
        {"loss", "loss (cross-entropy)"},      {"nll_tempered", "loss, tempered"},
        {"balanced_acc", "balanced accuracy"}, {"brier", "Brier score"},
        {"ece", "calibration error (ECE)"},    {"ace", "calibration error (ACE)"}};
    std::vector<std::string> order = {"top1",         "top5",  "balanced_acc", "loss",
                                      "nll_tempered", "brier", "ece"};
    for (const auto& [title, check] : columns) {
      for (const auto& [name, value] : check->metrics) {
        if (!name.ends_with(".se") && std::find(order.begin(), order.end(), name) == order.end() &&
            kTitles.contains(name)) {
          order.push_back(name);
        }
      }
    }
    h_.open("div",
            {{"class", "scroll"}, {"tabindex", "0"}, {"role", "group"}, {"aria-label", "Metrics"}});
    h_.open("table").element("caption", "Metrics, with 95 % intervals").open("thead").open("tr");
    h_.element("th", "metric", {{"scope", "col"}});
    for (const auto& [title, check] : columns) {
      h_.element("th", title, {{"scope", "col"}});
    }
    h_.close().close().open("tbody");
    for (const std::string& name : order) {
      bool any = false;
      for (const auto& [title, check] : columns) {
        any = any || std::isfinite(check->metric(name));
      }
      if (!any) {
        continue;
      }
      auto title = kTitles.find(name);
      h_.open("tr").element("th", title == kTitles.end() ? name : title->second,
                            {{"scope", "row"}});
      for (const auto& [column, check] : columns) {
        std::string text = metric_text(name, check->metric(name));
        std::string interval = interval_text(*check, name);
        h_.open("td").text(text);
        if (!interval.empty()) {
          h_.text(" ").element("span", "(" + interval.substr(interval.find(':') + 2) + ")",
                               {{"class", "soft"}});
        }
        h_.close();
      }
      h_.close();
    }
    if (columns.front().second->samples > 0) {
      h_.open("tr").element("th", "pictures", {{"scope", "row"}});
      for (const auto& [title, check] : columns) {
        h_.element("td", check->samples > 0 ? format_count(check->samples) : "");
      }
      h_.close();
    }
    h_.close().close().close();
  }

  std::string reason_text() const {
    static const std::map<std::string, std::string> kText = {{"completed", "As planned"},
                                                             {"patience", "No more progress"},
                                                             {"target_reached", "Target reached"},
                                                             {"diverged", "Diverged"},
                                                             {"non_finite", "Not finite"},
                                                             {"max_time", "Time limit"},
                                                             {"session_time", "Session time"},
                                                             {"signal", "Interrupted"},
                                                             {"user", "Interrupted"},
                                                             {"storage", "Could not store"}};
    auto it = kText.find(r_.reason());
    return it == kText.end() ? r_.reason() : it->second;
  }

  std::string length_text() const {
    int64_t step = r_.train.back().step;
    for (const CheckRow& c : r_.checks) {
      step = std::max(step, c.step);
    }
    std::string text = format_count(step) + " steps";
    if (r_.facts.steps_per_epoch > 0) {
      text = format_significant(
                 static_cast<double>(step) / static_cast<double>(r_.facts.steps_per_epoch), 4) +
             " epochs, " + text;
    }
    return text;
  }

  std::string rate_text() const {
    std::vector<double> rates;
    for (const TimingRow& t : r_.timing) {
      if (std::isfinite(t.images_per_second)) {
        rates.push_back(t.images_per_second);
      }
    }
    if (rates.empty()) {
      return {};
    }
    std::nth_element(rates.begin(), rates.begin() + static_cast<ptrdiff_t>(rates.size() / 2),
                     rates.end());
    return format_count(std::llround(rates[rates.size() / 2])) + " images per second";
  }

  // A curve of the training rows.
  ChartSeries train_series(const std::string& name, double TrainRow::*field, int style) const {
    ChartSeries s{.name = name, .points = {}, .style = style};
    for (const TrainRow& t : r_.train) {
      s.points.push_back({epoch_of_step(r_, t.step), t.*field});
    }
    if (s.points.empty() && field == &TrainRow::loss) {  // a run shorter than log.every
      for (const CheckRow* c : r_.checks_of("val")) {
        s.points.push_back({epoch_of_step(r_, c->step), c->metric("train_loss")});
      }
      s.dots = true;
    }
    return s;
  }

  ChartSeries check_series(const std::string& split, const std::string& metric, int style) const {
    ChartSeries s{
        .name = split == "val" ? "validation" : split, .points = {}, .style = style, .dots = true};
    for (auto [x, y] : check_points(r_, split, metric)) {
      s.points.push_back({x, y});
    }
    return s;
  }

  std::string trend(const ChartSeries& s, bool share) const {
    const ChartPoint* first = nullptr;
    const ChartPoint* last = nullptr;
    for (const ChartPoint& p : s.points) {
      if (std::isfinite(p.y)) {
        first = first ? first : &p;
        last = &p;
      }
    }
    if (!first) {
      return s.name + ": nothing recorded. ";
    }
    auto text = [&](double v) { return share ? percent(v) : format_significant(v, 3); };
    std::string name = s.name;
    name[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(name[0])));
    return name + " from " + text(first->y) + " to " + text(last->y) + ". ";
  }

  void curves() {
    begin("curves", "Learning curves");
    std::vector<ChartMark> marks;
    if (const CheckRow* best = r_.best_check(); best && r_.checks_of("val").size() > 1) {
      marks.push_back({epoch_of_step(r_, best->step), "best"});
    }
    for (const DecisionRow& d : r_.decisions) {
      if (d.what != "stop" && d.what != "end" && d.what != "best") {
        marks.push_back({epoch_of_step(r_, d.step), d.what});
      }
    }
    std::string x_title = steps_are_epochs(r_) ? "epoch" : "step";
    h_.open("div", {{"class", "charts"}});
    auto chart = [&](LineChart c) {
      c.x_title = x_title;
      c.x_min = 0;
      h_.add(line_chart(c));
    };
    {
      LineChart c{.id = prefix_ + "loss", .title = "Loss"};
      c.series = {train_series("training", &TrainRow::loss, 1), check_series("val", "loss", 0)};
      c.summary = trend(c.series[0], false) + trend(c.series[1], false);
      if (double s = smoothing(); s > 0) {
        c.summary += "The training loss includes label smoothing of " + format_significant(s, 3) +
                     " and augmented pictures: it can lie above the other.";
      }
      c.marks = marks;
      c.from_zero = true;
      c.clip_spikes = true;
      chart(std::move(c));
    }
    {
      LineChart c{.id = prefix_ + "top1", .title = "Accuracy, %"};
      c.series = {check_series("val", "top1", 0)};
      if (!check_points(r_, "train", "top1").empty()) {
        c.series.push_back(check_series("train", "top1", 1));
      }
      c.summary = trend(c.series[0], true);
      c.marks = marks;
      c.percent = true;
      chart(std::move(c));
    }
    {
      LineChart c{.id = prefix_ + "lr", .title = "Learning rate"};
      c.series = {train_series("rate", &TrainRow::lr, 0)};
      c.summary = "Schedule " + or_else(r_.config_text("schedule.name"), "unknown") + ". " +
                  trend(c.series[0], false);
      double peak = 0;
      for (const TrainRow& t : r_.train) {
        peak = std::max(peak, std::isfinite(t.lr) ? t.lr : 0);
      }
      if (peak > 0) {
        c.summary += "Highest: " + format_significant(peak, 3) + ".";
      }
      c.from_zero = true;
      chart(std::move(c));
    }
    {
      LineChart c{.id = prefix_ + "grad", .title = "Gradient norm"};
      c.series = {train_series("norm", &TrainRow::grad_norm, 2)};
      c.summary = trend(c.series[0], false);
      if (!r_.train.empty()) {
        c.summary += "Spikes are steps that a lower learning rate or clipping would calm.";
      }
      c.from_zero = true;
      c.clip_spikes = true;
      chart(std::move(c));
    }
    h_.close();
    end();
  }

  double smoothing() const {
    std::string text = r_.config_text("loss.label_smoothing");
    char* stop = nullptr;
    double value = std::strtod(text.c_str(), &stop);
    return stop == text.c_str() ? 0 : value;
  }

  static std::string or_else(const std::string& text, const char* otherwise) {
    return text.empty() ? otherwise : text;
  }

  std::string part_name() const {
    return split_ == "test" ? "the test part" : split_ == "val" ? "the validation part" : split_;
  }

  void classes() {
    begin("classes", "Classes");
    auto classes = static_cast<int64_t>(names_.size());
    std::vector<ClassRow> per_class(names_.size());
    std::string where = part_name();
    if (!rows().empty()) {
      for (const PredictionRow& row : rows()) {
        if (row.target < 0 || row.target >= classes) {
          continue;
        }
        ++per_class[static_cast<size_t>(row.target)].support;
        per_class[static_cast<size_t>(row.target)].correct += row.right() ? 1 : 0;
        if (row.pred >= 0 && row.pred < classes) {
          ++per_class[static_cast<size_t>(row.pred)].predicted;
        }
      }
    } else {
      const CheckRow* c = r_.test_check() ? r_.test_check() : r_.best_check();
      if (!c || c->per_class.empty()) {
        h_.element("p", "No predictions were recorded, so there is nothing to count.",
                   {{"class", "none"}});
        end();
        return;
      }
      where = c->split;
      std::copy_n(c->per_class.begin(), std::min(c->per_class.size(), per_class.size()),
                  per_class.begin());
    }
    std::vector<size_t> order;
    for (size_t k = 0; k < per_class.size(); ++k) {
      if (per_class[k].support > 0 && per_class[k].correct <= per_class[k].support) {
        order.push_back(k);
      }
    }
    auto accuracy = [&](size_t k) {
      return static_cast<double>(per_class[k].correct) / static_cast<double>(per_class[k].support);
    };
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return accuracy(a) < accuracy(b); });
    bool cut = order.size() > 1000;
    if (cut) {
      order.resize(1000);
    }
    h_.open("div", {{"class", "scroll"},
                    {"tabindex", "0"},
                    {"role", "group"},
                    {"aria-label", "Accuracy by class"}});
    h_.open("table", {{"class", "sortable wide"}});
    h_.element("caption", "Accuracy by class on " + where +
                              ", lowest first; the bar is the 95 % interval" +
                              (cut ? "; the 1,000 lowest" : ""));
    h_.open("thead")
        .open("tr")
        .element("th", "class", {{"scope", "col"}})
        .element("th", "right", {{"scope", "col"}, {"class", "n"}});
    h_.element("th", "95 % interval, 0 to 100 %", {{"scope", "col"}, {"class", "optional"}});
    h_.element("th", "from", {{"scope", "col"}, {"class", "n"}})
        .element("th", "to", {{"scope", "col"}, {"class", "n"}});
    h_.element("th", "pictures", {{"scope", "col"}, {"class", "n"}});
    h_.element("th", "precision", {{"scope", "col"}, {"class", "n"}}).close().close().open("tbody");
    auto cell = [&](const std::string& text, double v) {
      h_.element("td", text, {{"class", "n"}, {"data-v", format_significant(v, 8)}});
    };
    for (size_t k : order) {
      const ClassRow& c = per_class[k];
      Interval i = wilson_interval(c.correct, c.support);
      double a = accuracy(k);
      double precision =
          c.predicted > 0 ? static_cast<double>(c.correct) / static_cast<double>(c.predicted) : 0;
      h_.open("tr").element("th", names_[k], {{"scope", "row"}});
      cell(percent(a), a);
      h_.open("td", {{"class", "optional"}, {"data-v", format_significant(a, 8)}})
          .open("span", {{"class", "ci"}});
      h_.element("i", "",
                 {{"style", "left:" + format_fixed(100 * i.low, 1) +
                                "%;width:" + format_fixed(100 * (i.high - i.low), 1) + "%"}});
      h_.element("b", "", {{"style", "left:" + format_fixed(100 * a, 1) + "%"}}).close().close();
      cell(percent(i.low), i.low);
      cell(percent(i.high), i.high);
      cell(format_count(c.support), static_cast<double>(c.support));
      cell(c.predicted > 0 ? percent(precision) : "never said", precision);
      h_.close();
    }
    h_.close().close().close();
    confusion();
    end();
  }

  void confusion() {
    if (rows().empty()) {
      return;
    }
    Confusion c = confusion_of(rows(), static_cast<int64_t>(names_.size()));
    std::map<std::pair<int64_t, int64_t>, int64_t> pairs;
    std::map<int64_t, int64_t> support;
    for (const PredictionRow& row : rows()) {
      ++support[row.target];
      if (row.target != row.pred) {
        ++pairs[{row.target, row.pred}];
      }
    }
    std::vector<std::pair<std::pair<int64_t, int64_t>, int64_t>> list(pairs.begin(), pairs.end());
    std::stable_sort(list.begin(), list.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    h_.element(sub(), "What is taken for what", {{"id", prefix_ + "confusion"}});
    if (!list.empty()) {
      const auto& [pair, n] = list.front();
      h_.element("p", "Most often: " + r_.class_name(pair.first) + " taken for " +
                          r_.class_name(pair.second) + ", " + format_count(n) +
                          (n == 1 ? " time (" : " times (") + share_text(n, support[pair.first]) +
                          " of its pictures).");
    } else {
      h_.element("p", "Nothing: every picture was recognized.");
    }
    h_.add(confusion_map(c, names_));
    if (list.empty()) {
      return;
    }
    size_t shown = std::min<size_t>(list.size(), 200);
    h_.open("details").element("summary", shown < list.size()
                                              ? "The 200 most frequent confusions as a list"
                                              : "All confusions as a list");
    h_.open(
        "div",
        {{"class", "scroll"}, {"tabindex", "0"}, {"role", "group"}, {"aria-label", "Confusions"}});
    h_.open("table", {{"class", "sortable"}}).open("thead").open("tr");
    h_.element("th", "is", {{"scope", "col"}}).element("th", "taken for", {{"scope", "col"}});
    h_.element("th", "times", {{"scope", "col"}, {"class", "n"}})
        .element("th", "of the class", {{"scope", "col"}, {"class", "n"}});
    h_.close().close().open("tbody");
    for (size_t i = 0; i < shown; ++i) {
      const auto& [pair, n] = list[i];
      double share = static_cast<double>(n) / static_cast<double>(support[pair.first]);
      h_.open("tr")
          .element("td", r_.class_name(pair.first))
          .element("td", r_.class_name(pair.second));
      h_.element("td", format_count(n), {{"class", "n"}, {"data-v", std::to_string(n)}});
      h_.element("td", percent(share), {{"class", "n"}, {"data-v", format_significant(share, 8)}})
          .close();
    }
    h_.close().close().close().close();
  }

  void gallery(const std::vector<PagePicture>& pictures, const char* kind,
               const std::string& label) {
    h_.open("ul", {{"class", kind}, {"aria-label", label}});
    for (const PagePicture& p : pictures) {
      std::string truth = p.target >= 0 ? r_.class_name(p.target) : "";
      std::string said = p.pred >= 0 ? r_.class_name(p.pred) : "";
      std::string alt = said.empty() ? "augmented: " + (truth.empty() ? p.name : truth)
                                     : truth + ", taken for " + said;
      if (p.pred >= 0 && p.pred == p.target) {
        alt = truth + ", recognized";
      }
      h_.open("li");
      bool small = std::max(p.width, p.height) <= 64;
      h_.single("img", {{"src", "data:" + p.type + ";base64," + base64(p.bytes)},
                        {"alt", alt},
                        {"width", std::to_string(p.width)},
                        {"height", std::to_string(p.height)},
                        {"class", small ? "small" : "photo"}});
      if (!said.empty()) {
        h_.open("span").element("b", truth);
        if (p.pred != p.target) {
          h_.text(" \u2192 ").element("b", said);
        }
        if (std::isfinite(p.confidence)) {
          h_.text(" " + format_fixed(100 * p.confidence, 0) + "\u00a0%");
        }
        h_.close();
      } else if (!truth.empty()) {
        h_.element("span", truth);
      }
      if (!p.name.empty()) {
        h_.element("span", p.name, {{"class", "path"}});
      }
      if (!p.note.empty()) {
        h_.element("span", p.note, {{"class", "path"}});
      }
      h_.close();
    }
    h_.close();
  }

  // The names of the samples, where there are no pictures of them.
  void sample_list(bool wrong) {
    std::vector<PredictionRow> list;
    for (const PredictionRow& row : rows()) {
      if (!wrong || !row.right()) {
        list.push_back(row);
      }
    }
    auto order = [&](const PredictionRow& a, const PredictionRow& b) {
      return a.confidence != b.confidence ? (a.confidence > b.confidence) == wrong
                                          : a.index < b.index;
    };
    size_t n = std::min<size_t>(24, list.size());
    std::partial_sort(list.begin(), list.begin() + static_cast<ptrdiff_t>(n), list.end(), order);
    h_.open("div", {{"class", "scroll"},
                    {"tabindex", "0"},
                    {"role", "group"},
                    {"aria-label", wrong ? "Most wrong" : "Least certain"}});
    h_.open("table").open("thead").open("tr");
    for (const char* title : {"sample", "is", "taken for"}) {
      h_.element("th", title, {{"scope", "col"}});
    }
    h_.element("th", "sure", {{"scope", "col"}, {"class", "n"}}).close().close().open("tbody");
    for (size_t i = 0; i < n; ++i) {
      h_.open("tr")
          .element("td", r_.sample_name(list[i].index))
          .element("td", r_.class_name(list[i].target));
      h_.element("td", r_.class_name(list[i].pred))
          .element("td", format_fixed(100 * list[i].confidence, 0) + " %", {{"class", "n"}})
          .close();
    }
    h_.close().close().close();
  }

  void pictures() {
    begin("mistakes", "Mistakes and doubts");
    if (rows().empty() && run_.wrongest.empty()) {
      h_.element("p", "No predictions were recorded.", {{"class", "none"}});
      end();
      return;
    }
    if (!run_.pictures_note.empty() && run_.wrongest.empty() && run_.uncertain.empty()) {
      h_.element("p", run_.pictures_note, {{"class", "none"}});
    }
    int64_t wrong = 0;
    for (const PredictionRow& row : rows()) {
      wrong += row.right() ? 0 : 1;
    }
    h_.element(sub(), "Most wrong");
    h_.element("p",
               format_count(wrong) + " of " + format_count(static_cast<int64_t>(rows().size())) +
                   " pictures of " + part_name() +
                   " were taken for something else. These are the ones it was surest about: often "
                   "the label is wrong, "
                   "or the picture shows something else as well.",
               {{"class", "summary"}});
    if (!run_.wrongest.empty()) {
      gallery(run_.wrongest, "pictures", "Most wrong");
    } else if (wrong > 0) {
      sample_list(true);
    }
    h_.element(sub(), "Least certain");
    h_.element("p",
               "The pictures with the lowest confidence: more like these in the training part "
               "teach it most.",
               {{"class", "summary"}});
    if (!run_.uncertain.empty()) {
      gallery(run_.uncertain, "pictures", "Least certain");
    } else {
      sample_list(false);
    }
    end();
  }

  void first_batch() {
    begin("batch", "First batch");
    if (run_.first_batch.empty()) {
      h_.element("p",
                 run_.pictures_note.empty() ? "There are no pictures of it." : run_.pictures_note,
                 {{"class", "none"}});
    } else {
      std::string pipeline = r_.config_text("augment.train");
      h_.element(
          "p",
          "What the model saw in its first step: the training pictures after augmentation" +
              (pipeline.empty() || pipeline == "auto" ? std::string(".") : ", " + pipeline + "."),
          {{"class", "summary"}});
      gallery(run_.first_batch, "pictures batch", "First augmented batch");
    }
    end();
  }

  void calibration() {
    if (rows().empty()) {
      return;
    }
    begin("calibration", "Calibration");
    h_.add(reliability_diagram(prefix_ + "reliability", reliability_bins(rows())));
    end();
  }

  struct Node {
    std::string name;
    const ModelLayer* layer = nullptr;
    std::vector<Node> children;
    int64_t params = 0, macs = 0;
  };

  static Node& child(Node& parent, const std::string& name) {
    for (Node& c : parent.children) {
      if (c.name == name) {
        return c;
      }
    }
    parent.children.push_back({.name = name, .layer = nullptr, .children = {}});
    return parent.children.back();
  }

  static void add_up(Node& node) {
    node.params = node.layer ? node.layer->params : 0;
    node.macs = node.layer ? node.layer->macs : 0;
    for (Node& c : node.children) {
      add_up(c);
      node.params += c.params;
      node.macs += c.macs;
    }
  }

  void tree_row(const Node& node, bool group) {
    h_.open("span", {{"class", group ? "row group" : "row"}})
        .element("span", node.name, {{"class", "name"}});
    h_.element("span", node.layer ? node.layer->type : "", {{"class", "what"}});
    h_.element("span", node.layer ? node.layer->shape : "", {{"class", "shape"}});
    h_.element("span", node.params ? format_count(node.params) : "", {{"class", "n params"}});
    h_.element("span",
               node.macs ? format_significant(static_cast<double>(node.macs) / 1e6, 3) + " M" : "",
               {{"class", "n macs"}});
    h_.close();
  }

  void tree(const Node& node) {
    for (const Node& c : node.children) {
      h_.open("li");
      if (c.children.empty()) {
        tree_row(c, false);
      } else {
        h_.open("details", {{"open", ""}}).open("summary");
        tree_row(c, true);
        h_.close().open("ul");
        tree(c);
        h_.close().close();
      }
      h_.close();
    }
  }

  void model() {
    begin("model", "Model");
    if (r_.layers.empty()) {
      h_.element("p", "The model folder holds no layer table.", {{"class", "none"}});
      end();
      return;
    }
    Node root;
    for (const ModelLayer& layer : r_.layers) {
      Node* at = &root;
      size_t begin_at = 0;
      int depth = 0;
      while (begin_at <= layer.name.size() && depth++ < 32) {
        size_t dot = depth < 32 ? layer.name.find('.', begin_at) : std::string::npos;
        at = &child(*at,
                    layer.name.substr(begin_at, dot == std::string::npos ? dot : dot - begin_at));
        if (dot == std::string::npos) {
          break;
        }
        begin_at = dot + 1;
      }
      at->layer = &layer;
    }
    add_up(root);
    h_.element("p", or_else(r_.architecture, "The model") + ": " + format_count(root.params) +
                        " parameters, " +
                        format_significant(static_cast<double>(root.macs) / 1e6, 4) +
                        " million multiply-adds a picture. Shapes are those of the outputs, in the "
                        "order of execution.");
    h_.open("div", {{"class", "tree"}});
    h_.open("span", {{"class", "row soft"}, {"aria-hidden", "true"}})
        .element("span", "layer")
        .element("span", "kind", {{"class", "what"}});
    h_.element("span", "output", {{"class", "what"}})
        .element("span", "parameters", {{"class", "n params"}})
        .element("span", "mult.-adds", {{"class", "n macs"}})
        .close();
    h_.open("ul", {{"aria-label", "Layers"}});
    tree(root);
    h_.close().close();
    end();
  }

  void config_rows(const std::vector<const ConfigValue*>& values, const std::string& caption) {
    h_.open("table", {{"class", "keys stack wide"}})
        .element("caption", caption)
        .open("thead")
        .open("tr");
    for (const char* title : {"key", "value", "origin"}) {
      h_.element("th", title, {{"scope", "col"}});
    }
    h_.close().close().open("tbody");
    for (const ConfigValue* v : values) {
      h_.open("tr")
          .element("th", v->key, {{"scope", "row"}})
          .element("td", v->value, {{"class", "mono"}})
          .element("td", v->origin, {{"class", "soft"}})
          .close();
    }
    h_.close().close();
  }

  void configuration() {
    begin("config", "Configuration");
    std::vector<const ConfigValue*> changed;
    std::vector<const ConfigValue*> chosen;
    std::vector<const ConfigValue*> usual;
    for (const ConfigValue& v : r_.config) {
      if (options_.no_times && depends_on_place(v.key)) {
        continue;
      }
      (v.changed() ? changed : v.origin.starts_with("auto") ? chosen : usual).push_back(&v);
    }
    if (r_.config.empty()) {
      h_.element("p", "config.toml is missing.", {{"class", "none"}});
      end();
      return;
    }
    if (changed.empty()) {
      h_.element("p", "Nothing was changed: every value is a default or was chosen from the data.");
    } else {
      config_rows(changed, "Changed");
    }
    if (!chosen.empty()) {
      h_.open("details", {{"open", ""}})
          .element("summary", "Chosen from the data (" + std::to_string(chosen.size()) + ")");
      config_rows(chosen, "Chosen from the data");
      h_.close();
    }
    if (!usual.empty()) {
      h_.open("details").element("summary", "Defaults (" + std::to_string(usual.size()) + ")");
      config_rows(usual, "Defaults");
      h_.close();
    }
    end();
  }

  void data() {
    begin("data", "Data");
    std::string source = r_.config_text("data.source");
    if (!source.empty()) {
      h_.element("p", "Source: " + source);
    }
    std::map<std::string, std::map<int64_t, int64_t>> counts;
    for (const SplitRow& row : r_.split_rows) {
      ++counts[row.split][row.label];
    }
    if (counts.empty()) {
      h_.element("p", "split.csv is missing, so the parts are not known.", {{"class", "none"}});
    } else {
      std::vector<std::string> parts;
      for (const char* part : {"train", "val", "calib", "test"}) {
        if (counts.contains(part)) {
          parts.emplace_back(part);
        }
      }
      for (const auto& [part, by_class] : counts) {
        if (std::find(parts.begin(), parts.end(), part) == parts.end() && parts.size() < 8) {
          parts.push_back(part);
        }
      }
      h_.open("div", {{"class", "scroll"},
                      {"tabindex", "0"},
                      {"role", "group"},
                      {"aria-label", "Pictures by part and class"}});
      h_.open("table", {{"class", "sortable"}})
          .element("caption", "Pictures by part and class")
          .open("thead")
          .open("tr");
      h_.element("th", "class", {{"scope", "col"}});
      for (const std::string& part : parts) {
        h_.element("th", part, {{"scope", "col"}, {"class", "n"}});
      }
      h_.close().close().open("tbody");
      auto line = [&](const std::string& name, auto&& count) {
        h_.open("tr").element("th", name, {{"scope", "row"}});
        for (const std::string& part : parts) {
          int64_t n = count(part);
          h_.element("td", format_count(n), {{"class", "n"}, {"data-v", std::to_string(n)}});
        }
        h_.close();
      };
      line("all", [&](const std::string& part) { return r_.split_sizes.at(part); });
      for (size_t k = 0; k < std::min<size_t>(names_.size(), 200); ++k) {
        line(names_[k], [&](const std::string& part) {
          auto it = counts[part].find(static_cast<int64_t>(k));
          return it == counts[part].end() ? int64_t{0} : it->second;
        });
      }
      h_.close().close().close();
    }
    h_.element(sub(), "Unreadable samples");
    if (r_.bad_samples.empty()) {
      h_.element("p", "None.");
    } else {
      h_.open("table", {{"class", "keys"}})
          .open("thead")
          .open("tr")
          .element("th", "file", {{"scope", "col"}})
          .element("th", "reason", {{"scope", "col"}})
          .close()
          .close();
      h_.open("tbody");
      for (size_t i = 0; i < std::min<size_t>(r_.bad_samples.size(), 100); ++i) {
        h_.open("tr")
            .element("th", r_.bad_samples[i].path, {{"scope", "row"}})
            .element("td", r_.bad_samples[i].reason)
            .close();
      }
      h_.close().close();
      if (r_.bad_samples.size() > 100) {
        h_.element("p", "and " + format_count(static_cast<int64_t>(r_.bad_samples.size()) - 100) +
                            " more in bad_samples.csv.");
      }
    }
    end();
  }

  void time() {
    begin("time", "Time and memory");
    if (r_.timing.empty()) {
      h_.element("p", "timing.jsonl is missing or empty.", {{"class", "none"}});
      end();
      return;
    }
    std::vector<std::pair<std::string, double TimingRow::*>> parts = {
        {"waiting for data", &TimingRow::data},
        {"forward", &TimingRow::forward},
        {"backward", &TimingRow::backward},
        {"optimizer", &TimingRow::optimizer},
        {"reduce", &TimingRow::reduce},
        {"checks", &TimingRow::check},
        {"saving", &TimingRow::save}};
    double total = total_seconds(r_);
    std::vector<BarRow> bars;
    for (const auto& [name, field] : parts) {
      double sum = 0;
      for (const TimingRow& t : r_.timing) {
        sum += std::isfinite(t.*field) ? t.*field : 0;
      }
      if (sum > 0) {
        bars.push_back(
            {name, sum,
             format_duration(sum) + (total > 0 ? " (" + percent(sum / total, 0) + ")" : "")});
      }
    }
    double rss = 0;
    for (const TimingRow& t : r_.timing) {
      rss = std::max(rss, std::isfinite(t.rss) ? t.rss : 0);
    }
    h_.add(bar_chart("Where " + format_duration(total) + " went", bars));
    if (rss > 0) {
      h_.element("p", "Most memory in use: " + format_bytes(rss) + ".");
    }
    LineChart c{.id = prefix_ + "rate", .title = "Images per second"};
    ChartSeries s{.name = "training", .points = {}, .style = 0};
    for (const TimingRow& t : r_.timing) {
      if (std::isfinite(t.images_per_second)) {
        s.points.push_back({epoch_of_step(r_, t.step), t.images_per_second});
      }
    }
    if (s.points.size() > 1) {
      c.summary = trend(s, false);
      c.series = {std::move(s)};
      c.from_zero = true;
      c.x_title = steps_are_epochs(r_) ? "epoch" : "step";
      h_.open("div", {{"class", "charts"}}).add(line_chart(c)).close();
    }
    end();
  }

  void provenance() {
    begin("provenance", "Provenance");
    std::vector<std::pair<std::string, std::string>> facts;
    auto add = [&](const char* name, const std::string& value) {
      if (!value.empty()) {
        facts.emplace_back(name, value);
      }
    };
    add("ballast", r_.facts.version);
    add("seed", r_.facts.seed ? std::to_string(*r_.facts.seed) : "");
    add("fingerprint", r_.facts.fingerprint);
    add("configuration digest", r_.facts.config_digest);
    for (const auto& [key, value] : r_.env) {
      if (key != "command" && !(options_.no_times && depends_on_place(key))) {
        facts.emplace_back(key, value);
      }
    }
    if (!facts.empty()) {
      h_.open("table", {{"class", "keys stack"}})
          .element("caption", "What the result depends on")
          .open("tbody");
      for (const auto& [name, value] : facts) {
        h_.open("tr").element("th", name, {{"scope", "row"}}).open("td");
        if (value.size() > 300) {
          h_.open("details").element("summary", "show").element("span", value).close();
        } else {
          h_.text(value);
        }
        h_.close().close();
      }
      h_.close().close();
    }
    if (!r_.events.empty() && !options_.no_times) {
      h_.open("details").element("summary", "Events (" + std::to_string(r_.events.size()) + ")");
      h_.open("table", {{"class", "keys stack"}}).open("thead").open("tr");
      for (const char* title : {"event", "when", "step", "what"}) {
        h_.element("th", title, {{"scope", "col"}});
      }
      h_.close().close().open("tbody");
      for (size_t i = 0; i < std::min<size_t>(r_.events.size(), 200); ++i) {
        const EventRow& e = r_.events[i];
        h_.open("tr")
            .element("th", e.kind, {{"scope", "row"}})
            .element("td", e.time)
            .element("td", e.step >= 0 ? format_count(e.step) : "")
            .element("td", e.text)
            .close();
      }
      h_.close().close().close();
    }
    auto list = [&](const char* title, const std::vector<std::string>& items) {
      if (items.empty()) {
        return;
      }
      h_.element(sub(), title).open("ul");
      for (const std::string& item : items) {
        h_.element("li", item);
      }
      h_.close();
    };
    list("Not found in the run folder", r_.missing);
    list("Could not be read", r_.problems);
    end();
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

}  // namespace

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
         metric == "ace";
}

std::string metric_text(const std::string& metric, double value) {
  return metric_is_share(metric) && std::isfinite(value) ? percent(value, 2)
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
  Sections(h, run, options, prefix, level, entries).all();
}

}  // namespace ballast
