#pragma once

#include <cstdint>
#include <optional>

#include <ballast/base/key.h>

namespace ballast {

/// Which of n pictures stands at a position of an epoch. Nothing is stored; any position at once.
class EpochOrder {
 public:
  /// A permutation keyed by Key(seed).fold_in("order").fold_in(epoch).
  static EpochOrder shuffled(Key seed, uint64_t epoch, uint64_t n) {
    return EpochOrder(Permutation(seed.fold_in("order").fold_in(epoch), n));
  }
  /// Position i holds picture i.
  static EpochOrder sequential() { return EpochOrder(std::nullopt); }

  uint64_t operator()(uint64_t position) const {
    return permutation_ ? (*permutation_)(position) : position;
  }

 private:
  explicit EpochOrder(std::optional<Permutation> permutation) : permutation_(permutation) {}
  std::optional<Permutation> permutation_;
};

}  // namespace ballast
