#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ballast/report/html.h>
#include <ballast/report/run_record.h>

namespace ballast {

struct ChartPoint {
  double x = 0, y = 0;
};

/// A line of a chart. Points that are not finite are gaps.
struct ChartSeries {
  std::string name;
  std::vector<ChartPoint> points = {};
  /// 0..7: colour and dash pattern, each of its own, so that lines differ without colour too.
  int style = 0;
  /// A dot at each point.
  bool dots = false;
};

/// A vertical line with a word.
struct ChartMark {
  double x = 0;
  std::string text;
};

struct LineChart {
  std::string id;  ///< unique in the page
  std::string title;
  std::string summary = {};  ///< what the chart shows, in a sentence: read in its place
  std::string x_title = "epoch";
  std::vector<ChartSeries> series = {};
  std::vector<ChartMark> marks = {};
  bool percent = false;  ///< y are shares; shown times 100
  /// The lower end of the y axis is 0.
  bool from_zero = false;
  /// Values above the 99th percentile of a series without dots may leave the chart (a spike would flatten the rest).
  bool clip_spikes = false;
  double x_min = kNone, x_max = kNone;
  /// The y axis is logarithmic; values <= 0 are gaps.
  bool log = false;
  /// Ticks of the x axis at whole numbers only.
  bool whole_x = false;
};

/// Between `lo` and `hi`, at most about `n` multiples of 1, 2 or 5 times a power of ten, lo and hi included where they
/// are multiples. Equal or non-finite ends give one tick.
std::vector<double> nice_ticks(double lo, double hi, int n);
/// Ticks as text, with just the digits that tell them apart.
std::vector<std::string> tick_labels(const std::vector<double>& ticks, double scale = 1);

/// At most `limit` points with the same look: the lowest and highest of each of limit / 2 stretches, in order.
std::vector<ChartPoint> decimate(const std::vector<ChartPoint>& points, size_t limit = 2000);

/// <figure> with an inline SVG that fills its width (text stays at its size), legend, and the data as a table in
/// <details>; a JSON block beside it feeds the zoom. Without a finite point: a sentence instead of the picture.
Html line_chart(const LineChart& chart);

struct BarRow {
  std::string name;
  double value = 0;
  std::string text;  ///< the value as it is shown
};
/// A table whose rows carry horizontal bars; the longest is `max` (or the largest value).
Html bar_chart(const std::string& title, const std::vector<BarRow>& rows, double max = 0);

/// One bin of a reliability diagram: the samples whose confidence lies in (low, high].
struct ReliabilityBin {
  double low = 0, high = 0;
  int64_t n = 0;
  double confidence = 0;  ///< mean
  double accuracy = 0;
};
/// 15 equal bins (lo, hi]; 0 counts in the first. Rows with a confidence outside [0, 1] are left out.
std::vector<ReliabilityBin> reliability_bins(const std::vector<PredictionRow>& rows, int bins = 15);
/// Expected calibration error of bins: sum n |accuracy - confidence| / sum n.
double calibration_error(const std::vector<ReliabilityBin>& bins);
Html reliability_diagram(const std::string& id, const std::vector<ReliabilityBin>& bins);

/// Counts [target][prediction], row-major.
struct Confusion {
  int64_t classes = 0;
  std::vector<int64_t> counts;
  int64_t at(int64_t target, int64_t pred) const {
    return counts[static_cast<size_t>(target * classes + pred)];
  }
};
/// Rows out of range are left out. No counts (classes = 0) for more than `max_classes`.
Confusion confusion_of(const std::vector<PredictionRow>& rows, int64_t classes,
                       int64_t max_classes = 200);
/// The heat map as a table (numbers up to 20 classes), rows the true class, columns what was said.
Html confusion_map(const Confusion& confusion, const std::vector<std::string>& names);

}  // namespace ballast
