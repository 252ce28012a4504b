#include <ballast/data/order.h>

#include <algorithm>
#include <cmath>

#include <ballast/base/check.h>

namespace ballast {

WeightedPlaces::WeightedPlaces(std::span<const double> weights) {
  sums_.reserve(weights.size());
  double sum = 0;
  for (const double w : weights) {
    check(w >= 0 && std::isfinite(w), "order", "weights must be finite and >= 0, got ", w);
    sums_.push_back(sum += w);
  }
  check(sum > 0 && std::isfinite(sum), "order", "weights must have a finite sum above 0, got ", sum);
  step_ = sum / static_cast<double>(weights.size());
}

uint64_t WeightedPlaces::picture_at(uint64_t q, double u) const {
  const double at = (static_cast<double>(q) + u) * step_;
  const auto found = std::upper_bound(sums_.begin(), sums_.end(), at);
  // Rounding may put the last place on the end of the line: it is that of the last picture with a weight.
  const auto last = std::lower_bound(sums_.begin(), sums_.end(), sums_.back());
  return static_cast<uint64_t>(std::min(found, last) - sums_.begin());
}

WeightedPlaces::Pick WeightedPlaces::pick(uint64_t q, double u) const {
  const uint64_t picture = picture_at(q, u);
  if (q == 0 || picture_at(q - 1, u) != picture) return {picture, 0};
  // Its first place, near where its part of the line begins.
  const double begin = picture == 0 ? 0 : sums_[picture - 1];
  auto first = static_cast<uint64_t>(std::clamp(std::floor(begin / step_ - u), 0.0, static_cast<double>(q)));
  while (first > 0 && picture_at(first - 1, u) == picture) --first;
  while (picture_at(first, u) != picture) ++first;
  return {picture, q - first};
}

EpochOrder EpochOrder::shuffled(Key seed, uint64_t epoch, uint64_t n, std::shared_ptr<const WeightedPlaces> weights) {
  const Key key = seed.fold_in("order").fold_in(epoch);
  EpochOrder order;
  order.permutation_.emplace(key, n);
  if (weights) {
    check(weights->size() == n, "order", "there must be ", n, " weights, got ", weights->size());
    order.weights_ = std::move(weights);
    order.start_ = (bits32(key.fold_in("start"), 0) >> 12) * 0x1p-20;
  }
  return order;
}

}  // namespace ballast
