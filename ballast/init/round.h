#pragma once

#include <torch/types.h>

namespace ballast::detail {

/// The largest value of `dtype` that is < b; the smallest that is >= a; the largest that is <= b.
double largest_below(double b, torch::Dtype dtype);
double smallest_from(double a, torch::Dtype dtype);
double largest_to(double b, torch::Dtype dtype);

}  // namespace ballast::detail
