#include <ballast/report/lr_page.h>

#include <cmath>

#include <ballast/base/check.h>
#include <ballast/report/html.h>
#include <ballast/report/page_parts.h>
#include <ballast/report/svg_chart.h>
#include <ballast/report/table.h>

namespace ballast {

std::string lr_page(const LrPage& page) {
  check(!page.lr.empty() && page.lr.size() == page.loss.size() && page.lr.size() == page.smoothed.size(), "lr_page",
        "lr, loss and smoothed must have one length of at least 1, got ", page.lr.size(), ", ", page.loss.size(), ", ",
        page.smoothed.size());
  ChartSeries loss{.name = "loss of a step", .style = 1}, smoothed{.name = "averaged", .style = 0};
  for (size_t i = 0; i < page.lr.size(); ++i) {
    loss.points.push_back({std::log10(page.lr[i]), page.loss[i]});
    smoothed.points.push_back({std::log10(page.lr[i]), page.smoothed[i]});
  }
  LineChart chart{.id = "range", .title = "Loss while the rate rises",
                  .summary = "Left of the marks the rate is too small to learn much; where the curve rises it is too large.",
                  .x_title = "log10 of the learning rate", .series = {smoothed, loss}, .clip_spikes = true};
  Html h;
  h.open("section", {{"id", "range-s"}, {"aria-labelledby", "range-h"}}).element("h2", "The curve", {{"id", "range-h"}});
  h.open("ul", {{"class", "alerts"}});
  const auto suggest = [&](const char* name, double lr, const std::string& about) {
    if (std::isfinite(lr)) {
      chart.marks.push_back({std::log10(lr), name});
      h.open("li", {{"class", "alert note"}}).element("h3", std::string(name) + ": --lr " + format_significant(lr, 2));
      h.element("p", about).close();
    }
  };
  suggest("steepest", page.steepest, "Here the averaged loss falls fastest for a given factor of the rate.");
  suggest("min/10", page.min_tenth, "A tenth of the rate at which the averaged loss is lowest: the more careful one.");
  h.close().element("p", page.end).add(line_chart(chart)).close();
  return framed_page({.kind = "ballast lr-find", .tab = page.model + " - ballast lr-find", .title = page.model + ": learning rate",
                      .lead = page.lead, .entries = {{"range-s", "The curve"}}},
                     h);
}

}  // namespace ballast
