#include <algorithm>
#include <cmath>
#include <map>

#include <ballast/report/alerts.h>
#include <ballast/report/page_sections.h>
#include <ballast/report/table.h>

namespace ballast {

void RunSections::alerts() {
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

void RunSections::fact(const std::string& name, const std::string& value,
                       const std::string& detail, bool first) {
  if (value.empty() || value == "-") {
    return;
  }
  h_.open("div", {{"class", first ? "first" : "fact"}}).element("dt", name).open("dd").text(value);
  if (!detail.empty()) {
    h_.element("small", detail);
  }
  h_.close().close();
}

std::string RunSections::check_place(const CheckRow& c) const {
  return std::isfinite(c.epoch) ? "epoch " + format_significant(c.epoch, 4)
                                : "step " + format_count(c.step);
}

void RunSections::result() {
  begin("result", "Result");
  const CheckRow* test = r_.test_check();
  const CheckRow* best = r_.best_check();
  const CheckRow* last = r_.last_check();
  const CheckRow* main = test ? test : best;
  const std::vector<const CheckRow*> teachers = r_.checks_of("teacher");
  const CheckRow* teacher = teachers.empty() ? nullptr : teachers.back();
  h_.open("dl", {{"class", "hero"}});
  // Of several labels a picture there is no accuracy.
  const std::string share = main && std::isfinite(main->metric("map")) ? "map" : "top1";
  if (main) {
    const bool any = std::isfinite(main->metric(share));
    const std::string name = share == "map" ? "mean average precision" : "accuracy";
    fact(any ? (test ? "Test " : "Validation ") + name : main->split + " loss",
         metric_text(any ? share : "loss", main->metric(any ? share : "loss")),
         interval_text(*main, any ? share : "loss"), true);
  }
  if (teacher) {
    fact("Teacher on the same pictures", percent_text(teacher->metric("top1"), 2),
         interval_text(*teacher, "top1"));
  }
  if (test && best) {
    fact("Best validation", metric_text(share, best->metric(share)), "at " + check_place(*best));
  }
  if (last && last != best) {
    fact("Last validation", metric_text(share, last->metric(share)), "at " + check_place(*last));
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
  if (teacher) {
    columns.emplace_back("teacher, test", teacher);
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
    h_.element("pre", r_.command,
               {{"tabindex", "0"}, {"role", "group"}, {"aria-label", "Command to repeat the run"}});
  }
  end();
}

void RunSections::metric_table(
    const std::vector<std::pair<std::string, const CheckRow*>>& columns) {
  static const std::map<std::string, std::string> kTitles = {
      {"top1", "accuracy (top 1)"},          {"top5", "right among the first 5"},
      {"loss", "loss (cross-entropy)"},      {"nll_tempered", "loss, tempered"},
      {"balanced_acc", "balanced accuracy"}, {"brier", "Brier score"},
      {"ece", "calibration error (ECE)"},    {"ace", "calibration error (ACE)"},
      {"map", "mean average precision"},     {"micro_f1", "F1 over all classes, at 0.5"},
      {"exact_match", "all labels right"}};
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
    h_.open("tr").element("th", title == kTitles.end() ? name : title->second, {{"scope", "row"}});
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

std::string RunSections::reason_text() const {
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

std::string RunSections::length_text() const {
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

std::string RunSections::rate_text() const {
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

}  // namespace ballast
