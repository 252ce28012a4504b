#include <ballast/ensemble/predictions.h>

#include <algorithm>
#include <cmath>

#include <ballast/base/check.h>
#include <ballast/base/cpu.h>
#include <ballast/base/detmath.h>
#include <ballast/base/thread_pool.h>
#include <ballast/ensemble/combine_kernel.h>

namespace ballast {

void check_members(std::string_view stem, std::span<const Predictions> members) {
  check(!members.empty(), stem, "at least one member is required, got none");
  const Predictions& a = members[0];
  check(a.n >= 0 && a.k >= 1, stem, "members must have at least one class, got ", a.n, "x", a.k);
  for (size_t m = 1; m < members.size(); ++m) {
    check(members[m].n == a.n && members[m].k == a.k, stem, "members must have equal rows and classes, got ", a.n, "x", a.k,
          " and ", members[m].n, "x", members[m].k, " (member ", m, ")");
  }
}

void check_scores(std::string_view stem, const Predictions& p, int64_t member) {
  const std::string of = member < 0 ? "" : " of member " + std::to_string(member);
  for (int64_t i = 0; i < p.n; ++i) {
    const float* row = p.row(i);
    double sum = 0;
    for (int32_t c = 0; c < p.k; ++c) {
      if (!std::isfinite(row[c]) || (!p.is_logit && row[c] < 0)) [[unlikely]] {
        fail(stem, p.is_logit || !std::isfinite(row[c]) ? "scores must be finite, got " : "probabilities must be >= 0, got ",
             row[c], " at row ", i, ", class ", c, of);
      }
      sum += row[c];
    }
    check(p.is_logit || std::abs(sum - 1) <= 1e-3, stem, "rows must sum to 1, got ", sum, " at row ", i, of, " (logits?)");
  }
}

void check_labels(std::string_view stem, std::span<const int32_t> labels, int64_t n, int32_t k) {
  check(static_cast<int64_t>(labels.size()) == n, stem, "labels must be one per row, got ", labels.size(), " for ", n);
  for (size_t i = 0; i < labels.size(); ++i) {
    check(labels[i] >= 0 && labels[i] < k, stem, "a label must be in [0, ", k, "), got ", labels[i], " at row ", i);
  }
}

std::vector<float> probabilities(const Predictions& p, double temperature, int threads) {
  const auto k = static_cast<size_t>(p.k);
  std::vector<float> out(static_cast<size_t>(p.n) * k);
  if (!p.is_logit && temperature == 1) {
    std::copy_n(p.scores, out.size(), out.begin());
    return out;
  }
  constexpr int64_t kRows = 256;
  ThreadPool pool(threads > 0 ? threads : usable_cores());
  pool.run((p.n + kRows - 1) / kRows, [&](int64_t tile, int) {
    const int64_t first = tile * kRows;
    const auto rows = static_cast<size_t>(std::min(kRows, p.n - first));
    std::vector<float> acc(rows * k), scratch(16 * k), logs;
    const float* z = p.row(first);
    if (!p.is_logit) {
      logs.resize(rows * k);
      for (size_t i = 0; i < logs.size(); ++i) logs[i] = static_cast<float>(det_log(std::max(z[i], kMinProbability)));
      z = logs.data();
    }
    add_softmax(z, rows, k, static_cast<float>(1 / temperature), 1, acc.data(), rows, scratch.data());
    float* to = out.data() + static_cast<size_t>(first) * k;
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < k; ++c) to[r * k + c] = acc[c * rows + r];
    }
  });
  return out;
}

int32_t top_class(const float* row, int32_t k) {
  int32_t top = 0;
  for (int32_t c = 1; c < k; ++c) top = row[c] > row[top] ? c : top;
  return top;
}

std::vector<int32_t> top_classes(const Predictions& p) {
  std::vector<int32_t> out(static_cast<size_t>(p.n));
  for (int64_t i = 0; i < p.n; ++i) out[static_cast<size_t>(i)] = top_class(p.row(i), p.k);
  return out;
}

}  // namespace ballast
