#include "torch_commands.h"

#include <algorithm>

#include <ballast/base/check.h>
#include <ballast/io/file.h>
#include <ballast/report/lr_page.h>
#include <ballast/report/table.h>
#include <ballast/train/allocator.h>
#include <ballast/train/lr_find.h>

#include "torch_run_events.h"

namespace ballast::cli {
namespace {

using nlohmann::ordered_json;

// The averaged curve in characters: 60 columns over the rates tried, 12 rows over the losses.
std::string curve_text(const std::vector<LrRangePoint>& points) {
  constexpr size_t kColumns = 60, kRows = 12;
  double low = points.front().smoothed, high = low;
  for (const LrRangePoint& p : points) {
    low = std::min(low, p.smoothed);
    high = std::max(high, p.smoothed);
  }
  high = std::min(high, points.front().smoothed * 1.25);  // the end may be far above
  std::vector<std::string> rows(kRows, std::string(kColumns, ' '));
  for (size_t i = 0; i < points.size(); ++i) {
    const size_t x = points.size() == 1 ? 0 : i * (kColumns - 1) / (points.size() - 1);
    const double share = high > low ? (std::min(points[i].smoothed, high) - low) / (high - low) : 0;
    rows[kRows - 1 - static_cast<size_t>(share * (kRows - 1) + 0.5)][x] = '*';
  }
  std::string text;
  for (size_t r = 0; r < kRows; ++r) {
    std::string label = r == 0 ? format_significant(high, 3) : r == kRows - 1 ? format_significant(low, 3) : "";
    label.insert(0, label.size() < 8 ? 8 - label.size() : 0, ' ');
    text += label + " |" + rows[r].substr(0, rows[r].find_last_not_of(' ') + 1) + "\n";
  }
  const std::string first = format_significant(points.front().lr, 2), last = format_significant(points.back().lr, 2);
  const size_t used = first.size() + last.size();
  return text + "         +" + std::string(kColumns, '-') + "\n          " + first +
         std::string(used < kColumns ? kColumns - used : 1, ' ') + last + "\n";
}

}  // namespace

int lr_find_with_torch(const Session& session, const LrFindRequest& request) {
  install_caching_allocator();
  TerminalEvents events(session, "plain");
  const LrFindResult found = find_lr(request.options, request.range, events);
  events.finish();
  if (found.interrupted) {
    return exit_code_of_signal(session.stop_signal());
  }
  const std::vector<LrRangePoint>& points = found.range.points();
  if (points.empty()) {
    throw NonFiniteError("[lr_find] the loss must be finite at the first rate, it is not; ballast probe shows where it is lost");
  }
  LrPage page{.model = found.model,
              .lead = found.model + " on " + found.data + ", " + found.optimizer + ", batch " + std::to_string(found.batch_size) + ": " +
                  std::to_string(points.size()) + " steps at rates from " + format_significant(points.front().lr, 2) + " to " +
                  format_significant(points.back().lr, 2) + "."};
  ordered_json rows = ordered_json::array();
  for (const LrRangePoint& p : points) {
    page.lr.push_back(p.lr);
    page.loss.push_back(p.loss);
    page.smoothed.push_back(p.smoothed);
    rows.push_back({{"lr", p.lr}, {"loss", p.loss}, {"smoothed", p.smoothed}});
  }
  const std::optional<double> steepest = found.range.steepest(), tenth = found.range.min_tenth();
  page.steepest = steepest.value_or(kNone);
  page.min_tenth = tenth.value_or(kNone);
  page.end = found.range.diverged() ? "It ended early: the loss had risen to several times its lowest."
                                    : "It went through all rates; a larger --to would show where the loss rises.";
  if (!request.page.empty()) {
    write_file_atomic(request.page, lr_page(page));
  }
  std::string text = page.lead + "\n\n" + curve_text(points) + "\n";
  text += "steepest  " + (steepest ? "--lr " + format_significant(*steepest, 2) : std::string("none: the loss falls nowhere")) + "\n";
  text += "min/10    " + (tenth ? "--lr " + format_significant(*tenth, 2) : std::string("none: it ended too early")) + "\n";
  text += page.end + "\n";
  if (!request.page.empty()) {
    text += "page      " + request.page.string() + "\n";
  }
  session.print(text);
  session.document({{"model", found.model}, {"data", found.data}, {"optimizer", found.optimizer}, {"batch_size", found.batch_size},
                    {"steepest", steepest ? ordered_json(*steepest) : ordered_json()},
                    {"min_tenth", tenth ? ordered_json(*tenth) : ordered_json()}, {"diverged", found.range.diverged()},
                    {"page", request.page.empty() ? ordered_json() : ordered_json(request.page.string())}, {"points", rows}});
  return kDone;
}

}  // namespace ballast::cli
