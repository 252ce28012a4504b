#include <ballast/ensemble/weights.h>

#include <algorithm>
#include <cmath>

#include <ballast/base/check.h>
#include <ballast/base/cpu.h>
#include <ballast/base/detmath.h>
#include <ballast/base/thread_pool.h>

namespace ballast {

std::vector<float> true_class_probabilities(std::span<const Predictions> members, std::span<const int32_t> label, int threads) {
  check_members("weights", members);
  check_labels("weights", label, members[0].n, members[0].k);
  const size_t n = label.size();
  std::vector<float> out(members.size() * n);
  for (size_t m = 0; m < members.size(); ++m) {
    check_scores("weights", members[m], static_cast<int64_t>(m));
    const auto p = probabilities(members[m], 1, threads);
    const auto k = static_cast<size_t>(members[m].k);
    for (size_t i = 0; i < n; ++i) out[m * n + i] = std::max(p[i * k + static_cast<size_t>(label[i])], kTinyProbability);
  }
  return out;
}

FittedWeights fit_weights(std::span<const Predictions> members, std::span<const int32_t> label, int threads) {
  const std::vector<float> p = true_class_probabilities(members, label, threads);
  const size_t n = label.size(), count = members.size();
  check(n > 0, "weights", "at least one row is required, got none");
  FittedWeights out;
  out.weights.assign(count, 1 / static_cast<double>(count));

  constexpr size_t kChunk = 4096;
  const size_t chunks = (n + kChunk - 1) / kChunk;
  std::vector<double> sums(chunks * count);
  ThreadPool pool(threads > 0 ? threads : usable_cores());
  const auto nll = [&] {
    double sum = 0;
    for (size_t i = 0; i < n; ++i) {
      double mix = 0;
      for (size_t m = 0; m < count; ++m) mix += out.weights[m] * static_cast<double>(p[m * n + i]);
      sum -= det_log(mix);
    }
    return sum / static_cast<double>(n);
  };
  out.nll_uniform = nll();
  while (true) {
    pool.run(static_cast<int64_t>(chunks), [&](int64_t chunk, int) {
      const size_t begin = static_cast<size_t>(chunk) * kChunk, end = std::min(n, begin + kChunk);
      std::vector<double> inverse(end - begin, 0.0);
      for (size_t m = 0; m < count; ++m) {
        if (out.weights[m] == 0) continue;
        for (size_t i = begin; i < end; ++i) inverse[i - begin] += out.weights[m] * static_cast<double>(p[m * n + i]);
      }
      for (double& x : inverse) x = 1 / x;
      for (size_t m = 0; m < count; ++m) {
        double sum = 0;
        for (size_t i = begin; i < end; ++i) sum += static_cast<double>(p[m * n + i]) * inverse[i - begin];
        sums[static_cast<size_t>(chunk) * count + m] = sum;
      }
    });
    double best = 0, total = 0;
    std::vector<double> gain(count, 0.0);
    for (size_t m = 0; m < count; ++m) {
      for (size_t c = 0; c < chunks; ++c) gain[m] += sums[c * count + m];
      gain[m] /= static_cast<double>(n);
      best = std::max(best, gain[m]);
    }
    out.certificate = std::max(0.0, det_log(best));
    if (best - 1 <= 1e-5 || out.rounds >= 5000) break;
    for (size_t m = 0; m < count; ++m) total += out.weights[m] *= gain[m];
    for (double& w : out.weights) w /= total;
    ++out.rounds;
  }
  out.nll = nll();
  return out;
}

}  // namespace ballast
