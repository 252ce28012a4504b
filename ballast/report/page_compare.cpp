#include <algorithm>
#include <cmath>
#include <map>

#include <ballast/report/page_parts.h>
#include <ballast/report/svg_chart.h>
#include <ballast/report/table.h>

namespace ballast {
namespace {

const CheckRow* main_check(const RecordedRun& r) {
  return r.test_check() ? r.test_check() : r.best_check();
}

LineChart overlay(const std::vector<RunPage>& runs, const PageOptions& options,
                  const std::string& id, const std::string& title, const std::string& metric,
                  bool share) {
  LineChart c{.id = id, .title = title};
  bool epochs = true;
  for (size_t i = 0; i < runs.size(); ++i) {
    ChartSeries s{.name = run_label(runs, i, options.no_times),
                  .points = {},
                  .style = static_cast<int>(i % 8),
                  .dots = true};
    for (auto [x, y] : check_points(runs[i].record, "val", metric)) {
      s.points.push_back({x, y});
    }
    if (!s.points.empty()) {
      epochs = epochs && steps_are_epochs(runs[i].record);
      c.summary += s.name + " ends at " + metric_text(metric, s.points.back().y) + ". ";
    }
    c.series.push_back(std::move(s));
  }
  c.percent = share;
  c.from_zero = !share;
  c.x_title = epochs ? "epoch" : "step";
  c.x_min = 0;
  return c;
}

}  // namespace

std::string comparison_lead(const std::vector<RunPage>& runs, const PageOptions& options) {
  size_t best = runs.size();
  for (size_t i = 0; i < runs.size(); ++i) {
    const CheckRow* c = main_check(runs[i].record);
    if (c && std::isfinite(c->metric("top1")) &&
        (best == runs.size() ||
         c->metric("top1") > main_check(runs[best].record)->metric("top1"))) {
      best = i;
    }
  }
  if (best == runs.size()) {
    return "No run has recorded an accuracy.";
  }
  const CheckRow* c = main_check(runs[best].record);
  return "Highest: " + run_label(runs, best, options.no_times) + ", " +
         metric_text("top1", c->metric("top1")) + " on " + c->split + ".";
}

void compare_runs(Html& h, const std::vector<RunPage>& runs, const PageOptions& options,
                  PageEntries& entries) {
  auto begin = [&](const char* id, const char* title) {
    entries.emplace_back(id, title);
    h.open("section", {{"id", id}, {"aria-labelledby", std::string(id) + "-h"}});
    h.element("h2", title, {{"id", std::string(id) + "-h"}});
  };
  auto heads = [&] {
    for (size_t i = 0; i < runs.size(); ++i) {
      h.element("th", run_label(runs, i, options.no_times), {{"scope", "col"}});
    }
  };

  begin("compare", "Results");
  h.open("div", {{"class", "scroll"},
                 {"tabindex", "0"},
                 {"role", "group"},
                 {"aria-label", "Results side by side"}});
  h.open("table").open("thead").open("tr").element("th", "metric", {{"scope", "col"}});
  heads();
  h.close().close().open("tbody");
  struct Row {
    const char* title;
    const char* split;
    const char* metric;
    bool larger;
  };
  for (Row row :
       {Row{"test accuracy", "test", "top1", true}, Row{"test loss", "test", "loss", false},
        Row{"best validation accuracy", "val", "top1", true},
        Row{"test mean average precision", "test", "map", true},
        Row{"best validation mean average precision", "val", "map", true},
        Row{"best validation loss", "val", "loss", false},
        Row{"test calibration error", "test", "ece", false}}) {
    std::vector<double> values;
    std::vector<double> errors;
    for (const RunPage& run : runs) {
      const CheckRow* c =
          std::string_view(row.split) == "test" ? run.record.test_check() : run.record.best_check();
      values.push_back(c ? c->metric(row.metric) : kNone);
      errors.push_back(c ? c->metric(std::string(row.metric) + ".se") : kNone);
    }
    if (std::none_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); })) {
      continue;
    }
    double best = kNone;
    for (double v : values) {
      if (std::isfinite(v)) {
        best = std::isnan(best) ? v : row.larger ? std::max(best, v) : std::min(best, v);
      }
    }
    h.open("tr").element("th", row.title, {{"scope", "row"}});
    for (size_t i = 0; i < values.size(); ++i) {
      bool is_best = values[i] == best && runs.size() > 1;
      h.open("td", {{"class", is_best ? "differs" : "plain"}})
          .text(metric_text(row.metric, values[i]));
      if (std::isfinite(errors[i])) {
        double e = metric_is_share(row.metric) ? 100 * errors[i] : errors[i];
        h.element("span", " \u00b1 " + format_significant(1.96 * e, 2), {{"class", "soft"}});
      }
      if (is_best) {
        h.text(" \u2713");
      }
      h.close();
    }
    h.close();
  }
  auto line = [&](const char* title, auto&& text) {
    h.open("tr").element("th", title, {{"scope", "row"}});
    for (const RunPage& run : runs) {
      h.element("td", text(run.record));
    }
    h.close();
  };
  line("model", [](const RecordedRun& r) {
    return r.architecture.empty() ? r.config_text("model.name") : r.architecture;
  });
  line("parameters",
       [](const RecordedRun& r) { return r.params() > 0 ? format_count(r.params()) : "-"; });
  line("epochs", [](const RecordedRun& r) {
    const CheckRow* c = r.last_check();
    return c ? format_significant(c->epoch, 4) : std::string("-");
  });
  line("seed",
       [](const RecordedRun& r) { return r.facts.seed ? std::to_string(*r.facts.seed) : "-"; });
  line("ended", [](const RecordedRun& r) { return r.reason().empty() ? "-" : r.reason(); });
  if (!options.no_times) {
    line("time", [](const RecordedRun& r) { return format_duration(total_seconds(r)); });
  }
  h.close().close().close();
  h.element("p",
            "\u2713 marks the best of a row; \u00b1 is half a 95 % interval of one run. Runs that "
            "differ by less than "
            "that are equal for all that these numbers tell.",
            {{"class", "soft"}});
  h.close();

  begin("curves", "Learning curves");
  h.open("div", {{"class", "charts"}});
  h.add(line_chart(overlay(runs, options, "all-loss", "Validation loss", "loss", false)));
  h.add(line_chart(overlay(runs, options, "all-top1", "Validation accuracy, %", "top1", true)));
  h.close().close();

  begin("differences", "Configuration differences");
  std::map<std::string, std::vector<std::string>> table;
  std::vector<std::string> order;
  for (size_t i = 0; i < runs.size(); ++i) {
    for (const ConfigValue& v : runs[i].record.config) {
      if (depends_on_place(v.key)) {
        continue;
      }
      auto [it, made] = table.try_emplace(v.key, runs.size(), "-");
      if (made) {
        order.push_back(v.key);
      }
      it->second[i] = v.value;
    }
  }
  std::erase_if(order, [&](const std::string& key) {
    const auto& values = table.at(key);
    return std::all_of(values.begin(), values.end(),
                       [&](const std::string& v) { return v == values.front(); });
  });
  if (order.empty()) {
    h.element("p", "None: all values are the same.");
  } else {
    h.open("div", {{"class", "scroll"},
                   {"tabindex", "0"},
                   {"role", "group"},
                   {"aria-label", "Configuration differences"}});
    h.open("table", {{"class", "keys"}})
        .open("thead")
        .open("tr")
        .element("th", "key", {{"scope", "col"}});
    heads();
    h.close().close().open("tbody");
    for (const std::string& key : order) {
      h.open("tr").element("th", key, {{"scope", "row"}});
      for (const std::string& value : table.at(key)) {
        h.element("td", value, {{"class", "mono"}});
      }
      h.close();
    }
    h.close().close().close();
  }
  h.close();
}

}  // namespace ballast
