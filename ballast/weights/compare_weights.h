#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ballast/weights/state_dict.h>

namespace ballast {

enum class DifferenceKind {
  only_a,
  only_b,
  shape,
  type,    ///< other element types; the values are compared as doubles
  values,
};

/// A tensor in which two state dicts differ.
struct TensorDifference {
  std::string name;
  DifferenceKind kind = DifferenceKind::values;
  std::vector<int64_t> shape_a, shape_b;
  std::string type_a, type_b;       ///< "Float", "BFloat16"; "" where it is missing
  int64_t numbers = 0;              ///< of the tensor, where both have it in one shape
  int64_t differing = 0;            ///< numbers whose bits differ (kind type: whose values do)
  double largest = 0;               ///< of |a - b|; infinite where one is not finite
  /// Largest distance in units in the last place: how many numbers of the type lie between a and b. -1: kind type, or no
  /// floating type, or a NaN.
  int64_t ulps = -1;
  std::vector<int64_t> first;       ///< index of the first differing number
  double first_a = 0, first_b = 0;
};

/// Of two state dicts.
struct CompareReport {
  int64_t tensors_a = 0, tensors_b = 0, equal = 0;
  std::vector<TensorDifference> differences;  ///< in order of name; the first is the first differing tensor
  double largest = 0;                         ///< of all
  int64_t ulps = -1;
  bool same() const { return differences.empty(); }
};

/// Compares bit by bit: two NaNs of one pattern are equal, 0 and -0 differ (by 0 ulps).
CompareReport compare_weights(const StateDict& a, const StateDict& b);

/// "only in A", "other shape", ...
std::string_view difference_name(DifferenceKind kind);

}  // namespace ballast
