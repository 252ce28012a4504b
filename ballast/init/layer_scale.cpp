#include <ballast/init/layer_scale.h>

#include <cmath>
#include <ostream>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>

namespace ballast {

LayerScaleImpl::LayerScaleImpl(LayerScaleOptions given) : options(given) {
  check(options.dim >= 1, "layer_scale", "dim must be >= 1, got ", options.dim);
  check(std::isfinite(options.init), "layer_scale", "init must be finite, got ", options.init);
  reset();
}

void LayerScaleImpl::reset() {
  gamma = register_parameter("gamma", torch::full({options.dim}, options.init));
}

torch::Tensor LayerScaleImpl::forward(const torch::Tensor& x) const {
  const int64_t at = options.channel_dim < 0 ? options.channel_dim + x.dim() : options.channel_dim;
  check(at >= 0 && at < x.dim() && x.size(at) == options.dim, "layer_scale", "x must have ", options.dim, " channels, got ",
        shape_text(x.sizes()));
  std::vector<int64_t> shape(static_cast<size_t>(x.dim() - at), 1);
  shape[0] = options.dim;
  return x * gamma.view(shape);
}

void LayerScaleImpl::pretty_print(std::ostream& stream) const {
  stream << "LayerScale(" << options.dim << ", init " << options.init << ')';
}

}  // namespace ballast
