#include <ballast/ensemble/metrics.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>

#include <ballast/base/check.h>
#include <ballast/base/cpu.h>
#include <ballast/base/detmath.h>
#include <ballast/base/thread_pool.h>

namespace ballast {
namespace {

constexpr auto kBins = static_cast<size_t>(kCalibrationBins);

struct Bin {
  int64_t n = 0;
  double confidence = 0;
  int64_t right = 0;
  double gap() const { return n > 0 ? std::abs(static_cast<double>(right) - confidence) / static_cast<double>(n) : 0; }
};

/// What the metrics need of each row, ready to be counted `times` times.
class Table {
 public:
  Table(const Predictions& p, std::span<const int32_t> label, std::span<const int32_t> predicted)
      : p_(p), label_(label), rows_(row_scores(p, label, predicted)) {
    const auto n = static_cast<size_t>(p.n), k = static_cast<size_t>(p.k);
    bin_.resize(n);
    for (size_t i = 0; i < n; ++i) bin_[i] = static_cast<uint8_t>(confidence_bin(rows_.confidence[i]));
    class_bin_.resize(n * k);
    for (size_t i = 0; i < n * k; ++i) class_bin_[i] = static_cast<uint8_t>(confidence_bin(p.scores[i]));
    equal_count_bins();
  }

  // times: how often each row counts; empty: once.
  Quality quality(std::span<const uint16_t> times) const {
    const auto n = static_cast<size_t>(p_.n), k = static_cast<size_t>(p_.k);
    Quality q{.n = p_.n};
    if (n == 0) return q;
    std::array<Bin, kBins> bins{}, equal{};
    std::vector<Bin> of_class(k * kBins);
    const auto count = [](Bin& b, double confidence, bool right, int64_t t) {
      b.n += t;
      b.confidence += static_cast<double>(t) * confidence;
      b.right += right ? t : 0;
    };
    int64_t right = 0;
    for (size_t i = 0; i < n; ++i) {
      const int64_t t = times.empty() ? 1 : times[i];
      if (t == 0) continue;
      const auto w = static_cast<double>(t);
      right += rows_.right[i] != 0 ? t : 0;
      q.nll += w * rows_.nll[i];
      q.brier += w * rows_.brier[i];
      count(bins[bin_[i]], rows_.confidence[i], rows_.right[i] != 0, t);
      count(equal[equal_[i]], rows_.confidence[i], rows_.right[i] != 0, t);
      const float* row = p_.row(static_cast<int64_t>(i));
      for (size_t c = 0; c < k; ++c) {
        Bin& b = of_class[c * kBins + class_bin_[i * k + c]];
        b.n += t;
        b.confidence += w * static_cast<double>(row[c]);
      }
      const auto y = static_cast<size_t>(label_[i]);
      of_class[y * kBins + class_bin_[i * k + y]].right += t;
    }
    const auto total = static_cast<double>(n);
    q.accuracy = static_cast<double>(right) / total;
    q.nll /= total;
    q.brier /= total;
    for (size_t b = 0; b < kBins; ++b) {
      q.ece += static_cast<double>(bins[b].n) / total * bins[b].gap();
      q.ace += static_cast<double>(equal[b].n) / total * equal[b].gap();
      if (bins[b].n >= 30) q.mce = std::max(q.mce, bins[b].gap());
    }
    for (const Bin& b : of_class) q.class_ece += static_cast<double>(b.n) / total * b.gap();
    q.class_ece /= static_cast<double>(k);
    return q;
  }

 private:
  void equal_count_bins() {
    const size_t n = rows_.confidence.size();
    std::vector<size_t> order(n);
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::sort(order, {}, [&](size_t i) { return rows_.confidence[i]; });
    equal_.resize(n);
    size_t bin = 0;
    for (size_t j = 0; j < n; ++j) {
      // Rows of one confidence stay together. The first row begins bin 0, also where there are fewer rows than bins.
      const bool full = j > 0 && j >= (bin + 1) * n / kBins;
      if (full && rows_.confidence[order[j]] != rows_.confidence[order[j - 1]]) bin = j * kBins / n;
      equal_[order[j]] = static_cast<uint8_t>(std::min(bin, kBins - 1));
    }
  }

  Predictions p_;
  std::span<const int32_t> label_;
  RowScores rows_;
  std::vector<uint8_t> bin_, equal_, class_bin_;
};

int replicates(int64_t n) { return n <= 100'000 ? 1000 : 200; }

/// Calls row(i) for the n rows of replicate r.
template <class Fn>
void resample(Key key, int64_t r, int64_t n, const Fn& row) {
  const Key own = key.fold_in(static_cast<uint64_t>(r));
  const auto size = static_cast<uint64_t>(n);
  const auto pick = [&](uint32_t low, uint32_t high) {
    const uint64_t bits = low | (static_cast<uint64_t>(high) << 32);
    row(static_cast<size_t>((static_cast<unsigned __int128>(bits) * size) >> 64));
  };
  for (uint64_t i = 0; 2 * i < size; ++i) {
    const auto words = philox(own, i);
    pick(words[0], words[1]);
    if (2 * i + 1 < size) pick(words[2], words[3]);
  }
}

Bounds percentiles(std::vector<double> values) {
  std::ranges::sort(values);
  const auto at = [&](double q) {
    const double place = q * static_cast<double>(values.size() - 1);
    const auto i = static_cast<size_t>(place);
    const double rest = place - static_cast<double>(i);
    return i + 1 < values.size() ? values[i] + rest * (values[i + 1] - values[i]) : values[i];
  };
  return {at(0.025), at(0.975)};
}

}  // namespace

int confidence_bin(double confidence, int bins) {
  return std::clamp(static_cast<int>(std::ceil(confidence * bins)) - 1, 0, bins - 1);
}

std::vector<CalibrationBin> calibration_bins(std::span<const double> confidence, std::span<const uint8_t> right, int bins) {
  check(confidence.size() == right.size(), "metrics", "confidence and right must be of one length, got ", confidence.size(),
        " and ", right.size());
  check(bins >= 1, "metrics", "bins must be at least 1, got ", bins);
  std::vector<CalibrationBin> out(static_cast<size_t>(bins));
  for (size_t b = 0; b < out.size(); ++b) {
    out[b].low = static_cast<double>(b) / bins;
    out[b].high = static_cast<double>(b + 1) / bins;
  }
  for (size_t i = 0; i < confidence.size(); ++i) {
    CalibrationBin& b = out[static_cast<size_t>(confidence_bin(confidence[i], bins))];
    ++b.n;
    b.confidence += confidence[i];
    b.accuracy += right[i];
  }
  for (CalibrationBin& b : out) {
    if (b.n == 0) continue;
    b.confidence /= static_cast<double>(b.n);
    b.accuracy /= static_cast<double>(b.n);
  }
  return out;
}

RowScores row_scores(const Predictions& p, std::span<const int32_t> label, std::span<const int32_t> predicted) {
  check(!p.is_logit, "metrics", "probabilities are required, got logits");
  check_labels("metrics", label, p.n, p.k);
  if (!predicted.empty()) check_labels("metrics", predicted, p.n, p.k);
  const auto n = static_cast<size_t>(p.n);
  RowScores out;
  out.nll.resize(n);
  out.brier.resize(n);
  out.confidence.resize(n);
  out.right.resize(n);
  for (size_t i = 0; i < n; ++i) {
    const float* row = p.row(static_cast<int64_t>(i));
    const int32_t top = predicted.empty() ? top_class(row, p.k) : predicted[i];
    const double py = row[label[i]];
    double squares = 0;
    for (int32_t c = 0; c < p.k; ++c) squares += static_cast<double>(row[c]) * static_cast<double>(row[c]);
    out.nll[i] = -det_log(std::max(row[label[i]], kTinyProbability));
    out.brier[i] = squares - 2 * py + 1;
    out.confidence[i] = row[top];
    out.right[i] = top == label[i];
  }
  return out;
}

Quality quality(const Predictions& p, std::span<const int32_t> label, std::span<const int32_t> predicted) {
  return Table(p, label, predicted).quality({});
}

QualityBounds bootstrap_quality(const Predictions& p, std::span<const int32_t> label, std::span<const int32_t> predicted, Key key,
                                int threads) {
  const Table table(p, label, predicted);
  if (p.n == 0) return {};
  const Key own = key.fold_in("bootstrap");
  std::vector<Quality> all(static_cast<size_t>(replicates(p.n)));
  ThreadPool pool(threads > 0 ? threads : usable_cores());
  std::vector<std::vector<uint16_t>> times(static_cast<size_t>(pool.size()));
  pool.run(static_cast<int64_t>(all.size()), [&](int64_t r, int thread) {
    auto& t = times[static_cast<size_t>(thread)];
    t.assign(static_cast<size_t>(p.n), 0);
    resample(own, r, p.n, [&](size_t i) { ++t[i]; });
    all[static_cast<size_t>(r)] = table.quality(t);
  });
  const auto of = [&](double Quality::* field) {
    std::vector<double> values;
    for (const Quality& q : all) values.push_back(q.*field);
    return percentiles(std::move(values));
  };
  return {of(&Quality::accuracy), of(&Quality::nll), of(&Quality::brier), of(&Quality::ece), of(&Quality::ace),
          of(&Quality::class_ece), of(&Quality::mce)};
}

Estimate bootstrap_mean(std::span<const double> rows, Key key, int threads) {
  Estimate out;
  const auto n = static_cast<int64_t>(rows.size());
  if (n == 0) return out;
  out.value = std::accumulate(rows.begin(), rows.end(), 0.0) / static_cast<double>(n);
  std::vector<double> all(static_cast<size_t>(replicates(n)));
  const Key own = key.fold_in("bootstrap");
  ThreadPool pool(threads > 0 ? threads : usable_cores());
  pool.run(static_cast<int64_t>(all.size()), [&](int64_t r, int) {
    double sum = 0;
    resample(own, r, n, [&](size_t i) { sum += rows[i]; });
    all[static_cast<size_t>(r)] = sum / static_cast<double>(n);
  });
  out.bounds = percentiles(std::move(all));
  return out;
}

Estimate bootstrap_difference(std::span<const double> a, std::span<const double> b, Key key, int threads) {
  check(a.size() == b.size(), "metrics", "rows must be of one length, got ", a.size(), " and ", b.size());
  std::vector<double> rows(a.size());
  std::ranges::transform(a, b, rows.begin(), std::minus<>());
  return bootstrap_mean(rows, key, threads);
}

PerfectEce perfect_ece(const Predictions& p, Key key, int threads) {
  check(!p.is_logit, "metrics", "probabilities are required, got logits");
  PerfectEce out;
  if (p.n == 0) return out;
  const auto n = static_cast<size_t>(p.n);
  std::vector<double> confidence(n), all(200);
  for (size_t i = 0; i < n; ++i) {
    const float* row = p.row(static_cast<int64_t>(i));
    confidence[i] = row[top_class(row, p.k)];
  }
  // Whether the label is the top class has the top class's probability; nothing else of the label counts.
  const Key own = key.fold_in("perfect");
  ThreadPool pool(threads > 0 ? threads : usable_cores());
  pool.run(static_cast<int64_t>(all.size()), [&](int64_t set, int) {
    std::vector<double> u(n);
    std::vector<uint8_t> right(n);
    fill_uniform(own.fold_in(static_cast<uint64_t>(set)), 0, u);
    for (size_t i = 0; i < n; ++i) right[i] = u[i] < confidence[i];
    double ece = 0;
    for (const CalibrationBin& b : calibration_bins(confidence, right)) {
      ece += static_cast<double>(b.n) / static_cast<double>(n) * std::abs(b.accuracy - b.confidence);
    }
    all[static_cast<size_t>(set)] = ece;
  });
  for (const double e : all) out.mean += e / static_cast<double>(all.size());
  for (const double e : all) out.sd += (e - out.mean) * (e - out.mean) / static_cast<double>(all.size() - 1);
  out.sd = std::sqrt(out.sd);
  out.bounds = percentiles(std::move(all));
  return out;
}

}  // namespace ballast
