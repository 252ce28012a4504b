#include <ballast/ensemble/size_curve.h>

#include <algorithm>
#include <cmath>

#include <ballast/base/check.h>
#include <ballast/base/cpu.h>
#include <ballast/base/detmath.h>
#include <ballast/base/thread_pool.h>

namespace ballast {

std::vector<SizePoint> size_curve(std::span<const Predictions> members, std::span<const int32_t> label, Key key, int threads) {
  check_members("size_curve", members);
  check_labels("size_curve", label, members[0].n, members[0].k);
  const size_t count = members.size(), n = label.size(), k = static_cast<size_t>(members[0].k);
  std::vector<std::vector<float>> p;
  for (size_t m = 0; m < count; ++m) {
    check_scores("size_curve", members[m], static_cast<int64_t>(m));
    p.push_back(probabilities(members[m], 1, threads));
  }
  std::vector<SizePoint> out(count);
  for (size_t s = 0; s < count; ++s) out[s].size = static_cast<int64_t>(s + 1);
  if (n == 0) return out;
  const auto work = static_cast<double>(count * n * k);
  const auto orders = static_cast<size_t>(std::clamp(2e9 / work, 20.0, 200.0));
  struct One {
    double accuracy = 0, nll = 0, resampled_accuracy = 0, resampled_nll = 0;
  };
  std::vector<std::vector<One>> all(orders, std::vector<One>(count));
  ThreadPool pool(threads > 0 ? threads : usable_cores());
  pool.run(static_cast<int64_t>(orders), [&](int64_t at, int) {
    const Permutation order(key.fold_in("orders").fold_in(static_cast<uint64_t>(at)), count);
    const Key rows = key.fold_in("bootstrap").fold_in(static_cast<uint64_t>(at));
    std::vector<uint16_t> times(n);
    for (size_t i = 0; i < n; ++i) {
      const auto words = philox(rows, i / 2);
      const uint64_t bits = words[i % 2 * 2] | (static_cast<uint64_t>(words[i % 2 * 2 + 1]) << 32);
      ++times[static_cast<size_t>((static_cast<unsigned __int128>(bits) * n) >> 64)];
    }
    std::vector<float> sum(n * k, 0.0F);
    for (size_t s = 0; s < count; ++s) {
      const auto& q = p[static_cast<size_t>(order(s))];
      for (size_t i = 0; i < n * k; ++i) sum[i] += q[i];
      One one;
      for (size_t i = 0; i < n; ++i) {
        const float* row = sum.data() + i * k;
        const auto y = static_cast<size_t>(label[i]);
        const double right = top_class(row, static_cast<int32_t>(k)) == label[i];
        const double nll = -det_log(std::max(row[y] / static_cast<float>(s + 1), kTinyProbability));
        one.accuracy += right;
        one.nll += nll;
        one.resampled_accuracy += times[i] * right;
        one.resampled_nll += times[i] * nll;
      }
      const auto rows_of = static_cast<double>(n);
      all[static_cast<size_t>(at)][s] = {one.accuracy / rows_of, one.nll / rows_of, one.resampled_accuracy / rows_of, one.resampled_nll / rows_of};
    }
  });
  for (size_t s = 0; s < count; ++s) {
    const auto estimate = [&](double One::* whole, double One::* resampled) {
      Estimate e;
      std::vector<double> values;
      for (const auto& order : all) {
        e.value += order[s].*whole / static_cast<double>(orders);
        values.push_back(order[s].*resampled);
      }
      std::ranges::sort(values);
      e.bounds = {values[static_cast<size_t>(0.025 * static_cast<double>(orders - 1))], values[static_cast<size_t>(std::ceil(0.975 * static_cast<double>(orders - 1)))]};
      return e;
    };
    out[s].accuracy = estimate(&One::accuracy, &One::resampled_accuracy);
    out[s].nll = estimate(&One::nll, &One::resampled_nll);
  }
  return out;
}

}  // namespace ballast
