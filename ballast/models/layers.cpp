#include <ballast/models/layers.h>

#include <algorithm>
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

torch::Tensor Linear::forward(const torch::Tensor& x) {
  return drop_connect.is_empty() ? at::linear(x, weight, bias) : drop_connect->forward(x, weight, bias);
}

void Linear::connect(const DropSpec& spec) {
  if (spec.p == 0) return;
  drop_connect = register_module(
      "drop_connect", DropConnect(DropConnectOptions{.p = spec.p,
                                                     .per_sample = !spec.shared,
                                                     .inference = spec.gaussian ? Inference::gaussian : Inference::mean}));
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

DropPlan drops_of(const ModelOptions& o, std::initializer_list<std::string_view> places) {
  const auto spec = [&](std::string_view stem, const std::string& text) {
    const DropSpec parsed = parse_drop(stem, text);
    if (parsed.p == 0 || std::find(places.begin(), places.end(), stem) != places.end()) return parsed;
    for (const DropRow& row : kDrops) {
      if (row.stem == stem) fail(stem, o.name, " must have a place for it, got none (", row.where, ')');
    }
    return parsed;
  };
  return {.dropout = spec("dropout", o.drop),
          .spatial = spec("spatial_dropout", o.spatial_dropout),
          .alpha = spec("alpha_dropout", o.alpha_dropout),
          .connect = spec("drop_connect", o.drop_connect),
          .block = spec("drop_block", o.drop_block),
          .path = spec("drop_path", o.drop_path),
          .patch = spec("patch_dropout", o.patch_dropout)};
}

Dropout add_dropout(torch::nn::Module& owner, const std::string& name, const DropSpec& spec) {
  return spec.p == 0 ? Dropout(nullptr) : owner.register_module(name, Dropout(DropoutOptions{.p = spec.p}));
}

AlphaDropout add_alpha_dropout(torch::nn::Module& owner, const std::string& name, const DropSpec& spec) {
  return spec.p == 0 ? AlphaDropout(nullptr) : owner.register_module(name, AlphaDropout(AlphaDropoutOptions{.p = spec.p}));
}

SpatialDropout2d add_spatial_dropout(torch::nn::Module& owner, const std::string& name, const DropSpec& spec) {
  return spec.p == 0 ? SpatialDropout2d(nullptr)
                     : owner.register_module(name, SpatialDropout2d(SpatialDropoutOptions{.p = spec.p}));
}

DropBlock add_drop_block(torch::nn::Module& owner, const std::string& name, const DropSpec& spec) {
  return spec.p == 0 ? DropBlock(nullptr)
                     : owner.register_module(name, DropBlock(DropBlockOptions{
                                                       .p = spec.p, .block_size = spec.block_size, .per_channel = !spec.shared}));
}

DropPath add_drop_path(torch::nn::Module& owner, const std::string& name, const DropSpec& spec, double p) {
  return p == 0 ? DropPath(nullptr)
                : owner.register_module(
                      name, DropPath(DropPathOptions{.drop_prob = p, .mode = spec.batch ? DropPathMode::batch : DropPathMode::row}));
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
