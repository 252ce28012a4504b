#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <ballast/base/key.h>

namespace ballast {

/// Pictures by weight: of n places picture i gets n w_i / sum w, rounded down or up, and on average exactly that. The places lie
/// evenly on the line of summed weights, from a random start (systematic sampling): equal weights give each picture one.
class WeightedPlaces {
 public:
  struct Pick {
    uint64_t picture = 0;
    uint64_t repeat = 0;  ///< 0 at the picture's first place, then 1, 2, ...
  };

  /// Weights >= 0, finite, not all 0.
  explicit WeightedPlaces(std::span<const double> weights);
  uint64_t size() const { return sums_.size(); }
  /// Who has place q < size(), for a start u in [0, 1) that is a multiple of 2^-20. O(log n).
  Pick pick(uint64_t q, double u) const;

 private:
  uint64_t picture_at(uint64_t q, double u) const;
  std::vector<double> sums_;  // of the weights up to each picture
  double step_ = 1;
};

/// Which picture stands at a position of an epoch. Nothing is stored for an epoch; any position at once.
class EpochOrder {
 public:
  using Pick = WeightedPlaces::Pick;

  /// A permutation keyed by Key(seed).fold_in("order").fold_in(epoch); with `weights`, of their places, whose start is keyed by
  /// .fold_in("start") of that.
  static EpochOrder shuffled(Key seed, uint64_t epoch, uint64_t n, std::shared_ptr<const WeightedPlaces> weights = nullptr);
  /// Position i holds picture i.
  static EpochOrder sequential() { return {}; }

  Pick operator()(uint64_t position) const {
    const uint64_t q = permutation_ ? (*permutation_)(position) : position;
    return weights_ ? weights_->pick(q, start_) : Pick{q, 0};
  }

 private:
  std::optional<Permutation> permutation_;
  std::shared_ptr<const WeightedPlaces> weights_;
  double start_ = 0;
};

}  // namespace ballast
