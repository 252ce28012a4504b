#include "svg_chart.h"

#include <algorithm>
#include <cmath>

#include <ballast/io/json.h>
#include <ballast/report/table.h>

namespace ballast {
namespace {

constexpr double kWide =
    1000;  // user units of an SVG; it is stretched to its box, lines keep their width
constexpr double kHigh = 400;

std::string number(double v) {
  std::string text = format_fixed(v, 1);
  return text.ends_with(".0") ? text.substr(0, text.size() - 2) : text;
}
std::string percent_of(double share) { return number(100 * share) + "%"; }

struct Axis {
  double lo, hi;
  double at(double v) const { return hi > lo ? (v - lo) / (hi - lo) : 0.5; }
};

std::string path_of(const std::vector<ChartPoint>& points, const Axis& x, const Axis& y,
                    bool dots) {
  std::string d;
  bool pen = false;
  for (const ChartPoint& p : points) {
    if (!std::isfinite(p.x) || !std::isfinite(p.y)) {
      pen = false;
      continue;
    }
    d += pen && !dots ? 'L' : 'M';
    d += number(kWide * x.at(p.x)) + ' ' + number(kHigh * (1 - std::clamp(y.at(p.y), -0.5, 1.5)));
    if (dots) {
      d += "h0";
    }
    pen = true;
  }
  return d;
}

std::string value_text(double v, bool percent) {
  return percent ? format_fixed(100 * v, 2) + " %" : format_significant(v, 4);
}

Html legend(const LineChart& chart) {
  Html h;
  h.open("ul", {{"class", "legend"}});
  for (const ChartSeries& s : chart.series) {
    h.open("li");
    h.open("svg", {{"class", "key s" + std::to_string(s.style % 8)},
                   {"viewBox", "0 0 28 8"},
                   {"aria-hidden", "true"}});
    h.element("path", "", {{"class", "line"}, {"d", "M1 4H27"}});
    h.close();
    h.text(s.name);
    if (!s.points.empty() && std::isfinite(s.points.back().y)) {
      h.text(" ").element("b", value_text(s.points.back().y, chart.percent));
    }
    h.close();
  }
  h.close();
  return h;
}

// The points in a table, at most about 60 rows a series.
Html data_table(const LineChart& chart) {
  Html h;
  h.open("details", {{"class", "data"}}).element("summary", "Data");
  h.open("div", {{"class", "scroll"},
                 {"tabindex", "0"},
                 {"role", "group"},
                 {"aria-label", chart.title + ", data"}});
  h.open("table").open("thead").open("tr");
  h.element("th", "line", {{"scope", "col"}})
      .element("th", chart.x_title, {{"scope", "col"}, {"class", "n"}});
  h.element("th", chart.title, {{"scope", "col"}, {"class", "n"}}).close().close().open("tbody");
  for (const ChartSeries& s : chart.series) {
    std::vector<ChartPoint> points = decimate(s.points, 60);
    for (const ChartPoint& p : points) {
      h.open("tr")
          .element("td", s.name)
          .element("td", format_significant(p.x, 5), {{"class", "n"}});
      h.element("td", value_text(p.y, chart.percent), {{"class", "n"}}).close();
    }
  }
  h.close().close().close().close();
  return h;
}

std::string zoom_data(const LineChart& chart) {
  JsonValue data = JsonValue::object();
  data["x"] = chart.x_title;
  data["percent"] = chart.percent;
  if (chart.log) {
    data["log"] = true;
  }
  JsonValue series = JsonValue::array();
  for (const ChartSeries& s : chart.series) {
    JsonValue item = JsonValue::object();
    item["name"] = s.name;
    item["style"] = s.style % 8;
    JsonValue x = JsonValue::array();
    JsonValue y = JsonValue::array();
    auto rounded = [](double v) { return std::stod(format_significant(v, 6)); };
    double last = -std::numeric_limits<double>::infinity();
    for (const ChartPoint& p : s.points) {
      if (std::isfinite(p.x) && std::isfinite(p.y) && p.x > last && (p.y > 0 || !chart.log)) {
        x.push_back(rounded(p.x));
        y.push_back(rounded(p.y));
        last = p.x;
      }
    }
    item["x"] = std::move(x);
    item["y"] = std::move(y);
    series.push_back(std::move(item));
  }
  data["series"] = std::move(series);
  return data.text();
}

// Gridlines inside the SVG, their labels as HTML over it: so text keeps its size at every width.
void grid(Html& svg, Html& labels, const Axis& axis, bool horizontal,
          const std::vector<double>& ticks, double scale, bool log = false) {
  std::vector<std::string> names = tick_labels(ticks, scale);
  for (size_t i = 0; log && i < ticks.size(); ++i) {
    names[i] = "1e" + std::to_string(std::lround(ticks[i]));
  }
  std::string d;
  for (size_t i = 0; i < ticks.size(); ++i) {
    double at = axis.at(ticks[i]);
    if (horizontal) {
      d += "M0 " + number(kHigh * (1 - at)) + "H" + number(kWide);
      labels.element("span", names[i], {{"class", "yt"}, {"style", "top:" + percent_of(1 - at)}});
    } else {
      labels.element("span", names[i], {{"class", "xt"}, {"style", "left:" + percent_of(at)}});
    }
  }
  if (!d.empty()) {
    svg.element("path", "", {{"class", "grid"}, {"d", d}});
  }
}

}  // namespace

std::vector<double> nice_ticks(double lo, double hi, int n) {
  if (!std::isfinite(lo) || !std::isfinite(hi) || !(hi > lo)) {
    return {lo};
  }
  double raw = (hi - lo) / std::max(1, n);
  double power = std::pow(10, std::floor(std::log10(raw)));
  double step = power;
  for (double m : {1.0, 2.0, 5.0, 10.0}) {
    step = m * power;
    if (step >= raw * 0.999) {
      break;
    }
  }
  std::vector<double> ticks;
  auto first = static_cast<int64_t>(std::ceil(lo / step - 1e-6));
  auto last = static_cast<int64_t>(std::floor(hi / step + 1e-6));
  for (int64_t i = first; i <= last && ticks.size() < 100; ++i) {
    ticks.push_back(static_cast<double>(i) * step);
  }
  return ticks;
}

std::vector<std::string> tick_labels(const std::vector<double>& ticks, double scale) {
  int digits = 0;
  bool tiny = false;
  if (ticks.size() > 1) {
    double step = std::abs(ticks[1] - ticks[0]) * scale;
    digits = step > 0 ? std::max(0, static_cast<int>(-std::floor(std::log10(step) + 1e-9))) : 0;
    tiny = digits > 4;
  }
  std::vector<std::string> labels;
  for (double t : ticks) {
    labels.push_back(tiny                ? format_significant(t * scale, 3)
                     : ticks.size() == 1 ? format_significant(t * scale, 4)
                                         : format_fixed(t * scale, digits));
  }
  return labels;
}

std::vector<ChartPoint> decimate(const std::vector<ChartPoint>& points, size_t limit) {
  if (points.size() <= limit || limit < 2) {
    return points;
  }
  size_t parts = limit / 2;
  std::vector<ChartPoint> out;
  out.reserve(limit);
  for (size_t k = 0; k < parts; ++k) {
    size_t begin = points.size() * k / parts;
    size_t end = points.size() * (k + 1) / parts;
    size_t low = begin;
    size_t high = begin;
    for (size_t i = begin; i < end; ++i) {
      if (!(points[low].y <= points[i].y)) {
        low = i;
      }
      if (!(points[high].y >= points[i].y)) {
        high = i;
      }
    }
    // The first and the last point of all stay: they are the ones people look for.
    size_t a = std::min(low, high);
    size_t b = std::max(low, high);
    if (k == 0) {
      a = begin;
    }
    if (k + 1 == parts) {
      b = end - 1;
    }
    out.push_back(points[a]);
    if (b != a) {
      out.push_back(points[b]);
    }
  }
  return out;
}

// Whole decades between the ends of a logarithmic axis, at most about six of them.
static std::vector<double> decade_ticks(double lo, double hi) {
  std::vector<double> ticks;
  const double step = std::max(1.0, std::ceil((hi - lo) / 6));
  for (double t = std::ceil(lo / step - 1e-6) * step; t <= hi + 1e-6; t += step) {
    ticks.push_back(t);
  }
  return ticks;
}

Html line_chart(const LineChart& chart) {
  LineChart c = chart;
  Axis x{kNone, kNone};
  Axis y{kNone, kNone};
  auto widen = [](Axis& axis, double v) {
    axis.lo = std::isnan(axis.lo) ? v : std::min(axis.lo, v);
    axis.hi = std::isnan(axis.hi) ? v : std::max(axis.hi, v);
  };
  for (ChartSeries& s : c.series) {
    s.points = decimate(s.points);
    for (ChartPoint& p : s.points) {
      if (c.log) {
        p.y = p.y > 0 ? std::log10(p.y) : kNone;
      }
    }
    std::vector<double> values;
    for (const ChartPoint& p : s.points) {
      if (std::isfinite(p.x) && std::isfinite(p.y)) {
        widen(x, p.x);
        values.push_back(p.y);
      }
    }
    if (values.empty()) {
      continue;
    }
    std::sort(values.begin(), values.end());
    size_t top = c.clip_spikes && !s.dots ? (values.size() - 1) * 99 / 100 : values.size() - 1;
    widen(y, values.front());
    widen(y, values[top]);
  }
  Html h;
  h.open("figure", {{"class", "chart"}, {"id", c.id}});
  h.open("figcaption")
      .element("h3", c.title)
      .element("p", c.summary, {{"class", "summary"}})
      .close();
  if (std::isnan(x.lo)) {
    h.element("p", "No numbers were recorded for this chart.", {{"class", "none"}}).close();
    return h;
  }
  if (!std::isnan(c.x_min)) {
    widen(x, c.x_min);
  }
  if (!std::isnan(c.x_max)) {
    widen(x, c.x_max);
  }
  if (c.from_zero) {
    widen(y, 0);
  }
  if (c.log) {  // at least one whole decade to either side of a line that says nothing else
    y.lo = std::min(y.lo, std::floor(y.lo + 0.3));
    y.hi = std::max(y.hi, std::ceil(y.hi - 0.3));
  }
  double pad = y.hi > y.lo ? 0.06 * (y.hi - y.lo) : std::max(1e-9, 0.1 * std::abs(y.hi));
  y.hi += pad;
  if (!(c.from_zero && y.lo == 0)) {
    y.lo -= pad;
  }
  if (c.percent && y.hi > 1) {
    y.hi = 1 + 0.03 * (1 - std::min(y.lo, 0.99));  // room for a dot at 100 %
  }
  if (x.hi <= x.lo) {
    x.hi = x.lo + 1;
  }

  h.add(legend(chart));
  Html svg;
  Html labels;
  svg.open("svg", {{"viewBox", "0 0 1000 400"},
                   {"preserveAspectRatio", "none"},
                   {"role", "img"},
                   {"aria-labelledby", c.id + "-t " + c.id + "-d"}});
  svg.element("title", c.title, {{"id", c.id + "-t"}})
      .element("desc", c.summary, {{"id", c.id + "-d"}});
  labels.open("div", {{"class", "ticks"}, {"aria-hidden", "true"}});
  grid(svg, labels, y, true, c.log ? decade_ticks(y.lo, y.hi) : nice_ticks(y.lo, y.hi, 5), c.percent ? 100 : 1, c.log);
  std::vector<double> across = nice_ticks(x.lo, x.hi, 8);
  if (c.whole_x) {
    std::erase_if(across, [](double tick) { return std::abs(tick - std::round(tick)) > 1e-9; });
  }
  grid(svg, labels, x, false, across, 1);
  for (const ChartMark& m : c.marks) {
    double at = x.at(m.x);
    if (!(at >= -0.001 && at <= 1.001)) {
      continue;
    }
    svg.element("path", "",
                {{"class", "mark"}, {"d", "M" + number(kWide * at) + " 0V" + number(kHigh)}});
    labels.element("span", m.text,
                   {{"class", at > 0.8 ? "mk left" : "mk"}, {"style", "left:" + percent_of(at)}});
  }
  for (const ChartSeries& s : c.series) {
    std::string style = "s" + std::to_string(s.style % 8);
    svg.element("path", "", {{"class", "line " + style}, {"d", path_of(s.points, x, y, false)}});
    if (s.dots && s.points.size() <= 60) {
      svg.element("path", "", {{"class", "dots " + style}, {"d", path_of(s.points, x, y, true)}});
    }
  }
  svg.close();
  labels.close();
  h.open("div", {{"class", "plot"}}).add(svg).add(labels).close();
  h.element("p", c.x_title, {{"class", "xtitle"}, {"aria-hidden", "true"}});
  h.add(data_table(c.log ? chart : c));
  h.json(c.id + "-z", zoom_data(c.log ? chart : c));
  h.close();
  return h;
}

Html bar_chart(const std::string& title, const std::vector<BarRow>& rows, double max) {
  if (max <= 0) {
    for (const BarRow& row : rows) {
      max = std::max(max, std::isfinite(row.value) ? row.value : 0);
    }
  }
  Html h;
  h.open("table", {{"class", "bars"}});
  h.element("caption", title).open("tbody");
  for (const BarRow& row : rows) {
    double share = max > 0 && std::isfinite(row.value) ? std::clamp(row.value / max, 0.0, 1.0) : 0;
    h.open("tr").element("th", row.name, {{"scope", "row"}});
    h.open("td", {{"class", "bar"}})
        .element("span", "", {{"style", "width:" + percent_of(share)}})
        .close();
    h.element("td", row.text, {{"class", "n"}}).close();
  }
  h.close().close();
  return h;
}

std::vector<ReliabilityBin> reliability_bins(const std::vector<PredictionRow>& rows, int bins) {
  std::vector<ReliabilityBin> out(static_cast<size_t>(bins));
  std::vector<int64_t> right(out.size(), 0);
  for (size_t b = 0; b < out.size(); ++b) {
    out[b].low = static_cast<double>(b) / bins;
    out[b].high = static_cast<double>(b + 1) / bins;
  }
  for (const PredictionRow& row : rows) {
    if (!(row.confidence >= 0 && row.confidence <= 1)) {
      continue;
    }
    auto b = static_cast<int64_t>(std::ceil(row.confidence * bins)) - 1;
    ReliabilityBin& bin = out[static_cast<size_t>(std::clamp<int64_t>(b, 0, bins - 1))];
    ++bin.n;
    bin.confidence += row.confidence;
    bin.accuracy += row.right() ? 1 : 0;
  }
  for (ReliabilityBin& bin : out) {
    if (bin.n > 0) {
      bin.confidence /= static_cast<double>(bin.n);
      bin.accuracy /= static_cast<double>(bin.n);
    }
  }
  return out;
}

double calibration_error(const std::vector<ReliabilityBin>& bins) {
  double sum = 0;
  double n = 0;
  for (const ReliabilityBin& bin : bins) {
    sum += static_cast<double>(bin.n) * std::abs(bin.accuracy - bin.confidence);
    n += static_cast<double>(bin.n);
  }
  return n > 0 ? sum / n : kNone;
}

Html reliability_diagram(const std::string& id, const std::vector<ReliabilityBin>& bins) {
  double error = calibration_error(bins);
  int64_t n = 0;
  double confidence = 0;
  double accuracy = 0;
  for (const ReliabilityBin& bin : bins) {
    n += bin.n;
    confidence += bin.confidence * static_cast<double>(bin.n);
    accuracy += bin.accuracy * static_cast<double>(bin.n);
  }
  Html h;
  h.open("figure", {{"class", "chart square"}, {"id", id}});
  h.open("figcaption").element("h3", "Can the confidence be believed?");
  std::string summary = "No prediction was recorded.";
  if (n > 0) {
    confidence /= static_cast<double>(n);
    accuracy /= static_cast<double>(n);
    summary = "On average the model is " + format_fixed(100 * confidence, 1) +
              " % sure and right in " + format_fixed(100 * accuracy, 1) +
              " % of cases; expected calibration error " + format_fixed(100 * error, 1) +
              " points. Bars below the diagonal: too sure of itself; above: too modest.";
  }
  h.element("p", summary, {{"class", "summary"}}).close();
  if (n == 0) {
    h.close();
    return h;
  }
  Html svg;
  Html labels;
  svg.open("svg", {{"viewBox", "0 0 1000 400"},
                   {"preserveAspectRatio", "none"},
                   {"role", "img"},
                   {"aria-labelledby", id + "-t " + id + "-d"}});
  svg.element("title", "Reliability diagram", {{"id", id + "-t"}})
      .element("desc", summary, {{"id", id + "-d"}});
  labels.open("div", {{"class", "ticks"}, {"aria-hidden", "true"}});
  Axis unit{0, 1};
  grid(svg, labels, unit, true, nice_ticks(0, 1, 5), 100);
  grid(svg, labels, unit, false, nice_ticks(0, 1, 5), 100);
  std::string bars;
  for (const ReliabilityBin& bin : bins) {
    if (bin.n > 0) {
      bars += "M" + number(kWide * bin.low + 4) + " " + number(kHigh) + "V" +
              number(kHigh * (1 - bin.accuracy)) + "H" + number(kWide * bin.high - 4) + "V" +
              number(kHigh) + "Z";
    }
  }
  svg.element("path", "", {{"class", "bars"}, {"d", bars}});
  svg.element("path", "", {{"class", "diagonal"}, {"d", "M0 400L1000 0"}});
  svg.close();
  labels.close();
  h.open("div", {{"class", "plot"}}).add(svg).add(labels).close();
  h.element("p", "confidence, % (up: share that is right, %)",
            {{"class", "xtitle"}, {"aria-hidden", "true"}});
  h.open("details", {{"class", "data"}})
      .element("summary", "Data")
      .open("table")
      .open("thead")
      .open("tr");
  for (const char* title : {"confidence", "samples", "mean confidence", "right"}) {
    h.element("th", title, {{"scope", "col"}, {"class", "n"}});
  }
  h.close().close().open("tbody");
  for (const ReliabilityBin& bin : bins) {
    h.open("tr");
    h.element("td",
              format_fixed(100 * bin.low, 0) + "\u2013" + format_fixed(100 * bin.high, 0) + " %",
              {{"class", "n"}});
    h.element("td", format_count(bin.n), {{"class", "n"}});
    h.element("td", bin.n ? format_fixed(100 * bin.confidence, 1) + " %" : "-", {{"class", "n"}});
    h.element("td", bin.n ? format_fixed(100 * bin.accuracy, 1) + " %" : "-", {{"class", "n"}})
        .close();
  }
  h.close().close().close().close();
  return h;
}

Confusion confusion_of(const std::vector<PredictionRow>& rows, int64_t classes,
                       int64_t max_classes) {
  Confusion c;
  if (classes <= 0 || classes > max_classes) {
    return c;
  }
  c.classes = classes;
  c.counts.assign(static_cast<size_t>(classes * classes), 0);
  for (const PredictionRow& row : rows) {
    if (row.target >= 0 && row.target < classes && row.pred >= 0 && row.pred < classes) {
      ++c.counts[static_cast<size_t>(row.target * classes + row.pred)];
    }
  }
  return c;
}

Html confusion_map(const Confusion& c, const std::vector<std::string>& names) {
  Html h;
  if (c.classes == 0) {
    return h;
  }
  bool numbers = c.classes <= 20;
  auto name = [&](int64_t i) { return names[static_cast<size_t>(i)]; };
  h.open("div", {{"class", "scroll"},
                 {"tabindex", "0"},
                 {"role", "group"},
                 {"aria-label", "Confusion matrix"}});
  h.open("table", {{"class", numbers ? "confusion" : "confusion fine"}});
  h.open("caption")
      .text(
          "Rows: the true class. Columns: what the model said. Darker: a larger share of the row.")
      .close();
  h.open("thead").open("tr").element("td", "");
  for (int64_t j = 0; j < c.classes; ++j) {
    h.open("th", {{"scope", "col"}, {"title", name(j)}}).element("span", name(j)).close();
  }
  h.close().close().open("tbody");
  for (int64_t i = 0; i < c.classes; ++i) {
    int64_t total = 0;
    for (int64_t j = 0; j < c.classes; ++j) {
      total += c.at(i, j);
    }
    h.open("tr").element("th", name(i), {{"scope", "row"}});
    for (int64_t j = 0; j < c.classes; ++j) {
      int64_t n = c.at(i, j);
      double share = total > 0 ? static_cast<double>(n) / static_cast<double>(total) : 0;
      // The square root lets rare confusions be seen.
      std::string heat = "--v:" + format_fixed(std::sqrt(share), 2);
      std::string text = numbers ? (n ? std::to_string(n) : "\u00b7") : "";
      const char* kind = i == j ? "right" : n ? "wrong" : "zero";
      if (n) {
        h.element("td", text,
                  {{"class", kind},
                   {"style", heat},
                   {"title", name(i) + " \u2192 " + name(j) + ": " + std::to_string(n)}});
      } else {
        h.element("td", text, {{"class", kind}});
      }
    }
    h.close();
  }
  h.close().close().close();
  return h;
}

}  // namespace ballast
