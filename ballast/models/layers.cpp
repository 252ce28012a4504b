#include <ballast/models/layers.h>

#include <algorithm>
#include <ostream>

#include <ballast/base/check.h>
#include <ballast/norm/spectral_norm.h>
#include <ballast/norm/weight_norm.h>
#include <ballast/norm/weight_standardization.h>
#include <ballast/ops/conv2d.h>
#include <ballast/ops/linear.h>

namespace ballast::detail {

WeightLayer::WeightLayer(std::vector<int64_t> shape, bool with_bias, WeightForm weight_form, Act before)
    : form(weight_form), act(before) {
  const auto parametrize = [&](auto module) {
    register_module("parametrizations", module);
    parametrization = module.get();
    weight = parametrization->drawn();
  };
  // Not empty: these compute something of it at once.
  if (form == WeightForm::weight_norm) {
    parametrize(std::make_shared<WeightNormParametrization>(torch::zeros(shape), WeightNormOptions{}, false));
  } else if (form == WeightForm::spectral_norm) {
    parametrize(std::make_shared<SpectralNormParametrization>(torch::zeros(shape), SpectralNormOptions{}, false));
  } else {
    weight = register_parameter("weight", torch::empty(shape));
    if (form == WeightForm::weight_std) {
      std::vector<int64_t> ones(shape.size(), 1);
      ones[0] = shape[0];
      gain = register_parameter("gain", torch::ones(ones));
    }
  }
  if (with_bias) bias = register_parameter("bias", torch::empty({shape[0]}));
}

torch::Tensor WeightLayer::effective_weight() const {
  if (parametrization) return parametrization->compute(is_training());
  return form == WeightForm::weight_std ? scaled_weight_standardization(weight, gain, act) : weight;
}

void WeightLayer::set_weight(const torch::Tensor& w) {
  torch::NoGradGuard no_grad;
  weight.copy_(w);
  if (parametrization) parametrization->refresh();
  if (gain.defined()) gain.fill_(1);
}

void WeightLayer::set_weight_and_bias(const torch::Tensor& w, const torch::Tensor& b) {
  check<std::logic_error>(form == WeightForm::plain, "models", "a computed weight is followed by no norm");
  weight.set_data(w);
  if (bias.defined()) {
    bias.set_data(b);
  } else {
    bias = register_parameter("bias", b);
  }
}

std::string WeightLayer::text() const {
  const char* forms[] = {"", ", weight norm", ", spectral norm", ", standardized weight"};
  return std::string(forms[static_cast<size_t>(form)]) + (bias.defined() ? "" : ", no bias");
}

Conv2d::Conv2d(int64_t in, int64_t out, int64_t kernel, int64_t stride_, int64_t padding_, bool with_bias)
    : WeightLayer({out, in, kernel, kernel}, with_bias, WeightForm::plain, Act::none), stride(stride_), padding(padding_) {}

Conv2d::Conv2d(int64_t in, int64_t out, int64_t kernel, int64_t stride_, int64_t padding_, const Style& style)
    : WeightLayer({out, in, kernel, kernel}, style.conv_bias(), style.weight(), style.act),
      stride(stride_),
      padding(padding_) {}

torch::Tensor Conv2d::forward(const torch::Tensor& x) const {
  return after(ops::conv2d(x, effective_weight(), bias, {stride, stride}, {padding, padding}));
}

void Conv2d::pretty_print(std::ostream& stream) const {
  stream << "Conv2d(" << weight.size(1) << ", " << weight.size(0) << ", kernel " << weight.size(2) << ", stride "
         << stride << ", padding " << padding << text() << ')';
}

Linear::Linear(int64_t in, int64_t out, bool with_bias)
    : WeightLayer({out, in}, with_bias, WeightForm::plain, Act::none) {}

Linear::Linear(int64_t in, int64_t out, const Style& style)
    : WeightLayer({out, in}, /*with_bias=*/true, style.weight(), style.act) {}

torch::Tensor Linear::forward(const torch::Tensor& x) {
  const torch::Tensor w = effective_weight();
  return after(drop_connect.is_empty() ? ops::linear(x, w, bias) : drop_connect->forward(x, w, bias));
}

void Linear::connect(const DropSpec& spec) {
  if (spec.p == 0) return;
  drop_connect = register_module(
      "drop_connect", DropConnect(DropConnectOptions{.p = spec.p,
                                                     .per_sample = !spec.shared,
                                                     .inference = spec.gaussian ? Inference::gaussian : Inference::mean}));
}

void Linear::pretty_print(std::ostream& stream) const {
  stream << "Linear(" << weight.size(1) << ", " << weight.size(0) << text() << ')';
}

NormOptions Style::normed(int64_t channels, bool with_act) const {
  return {.kind = norm.kind,
          .channels = channels,
          .groups = norm.groups,
          .splits = norm.splits,
          .act = with_act ? act : Act::none,
          .act_a = act_default_a(act),
          .overwrite_input = true};
}

Style style_of(const ModelOptions& options) {
  const NormSpec norm = parse_norm(options.norm);
  return {.norm = norm,
          .act = parse_act(options.act),
          .fixup = options.init == "fixup" && norm.kind == NormKind::none && norm.weight == WeightForm::plain};
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
          .patch = spec("patch_dropout", o.patch_dropout),
          .shake = spec("shake_drop", o.shake_drop)};
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

ShakeDrop add_shake_drop(torch::nn::Module& owner, const std::string& name, double p) {
  return p == 0 ? ShakeDrop(nullptr) : owner.register_module(name, ShakeDrop(ShakeDropOptions{.p = p}));
}

torch::Tensor last_scale(const WeightLayer& layer, const NormImpl& norm) {
  return norm.weight.defined() && norm.weight.requires_grad() ? norm.weight : layer.scale();
}

void take_start(const Model& plain, Model& model) {
  torch::NoGradGuard no_grad;
  const auto sources = plain.named_modules();
  const auto copy_own = [](const torch::nn::Module& from, torch::nn::Module& to) {
    const auto values = from.named_parameters(/*recurse=*/false);
    for (auto& p : to.named_parameters(false)) {
      if (const torch::Tensor* value = values.find(p.key())) p.value().copy_(*value);
    }
  };
  for (const auto& module : model.named_modules()) {
    const auto* source = sources.find(module.key());
    if (source == nullptr) continue;
    if (auto* layer = dynamic_cast<WeightLayer*>(module.value().get())) {
      if (layer->bias.defined()) layer->bias.zero_();  // the plain model's may have none
      copy_own(**source, *layer);
      layer->set_weight(dynamic_cast<const WeightLayer&>(**source).weight);
    } else {
      copy_own(**source, *module.value());
    }
  }
  const std::vector<Branch> from = plain.branches(), to = model.branches();
  for (size_t i = 0; i < to.size(); ++i) {
    const bool at_zero = from[i].last_norm_weight.defined() && !from[i].last_norm_weight.any().item<bool>();
    if (at_zero && to[i].last_norm_weight.defined()) torch::Tensor(to[i].last_norm_weight).zero_();
  }
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
