#include <ballast/ensemble/stack.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include <ballast/base/check.h>
#include <ballast/base/cpu.h>
#include <ballast/base/detmath.h>
#include <ballast/base/key.h>
#include <ballast/base/thread_pool.h>
#include <ballast/ensemble/lbfgs.h>

namespace ballast {
namespace {

constexpr int kFolds = 5;
constexpr size_t kParts = 32;  // fixed: sums have the same bits for any number of threads

/// (N, M K) features in row-major order.
std::vector<double> features(std::span<const Predictions> members, std::span<const uint64_t> order, int threads) {
  const auto k = static_cast<size_t>(members[0].k);
  const size_t width = members.size() * k;
  std::vector<double> x(order.size() * width);
  for (size_t m = 0; m < members.size(); ++m) {
    check_scores("stack", members[m], static_cast<int64_t>(m));
    const auto p = probabilities(members[m], 1, threads);
    for (size_t i = 0; i < order.size(); ++i) {
      double* row = x.data() + i * width + m * k;
      const float* q = p.data() + static_cast<size_t>(order[i]) * k;
      double mean = 0;
      for (size_t c = 0; c < k; ++c) mean += row[c] = det_log(std::max(q[c], kMinProbability));
      mean /= static_cast<double>(k);
      for (size_t c = 0; c < k; ++c) row[c] -= mean;
    }
  }
  return x;
}

/// L of a symmetric positive matrix, in place in the lower triangle; false if it is not positive.
bool cholesky(std::vector<double>& a, size_t n) {
  for (size_t j = 0; j < n; ++j) {
    for (size_t i = j; i < n; ++i) {
      double sum = a[i * n + j];
      for (size_t t = 0; t < j; ++t) sum -= a[i * n + t] * a[j * n + t];
      if (i == j) {
        if (!(sum > 0)) return false;
        a[i * n + i] = std::sqrt(sum);
      } else {
        a[i * n + j] = sum / a[j * n + j];
      }
    }
  }
  return true;
}

/// A range of rows that is left out: a fold.
struct Skip {
  size_t begin = 0, end = 0;
};

class Problem {
 public:
  Problem(std::vector<double> x, std::vector<int32_t> y, size_t members, size_t k, StackForm form, int threads)
      : x_(std::move(x)), y_(std::move(y)), members_(members), k_(k), width_(members * k), form_(form),
        pool_(threads > 0 ? threads : usable_cores()) {
    if (form_ == StackForm::full) second_moments();
  }
  // Weights as they are minimised over: full (M K, K), shared (M); then K biases.
  size_t size() const { return (form_ == StackForm::full ? width_ * k_ : members_) + k_; }

  // W from v: with the factor L of lambda's curvature, W = L^-T v.
  struct Rounding {
    std::vector<double> l;
    size_t n = 0;
    void to_weights(std::span<double> v, size_t columns) const {  // solves L^T W = V
      if (l.empty()) return;
      for (size_t i = n; i-- > 0;) {
        for (size_t t = i + 1; t < n; ++t) {
          const double f = l[t * n + i];
          for (size_t c = 0; c < columns; ++c) v[i * columns + c] -= f * v[t * columns + c];
        }
        for (size_t c = 0; c < columns; ++c) v[i * columns + c] /= l[i * n + i];
      }
    }
    void to_gradient(std::span<double> g, size_t columns) const {  // solves L G' = G
      if (l.empty()) return;
      for (size_t i = 0; i < n; ++i) {
        for (size_t t = 0; t < i; ++t) {
          const double f = l[i * n + t];
          for (size_t c = 0; c < columns; ++c) g[i * columns + c] -= f * g[t * columns + c];
        }
        for (size_t c = 0; c < columns; ++c) g[i * columns + c] /= l[i * n + i];
      }
    }
    void from_weights(std::span<double> w, size_t columns) const {  // V = L^T W
      if (l.empty()) return;
      for (size_t i = 0; i < n; ++i) {
        for (size_t c = 0; c < columns; ++c) {
          double sum = 0;
          for (size_t t = i; t < n; ++t) sum += l[t * n + i] * w[t * columns + c];
          w[i * columns + c] = sum;
        }
      }
    }
  };

  struct Fit {
    std::vector<double> parameters;
    double objective = 0;
    int evaluations = 0;
  };
  Fit fit(double lambda, Skip skip, std::vector<double> start) {
    Rounding rounding;
    if (!moments_.empty()) {
      rounding.l = moments_;
      rounding.n = width_;
      for (size_t i = 0; i < width_; ++i) rounding.l[i * width_ + i] += lambda;
      if (!cholesky(rounding.l, width_)) rounding = {};
    }
    const size_t weights = size() - k_, columns = form_ == StackForm::full ? k_ : 1;
    rounding.from_weights(std::span(start).first(weights), columns);
    std::vector<double> w(size());
    const auto f = [&](std::span<const double> v, std::span<double> gradient) {
      std::ranges::copy(v, w.begin());
      rounding.to_weights(std::span(w).first(weights), columns);
      double value = loss(w, gradient, skip);
      for (size_t i = 0; i < weights; ++i) {
        value += lambda / 2 * w[i] * w[i];
        gradient[i] += lambda * w[i];
      }
      rounding.to_gradient(gradient.first(weights), columns);
      return value;
    };
    const detail::LbfgsResult r = detail::minimize_lbfgs(f, start, 1e-7);
    rounding.to_weights(std::span(start).first(weights), columns);
    return {std::move(start), r.value, r.evaluations};
  }

  // Mean cross entropy of rows [begin, end).
  double held_out(std::span<const double> w, size_t begin, size_t end) const {
    std::vector<double> z(k_);
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += row_loss(w, i, z);
    return sum;
  }

 private:
  void scores(std::span<const double> w, size_t i, std::span<double> z) const {
    const double* x = x_.data() + i * width_;
    const double* bias = w.data() + w.size() - k_;
    std::copy_n(bias, k_, z.begin());
    if (form_ == StackForm::full) {
      for (size_t f = 0; f < width_; ++f) {
        const double* row = w.data() + f * k_;
        for (size_t c = 0; c < k_; ++c) z[c] += x[f] * row[c];
      }
    } else {
      for (size_t m = 0; m < members_; ++m) {
        for (size_t c = 0; c < k_; ++c) z[c] += w[m] * x[m * k_ + c];
      }
    }
  }
  // The loss; z becomes softmax.
  double row_loss(std::span<const double> w, size_t i, std::span<double> z) const {
    scores(w, i, z);
    const double top = *std::ranges::max_element(z), own = z[static_cast<size_t>(y_[i])];
    double sum = 0;
    for (double& s : z) sum += s = std::exp(s - top);
    for (double& s : z) s /= sum;
    return top + std::log(sum) - own;
  }

  double loss(std::span<const double> w, std::span<double> gradient, Skip skip) {
    const size_t n = y_.size(), used = n - (skip.end - skip.begin);
    std::vector<std::vector<double>> parts(kParts);
    std::array<double, kParts> values{};
    pool_.run(kParts, [&](int64_t at, int) {
      const auto part = static_cast<size_t>(at);
      std::vector<double>& g = parts[part];
      g.assign(w.size(), 0.0);
      std::vector<double> z(k_);
      double value = 0;
      for (size_t i = part * n / kParts; i < (part + 1) * n / kParts; ++i) {
        if (i >= skip.begin && i < skip.end) continue;
        value += row_loss(w, i, z);
        z[static_cast<size_t>(y_[i])] -= 1;
        const double* x = x_.data() + i * width_;
        if (form_ == StackForm::full) {
          for (size_t f = 0; f < width_; ++f) {
            double* row = g.data() + f * k_;
            for (size_t c = 0; c < k_; ++c) row[c] += x[f] * z[c];
          }
        } else {
          for (size_t m = 0; m < members_; ++m) {
            for (size_t c = 0; c < k_; ++c) g[m] += x[m * k_ + c] * z[c];
          }
        }
        for (size_t c = 0; c < k_; ++c) g[g.size() - k_ + c] += z[c];
      }
      values[part] = value;
    });
    std::ranges::fill(gradient, 0.0);
    double value = 0;
    for (size_t part = 0; part < kParts; ++part) {
      value += values[part];
      for (size_t i = 0; i < gradient.size(); ++i) gradient[i] += parts[part][i];
    }
    const auto count = static_cast<double>(used);
    for (double& g : gradient) g /= count;
    return value / count;
  }

  // X^T diag(s) X / n over at most 4,000 rows, s the curvature of a row under the mean of the members. It only makes the
  // search round: the optimum does not depend on it.
  void second_moments() {
    if (width_ > 2000) return;
    const size_t n = y_.size(), step = std::max<size_t>(1, n / 4000);
    moments_.assign(width_ * width_, 0.0);
    std::vector<double> mean(k_);
    double rows = 0;
    for (size_t i = 0; i < n; i += step, rows += 1) {
      const double* x = x_.data() + i * width_;
      std::ranges::fill(mean, 0.0);
      for (size_t f = 0; f < width_; ++f) mean[f % k_] += x[f] / static_cast<double>(members_);
      const double top = *std::ranges::max_element(mean);
      double sum = 0, s = 0;
      for (double& v : mean) sum += v = std::exp(v - top);
      for (const double v : mean) s += v / sum * (1 - v / sum) / static_cast<double>(k_);
      for (size_t a = 0; a < width_; ++a) {
        const double f = s * x[a];
        for (size_t b = 0; b <= a; ++b) moments_[a * width_ + b] += f * x[b];
      }
    }
    for (double& m : moments_) m /= rows;
  }

  std::vector<double> x_;
  std::vector<int32_t> y_;
  size_t members_, k_, width_;
  StackForm form_;
  ThreadPool pool_;
  std::vector<double> moments_;
};

}  // namespace

Stack fit_stack(std::span<const Predictions> members, std::span<const int32_t> label, const StackOptions& o) {
  check_members("stack", members);
  check_labels("stack", label, members[0].n, members[0].k);
  const size_t n = label.size(), k = static_cast<size_t>(members[0].k), count = members.size();
  check(n >= 10, "stack", "at least 10 rows are required, got ", n);
  check(std::ranges::any_of(label, [&](int32_t y) { return y != label[0]; }), "stack", "labels must be of two classes or more, all are ", label[0]);
  check(!o.lambda || *o.lambda > 0, "stack", "lambda must be > 0, got ", o.lambda.value_or(1));
  Stack out;
  out.form = o.form.value_or(n < 50 * count * k ? StackForm::shared : StackForm::full);
  out.members = static_cast<int64_t>(count);
  out.k = members[0].k;

  const Permutation keyed(Key(n).fold_in("stack folds"), n);
  std::vector<uint64_t> order(n);
  std::vector<int32_t> y(n);
  for (size_t i = 0; i < n; ++i) {
    order[i] = keyed(i);
    y[i] = label[static_cast<size_t>(order[i])];
  }
  Problem problem(features(members, order, o.threads), std::move(y), count, k, out.form, o.threads);
  // The start: the mean of the members' logits.
  std::vector<double> start(problem.size(), 0.0);
  for (size_t m = 0; m < count; ++m) {
    if (out.form == StackForm::shared) start[m] = 1 / static_cast<double>(count);
    for (size_t c = 0; out.form == StackForm::full && c < k; ++c) start[(m * k + c) * k + c] = 1 / static_cast<double>(count);
  }
  if (o.lambda) {
    out.lambda = *o.lambda;
  } else {
    std::array<double, 7> sums{};
    constexpr std::array kLambdas = {1e2, 1e1, 1.0, 1e-1, 1e-2, 1e-3, 1e-4};
    for (int f = 0; f < kFolds; ++f) {
      const Skip fold{static_cast<size_t>(f) * n / kFolds, static_cast<size_t>(f + 1) * n / kFolds};
      std::vector<double> at = start;
      for (size_t l = 0; l < kLambdas.size(); ++l) {
        at = problem.fit(kLambdas[l], fold, std::move(at)).parameters;
        sums[l] += problem.held_out(at, fold.begin, fold.end);
      }
    }
    size_t best = 0;
    for (size_t l = 0; l < kLambdas.size(); ++l) {
      out.tried.emplace_back(kLambdas[l], sums[l] / static_cast<double>(n));
      best = sums[l] < sums[best] ? l : best;
    }
    out.lambda = kLambdas[best];
  }
  const auto fit = problem.fit(out.lambda, {}, start);
  out.objective = fit.objective;
  out.evaluations = fit.evaluations;
  out.bias.assign(fit.parameters.end() - static_cast<int64_t>(k), fit.parameters.end());
  // The same shift of all biases changes nothing; centred, as a penalty of weight 0+ would have them.
  const double mean = std::accumulate(out.bias.begin(), out.bias.end(), 0.0) / static_cast<double>(k);
  for (double& b : out.bias) b -= mean;
  if (out.form == StackForm::shared) {
    out.weights.assign(fit.parameters.begin(), fit.parameters.begin() + static_cast<int64_t>(count));
  } else {
    out.weights.resize(k * count * k);
    for (size_t f = 0; f < count * k; ++f) {
      for (size_t c = 0; c < k; ++c) out.weights[c * count * k + f] = fit.parameters[f * k + c];
    }
  }
  return out;
}

Combined apply_stack(const Stack& stack, std::span<const Predictions> members, int threads) {
  check_members("stack", members);
  check(static_cast<int64_t>(members.size()) == stack.members && members[0].k == stack.k, "stack", "members must be those of the fit, got ",
        members.size(), " of ", members[0].k, " classes for ", stack.members, " of ", stack.k);
  const auto n = static_cast<size_t>(members[0].n), k = static_cast<size_t>(stack.k), width = members.size() * k;
  std::vector<uint64_t> order(n);
  std::iota(order.begin(), order.end(), uint64_t{0});
  const auto x = features(members, order, threads);
  std::vector<float> z(n * k);
  for (size_t i = 0; i < n; ++i) {
    for (size_t c = 0; c < k; ++c) {
      double sum = stack.bias[c];
      if (stack.form == StackForm::full) {
        for (size_t f = 0; f < width; ++f) sum += stack.weights[c * width + f] * x[i * width + f];
      } else {
        for (size_t m = 0; m < members.size(); ++m) sum += stack.weights[m] * x[i * width + m * k + c];
      }
      z[i * k + c] = static_cast<float>(sum);
    }
  }
  const Predictions logits{z.data(), members[0].n, stack.k, true};
  return combine(std::span(&logits, 1), {.rule = Rule::mean_logit, .threads = threads});
}

}  // namespace ballast
