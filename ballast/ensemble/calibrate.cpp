#include <ballast/ensemble/calibrate.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include <ballast/base/check.h>
#include <ballast/base/cpu.h>
#include <ballast/base/detmath.h>
#include <ballast/base/thread_pool.h>
#include <ballast/ensemble/calibrate_kernel.h>
#include <ballast/ensemble/lbfgs.h>

namespace ballast {
namespace {

constexpr double kLow = 1.0 / 20, kHigh = 20;
constexpr int kFolds = 5;
constexpr int64_t kChunk = 2048;  // rows; a multiple of 16

/// The row at position i of the order that folds are cut from.
Permutation fold_order(int64_t n) { return {Key(static_cast<uint64_t>(n)).fold_in("calibration folds"), static_cast<uint64_t>(n)}; }

struct Sums {
  double f = 0, slope = 0, curve = 0;
  Sums& operator+=(const Sums& o) {
    f += o.f;
    slope += o.slope;
    curve += o.curve;
    return *this;
  }
};

/// Rows in fold order, in blocks for the kernel; a fold is a range of whole chunks.
class Problem {
 public:
  Problem(const Predictions& g, std::span<const int32_t> label, int threads)
      : n_(g.n), k_(static_cast<size_t>(g.k)), pool_(threads > 0 ? threads : usable_cores()) {
    for (int f = 0; f <= kFolds; ++f) begin_[static_cast<size_t>(f)] = f * n_ / kFolds;
    for (int f = 0; f < kFolds; ++f) {
      for (int64_t i = begin_[static_cast<size_t>(f)]; i < begin_[static_cast<size_t>(f) + 1]; i += kChunk) {
        chunks_.push_back({f, i, std::min(kChunk, begin_[static_cast<size_t>(f) + 1] - i), blocks_});
        blocks_ += (chunks_.back().rows + 15) / 16;
      }
    }
    d_.resize(static_cast<size_t>(blocks_) * 16 * k_);
    own_.resize(static_cast<size_t>(blocks_) * 16);
    const Permutation order = fold_order(n_);
    pool_.run(static_cast<int64_t>(chunks_.size()), [&](int64_t at, int) {
      const Chunk& chunk = chunks_[static_cast<size_t>(at)];
      std::vector<float> logs(k_);
      for (int64_t r = 0; r < chunk.rows; ++r) {
        const auto i = static_cast<int64_t>(order(static_cast<uint64_t>(chunk.first + r)));
        const float* row = g.row(i);
        if (!g.is_logit) {
          for (size_t c = 0; c < k_; ++c) logs[c] = static_cast<float>(det_log(std::max(row[c], kTinyProbability)));
          row = logs.data();
        }
        const float top = *std::max_element(row, row + k_);
        const auto place = static_cast<size_t>(chunk.block * 16 + r);
        float* to = d_.data() + place / 16 * 16 * k_ + place % 16;
        for (size_t c = 0; c < k_; ++c) to[c * 16] = row[c] - top;
        own_[place] = row[label[static_cast<size_t>(i)]] - top;
      }
    });
  }

  // Sums of each fold at a temperature of its own. `losses`: f too, which needs a logarithm a row.
  std::array<Sums, kFolds> evaluate(const std::array<double, kFolds>& b, bool losses) {
    std::vector<Sums> sums(chunks_.size());
    pool_.run(static_cast<int64_t>(chunks_.size()), [&](int64_t at, int) {
      const Chunk& chunk = chunks_[static_cast<size_t>(at)];
      const double inverse = b[static_cast<size_t>(chunk.fold)];
      std::array<double, kChunk> s0, s1, s2;
      tempered_sums(d_.data() + static_cast<size_t>(chunk.block) * 16 * k_, static_cast<size_t>((chunk.rows + 15) / 16), k_, inverse,
                    s0.data(), s1.data(), s2.data());
      Sums sum;
      for (int64_t r = 0; r < chunk.rows; ++r) {
        const auto i = static_cast<size_t>(r);
        const double mean = s1[i] / s0[i], own = own_[static_cast<size_t>(chunk.block * 16 + r)];
        sum.slope += mean - own;
        sum.curve += s2[i] / s0[i] - mean * mean;
        if (losses) sum.f += det_log(s0[i]) - inverse * own;
      }
      sums[static_cast<size_t>(at)] = sum;
    });
    std::array<Sums, kFolds> out{};
    for (size_t i = 0; i < chunks_.size(); ++i) out[static_cast<size_t>(chunks_[i].fold)] += sums[i];
    return out;
  }
  std::array<Sums, kFolds> evaluate(double b, bool losses) {
    std::array<double, kFolds> all;
    all.fill(b);
    return evaluate(all, losses);
  }
  Sums mean(const std::array<Sums, kFolds>& folds) const {
    Sums sum;
    for (const Sums& s : folds) sum += s;
    const auto n = static_cast<double>(n_);
    return {sum.f / n, sum.slope / n, sum.curve / n};
  }
  int64_t fold_rows(int f) const { return begin_[static_cast<size_t>(f) + 1] - begin_[static_cast<size_t>(f)]; }

 private:
  struct Chunk {
    int fold;
    int64_t first, rows, block;
  };
  int64_t n_ = 0, blocks_ = 0;
  size_t k_;
  ThreadPool pool_;
  std::array<int64_t, kFolds + 1> begin_{};
  std::vector<Chunk> chunks_;
  std::vector<float> d_;
  std::vector<double> own_;
};

bool one_class(std::span<const int32_t> label) {
  return std::ranges::all_of(label, [&](int32_t y) { return y == label[0]; });
}

}  // namespace

std::string_view to_string(TemperatureReason reason) {
  constexpr std::array<std::string_view, 6> kNames = {"fitted", "too few", "separable", "uninformative", "not better", "no held-out gain"};
  return kNames[static_cast<size_t>(reason)];
}

Temperature fit_temperature(const Predictions& scores, std::span<const int32_t> label, int threads) {
  check_labels("calibrate", label, scores.n, scores.k);
  check_scores("calibrate", scores, -1);
  Temperature t;
  t.rows = scores.n;
  if (scores.n == 0) {
    t.reason = TemperatureReason::too_few;
    return t;
  }
  Problem problem(scores, label, threads);
  const auto folds_at_one = problem.evaluate(1, true);
  const Sums at_one = problem.mean(folds_at_one);
  t.nll_before = t.nll_after = at_one.f;
  ++t.evaluations;
  const auto keep_one = [&](TemperatureReason reason) {
    t.reason = reason;
    return t;
  };
  if (scores.n < 100 || one_class(label)) return keep_one(TemperatureReason::too_few);

  // The root of f' lies in (low, high) or beyond an end of the range that has not been looked at yet.
  double low = kLow, high = kHigh, b = 1;
  bool low_seen = false, high_seen = false;
  Sums s = at_one;
  double width = high / low;
  int slow = 0;  // steps in a row that left more than half of the bracket, in ratio
  while (t.evaluations < 60) {
    if (s.slope > 0) {
      high = b;
      high_seen = true;
    } else {
      low = b;
      low_seen = true;
    }
    if (b == kHigh && s.slope <= 0) return keep_one(TemperatureReason::separable);
    if (b == kLow && s.slope >= 0) return keep_one(TemperatureReason::uninformative);
    slow = std::log(high / low) > 0.5 * std::log(width) ? slow + 1 : 0;
    width = high / low;
    double next = s.curve > 0 ? b - s.slope / s.curve : 0;
    if (std::abs(next - b) <= 1e-9 * b) {
      b = next;
      break;
    }
    if (!(next > low && next < high) || slow > 8) {
      slow = 0;
      next = std::sqrt(low * high);
      // Near an end that has not been looked at: the end itself.
      if (!high_seen && high / low < 1.5) next = kHigh;
      if (!low_seen && high / low < 1.5) next = kLow;
    }
    b = next;
    s = problem.mean(problem.evaluate(b, false));
    ++t.evaluations;
  }
  const auto at_best = problem.evaluate(b, true);
  const double after = problem.mean(at_best).f;
  if (after > at_one.f) return keep_one(TemperatureReason::not_better);

  // Cross-validation: each fold is judged at the optimum of the other four.
  Sums whole;
  for (const Sums& f : at_best) whole += f;
  std::array<double, kFolds> held{};
  for (size_t f = 0; f < kFolds; ++f) {
    const double curve = whole.curve - at_best[f].curve;
    held[f] = curve > 0 ? std::clamp(b - (whole.slope - at_best[f].slope) / curve, kLow, kHigh) : b;
  }
  const auto held_out = problem.evaluate(held, true);
  for (size_t f = 0; f < kFolds; ++f) t.held_out_gain += (folds_at_one[f].f - held_out[f].f) / static_cast<double>(scores.n);
  if (!(t.held_out_gain > 0)) return keep_one(TemperatureReason::no_held_out_gain);
  t.value = 1 / b;
  t.nll_after = after;
  return t;
}

std::vector<float> calibration_scores(const Combined& combined, Rule rule, size_t members) {
  std::vector<float> g(combined.probability.size());
  const bool votes = rule == Rule::hard_vote || rule == Rule::borda || rule == Rule::instant_runoff;
  const auto m = static_cast<double>(members);
  for (size_t i = 0; i < g.size(); ++i) {
    const float p = combined.probability[i];
    g[i] = static_cast<float>(votes ? det_log(static_cast<double>(p) * m + 1) : det_log(std::max(p, kTinyProbability)));
  }
  return g;
}

namespace {

/// Mean CE of softmax(a g + b) over some rows and its gradient; x = a, then b.
class VectorProblem {
 public:
  VectorProblem(const Predictions& g, std::span<const int32_t> label) : n_(g.n), k_(static_cast<size_t>(g.k)), label_(label) {
    logs_.resize(static_cast<size_t>(n_) * k_);
    for (size_t i = 0; i < logs_.size(); ++i) {
      logs_[i] = g.is_logit ? static_cast<double>(g.scores[i]) : det_log(std::max(g.scores[i], kTinyProbability));
    }
  }
  size_t size() const { return 2 * k_; }

  // Adds row i's loss and gradient.
  double row(std::span<const double> x, int64_t i, std::span<double> gradient, std::vector<double>& room) const {
    const double* g = logs_.data() + static_cast<size_t>(i) * k_;
    const auto y = static_cast<size_t>(label_[static_cast<size_t>(i)]);
    room.resize(k_);
    double top = -1e300, sum = 0;
    for (size_t c = 0; c < k_; ++c) {
      room[c] = x[c] * g[c] + x[k_ + c];
      top = std::max(top, room[c]);
    }
    const double own = room[y];
    for (double& z : room) sum += z = det_exp(z - top);
    if (!gradient.empty()) {
      for (size_t c = 0; c < k_; ++c) {
        const double r = room[c] / sum - (c == y ? 1 : 0);
        gradient[c] += r * g[c];
        gradient[k_ + c] += r;
      }
    }
    return top + det_log(sum) - own;
  }

  // The optimum over the rows at positions of `order` outside [skip_begin, skip_end).
  std::vector<double> fit(double lambda, const Permutation& order, int64_t skip_begin, int64_t skip_end, std::vector<double> x) const {
    const auto rows = static_cast<double>(n_ - (skip_end - skip_begin));
    std::vector<double> room;
    detail::minimize_lbfgs(
        [&](std::span<const double> at, std::span<double> gradient) {
          std::ranges::fill(gradient, 0.0);
          double f = 0;
          for (int64_t i = 0; i < n_; ++i) {
            if (i < skip_begin || i >= skip_end) f += row(at, static_cast<int64_t>(order(static_cast<uint64_t>(i))), gradient, room);
          }
          f /= rows;
          for (size_t c = 0; c < 2 * k_; ++c) {
            const double away = at[c] - (c < k_ ? 1 : 0);
            f += lambda / 2 * away * away;
            gradient[c] = gradient[c] / rows + lambda * away;
          }
          return f;
        },
        x, 1e-7);
    return x;
  }

 private:
  int64_t n_;
  size_t k_;
  std::span<const int32_t> label_;
  std::vector<double> logs_;
};

}  // namespace

VectorScaling fit_vector(const Predictions& scores, std::span<const int32_t> label, int threads) {
  const Temperature temperature = fit_temperature(scores, label, threads);
  const auto k = static_cast<size_t>(scores.k);
  VectorScaling out;
  out.a.assign(k, 1);
  out.b.assign(k, 0);
  out.nll = temperature.nll_before;
  if (scores.n < 50 * scores.k || one_class(label)) return out;
  const VectorProblem problem(scores, label);
  const Permutation order = fold_order(scores.n);
  std::vector<double> start(2 * k, 0.0);
  std::fill_n(start.begin(), k, 1 / temperature.value);
  constexpr std::array kLambdas = {1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0};
  const auto n = static_cast<size_t>(scores.n);
  // Held-out losses of each row: of each lambda, and of the temperature of the other four folds.
  std::array<std::vector<double>, kLambdas.size()> held;
  for (auto& h : held) h.resize(n);
  std::vector<double> held_temperature(n);
  ThreadPool pool(threads > 0 ? threads : usable_cores());
  pool.run(kFolds, [&](int64_t f, int) {
    const int64_t begin = f * scores.n / kFolds, end = (f + 1) * scores.n / kFolds;
    std::vector<double> room;
    std::vector<float> rest;
    std::vector<int32_t> rest_label;
    for (int64_t i = 0; i < scores.n; ++i) {
      if (i >= begin && i < end) continue;
      const auto at = static_cast<int64_t>(order(static_cast<uint64_t>(i)));
      rest.insert(rest.end(), scores.row(at), scores.row(at) + scores.k);
      rest_label.push_back(label[static_cast<size_t>(at)]);
    }
    const Predictions part{rest.data(), static_cast<int64_t>(rest_label.size()), scores.k, scores.is_logit};
    std::vector<double> same(2 * k, 0.0);
    std::fill_n(same.begin(), k, 1 / fit_temperature(part, rest_label, 1).value);
    for (size_t l = 0; l <= kLambdas.size(); ++l) {
      const bool tempered = l == kLambdas.size();
      const auto x = tempered ? same : problem.fit(kLambdas[l], order, begin, end, start);
      for (int64_t i = begin; i < end; ++i) {
        (tempered ? held_temperature : held[l])[static_cast<size_t>(i)] =
            problem.row(x, static_cast<int64_t>(order(static_cast<uint64_t>(i))), {}, room);
      }
    }
  });
  const auto mean = [&](const std::vector<double>& v) { return std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(n); };
  size_t best = 0;
  for (size_t l = 1; l < kLambdas.size(); ++l) best = mean(held[l]) < mean(held[best]) ? l : best;
  out.lambda = kLambdas[best];
  out.held_out_nll = mean(held[best]);
  out.held_out_nll_temperature = mean(held_temperature);
  const double gain = out.held_out_nll_temperature - out.held_out_nll;
  double squares = 0;
  for (size_t i = 0; i < n; ++i) squares += std::pow(held_temperature[i] - held[best][i] - gain, 2);
  out.standard_error = std::sqrt(squares / static_cast<double>(n - 1) / static_cast<double>(n));
  out.chosen = gain > out.standard_error;
  const auto x = problem.fit(out.lambda, order, 0, 0, start);
  out.a.assign(x.begin(), x.begin() + static_cast<int64_t>(k));
  out.b.assign(x.begin() + static_cast<int64_t>(k), x.end());
  std::vector<double> room;
  out.nll = 0;
  for (int64_t i = 0; i < scores.n; ++i) out.nll += problem.row(x, i, {}, room) / static_cast<double>(n);
  const auto p = apply_vector(scores, out);
  for (int64_t i = 0; i < scores.n; ++i) out.moved += top_class(p.data() + i * scores.k, scores.k) != top_class(scores.row(i), scores.k);
  return out;
}

std::vector<float> apply_vector(const Predictions& scores, const VectorScaling& v) {
  const auto k = static_cast<size_t>(scores.k);
  check(v.a.size() == k && v.b.size() == k, "calibrate", "scales must be one per class, got ", v.a.size(), " for ", k);
  std::vector<float> z(static_cast<size_t>(scores.n) * k);
  for (size_t i = 0; i < z.size(); ++i) {
    const double g = scores.is_logit ? static_cast<double>(scores.scores[i]) : det_log(std::max(scores.scores[i], kTinyProbability));
    z[i] = static_cast<float>(v.a[i % k] * g + v.b[i % k]);
  }
  return probabilities({z.data(), scores.n, scores.k, true});
}

}  // namespace ballast
