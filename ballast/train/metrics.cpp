#include <ballast/train/metrics.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>

#include <ATen/Parallel.h>

#include <ballast/base/check.h>
#include <ballast/train/label_metrics.h>

namespace ballast {
namespace {

constexpr int64_t kRowsAtOnce = 1024;
constexpr size_t kBins = 15;

struct MetricRow {
  const char* name;
  bool maximize;
  double Metrics::* value;
};
constexpr std::array<MetricRow, 7> kMetrics = {{
    {"loss", false, &Metrics::loss},
    {"nll_tempered", false, &Metrics::nll_tempered},
    {"top1", true, &Metrics::top1},
    {"top5", true, &Metrics::top5},
    {"balanced_acc", true, &Metrics::balanced_acc},
    {"brier", false, &Metrics::brier},
    {"ece", false, &Metrics::ece},
}};
constexpr std::array<MetricRow, 4> kLabelMetrics = {{
    {"loss", false, &Metrics::loss},
    {"map", true, &Metrics::map},
    {"micro_f1", true, &Metrics::micro_f1},
    {"exact_match", true, &Metrics::exact_match},
}};

std::span<const MetricRow> rows_of(bool several_labels) {
  return several_labels ? std::span<const MetricRow>(kLabelMetrics) : kMetrics;
}

const MetricRow* find(bool several_labels, const std::string& name) {
  const auto rows = rows_of(several_labels);
  const auto row = std::ranges::find_if(rows, [&](const MetricRow& r) { return name == r.name; });
  return row == rows.end() ? nullptr : &*row;
}

const MetricRow& find_or_fail(bool several_labels, const MetricRow* row, const std::string& name) {
  std::string known;
  for (const std::string& one : metric_names(several_labels)) {
    known += (known.empty() ? "" : ", ") + one;
  }
  check(row != nullptr, "metrics", "metric must be one of ", known, ", got \"", name, "\"");
  return *row;
}

// Sums in fixed chunks, each in order, then over chunks in order: the same bits for any number of threads.
template <size_t N, class Fn>
std::array<double, N> chunked_sums(int64_t n, const Fn& row) {
  const int64_t chunks = (n + kRowsAtOnce - 1) / kRowsAtOnce;
  std::vector<std::array<double, N>> sums(static_cast<size_t>(chunks));
  at::parallel_for(0, chunks, 4, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      std::array<double, N> sum{};
      for (int64_t i = c * kRowsAtOnce; i < std::min(n, (c + 1) * kRowsAtOnce); ++i) {
        row(i, sum);
      }
      sums[static_cast<size_t>(c)] = sum;
    }
  });
  std::array<double, N> total{};
  for (const auto& sum : sums) {
    for (size_t k = 0; k < N; ++k) {
      total[k] += sum[k];
    }
  }
  return total;
}

// log sum exp of b * z, with the mean and the variance of z under its softmax.
struct Softmax {
  double log_sum = 0, mean = 0, variance = 0;
};
Softmax softmax_of(const float* z, int64_t k, double b) {
  double top = z[0];
  for (int64_t j = 1; j < k; ++j) {
    top = std::max(top, static_cast<double>(z[j]));
  }
  double sum = 0, first = 0, second = 0;
  for (int64_t j = 0; j < k; ++j) {
    const double d = z[j] - top;
    const double e = std::exp(b * d);
    sum += e;
    first += e * d;
    second += e * d * d;
  }
  const double mean = first / sum;
  return {b * top + std::log(sum), top + mean, second / sum - mean * mean};
}

struct Tempered {
  double nll = 0, se = 0, temperature = 1;
};

Tempered fit_temperature(const PredictionTable& t, const std::vector<bool>& finite, int64_t n) {
  const int64_t k = t.classes;
  auto row_nll = [&](int64_t i, double b) {
    const float* z = t.logits.data() + i * k;
    return softmax_of(z, k, b).log_sum - b * z[t.target[static_cast<size_t>(i)]];
  };
  // {sum f, sum f', sum f''} in b = 1/T
  auto derivatives = [&](double b) {
    auto s = chunked_sums<3>(t.size(), [&](int64_t i, std::array<double, 3>& sum) {
      if (finite[static_cast<size_t>(i)]) {
        const float* z = t.logits.data() + i * k;
        const double zy = z[t.target[static_cast<size_t>(i)]];
        const Softmax p = softmax_of(z, k, b);
        sum[0] += p.log_sum - b * zy;
        sum[1] += p.mean - zy;
        sum[2] += p.variance;
      }
    });
    return s;
  };
  auto finish = [&](double b) {
    const auto count = static_cast<double>(n);
    const auto s = chunked_sums<1>(t.size(), [&](int64_t i, std::array<double, 1>& sum) {
      if (finite[static_cast<size_t>(i)]) {
        sum[0] += row_nll(i, b);
      }
    });
    const double mean = s[0] / count;
    const auto q = chunked_sums<1>(t.size(), [&](int64_t i, std::array<double, 1>& sum) {
      if (finite[static_cast<size_t>(i)]) {
        const double d = row_nll(i, b) - mean;
        sum[0] += d * d;
      }
    });
    return Tempered{mean, n > 1 ? std::sqrt(q[0] / (count - 1) / count) : 0, 1 / b};
  };
  if (n < 100) {
    return finish(1);
  }
  double low = 0.05, high = 20, b = 1;
  const double at_one = derivatives(1)[0];
  const bool best_inside = derivatives(low)[1] < 0 && derivatives(high)[1] > 0;
  if (!best_inside) {
    return finish(1);
  }
  for (int step = 0; step < 58; ++step) {
    const auto f = derivatives(b);
    (f[1] > 0 ? high : low) = b;
    double next = f[2] > 0 ? b - f[1] / f[2] : 0;
    if (!(next > low && next < high)) {
      next = (low + high) / 2;
    }
    const bool done = std::abs(next - b) <= 1e-9 * b;
    b = next;
    if (done) {
      break;
    }
  }
  return derivatives(b)[0] <= at_one ? finish(b) : finish(1);
}

}  // namespace

const std::vector<std::string>& metric_names(bool several_labels) {
  const auto names = [](bool several) {
    std::vector<std::string> all;
    for (const MetricRow& row : rows_of(several)) {
      all.emplace_back(row.name);
    }
    return all;
  };
  static const std::vector<std::string> one = names(false), several = names(true);
  return several_labels ? several : one;
}

bool metric_is_maximized(const std::string& name) {
  const MetricRow* of_labels = find(true, name);
  return find_or_fail(false, of_labels != nullptr ? of_labels : find(false, name), name).maximize;
}

double Metrics::value(const std::string& name) const {
  return this->*find_or_fail(several_labels, find(several_labels, name), name).value;
}

namespace {

void check_table(const PredictionTable& t) {
  const int64_t k = t.classes;
  check(k >= 1, "metrics", "classes must be at least 1, got ", k);
  check(t.target.size() == t.index.size() && t.logits.size() == t.index.size() * static_cast<size_t>(k), "metrics",
        "index, target and logits must have the same rows, got ", t.index.size(), ", ", t.target.size(), " and ",
        t.logits.size() / static_cast<size_t>(k));
  for (const int32_t y : t.target) {
    check(y >= 0 && y < k, "metrics", "target must be in [0, ", k, "), got ", y);
  }
}

}  // namespace

void fill_rows(PredictionTable& t) {
  if (t.several_labels) {
    fill_label_rows(t);
    return;
  }
  check_table(t);
  const auto n = static_cast<size_t>(t.size());
  const int64_t k = t.classes;
  t.pred.resize(n);
  t.rank.resize(n);
  t.loss.resize(n);
  t.confidence.resize(n);
  at::parallel_for(0, t.size(), kRowsAtOnce, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto r = static_cast<size_t>(i);
      const float* z = t.logits.data() + i * k;
      const int64_t y = t.target[r];
      bool finite = true;
      int64_t best = 0;
      int32_t rank = 0;
      for (int64_t j = 0; j < k; ++j) {
        finite = finite && std::isfinite(z[j]);
        best = z[j] > z[best] ? j : best;
        rank += z[j] > z[y] || (z[j] == z[y] && j < y) ? 1 : 0;
      }
      t.pred[r] = static_cast<int32_t>(best);
      if (!finite) {
        t.rank[r] = -1;
        t.loss[r] = std::numeric_limits<double>::infinity();
        t.confidence[r] = 0;
        continue;
      }
      const Softmax p = softmax_of(z, k, 1);
      t.rank[r] = rank;
      t.loss[r] = p.log_sum - z[y];
      t.confidence[r] = std::exp(z[best] - p.log_sum);
    }
  });
}

Metrics compute_metrics(const PredictionTable& t) {
  if (t.several_labels) {
    return compute_label_metrics(t);
  }
  check_table(t);
  check(t.rank.size() == t.index.size(), "metrics", "rank must have ", t.index.size(), " rows, got ", t.rank.size());
  const int64_t k = t.classes;
  Metrics m;
  m.n = t.size();
  m.per_class.resize(static_cast<size_t>(k));
  m.confusion.assign(static_cast<size_t>(k * k), 0);
  if (m.n == 0) {
    return m;
  }
  std::vector<bool> finite(static_cast<size_t>(m.n));
  int64_t top1 = 0, top5 = 0;
  for (size_t i = 0; i < finite.size(); ++i) {
    finite[i] = t.rank[i] >= 0;
    m.nonfinite += finite[i] ? 0 : 1;
    top1 += t.rank[i] == 0 ? 1 : 0;
    top5 += t.rank[i] < 5 && finite[i] ? 1 : 0;
    const auto y = static_cast<size_t>(t.target[i]);
    ++m.per_class[y].support;
    if (finite[i]) {
      const auto p = static_cast<size_t>(t.pred[i]);
      ++m.per_class[p].predicted;
      m.per_class[y].correct += t.rank[i] == 0 ? 1 : 0;
      ++m.confusion[y * static_cast<size_t>(k) + p];
    }
  }
  const auto n = static_cast<double>(m.n);
  const int64_t kept = m.n - m.nonfinite;
  auto share = [&](int64_t count, double& value, double& se) {
    value = static_cast<double>(count) / n;
    se = std::sqrt(value * (1 - value) / n);
  };
  share(top1, m.top1, m.top1_se);
  share(top5, m.top5, m.top5_se);

  double recall = 0;
  int64_t occurring = 0;
  for (ClassMetrics& c : m.per_class) {
    const auto ratio = [](int64_t a, int64_t b) { return b == 0 ? 0.0 : static_cast<double>(a) / static_cast<double>(b); };
    c.precision = ratio(c.correct, c.predicted);
    c.recall = ratio(c.correct, c.support);
    c.f1 = ratio(2 * c.correct, c.support + c.predicted);
    if (c.support > 0) {
      recall += c.recall;
      ++occurring;
    }
  }
  m.balanced_acc = recall / static_cast<double>(occurring);
  if (kept == 0) {
    m.loss = m.nll_tempered = m.brier = std::numeric_limits<double>::quiet_NaN();
    return m;
  }

  const auto sums = chunked_sums<2>(m.n, [&](int64_t i, std::array<double, 2>& sum) {
    const auto r = static_cast<size_t>(i);
    if (!finite[r]) {
      return;
    }
    sum[0] += t.loss[r];
    const float* z = t.logits.data() + i * k;
    const double log_sum = softmax_of(z, k, 1).log_sum;
    for (int64_t j = 0; j < k; ++j) {
      const double d = std::exp(z[j] - log_sum) - (j == t.target[r] ? 1 : 0);
      sum[1] += d * d;
    }
  });
  const auto count = static_cast<double>(kept);
  m.loss = sums[0] / count;
  m.brier = sums[1] / count;
  const auto squares = chunked_sums<1>(m.n, [&](int64_t i, std::array<double, 1>& sum) {
    if (finite[static_cast<size_t>(i)]) {
      const double d = t.loss[static_cast<size_t>(i)] - m.loss;
      sum[0] += d * d;
    }
  });
  m.loss_se = kept > 1 ? std::sqrt(squares[0] / (count - 1) / count) : 0;

  const auto bins = chunked_sums<2 * kBins>(m.n, [&](int64_t i, std::array<double, 2 * kBins>& sum) {
    const auto r = static_cast<size_t>(i);
    if (finite[r]) {
      const double c = t.confidence[r];
      const double bin = std::ceil(c * static_cast<double>(kBins)) - 1;
      const auto b = static_cast<size_t>(std::clamp(bin, 0.0, static_cast<double>(kBins - 1)));
      sum[b] += (t.rank[r] == 0 ? 1.0 : 0.0) - c;
    }
  });
  for (size_t b = 0; b < kBins; ++b) {
    m.ece += std::abs(bins[b]) / count;
  }

  const Tempered tempered = fit_temperature(t, finite, kept);
  m.nll_tempered = tempered.nll;
  m.nll_tempered_se = tempered.se;
  m.temperature = tempered.temperature;
  return m;
}

}  // namespace ballast
