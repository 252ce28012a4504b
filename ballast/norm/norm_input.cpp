#include <ballast/norm/norm_input.h>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>

namespace ballast::detail {

std::string shape_text(const torch::Tensor& x) { return ballast::shape_text(x.sizes()); }

int64_t values_per_channel(const torch::Tensor& x) { return x.numel() == 0 ? 0 : x.numel() / x.size(1); }

void check_channels(std::string_view stem, const torch::Tensor& x, int64_t channels) {
  check(x.is_floating_point(), stem, "x must be floating point, got ", c10::toString(x.scalar_type()));
  if (x.dim() < 2) fail(stem, "x must have at least 2 dimensions, got ", shape_text(x));
  if (x.size(1) != channels) fail(stem, "x must have ", channels, " channels, got ", shape_text(x));
}

void check_last(std::string_view stem, const torch::Tensor& x, at::IntArrayRef shape) {
  check(x.is_floating_point(), stem, "x must be floating point, got ", c10::toString(x.scalar_type()));
  const int64_t own = static_cast<int64_t>(shape.size());
  if (own < 1 || x.dim() < own || x.sizes().slice(static_cast<size_t>(x.dim() - own)) != shape) {
    fail(stem, "the last dimensions of x must be ", ballast::shape_text(shape), ", got ", shape_text(x));
  }
}

bool is_fused(Act act) {
  switch (act) {
    case Act::none: case Act::relu: case Act::relu6: case Act::leaky_relu: case Act::silu: case Act::hardswish: return true;
    default: return false;
  }
}

void check_eps_and_act(std::string_view stem, double eps, Act act) {
  check(eps > 0, stem, "eps must be > 0, got ", eps);
  check(is_fused(act), stem, "act must be one of none, relu, relu6, leaky_relu, silu, hardswish, got ", act_name(act));
}

void check_parameter(std::string_view stem, std::string_view name, const torch::Tensor& t, at::IntArrayRef shape) {
  if (t.defined() && t.sizes() != shape) {
    fail(stem, name, " must have the shape ", ballast::shape_text(shape), ", got ", shape_text(t));
  }
}

}  // namespace ballast::detail
