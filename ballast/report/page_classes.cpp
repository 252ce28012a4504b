#include <algorithm>
#include <map>

#include <ballast/report/page_sections.h>
#include <ballast/report/svg_chart.h>
#include <ballast/report/table.h>
#include <ballast/report/wilson.h>

namespace ballast {

void RunSections::classes() {
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
  h_.element("caption", std::string(r_.several_labels ? "Recall" : "Accuracy") + " by class on " + where +
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
    cell(percent_text(a), a);
    h_.open("td", {{"class", "optional"}, {"data-v", format_significant(a, 8)}})
        .open("span", {{"class", "ci"}});
    h_.element("i", "",
               {{"style", "left:" + format_fixed(100 * i.low, 1) +
                              "%;width:" + format_fixed(100 * (i.high - i.low), 1) + "%"}});
    h_.element("b", "", {{"style", "left:" + format_fixed(100 * a, 1) + "%"}}).close().close();
    cell(percent_text(i.low), i.low);
    cell(percent_text(i.high), i.high);
    cell(format_count(c.support), static_cast<double>(c.support));
    cell(c.predicted > 0 ? percent_text(precision) : "never said", precision);
    h_.close();
  }
  h_.close().close().close();
  confusion();
  end();
}

void RunSections::confusion() {
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
    h_.element("td", percent_text(share),
               {{"class", "n"}, {"data-v", format_significant(share, 8)}})
        .close();
  }
  h_.close().close().close().close();
}

void RunSections::calibration() {
  if (rows().empty()) {
    return;
  }
  begin("calibration", "Calibration");
  h_.add(reliability_diagram(prefix_ + "reliability", reliability_bins(rows())));
  end();
}

}  // namespace ballast
