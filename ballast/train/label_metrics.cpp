#include <ballast/train/label_metrics.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <ATen/Parallel.h>

#include <ballast/base/check.h>

namespace ballast {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

void check_table(const PredictionTable& t) {
  check(t.several_labels, "label_metrics", "table must be one of several labels a picture");
  check(t.classes >= 1, "label_metrics", "classes must be at least 1, got ", t.classes);
  const size_t cells = t.index.size() * static_cast<size_t>(t.classes);
  check(t.targets.size() == cells && t.logits.size() == cells, "label_metrics", "targets and logits must have ", cells,
        " values, got ", t.targets.size(), " and ", t.logits.size());
  check(std::ranges::all_of(t.targets, [](uint8_t y) { return y <= 1; }), "label_metrics", "targets must be 0 or 1");
}

/// Average precision of a class with `support` targets of 1; rows are ranked by score.
double average_precision(std::vector<std::pair<float, uint8_t>> rows, int64_t support) {
  std::ranges::sort(rows, [](const auto& a, const auto& b) { return a.first > b.first; });
  double sum = 0;
  int64_t seen = 0, hits = 0;
  for (size_t begin = 0; begin < rows.size();) {
    size_t end = begin;
    int64_t found = 0;
    for (; end < rows.size() && rows[end].first == rows[begin].first; ++end) found += rows[end].second;
    seen += static_cast<int64_t>(end - begin);
    hits += found;
    sum += static_cast<double>(found) / static_cast<double>(support) * static_cast<double>(hits) / static_cast<double>(seen);
    begin = end;
  }
  return sum;
}

double ratio(int64_t a, int64_t b) { return b == 0 ? 0.0 : static_cast<double>(a) / static_cast<double>(b); }

}  // namespace

void fill_label_rows(PredictionTable& t) {
  check_table(t);
  const int64_t k = t.classes;
  t.loss.resize(t.index.size());
  at::parallel_for(0, t.size(), 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double sum = 0;
      bool finite = true;
      for (int64_t j = i * k; j < (i + 1) * k; ++j) {
        const double z = t.logits[static_cast<size_t>(j)];
        finite = finite && std::isfinite(z);
        sum += std::max(z, 0.0) - z * t.targets[static_cast<size_t>(j)] + std::log1p(std::exp(-std::abs(z)));
      }
      t.loss[static_cast<size_t>(i)] = finite ? sum : std::numeric_limits<double>::infinity();
    }
  });
}

Metrics compute_label_metrics(const PredictionTable& t) {
  check_table(t);
  check(t.loss.size() == t.index.size(), "label_metrics", "loss must have ", t.index.size(), " rows, got ", t.loss.size());
  const auto k = static_cast<size_t>(t.classes);
  const size_t n = t.index.size();
  Metrics m;
  m.several_labels = true;
  m.n = t.size();
  m.nll_tempered = m.nll_tempered_se = m.temperature = m.top1 = m.top1_se = m.top5 = m.top5_se = m.balanced_acc = m.brier = m.ece = kNone;
  m.per_class.resize(k);
  if (n == 0) {
    return m;
  }
  int64_t matches = 0;
  double loss = 0;
  for (size_t i = 0; i < n; ++i) {
    const bool finite = std::isfinite(t.loss[i]);
    m.nonfinite += finite ? 0 : 1;
    loss += finite ? t.loss[i] : 0;
    bool match = finite;
    for (size_t c = 0; c < k; ++c) {
      const bool is = t.targets[i * k + c] == 1, said = finite && t.logits[i * k + c] > 0;
      ClassMetrics& one = m.per_class[c];
      one.support += is ? 1 : 0;
      one.predicted += said ? 1 : 0;
      one.correct += is && said ? 1 : 0;
      match = match && is == said;
    }
    matches += match ? 1 : 0;
  }
  at::parallel_for(0, t.classes, 1, [&](int64_t begin, int64_t end) {
    for (auto c = static_cast<size_t>(begin); c < static_cast<size_t>(end); ++c) {
      if (m.per_class[c].support == 0) continue;
      std::vector<std::pair<float, uint8_t>> rows(n);
      for (size_t i = 0; i < n; ++i) {
        const bool finite = std::isfinite(t.loss[i]);
        rows[i] = {finite ? t.logits[i * k + c] : -std::numeric_limits<float>::infinity(), t.targets[i * k + c]};
      }
      m.per_class[c].average_precision = average_precision(std::move(rows), m.per_class[c].support);
    }
  });
  ClassMetrics all;
  int64_t occurring = 0;
  for (ClassMetrics& c : m.per_class) {
    c.precision = ratio(c.correct, c.predicted);
    c.recall = ratio(c.correct, c.support);
    c.f1 = ratio(2 * c.correct, c.support + c.predicted);
    all.support += c.support;
    all.predicted += c.predicted;
    all.correct += c.correct;
    occurring += c.support > 0 ? 1 : 0;
    m.map += c.average_precision;
  }
  m.map = occurring > 0 ? m.map / static_cast<double>(occurring) : kNone;
  m.micro_f1 = ratio(2 * all.correct, all.support + all.predicted);
  m.exact_match = ratio(matches, m.n);
  m.exact_match_se = std::sqrt(m.exact_match * (1 - m.exact_match) / static_cast<double>(n));
  const int64_t kept = m.n - m.nonfinite;
  m.loss = kept > 0 ? loss / static_cast<double>(kept) : kNone;
  double squares = 0;
  for (const double l : t.loss) {
    squares += std::isfinite(l) ? (l - m.loss) * (l - m.loss) : 0;
  }
  m.loss_se = kept > 1 ? std::sqrt(squares / static_cast<double>(kept - 1) / static_cast<double>(kept)) : 0;
  return m;
}

}  // namespace ballast
