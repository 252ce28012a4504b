#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ballast/base/key.h>

namespace ballast {

/// Positions, ascending, that a split takes from a list of pictures.
struct SplitParts {
  std::vector<int64_t> rest, val, test;
};

/// Takes shares for `val` and `test` out of pictures with these labels and groups.
///
/// Stratified  of class c with n_c pictures the first round(val n_c) of an order keyed by
/// key.fold_in(c) become `val`,
///             the next round(test n_c) `test`; halves round to even.
/// Groups      pictures of equal group stay together: a whole group goes where its first picture
/// goes, so a part may
///             hold a few more than its share.
/// Errors      std::invalid_argument unless 0 <= val, test and val + test < 1.
SplitParts split_stratified(std::span<const int64_t> labels, std::span<const int64_t> groups,
                            double val, double test, Key key);

/// `limit` positions, ascending, in which classes keep their shares: n_c limit / n rounded down, at
/// least 1, the rest to the largest remainders (lower class first); within a class the first of an
/// order keyed by key.fold_in(c). All positions if there are no more than `limit`. Errors
/// std::invalid_argument if limit is less than the number of classes that occur.
std::vector<int64_t> limit_stratified(std::span<const int64_t> labels, int64_t limit, Key key);

}  // namespace ballast
