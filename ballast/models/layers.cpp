#include <ballast/models/layers.h>

#include <ostream>

#include <ballast/base/check.h>

namespace ballast::detail {

Conv2d::Conv2d(int64_t in, int64_t out, int64_t kernel, int64_t stride_, int64_t padding_, bool with_bias)
    : stride(stride_), padding(padding_) {
  weight = register_parameter("weight", torch::empty({out, in, kernel, kernel}));
  if (with_bias) bias = register_parameter("bias", torch::empty({out}));
}

torch::Tensor Conv2d::forward(const torch::Tensor& x) const {
  return at::conv2d(x, weight, bias, {stride, stride}, {padding, padding});
}

void Conv2d::pretty_print(std::ostream& stream) const {
  stream << "Conv2d(" << weight.size(1) << ", " << weight.size(0) << ", kernel " << weight.size(2) << ", stride "
         << stride << ", padding " << padding << (bias.defined() ? "" : ", no bias") << ')';
}

Linear::Linear(int64_t in, int64_t out, bool with_bias) {
  weight = register_parameter("weight", torch::empty({out, in}));
  if (with_bias) bias = register_parameter("bias", torch::empty({out}));
}

torch::Tensor Linear::forward(const torch::Tensor& x) const {
  return at::linear(x, weight, bias);
}

void Linear::pretty_print(std::ostream& stream) const {
  stream << "Linear(" << weight.size(1) << ", " << weight.size(0) << (bias.defined() ? "" : ", no bias") << ')';
}

NormOptions Style::normed(int64_t channels, bool with_act) const {
  return {.kind = norm.kind,
          .channels = channels,
          .groups = norm.groups,
          .act = with_act ? act : Act::none,
          .act_a = act_default_a(act),
          .overwrite_input = true};
}

Style style_of(const ModelOptions& options) {
  const NormSpec norm = parse_norm(options.norm);
  return {norm, parse_act(options.act), options.init == "fixup" && norm.kind == NormKind::none};
}

torch::Tensor shifted(const torch::Tensor& x, const ScalarBias& b) {
  return b.is_empty() ? x : b->forward(x);
}

void check_input(const torch::Tensor& x, const ModelOptions& options, bool fixed) {
  const bool ok = x.dim() == 4 && x.size(1) == options.in_channels &&
                  (!fixed || (x.size(2) == options.height && x.size(3) == options.width));
  if (ok) return;
  std::ostringstream got;
  for (int64_t i = 0; i < x.dim(); ++i) got << (i ? ", " : "") << x.size(i);
  std::ostringstream size;
  if (fixed) {
    size << options.height << ", " << options.width;
  } else {
    size << "height, width";
  }
  fail(options.name, "x must have shape (N, ", options.in_channels, ", ", size.str(), "), got (", got.str(), ')');
}

}  // namespace ballast::detail
