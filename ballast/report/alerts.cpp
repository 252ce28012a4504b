#include "alerts.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <ballast/report/svg_chart.h>
#include <ballast/report/table.h>
#include <ballast/report/wilson.h>

namespace ballast {
namespace {

// Whole runs end with 0.01 to 0.03 in every layer, one of eight steps with 0.2 to 0.6.
constexpr double kNormDrift = 0.25;

std::string percent(double share, int digits = 1) {
  return format_fixed(100 * share, digits) + " %";
}
std::string epoch_text(double epoch) { return format_significant(epoch, 4); }

class Finder {
 public:
  Finder(const RecordedRun& record, bool no_times) : r_(record), no_times_(no_times) {}

  std::vector<Alert> find() {
    how_it_ended();
    damage();
    overfitting();
    convergence();
    predictions();
    disagreement();
    norm_drift();
    data();
    steps();
    if (!no_times_) {
      waiting_for_data();
    }
    run_warnings();
    std::stable_sort(alerts_.begin(), alerts_.end(),
                     [](const Alert& a, const Alert& b) { return a.severity < b.severity; });
    return std::move(alerts_);
  }

 private:
  void add(Severity severity, std::string title, std::string evidence, std::string remedy) {
    alerts_.push_back({severity, std::move(title), std::move(evidence), std::move(remedy)});
  }

  void how_it_ended() {
    std::string reason = r_.reason();
    int64_t step = r_.train.empty() ? 0 : r_.train.back().step;
    for (const DecisionRow& d : r_.decisions) {
      step = std::max(step, d.step);
    }
    std::string where =
        "At step " + format_count(step) +
        (r_.facts.total_steps > 0 ? " of " + format_count(r_.facts.total_steps) : std::string()) +
        ".";
    std::string more;
    for (const DecisionRow& d : r_.decisions) {
      if (d.reason == reason && !d.values.empty()) {
        more = " " + d.values + ".";
      }
    }
    if (reason == "non_finite" || reason == "diverged") {
      add(Severity::problem, reason == "diverged" ? "Training diverged" : "A value was not finite",
          where + more,
          "A lower learning rate (--lr), a longer warm-up (--warmup-epochs) or clipping "
          "(--clip-grad 1) as a rule; the "
          "folder nonfinite/ names the batch.");
    } else if (reason == "max_time") {
      add(Severity::note, "Ended by its time limit", where,
          "The best weights up to then were kept. More: a larger --max-time.");
    } else if (reason == "signal" || reason == "user") {
      add(Severity::note, "Interrupted", where, "What was saved up to then was kept.");
    } else if (reason.empty() && !r_.train.empty()) {
      add(Severity::note, "No end is recorded", where, "The run is still going on, or was killed.");
    }
  }

  void damage() {
    if (!r_.problems.empty()) {
      std::string text = r_.problems.front();
      if (r_.problems.size() > 1) {
        text += " (and " + std::to_string(r_.problems.size() - 1) + " more, under Provenance)";
      }
      add(Severity::problem, "Part of the record is damaged", text, "What could be read is shown.");
    }
    if (r_.train.empty() && r_.checks.empty()) {
      add(Severity::problem, "There is no record of training", "metrics.jsonl is missing or empty.",
          "Is this a run folder?");
    }
  }

  double train_loss_at_end() const {
    size_t n = std::min<size_t>(r_.train.size(), std::max<size_t>(1, r_.train.size() / 10));
    double sum = 0;
    int64_t count = 0;
    for (size_t i = r_.train.size() - n; i < r_.train.size(); ++i) {
      if (std::isfinite(r_.train[i].loss)) {
        sum += r_.train[i].loss;
        ++count;
      }
    }
    return count ? sum / static_cast<double>(count) : kNone;
  }

  void overfitting() {
    auto checks = r_.checks_of("val");
    const CheckRow* lowest = nullptr;
    for (const CheckRow* c : checks) {
      double loss = c->metric("loss");
      if (std::isfinite(loss) && (!lowest || loss < lowest->metric("loss"))) {
        lowest = c;
      }
    }
    if (!lowest) {
      return;
    }
    double best = lowest->metric("loss");
    double last = checks.back()->metric("loss");
    double se = checks.back()->metric("loss.se");
    double margin = std::max(0.1 * best, std::isfinite(se) ? 2 * se : 0);
    const char* remedy =
        "Stronger augmentation (--augment), more weight decay (--wd), label smoothing (--smoothing "
        "0.1), a "
        "smaller model, more data, or --patience to end earlier.";
    if (last - best > margin) {
      add(Severity::warning, "Overfitting: the validation loss rose again",
          "From " + format_significant(best, 4) + " at epoch " + epoch_text(lowest->epoch) +
              " to " + format_significant(last, 4) + " at epoch " +
              epoch_text(checks.back()->epoch) + ". The best weights were kept.",
          remedy);
      return;
    }
    double train = train_loss_at_end();
    // Smoothing and mixing raise the training loss: then the two cannot be compared, and a gap is an understatement.
    if (std::isfinite(train) && last > 2 * train && last - train > 0.2) {
      add(Severity::warning, "Overfitting: a gap between training and validation",
          "The loss at the end is " + format_significant(train, 3) +
              " on the training pictures and " + format_significant(last, 3) +
              " on the validation pictures.",
          remedy);
    }
  }

  void convergence() {
    auto checks = r_.checks_of("val");
    const CheckRow* best = r_.best_check();
    if (checks.size() < 4 || !best || r_.reason() != "completed") {
      return;
    }
    std::string metric = r_.monitor();
    double sign = r_.monitor_is_maximized() ? 1 : -1;
    double then = checks[checks.size() - 1 - checks.size() / 4]->metric(metric);
    double now = best->metric(metric);
    double se = best->metric(metric + ".se");
    double gain = sign * (now - then);
    if (best == checks.back() && std::isfinite(gain) &&
        gain > (std::isfinite(se) ? 2 * se : 0.05 * std::abs(then))) {
      add(Severity::note, "Still improving when it ended",
          metric + " went from " + format_significant(then, 4) + " to " +
              format_significant(now, 4) + " in the last quarter, more than two standard errors.",
          "More epochs would probably help: --epochs " +
              std::to_string(static_cast<int64_t>(std::ceil(2 * checks.back()->epoch))) + ".");
      return;
    }
    if (checks.size() >= 8 && best->epoch <= checks.back()->epoch / 2) {
      add(Severity::note, "Nothing gained in the second half",
          "The best check was at epoch " + epoch_text(best->epoch) + " of " +
              epoch_text(checks.back()->epoch) + ".",
          "Fewer epochs or --patience would give the same in less time; a lower learning rate "
          "might give more.");
    }
  }

  void predictions() {
    auto it = r_.predictions.find("test");
    if (it == r_.predictions.end()) {
      it = r_.predictions.find("val");
    }
    if (it == r_.predictions.end() || it->second.empty()) {
      return;
    }
    const std::string& split = it->first;
    const std::vector<PredictionRow>& rows = it->second;
    int64_t classes = r_.num_classes();
    if (classes <= 0 || classes > 100'000) {
      return;
    }
    std::vector<ClassRow> per_class(static_cast<size_t>(classes));
    int64_t right = 0;
    for (const PredictionRow& row : rows) {
      if (row.target < 0 || row.target >= classes) {
        continue;
      }
      ++per_class[static_cast<size_t>(row.target)].support;
      per_class[static_cast<size_t>(row.target)].correct += row.right() ? 1 : 0;
      right += row.right() ? 1 : 0;
      if (row.pred >= 0 && row.pred < classes) {
        ++per_class[static_cast<size_t>(row.pred)].predicted;
      }
    }
    auto n = static_cast<int64_t>(rows.size());
    int64_t largest = 0;
    std::vector<int64_t> never;
    for (int64_t k = 0; k < classes; ++k) {
      const ClassRow& c = per_class[static_cast<size_t>(k)];
      largest = std::max(largest, c.support);
      if (c.support > 0 && c.predicted == 0) {
        never.push_back(k);
      }
    }
    double top1 = static_cast<double>(right) / static_cast<double>(n);
    double guess = static_cast<double>(largest) / static_cast<double>(n);
    if (classes > 1 && wilson_interval(right, n).low <= guess) {
      add(Severity::problem, "No better than guessing",
          percent(top1) + " right on " + split + "; always saying the largest class gives " +
              percent(guess) + ".",
          "Check the labels (ballast data check) and the learning rate; train longer.");
    }
    if (!never.empty()) {
      std::string names;
      for (size_t i = 0; i < never.size() && i < 8; ++i) {
        names += (i ? ", " : "") + r_.class_name(never[i]);
      }
      if (never.size() > 8) {
        names += ", ... (" + std::to_string(never.size()) + " in all)";
      }
      add(Severity::problem,
          never.size() == 1 ? "A class is never predicted" : "Some classes are never predicted",
          names + (never.size() == 1 ? " occurs" : " occur") + " in " + split +
              ", but the model never says so.",
          "More pictures of it, fewer classes, or longer training; is its folder labelled right?");
    }
    weakest_class(per_class, top1, split);
    label_noise(rows, per_class, split);
    if (n < 300) {
      Interval i = wilson_interval(right, n);
      add(Severity::note, "Few pictures to measure with",
          std::to_string(n) + " in " + split + ": the accuracy lies anywhere between " +
              percent(i.low) + " and " + percent(i.high) + ".",
          "Differences smaller than that mean nothing; a larger split measures better.");
    }
    std::vector<ReliabilityBin> bins = reliability_bins(rows);
    double error = calibration_error(bins);
    double confidence = 0;
    for (const PredictionRow& row : rows) {
      confidence += std::isfinite(row.confidence) ? row.confidence : 0;
    }
    confidence /= static_cast<double>(n);
    if (n >= 300 && error > 0.05) {
      bool over = confidence > top1;
      add(Severity::note,
          over ? "The model is too sure of itself" : "The model is surer than it says",
          "On average " + percent(confidence) + " sure and " + percent(top1) + " right on " +
              split + ".",
          over ? "Read its confidence with care; label smoothing (--smoothing 0.1) helps."
               : "Its confidence is lower than its accuracy, as label smoothing makes it; the "
                 "ranking is not affected.");
    }
  }

  void weakest_class(const std::vector<ClassRow>& per_class, double top1,
                     const std::string& split) {
    int64_t weakest = -1;
    double lowest = 1;
    for (size_t k = 0; k < per_class.size(); ++k) {
      const ClassRow& c = per_class[k];
      if (c.support >= 5 && c.predicted > 0) {
        double share = static_cast<double>(c.correct) / static_cast<double>(c.support);
        if (share < lowest && wilson_interval(c.correct, c.support).high < top1 - 0.1) {
          weakest = static_cast<int64_t>(k);
          lowest = share;
        }
      }
    }
    if (weakest >= 0 && per_class.size() > 2) {
      const ClassRow& c = per_class[static_cast<size_t>(weakest)];
      Interval i = wilson_interval(c.correct, c.support);
      add(Severity::warning, "One class is far below the others",
          r_.class_name(weakest) + ": " + percent(lowest) + " of " + std::to_string(c.support) +
              " in " + split + " (95 %: " + percent(i.low) + " to " + percent(i.high) +
              "); all together " + percent(top1) + ".",
          "The confusion matrix shows what it is taken for; more or cleaner pictures of these "
          "classes help most.");
    }
  }

  // Confident learning: a label is doubted where the model names another class at least as surely as it names that class on
  // average where it is right.
  void label_noise(const std::vector<PredictionRow>& rows, const std::vector<ClassRow>& per_class,
                   const std::string& split) {
    std::vector<double> sure(per_class.size());
    for (const PredictionRow& row : rows) {
      if (row.right() && row.target >= 0 && row.target < std::ssize(sure) &&
          std::isfinite(row.confidence)) {
        sure[static_cast<size_t>(row.target)] += row.confidence;
      }
    }
    int64_t doubted = 0;
    const PredictionRow* first = nullptr;
    for (const PredictionRow& row : rows) {
      if (row.right() || row.pred == row.target || row.pred < 0 || row.pred >= std::ssize(sure)) {
        continue;
      }
      auto k = static_cast<size_t>(row.pred);
      // With a handful of right answers the average means nothing.
      if (per_class[k].correct < 10 ||
          !(row.confidence >= sure[k] / static_cast<double>(per_class[k].correct))) {
        continue;
      }
      ++doubted;
      if (!first || row.loss > first->loss) {
        first = &row;
      }
    }
    auto n = static_cast<int64_t>(rows.size());
    if (doubted < 5 || wilson_interval(doubted, n).low < 0.01) {
      return;
    }
    add(Severity::note, "Some labels may be wrong",
        format_count(doubted) + " of " + format_count(n) + " pictures in " + split +
            " are taken for another class as surely as that class itself is recognized; the worst: " +
            r_.sample_name(first->index) + ", labelled " + r_.class_name(first->target) +
            ", taken for " + r_.class_name(first->pred) + ".",
        "Look at the most wrongly classified pictures below. Wrong labels there also hide how good "
        "the model is; the training part probably has as many.");
  }

  void disagreement() {
    const CheckRow* val = r_.best_check();
    const CheckRow* test = r_.test_check();
    if (!val || !test) {
      return;
    }
    double a = val->metric("top1");
    double b = test->metric("top1");
    double se_a = val->metric("top1.se");
    double se_b = test->metric("top1.se");
    if (!std::isfinite(a + b + se_a + se_b)) {
      return;
    }
    double z = std::abs(a - b) / std::max(1e-12, std::hypot(se_a, se_b));
    if (z > 4 && std::abs(a - b) > 0.02) {
      add(Severity::warning, "Validation and test disagree",
          percent(a) + " right on val, " + percent(b) + " on test: " + format_fixed(z, 1) +
              " standard errors apart.",
          "The parts differ in kind (another source, another time), or val holds near-copies of "
          "training pictures.");
    }
  }

  // Running statistics that lag behind the weights: evaluation then normalizes by what the layer no longer gives.
  void norm_drift() {
    const NormDriftRow* worst = nullptr;
    int64_t drifted = 0;
    auto size = [](const NormDriftRow& d) { return std::max(d.shift, std::log(d.scale)); };
    for (const NormDriftRow& d : r_.norm_drift) {
      if (!(size(d) > kNormDrift)) {
        continue;
      }
      ++drifted;
      if (!worst || size(d) > size(*worst)) {
        worst = &d;
      }
    }
    if (!worst) {
      return;
    }
    add(Severity::warning, "Batch norm's running statistics lag behind",
        format_count(drifted) + " of " + format_count(std::ssize(r_.norm_drift)) +
            " layers normalize by statistics that training pictures no longer have; most at " +
            worst->name + ": means off by " + format_significant(worst->shift, 2) +
            " standard deviations, standard deviations by a factor of " +
            format_significant(worst->scale, 3) + ".",
        "Evaluation suffers, not training. They move a tenth of the way in each step: more steps (a smaller "
        "--batch-size, more --epochs), --swa, which measures them anew, or --norm group, which has none.");
  }

  void data() {
    if (!r_.bad_samples.empty()) {
      auto n = r_.bad_samples.size();
      add(Severity::warning,
          n == 1 ? "A sample could not be read" : std::to_string(n) + " samples could not be read",
          r_.bad_samples.front().path + ": " + r_.bad_samples.front().reason +
              (n > 1 ? ", ..." : ""),
          "They were left out and are listed below. Repair or remove them: ballast data check.");
    }
    std::map<int64_t, int64_t> counts;
    for (const SplitRow& row : r_.split_rows) {
      if (row.split == "train" && row.label >= 0) {
        ++counts[row.label];
      }
      for (size_t i = 0; row.split == "train" && i < row.labels.size(); ++i) {
        ++counts[row.labels[i]];
      }
    }
    if (counts.size() > 1) {
      auto less = [](const auto& a, const auto& b) { return a.second < b.second; };
      auto least = std::min_element(counts.begin(), counts.end(), less);
      auto most = std::max_element(counts.begin(), counts.end(), less);
      if (most->second > 10 * least->second) {
        add(Severity::note, "The classes are unbalanced",
            r_.class_name(most->first) + " has " + format_count(most->second) +
                " training pictures, " + r_.class_name(least->first) + " " +
                format_count(least->second) + ".",
            "Look at the balanced accuracy and the per-class table rather than at the accuracy "
            "alone.");
      }
    }
  }

  void steps() {
    int64_t skipped = 0;
    int64_t clipped = 0;
    for (const TrainRow& t : r_.train) {
      skipped += t.skipped;
      clipped += t.clipped > 0 ? 1 : 0;
    }
    if (skipped > 0) {
      add(Severity::warning, "Steps were skipped",
          format_count(skipped) + " steps had a value that was not finite.",
          "A lower learning rate or a longer warm-up.");
    }
    if (!r_.train.empty() && 2 * clipped > static_cast<int64_t>(r_.train.size()) &&
        r_.train.size() >= 10) {
      add(Severity::note, "Most gradients were clipped",
          format_fixed(100.0 * static_cast<double>(clipped) / static_cast<double>(r_.train.size()),
                       0) +
              " % of the recorded steps.",
          "The limit acts as a lower learning rate; a larger --clip-grad is usual.");
    }
  }

  void waiting_for_data() {
    double data = 0;
    double work = 0;
    for (const TimingRow& t : r_.timing) {
      auto of = [](double v) { return std::isfinite(v) ? v : 0; };
      data += of(t.data);
      work += of(t.data) + of(t.forward) + of(t.backward) + of(t.optimizer);
    }
    if (work > 10 && data > 0.25 * work) {
      add(Severity::note, "Training waits for data",
          format_fixed(100 * data / work, 0) +
              " % of the training time went by waiting for pictures.",
          "More loader threads (--workers), or pictures stored closer to the size that is used.");
    }
  }

  void run_warnings() {
    std::set<std::string> seen;
    for (const EventRow& e : r_.events) {
      if (e.kind == "warning" && !e.text.empty() && seen.insert(e.text).second &&
          seen.size() <= 8) {
        add(Severity::note, "A warning of the run", e.text, "");
      }
    }
  }

  const RecordedRun& r_;
  bool no_times_;
  std::vector<Alert> alerts_;
};

}  // namespace

std::vector<Alert> find_alerts(const RecordedRun& record, bool no_times) {
  return Finder(record, no_times).find();
}

}  // namespace ballast
