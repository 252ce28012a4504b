#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ballast/base/key.h>

namespace ballast {

/// Which of the training pictures one member of an ensemble trains on.
struct Bag {
  enum class Kind : uint8_t { none, bootstrap, subset, fold };
  Kind kind = Kind::none;
  double share = 1;             ///< subset: in (0, 1)
  int64_t fold = 0, folds = 0;  ///< fold: 0 <= fold < folds, folds >= 2
};

/// "none", "bootstrap", "subset:0.8", "fold:0/5".
/// Errors   std::invalid_argument "[bag] bag must be ..., got ...".
Bag parse_bag(std::string_view text);

/// Positions, ascending: those to train on (bootstrap: with repetitions), and those of the fold
/// left out.
struct BagParts {
  std::vector<int64_t> train, left_out;
};

/// Draws a bag out of pictures with these labels and groups.
///
/// bootstrap  n draws with replacement: draw i is slot_below(key, 0, n, 0, i) (Breiman 1996)
/// subset     round(share n) pictures, classes keep their shares: limit_stratified(key)
/// fold       every picture is in one of `folds` folds: class by class, in an order keyed by
///            folds_key.fold_in(class), each
///            group to the fold that has the fewest of that class (tie: the lowest fold); trains
///            on all folds but one
///
/// Pictures of equal group stay in one fold. Errors: std::invalid_argument if fewer pictures than
/// folds.
BagParts draw_bag(const Bag& bag, std::span<const int64_t> labels, std::span<const int64_t> groups,
                  Key key, Key folds_key);

}  // namespace ballast
