#include <ballast/ensemble/vote.h>

#include <algorithm>
#include <numeric>

#include <ballast/ensemble/predictions.h>

namespace ballast {
namespace {

// Points twice over, so that they are integers: 2 * below + (tied - 1).
void add_points_sorted(const float* row, double w, int32_t k, std::span<double> points, std::vector<int32_t>& order) {
  order.resize(static_cast<size_t>(k));
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [row](int32_t a, int32_t b) { return row[a] < row[b]; });
  for (size_t i = 0; i < order.size();) {
    size_t end = i + 1;
    while (end < order.size() && row[order[end]] == row[order[i]]) ++end;
    const double b = static_cast<double>(i) + static_cast<double>(end - i - 1) / 2;
    for (; i < end; ++i) points[static_cast<size_t>(order[i])] += w * b;
  }
}

void add_points_counted(const float* row, double w, int32_t k, std::span<double> points) {
  for (int32_t c = 0; c < k; ++c) {
    const float x = row[c];
    int32_t twice = -1;
    for (int32_t j = 0; j < k; ++j) twice += 2 * (row[j] < x) + (row[j] == x);
    points[static_cast<size_t>(c)] += w * (0.5 * twice);
  }
}

}  // namespace

void hard_votes(std::span<const float* const> scores, std::span<const double> weight, int32_t k, std::span<double> votes) {
  std::ranges::fill(votes, 0.0);
  for (size_t m = 0; m < scores.size(); ++m) votes[static_cast<size_t>(top_class(scores[m], k))] += weight[m];
}

void borda_points(std::span<const float* const> scores, std::span<const double> weight, int32_t k, std::span<double> points) {
  std::ranges::fill(points, 0.0);
  std::vector<int32_t> order;
  for (size_t m = 0; m < scores.size(); ++m) {
    if (k <= 32) {
      add_points_counted(scores[m], weight[m], k, points);
    } else {
      add_points_sorted(scores[m], weight[m], k, points, order);
    }
  }
}

RunoffResult instant_runoff(std::span<const float* const> scores, std::span<const double> weight, int32_t k,
                            const std::function<std::span<const float>()>& mean, std::span<double> votes) {
  std::ranges::fill(votes, 0.0);
  std::vector<int32_t> first(scores.size());
  std::vector<uint8_t> left(static_cast<size_t>(k), 0);
  for (size_t m = 0; m < scores.size(); ++m) {
    first[m] = top_class(scores[m], k);
    left[static_cast<size_t>(first[m])] = 1;
  }
  const double total = std::accumulate(weight.begin(), weight.end(), 0.0);
  RunoffResult result;
  while (true) {
    std::ranges::fill(votes, 0.0);
    for (size_t m = 0; m < scores.size(); ++m) votes[static_cast<size_t>(first[m])] += weight[m];
    int32_t best = -1, fewest = -1;
    int64_t count = 0;
    for (int32_t c = 0; c < k; ++c) {
      const auto i = static_cast<size_t>(c);
      if (left[i] == 0) continue;
      ++count;
      if (best < 0 || votes[i] > votes[static_cast<size_t>(best)]) best = c;
      if (fewest < 0 || votes[i] < votes[static_cast<size_t>(fewest)]) {
        fewest = c;
      } else if (votes[i] == votes[static_cast<size_t>(fewest)]) {
        const auto p = mean();
        const float a = p[i], b = p[static_cast<size_t>(fewest)];
        result.tie_level = std::max<uint8_t>(result.tie_level, a == b ? 2 : 1);
        if (a <= b) fewest = c;
      }
    }
    if (count == 1 || votes[static_cast<size_t>(best)] > total / 2) {
      result.winner = best;
      return result;
    }
    left[static_cast<size_t>(fewest)] = 0;
    for (size_t m = 0; m < scores.size(); ++m) {
      if (first[m] != fewest) continue;
      int32_t next = -1;
      for (int32_t c = 0; c < k; ++c) {
        if (left[static_cast<size_t>(c)] != 0 && (next < 0 || scores[m][c] > scores[m][next])) next = c;
      }
      first[m] = next;
    }
  }
}

}  // namespace ballast
