#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace ballast {

/// What one member says of each row of one split: row-major scores, not owned.
struct Predictions {
  const float* scores = nullptr;
  /// Rows and classes.
  int64_t n = 0;
  int32_t k = 0;
  /// Scores are logits; false: probabilities, rows that sum to 1.
  bool is_logit = true;

  const float* row(int64_t i) const { return scores + i * k; }
};

/// The log of a probability input is that of max(p, kMinProbability).
inline constexpr float kMinProbability = 1e-7F;
/// The lowest probability of which a negative log-likelihood is taken: 69.08 nats at most.
inline constexpr float kTinyProbability = 1e-30F;

/// Checks that there are members, and that all have equal rows and classes.
/// Errors   std::invalid_argument `[stem] members must have equal rows and classes, got 10000x10 and 9999x10 (member 2)`.
void check_members(std::string_view stem, std::span<const Predictions> members);
/// Checks one member's values. `member` is the number that the text names; negative: none.
/// Errors   `[stem] scores must be finite, got nan at row 17, class 4 of member 2`,
///          `[stem] rows must sum to 1, got 0.41 at row 3 of member 2 (logits?)` (to 1e-3).
void check_scores(std::string_view stem, const Predictions& p, int64_t member);
/// Errors   `[stem] labels must be one per row, got 9 for 10`, `[stem] a label must be in [0, 10), got 12 at row 3`.
void check_labels(std::string_view stem, std::span<const int32_t> labels, int64_t n, int32_t k);

/// p = softmax(z / temperature) row by row; probability inputs at temperature 1 are copied, else first turned into
/// log max(p, 1e-7).
///
/// Numbers   float32, the same bits on every CPU and for every number of threads (combine_kernel.h).
std::vector<float> probabilities(const Predictions& p, double temperature = 1, int threads = 0);

/// The class of the highest score of a row, the lowest id of equal ones.
int32_t top_class(const float* row, int32_t k);
std::vector<int32_t> top_classes(const Predictions& p);

}  // namespace ballast
