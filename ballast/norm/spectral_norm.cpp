#include <ballast/norm/spectral_norm.h>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>
#include <ballast/norm/channel_ops.h>
#include <ballast/norm/parametrized_layer.h>
#include <ballast/ops/pieces.h>

namespace ballast {
namespace {

constexpr int64_t kFirstIterations = 15;

torch::Tensor unit(const torch::Tensor& x, double eps) {
  return x / at::linalg_vector_norm(x, 2).clamp_min(eps);
}

torch::Tensor as_matrix(const torch::Tensor& w, int64_t dim) {
  return (dim == 0 ? w : w.transpose(0, dim)).flatten(1);
}

// normal numbers of the key, as a unit vector in w's type.
torch::Tensor draw_unit(int64_t size, const torch::Tensor& w, Key key) {
  std::vector<double> values(static_cast<size_t>(size));
  fill_normal(key, 0, values);
  const torch::Tensor t = torch::from_blob(values.data(), {size}, torch::kDouble);
  return unit(t, 1e-12).to(w.device(), w.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
}

void check_options(const SpectralNormOptions& options) {
  check(options.n_power_iterations >= 1, "spectral_norm", "n_power_iterations must be >= 1, got ",
        options.n_power_iterations);
  check(options.eps > 0, "spectral_norm", "eps must be > 0, got ", options.eps);
}

}  // namespace

SpectralNormResult spectral_norm(const torch::Tensor& weight, const torch::Tensor& u0, const torch::Tensor& v0, bool training,
                                 const SpectralNormOptions& options) {
  check_options(options);
  check(weight.is_floating_point(), "spectral_norm", "weight must be floating point, got ", weight.scalar_type());
  check(weight.dim() >= 2, "spectral_norm", "weight must have at least 2 dimensions, got ", shape_text(weight.sizes()));
  check(options.dim >= 0 && options.dim < weight.dim(), "spectral_norm", "dim must be in [0, ", weight.dim() - 1, "], got ",
        options.dim);
  if (detail::is_half(weight)) {
    SpectralNormResult r =
        spectral_norm(weight.to(torch::kFloat), u0.to(torch::kFloat), v0.to(torch::kFloat), training, options);
    return {r.w.to(weight.scalar_type()), r.u.to(u0.scalar_type()), r.v.to(v0.scalar_type())};
  }
  const torch::Tensor matrix = as_matrix(weight, options.dim);
  check(u0.numel() == matrix.size(0) && v0.numel() == matrix.size(1), "spectral_norm", "u and v must have sizes ",
        matrix.size(0), " and ", matrix.size(1), ", got ", u0.numel(), " and ", v0.numel());
  torch::Tensor u, v;
  {
    torch::NoGradGuard no_grad;
    u = u0.detach().clone();
    v = v0.detach().clone();
    if (training) {
      const torch::Tensor m = matrix.detach();
      for (int64_t i = 0; i < options.n_power_iterations; ++i) {
        u = ops::on_one_thread([&] { return unit(at::mv(m, v), options.eps); });
        v = ops::on_one_thread([&] { return unit(at::mv(m.t(), u), options.eps); });
      }
    }
  }
  const torch::Tensor sigma = ops::on_one_thread([&] { return at::dot(u, at::mv(matrix, v)); });
  return {weight / sigma.clamp_min(options.eps), u, v};
}

void SpectralNormParametrization::Vectors::reset() {
  _u = register_buffer("_u", _u.detach().clone());
  _v = register_buffer("_v", _v.detach().clone());
}

void SpectralNormParametrization::Parts::reset() {
  original = register_parameter("original", original.detach().clone());
  vectors = register_module("0", std::make_shared<Vectors>(vectors->_u, vectors->_v));
}

SpectralNormParametrization::SpectralNormParametrization(const torch::Tensor& w, SpectralNormOptions given, bool transposed)
    : options(given) {
  check_options(options);
  if (transposed && options.dim == 0) options.dim = 1;
  const torch::Tensor matrix = as_matrix(w, options.dim);
  const auto zeros = [&](int64_t n) { return torch::zeros({n}, w.options().requires_grad(false)); };
  weight = std::make_shared<Parts>(w, std::make_shared<Vectors>(zeros(matrix.size(0)), zeros(matrix.size(1))));
  reset();
  refresh();
}

void SpectralNormParametrization::reset() {
  weight = register_module("weight", std::make_shared<Parts>(weight->original, weight->vectors));
}

torch::Tensor SpectralNormParametrization::compute(bool training) {
  const SpectralNormResult r = spectral_norm(weight->original, weight->vectors->_u, weight->vectors->_v, training, options);
  if (training) {
    // The graph holds r.u and r.v, so writing the buffers leaves earlier forwards valid.
    torch::NoGradGuard no_grad;
    weight->vectors->_u.copy_(r.u);
    weight->vectors->_v.copy_(r.v);
  }
  return r.w;
}

void SpectralNormParametrization::refresh() {
  torch::NoGradGuard no_grad;
  const torch::Tensor& w = weight->original;
  SpectralNormOptions first = options;
  first.n_power_iterations = kFirstIterations;
  const torch::Tensor u = draw_unit(weight->vectors->_u.numel(), w, Key(0).fold_in("spectral_norm").fold_in("u"));
  const torch::Tensor v = draw_unit(weight->vectors->_v.numel(), w, Key(0).fold_in("spectral_norm").fold_in("v"));
  const SpectralNormResult r = spectral_norm(w, u, v, /*training=*/true, first);
  weight->vectors->_u.copy_(r.u);
  weight->vectors->_v.copy_(r.v);
}

bool SpectralNormParametrization::load_old_names(torch::serialize::InputArchive& archive) {
  torch::Tensor w, u, v;
  if (!archive.try_read("weight_orig", w)) return false;
  torch::NoGradGuard no_grad;
  weight->original.copy_(w);
  if (archive.try_read("weight_u", u, /*is_buffer=*/true) && archive.try_read("weight_v", v, /*is_buffer=*/true)) {
    weight->vectors->_u.copy_(u);
    weight->vectors->_v.copy_(v);
  } else {
    refresh();
  }
  return true;
}

template class ReparametrizedLayerImpl<Conv2dLayerOptions, SpectralNormParametrization>;
template class ReparametrizedLayerImpl<ConvTranspose2dLayerOptions, SpectralNormParametrization>;
template class ReparametrizedLayerImpl<LinearLayerOptions, SpectralNormParametrization>;

}  // namespace ballast
