#include <algorithm>
#include <cctype>
#include <cmath>

#include <ballast/report/page_sections.h>
#include <ballast/report/svg_chart.h>
#include <ballast/report/table.h>

namespace ballast {

ChartSeries RunSections::train_series(const std::string& name, double TrainRow::*field,
                                      int style) const {
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

ChartSeries RunSections::check_series(const std::string& split, const std::string& metric,
                                      int style) const {
  ChartSeries s{
      .name = split == "val" ? "validation" : split, .points = {}, .style = style, .dots = true};
  for (auto [x, y] : check_points(r_, split, metric)) {
    s.points.push_back({x, y});
  }
  return s;
}

std::string RunSections::trend(const ChartSeries& s, bool share) const {
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
  auto text = [&](double v) { return share ? percent_text(v) : format_significant(v, 3); };
  std::string name = s.name;
  name[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(name[0])));
  return name + " from " + text(first->y) + " to " + text(last->y) + ". ";
}

void RunSections::curves() {
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
    const bool several = !check_points(r_, "val", "map").empty();
    LineChart c{.id = prefix_ + "top1", .title = several ? "Mean average precision, %" : "Accuracy, %"};
    c.series = {check_series("val", several ? "map" : "top1", 0)};
    if (!check_points(r_, "train", "top1").empty()) {
      c.series.push_back(check_series("train", "top1", 1));
    }
    c.summary = trend(c.series[0], true);
    c.marks = marks;
    c.percent = true;
    chart(std::move(c));
  }
  if (LineChart c = stopping(); !c.series.empty()) {
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
  if (!check_points(r_, "val", "mix.lambda").empty()) {
    LineChart c{.id = prefix_ + "mix", .title = "Mixing"};
    c.series = {check_series("val", "mix.lambda", 0), check_series("val", "mix.mixed", 1)};
    c.series[0].name = "mean lambda";
    c.series[1].name = "share mixed";
    c.summary = trend(c.series[0], false) + trend(c.series[1], true) +
                "Lambda is what a mixed picture and its label keep of themselves, as it was used.";
    c.from_zero = true;
    chart(std::move(c));
  }
  h_.close();
  end();
}

// What the stop machine saw: the value that it watched, the best so far, and where it ran out of patience.
LineChart RunSections::stopping() const {
  std::string metric = r_.monitor();
  LineChart c{.id = prefix_ + "stop", .title = "What decided: val/" + metric};
  c.percent = metric_is_share(metric);
  if (r_.checks_of("val").size() < 2 || check_points(r_, "val", metric).empty()) {
    return c;
  }
  ChartSeries value = check_series("val", metric, 0);
  ChartSeries best{.name = "best so far", .points = {}, .style = 3};
  double sign = r_.monitor_is_maximized() ? 1 : -1;
  double so_far = kNone;
  int64_t wait = -1;
  for (const CheckRow* check : r_.checks_of("val")) {
    double y = check->metric(metric);
    if (std::isfinite(y) && !(sign * so_far >= sign * y)) {
      so_far = y;
    }
    best.points.push_back({epoch_of_step(r_, check->step), so_far});
    wait = std::max(wait, check->wait);
  }
  c.summary = trend(value, c.percent);
  const CheckRow* top = r_.best_check();
  const CheckRow* last = r_.last_check();
  if (top) {
    c.marks.push_back({epoch_of_step(r_, top->step), "best"});
    c.summary += "Best at " + check_place(*top) + ". ";
  }
  if (r_.reason() == "patience" && last) {
    c.marks.push_back({epoch_of_step(r_, last->step), "stop"});
    c.summary += "Stopped at " + check_place(*last) + " after " + std::to_string(last->wait) +
                 " checks in a row without an improvement.";
    if (r_.facts.total_steps > last->step) {
      double saved = 1 - static_cast<double>(last->step) / static_cast<double>(r_.facts.total_steps);
      c.summary += " That saved " + percent_text(saved, 0) + " of the planned steps.";
    }
  } else if (wait >= 0) {
    c.summary += "At most " + std::to_string(wait) + " checks in a row brought no improvement" +
                 (r_.config_text("stop.patience").empty()
                      ? "."
                      : "; patience: " + r_.config_text("stop.patience") + ".");
  }
  c.series = {std::move(value), std::move(best)};
  return c;
}

double RunSections::smoothing() const {
  std::string text = r_.config_text("loss.label_smoothing");
  char* stop = nullptr;
  double value = std::strtod(text.c_str(), &stop);
  return stop == text.c_str() ? 0 : value;
}

}  // namespace ballast
