#include <ballast/init/round.h>

#include <cmath>
#include <limits>

#include <ballast/init/fill.h>

namespace ballast::detail {
namespace {

// The neighbour of x, a value of the dtype, towards +-infinity.
template <class T>
double neighbour(double x, bool up) {
  if constexpr (sizeof(T) >= 4) {
    const T to = up ? std::numeric_limits<T>::infinity() : -std::numeric_limits<T>::infinity();
    return static_cast<double>(std::nextafter(static_cast<T>(x), to));
  } else {
    T value = static_cast<T>(static_cast<float>(x));
    if (static_cast<float>(value) == 0) {
      value.x = up ? 0x0001 : 0x8001;
    } else {
      value.x = static_cast<decltype(value.x)>(value.x + ((static_cast<float>(value) > 0) == up ? 1 : -1));
    }
    return static_cast<double>(static_cast<float>(value));
  }
}

struct Rounded {
  double nearest, below, above;
};

Rounded rounded(double x, torch::Dtype dtype) {
  Rounded r{};
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "round", [&] {
    r.nearest = static_cast<double>(to_dtype<scalar_t>(x));
    r.below = neighbour<scalar_t>(r.nearest, false);
    r.above = neighbour<scalar_t>(r.nearest, true);
  });
  return r;
}

}  // namespace

double largest_below(double b, torch::Dtype dtype) {
  const Rounded r = rounded(b, dtype);
  return r.nearest < b ? r.nearest : r.below;
}

double smallest_from(double a, torch::Dtype dtype) {
  const Rounded r = rounded(a, dtype);
  return r.nearest >= a ? r.nearest : r.above;
}

double largest_to(double b, torch::Dtype dtype) {
  const Rounded r = rounded(b, dtype);
  return r.nearest <= b ? r.nearest : r.below;
}

}  // namespace ballast::detail
