#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace ballast {

// Votes on one row. `scores[m]` points to member m's k scores; `weight[m]` > 0. Members whose weights are equal integers
// give exact counts.

/// votes[c] = sum of the weights of the members whose top class is c.
void hard_votes(std::span<const float* const> scores, std::span<const double> weight, int32_t k, std::span<double> votes);

/// points[c] = sum_m w_m (classes below c + half of those tied with c): 0 to k - 1 from each member.
void borda_points(std::span<const float* const> scores, std::span<const double> weight, int32_t k, std::span<double> points);

struct RunoffResult {
  int32_t winner = 0;
  /// 0: no elimination was tied; 1: mean_probability decided one; 2: class ids did.
  uint8_t tie_level = 0;
};
/// Instant run-off: counts first preferences among the remaining classes. More than half of the weight wins, so does the
/// last class left; else the class with the fewest goes (of equal ones the one with the lowest mean probability, then the
/// highest id), and the count is repeated. Classes that nobody puts first go at once.
///
/// votes    the counts of the deciding round
/// mean     gives the mean probability of each class; called only if there is a tie
RunoffResult instant_runoff(std::span<const float* const> scores, std::span<const double> weight, int32_t k,
                            const std::function<std::span<const float>()>& mean, std::span<double> votes);

}  // namespace ballast
