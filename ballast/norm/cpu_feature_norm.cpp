#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include <ballast/base/stream.h>
#include <ballast/norm/cpu_array.h>
#include <ballast/norm/cpu_norm.h>
#include <ballast/norm/feature_kernel.h>

namespace ballast::detail {
namespace {

using norm_kernel::Elem;
using norm_kernel::FeatureNorm;
using norm_kernel::Features;

// The sets of x that are normalized alone, cut into tasks by shapes only.
struct Plan {
  int64_t size = 0;           // values of a set
  int64_t sets = 0;           // of all x
  int64_t rows = 1, wide = 0; // columns: samples, and sets of each
  bool columns = false, streams = false;
  int64_t chunk = 0, tasks = 0;
  int64_t element_size = 0, compute_size = 0;

  Plan(const torch::Tensor& x, int64_t dims) : element_size(x.element_size()) {
    compute_size = x.scalar_type() == torch::kDouble ? 8 : 4;
    if (dims > 0) {
      size = 1;
      for (int64_t d = x.dim() - dims; d < x.dim(); ++d) size *= x.size(d);
    } else {
      size = x.size(1);
    }
    sets = x.numel() / size;
    streams = x.numel() * element_size >= kStreamBytes;
    columns = dims == 0 && x.is_contiguous() && sets != x.size(0);
    if (columns) {
      rows = x.size(0);
      wide = sets / rows;
      chunk = std::min(wide, std::max<int64_t>(64, 65'536 / size / 64 * 64));
      tasks = rows * ((wide + chunk - 1) / chunk);
    } else {
      chunk = std::max<int64_t>(64, 262'144 / size / 64 * 64);
      tasks = (sets + chunk - 1) / chunk;
    }
  }

  struct Task {
    Features features;
    int64_t x, statistic;  // bytes into x, and into an array of the compute type by set
  };
  Task task(int64_t k) const {
    if (!columns) {
      const int64_t first = k * chunk, n = std::min(chunk, sets - first);
      return {{static_cast<size_t>(n), static_cast<size_t>(size), 0, streams}, first * size * element_size, first * compute_size};
    }
    const int64_t tiles = tasks / rows, row = k / tiles, first = k % tiles * chunk, n = std::min(chunk, wide - first);
    return {{static_cast<size_t>(n), static_cast<size_t>(size), static_cast<size_t>(wide), streams},
            (row * size * wide + first) * element_size,
            (row * wide + first) * compute_size};
  }
};

torch::Tensor prepared(const torch::Tensor& t, const torch::Tensor& x, int64_t dims, at::ScalarType type) {
  return t.to(type).contiguous(dims > 0 ? at::MemoryFormat::Contiguous : x.suggest_memory_format());
}

at::ScalarType kernel_type(const torch::Tensor& x) {
  return x.scalar_type() == torch::kHalf ? torch::kFloat : x.scalar_type();
}

torch::Tensor parameter_of(const torch::Tensor& t, at::ScalarType compute) {
  return t.defined() ? t.to(compute).contiguous() : t;
}

const void* pointer(const torch::Tensor& t) { return t.defined() && t.numel() > 0 ? t.data_ptr() : nullptr; }

std::vector<int64_t> statistic_shape(const torch::Tensor& x, int64_t dims) {
  std::vector<int64_t> shape = x.sizes().vec();
  if (dims > 0) {
    shape.resize(static_cast<size_t>(x.dim() - dims));
  } else {
    shape.erase(shape.begin() + 1);
  }
  return shape;
}

}  // namespace

FeatureNormResult feature_norm_cpu(const torch::Tensor& given, int64_t dims, const torch::Tensor& weight,
                                   const torch::Tensor& bias, double eps, bool rms, Fused fused) {
  const torch::Tensor x = prepared(given, given, dims, kernel_type(given));
  const at::ScalarType compute = x.scalar_type() == torch::kDouble ? torch::kDouble : torch::kFloat;
  FeatureNormResult r;
  r.y = at::empty_like(x);
  r.rstd = at::empty(statistic_shape(x, dims), x.options().dtype(compute));
  r.mean = rms ? at::empty({0}, r.rstd.options()) : at::empty_like(r.rstd);
  if (x.numel() > 0) {
    const Plan plan(x, dims);
    const torch::Tensor gamma = parameter_of(weight, compute), beta = parameter_of(bias, compute);
    const FeatureNorm norm{pointer(gamma), pointer(beta), eps, rms, slope_of(fused)};
    const Elem elem = elem_of(x);
    at::parallel_for(0, plan.tasks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const Plan::Task t = plan.task(k);
        norm_kernel::feature_forward(elem, bytes_of(x) + t.x, bytes_of(r.y) + t.x, t.features, norm,
                                     rms ? nullptr : bytes_of(r.mean) + t.statistic, bytes_of(r.rstd) + t.statistic);
      }
      norm_kernel::end_stream();
    });
  }
  r.y = r.y.to(given.scalar_type());
  return r;
}

std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> feature_norm_backward_cpu(
    const torch::Tensor& given_dy, const torch::Tensor& given, int64_t dims, const torch::Tensor& weight,
    const torch::Tensor& bias, const torch::Tensor& mean, const torch::Tensor& rstd, double eps, bool rms, Fused fused) {
  const torch::Tensor x = prepared(given, given, dims, kernel_type(given));
  const torch::Tensor dy = prepared(given_dy, x, dims, x.scalar_type());
  const at::ScalarType compute = x.scalar_type() == torch::kDouble ? torch::kDouble : torch::kFloat;
  torch::Tensor dx = at::empty_like(x);
  const int64_t size = x.numel() > 0 ? Plan(x, dims).size : weight.defined() ? weight.numel() : 0;
  std::vector<double> dgamma(static_cast<size_t>(size)), dbeta(static_cast<size_t>(size));
  if (x.numel() > 0) {
    const Plan plan(x, dims);
    const torch::Tensor gamma = parameter_of(weight, compute), beta = parameter_of(bias, compute);
    const FeatureNorm norm{pointer(gamma), pointer(beta), eps, rms, slope_of(fused)};
    const Elem elem = elem_of(x);
    const torch::Tensor means = mean.contiguous(), rstds = rstd.contiguous();
    const size_t n = static_cast<size_t>(size);
    std::vector<double> partial(static_cast<size_t>(plan.tasks) * 2 * n);
    at::parallel_for(0, plan.tasks, 1, [&](int64_t begin, int64_t end) {
      ComputeArray scratch(elem, 2 * static_cast<size_t>(plan.columns ? plan.chunk : size));
      for (int64_t k = begin; k < end; ++k) {
        const Plan::Task t = plan.task(k);
        double* own = partial.data() + static_cast<size_t>(k) * 2 * n;
        norm_kernel::feature_backward(elem, bytes_of(dy) + t.x, bytes_of(x) + t.x, bytes_of(dx) + t.x, t.features, norm,
                                      rms ? nullptr : bytes_of(means) + t.statistic, bytes_of(rstds) + t.statistic, own,
                                      own + n, scratch.data());
      }
      norm_kernel::end_stream();
    });
    for (size_t k = 0; k < static_cast<size_t>(plan.tasks); ++k) {
      const double* own = partial.data() + k * 2 * n;
      for (size_t i = 0; i < n; ++i) {
        dgamma[i] += own[i];
        dbeta[i] += own[n + i];
      }
    }
  }
  const torch::Tensor none = at::empty({0}, rstd.options());
  if (weight.defined() && x.numel() == 0) {
    return {dx.to(given.scalar_type()), at::zeros_like(weight), bias.defined() ? at::zeros_like(bias) : none};
  }
  return {dx.to(given.scalar_type()), gradient_of(weight, dgamma, rstd), gradient_of(bias, dbeta, rstd)};
}

}  // namespace ballast::detail
