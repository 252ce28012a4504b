#include <ballast/norm/weight_norm.h>

#include <map>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>
#include <ballast/norm/channel_ops.h>
#include <ballast/norm/parametrized_layer.h>

namespace ballast {
namespace {

// All dimensions but `dim`.
std::vector<int64_t> norm_dims(const torch::Tensor& v, std::optional<int64_t> dim) {
  if (dim) {
    check(*dim >= -v.dim() && *dim < v.dim(), "weight_norm", "dim must be in [", -v.dim(), ", ", v.dim() - 1, "], got ",
          *dim);
  }
  std::vector<int64_t> dims;
  for (int64_t d = 0; d < v.dim(); ++d) {
    if (!dim || d != (*dim + v.dim()) % v.dim()) dims.push_back(d);
  }
  return dims;
}

torch::Tensor norm_of(const torch::Tensor& v, std::optional<int64_t> dim) {
  const std::vector<int64_t> dims = norm_dims(v, dim);
  // A vector with its own dimension kept has nothing to sum over; an empty list would mean all of it.
  return dims.empty() ? v.abs() : at::linalg_vector_norm(v, 2, dims, /*keepdim=*/true);
}

}  // namespace

torch::Tensor weight_norm(const torch::Tensor& v, const torch::Tensor& g, const WeightNormOptions& options) {
  check(v.is_floating_point(), "weight_norm", "v must be floating point, got ", v.scalar_type());
  if (detail::is_half(v)) {
    return weight_norm(v.to(torch::kFloat), g.to(torch::kFloat), options).to(v.scalar_type());
  }
  const torch::Tensor norm = norm_of(v, options.dim);
  check(options.dim ? g.sizes() == norm.sizes() : g.numel() == 1, "weight_norm", "g must have shape ",
        shape_text(norm.sizes()), ", got ", shape_text(g.sizes()));
  return v * ((options.dim ? g : g.reshape(norm.sizes())) / norm.clamp_min(1e-12));
}

void WeightNormParametrization::Parts::reset() {
  original0 = register_parameter("original0", original0.detach().clone());
  original1 = register_parameter("original1", original1.detach().clone());
}

WeightNormParametrization::WeightNormParametrization(const torch::Tensor& w, WeightNormOptions given, bool is_transposed)
    : options(given), transposed(is_transposed) {
  torch::NoGradGuard no_grad;
  const torch::Tensor norm = norm_of(w, options.dim);
  weight = std::make_shared<Parts>(w, options.dim ? norm : norm.reshape({}));
  reset();
}

void WeightNormParametrization::reset() {
  weight = register_module("weight", std::make_shared<Parts>(weight->original1, weight->original0));
}

torch::Tensor WeightNormParametrization::compute(bool) {
  return weight_norm(weight->original1, weight->original0, options);
}

void WeightNormParametrization::refresh() {
  torch::NoGradGuard no_grad;
  weight->original0.copy_(norm_of(weight->original1, options.dim).reshape(weight->original0.sizes()));
}

torch::Tensor WeightNormParametrization::after(torch::Tensor y, const torch::Tensor& bias) {
  if (!data_init) return y;
  DataInit& init = *data_init;
  const int64_t weight_dims = weight->original1.dim();
  const int64_t channel = weight_dims == 2 ? y.dim() - 1 : 1;
  const bool of_outputs = options.dim && (*options.dim + weight_dims) % weight_dims == (transposed ? 1 : 0) &&
                          weight->original0.numel() == y.size(channel);
  if (!of_outputs || !bias.defined() || y.numel() == 0) return y;
  std::vector<int64_t> over, view(static_cast<size_t>(y.dim()), 1);
  for (int64_t d = 0; d < y.dim(); ++d) {
    if (d != channel) over.push_back(d);
  }
  view[static_cast<size_t>(channel)] = y.size(channel);
  const torch::Tensor flat_bias = bias.detach();
  if (!init.scale.defined()) {
    const torch::Tensor exact = y.detach().to(torch::kDouble);
    const torch::Tensor mean = exact.mean(over, /*keepdim=*/true);
    const torch::Tensor std = (exact - mean).square().mean(over).sqrt();
    for (int64_t c = 0; c < std.numel(); ++c) {
      const double s = std[c].item<double>();
      // A channel of equal values leaves rounding errors of its size.
      check(s > 1e-6 * std::abs(mean.flatten()[c].item<double>()) && s > 0, "weight_norm", "channel ", c, " of ",
            init.layer, " must vary, got std ", s > 0 ? s : 0.0);
    }
    init.bias = bias;
    init.scale = 1 / std;
    init.shift = (flat_bias.to(torch::kDouble) - mean.flatten()) / std;
  }
  const auto as_channels = [&](const torch::Tensor& t) { return t.to(y.scalar_type()).view(view); };
  return (y - flat_bias.view(view)) * as_channels(init.scale) + as_channels(init.shift);
}

bool WeightNormParametrization::load_old_names(torch::serialize::InputArchive& archive) {
  torch::Tensor g, v;
  if (!archive.try_read("weight_g", g) || !archive.try_read("weight_v", v)) return false;
  torch::NoGradGuard no_grad;
  weight->original0.copy_(g);
  weight->original1.copy_(v);
  return true;
}

int64_t weight_norm_data_init(torch::nn::Module& model, const std::function<torch::Tensor(const torch::Tensor&)>& forward,
                              const torch::Tensor& x) {
  std::vector<WeightNormParametrization*> layers;
  const auto end = [&] {
    for (WeightNormParametrization* layer : layers) layer->data_init.reset();
  };
  // By name and without shared_from_this, so that a model may stand on the stack.
  const std::function<void(torch::nn::Module&, const std::string&)> find = [&](torch::nn::Module& module,
                                                                              const std::string& name) {
    if (auto* layer = dynamic_cast<WeightNormParametrization*>(&module)) {
      layers.push_back(layer);
      layer->data_init = std::make_shared<WeightNormParametrization::DataInit>();
      const size_t dot = name.rfind('.');
      layer->data_init->layer = dot == std::string::npos ? "the layer" : name.substr(0, dot);
    }
    for (const auto& child : module.named_children()) {
      find(*child.value(), name.empty() ? child.key() : name + '.' + child.key());
    }
  };
  find(model, "");
  int64_t set = 0;
  try {
    torch::NoGradGuard no_grad;
    forward(x);
    for (WeightNormParametrization* layer : layers) {
      const WeightNormParametrization::DataInit& init = *layer->data_init;
      if (!init.scale.defined()) continue;
      torch::Tensor& g = layer->weight->original0;
      g.mul_(init.scale.to(g.scalar_type()).reshape(g.sizes()));
      torch::Tensor b = init.bias;
      b.copy_(init.shift);
      ++set;
    }
  } catch (...) {
    end();
    throw;
  }
  end();
  return set;
}

template class ReparametrizedLayerImpl<Conv2dLayerOptions, WeightNormParametrization>;
template class ReparametrizedLayerImpl<ConvTranspose2dLayerOptions, WeightNormParametrization>;
template class ReparametrizedLayerImpl<LinearLayerOptions, WeightNormParametrization>;

}  // namespace ballast
