#include <algorithm>
#include <cmath>

#include <ballast/report/page_sections.h>
#include <ballast/report/svg_chart.h>
#include <ballast/report/table.h>

namespace ballast {

// What --watch recorded: each layer's activations, gradients and updates over time, and a table of start and end.
void RunSections::watched_layers() {
  if (r_.watch.empty()) {
    return;
  }
  begin("layers", "Layers over time");
  const size_t count = r_.watch.front().layers.size();
  // At most eight lines a chart: the first, the last, and evenly between.
  std::vector<size_t> shown;
  const size_t lines = std::min<size_t>(8, count);
  for (size_t i = 0; i < lines; ++i) {
    shown.push_back(lines == 1 ? 0 : i * (count - 1) / (lines - 1));
  }
  h_.element("p", "Sampled at " + format_count(static_cast<int64_t>(r_.watch.size())) + " steps, " +
                      format_count(static_cast<int64_t>(count)) + " layers with weights" +
                      (count > lines ? "; the charts show eight of them, from the first to the last." : "."));
  h_.open("div", {{"class", "charts"}});
  const auto chart = [&](const std::string& id, const std::string& title, const std::string& about, double WatchedLayerRow::*field) {
    LineChart c{.id = prefix_ + id, .title = title, .summary = about, .x_title = steps_are_epochs(r_) ? "epoch" : "step", .log = true};
    c.x_min = 0;
    for (size_t k = 0; k < shown.size(); ++k) {
      ChartSeries s{.name = r_.watch.front().layers[shown[k]].name, .points = {}, .style = static_cast<int>(k)};
      for (const WatchRow& row : r_.watch) {
        if (shown[k] < row.layers.size()) {
          s.points.push_back({epoch_of_step(r_, row.step), row.layers[shown[k]].*field});
        }
      }
      s.dots = s.points.size() <= 20;
      c.series.push_back(std::move(s));
    }
    h_.add(line_chart(c));
  };
  chart("watch-std", "Activations", "Standard deviation of the pre-activations.", &WatchedLayerRow::std);
  chart("watch-grad", "Gradients", "Root mean square of the gradient at each layer's output.", &WatchedLayerRow::gradient);
  chart("watch-update", "Updates", "Size of a step over the size of the weights; healthy between 1e-5 and 1e-2.", &WatchedLayerRow::update);
  h_.close();
  h_.open("div", {{"class", "scroll"}, {"tabindex", "0"}, {"role", "group"}, {"aria-label", "Layers at the first and the last sample"}});
  h_.open("table").open("thead").open("tr").element("th", "layer", {{"scope", "col"}});
  for (const char* title : {"std", "zeros %", "gradient", "update"}) {
    for (const char* when : {", first", ", last"}) {
      h_.element("th", std::string(title) + when, {{"scope", "col"}, {"class", "n"}});
    }
  }
  h_.close().close().open("tbody");
  const WatchRow &first = r_.watch.front(), &last = r_.watch.back();
  for (size_t i = 0; i < std::min(count, last.layers.size()); ++i) {
    const WatchedLayerRow &a = first.layers[i], &b = last.layers[i];
    h_.open("tr").element("th", a.name, {{"scope", "row"}, {"class", "mono"}});
    for (const double v : {a.std, b.std}) h_.element("td", format_significant(v, 3), {{"class", "n"}});
    for (const double v : {a.zeros, b.zeros}) h_.element("td", format_fixed(100 * v, 1), {{"class", "n"}});
    for (const double v : {a.gradient, b.gradient, a.update, b.update}) h_.element("td", format_significant(v, 3), {{"class", "n"}});
    h_.close();
  }
  h_.close().close().close();
  end();
}

}  // namespace ballast
