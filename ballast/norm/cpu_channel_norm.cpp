#include <ATen/Parallel.h>

#include <cmath>
#include <numeric>

#include <ballast/base/stream.h>
#include <ballast/norm/channel_kernel.h>
#include <ballast/norm/cpu_array.h>
#include <ballast/norm/cpu_norm.h>
#include <ballast/norm/plane_kernel.h>

namespace ballast::detail {
namespace {

using norm_kernel::Affine;
using norm_kernel::Elem;
using norm_kernel::GradAffine;
using norm_kernel::GradSums;
using norm_kernel::Planes;
using norm_kernel::Rows;
using norm_kernel::Slope;

// How x lies in memory: planes of neighbours for each (n, c), or rows of C neighbours.
struct Layout {
  int64_t rows = 0, channels = 0, positions = 0;  // N, C, S
  bool channels_last = false;
  Elem elem = Elem::f32;
  int64_t element_size = 0;

  explicit Layout(const torch::Tensor& x)
      : rows(x.size(0)), channels(x.size(1)), positions(x.numel() / (x.size(0) * x.size(1))),
        channels_last(positions == 1 || !x.is_contiguous()), elem(elem_of(x)), element_size(x.element_size()) {}

  // Larger than the second-level caches by far.
  bool streams() const { return rows * channels * positions * element_size >= kStreamBytes; }
  // Those of a channel; one alone.
  Planes planes() const {
    return {static_cast<size_t>(rows), static_cast<size_t>(channels * positions), static_cast<size_t>(positions), streams(),
            static_cast<size_t>(positions)};
  }
  // A group's channels are written one by one, and the next group is read after them.
  Planes plane(int64_t per_group) const {
    return {1, static_cast<size_t>(positions), static_cast<size_t>(positions), streams(), static_cast<size_t>(per_group * positions)};
  }
  int64_t plane_mask() const { return static_cast<int64_t>(norm_kernel::mask_bytes(static_cast<size_t>(positions))); }
  // Narrow rows are taken together, so that vectors are full.
  int64_t together() const { return channels >= 64 ? 1 : (63 + channels) / channels; }
  int64_t width() const { return channels * together(); }
  int64_t row_mask() const { return static_cast<int64_t>(norm_kernel::mask_bytes(static_cast<size_t>(width()))); }
};

// Rows of channels that one task takes; a multiple of `together`.
int64_t rows_of_chunk(const Layout& l) {
  const int64_t wide_rows = std::max<int64_t>(1, 65'536 / l.width() / 64) * 64;
  return wide_rows * l.together();
}

// 16-bit floats that the kernels do not have go through float32.
torch::Tensor computable(const torch::Tensor& x) {
  return x.defined() && x.scalar_type() == torch::kHalf ? x.to(torch::kFloat) : x;
}
torch::Tensor laid_out(const torch::Tensor& t, const torch::Tensor& x) {
  if (!t.defined()) return t;
  return t.to(x.scalar_type()).contiguous(x.suggest_memory_format());
}

// z of one channel or group: centred at the mean as it is rounded, which the offset makes good.
Affine affine_of(double mean, double var, double eps, double weight, double bias, Elem elem) {
  const double center = elem == Elem::f64 ? mean : static_cast<double>(static_cast<float>(mean));
  const double scale = weight / std::sqrt(var + eps);
  return {center, scale, bias - (mean - center) * scale};
}

// dx of one channel: xh = (x - mean) is.
GradAffine grad_affine_of(double weight, double is, double mean_h, double mean_hx, double shift) {
  const double by_x = -is * is * mean_hx;
  return {weight * is, by_x, -is * mean_h - by_x * shift};
}

// Coefficients by column, repeated where rows are taken together.
struct Columns {
  ComputeArray center, scale, offset;
  Columns(Elem elem, size_t width) : center(elem, width), scale(elem, width), offset(elem, width) {}
  void set(size_t c, size_t channels, size_t width, const Affine& a) {
    for (; c < width; c += channels) {
      center.set(c, a.center);
      scale.set(c, a.scale);
      offset.set(c, a.offset);
    }
  }
  norm_kernel::ColumnAffine view() { return {center.data(), scale.data(), offset.data()}; }
};
struct GradColumns {
  ComputeArray by_g, by_x, constant;
  GradColumns(Elem elem, size_t width) : by_g(elem, width), by_x(elem, width), constant(elem, width) {}
  void set(size_t c, size_t channels, size_t width, const GradAffine& a) {
    for (; c < width; c += channels) {
      by_g.set(c, a.by_g);
      by_x.set(c, a.by_x);
      constant.set(c, a.constant);
    }
  }
  norm_kernel::ColumnGradAffine view() { return {by_g.data(), by_x.data(), constant.data()}; }
};

Rows rows_of(const Layout& l, int64_t rows) {
  return {static_cast<size_t>(rows * l.channels), static_cast<size_t>(l.width()), l.streams()};
}

// A shift near the mean of each column: the mean of the first rows.
ComputeArray shift_of(const Layout& l, const char* x, int64_t rows) {
  const int64_t first = std::min<int64_t>(rows, 64);
  const size_t width = static_cast<size_t>(l.width()), channels = static_cast<size_t>(l.channels);
  ComputeArray zero(l.elem, width), shift(l.elem, width);
  std::vector<double> s1(width), s2(width);
  norm_kernel::channel_sums(l.elem, x, rows_of(l, first), zero.data(), s1.data(), s2.data());
  for (size_t c = 0; c < channels; ++c) {
    double sum = 0;
    for (size_t k = c; k < width; k += channels) sum += s1[k];
    for (size_t k = c; k < width; k += channels) shift.set(k, sum / static_cast<double>(first));
  }
  return shift;
}

struct Chunks {
  int64_t size, count;
  Chunks(const Layout& l, int64_t rows) : size(rows_of_chunk(l)), count((rows + size - 1) / size) {}
};

// Runs body(first row, rows, chunk) for each chunk; bodies write nothing in common.
template <class F>
void for_chunks(const Layout& l, int64_t rows, const F& body) {
  const Chunks chunks(l, rows);
  at::parallel_for(0, chunks.count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) body(k * chunks.size, std::min(chunks.size, rows - k * chunks.size), k);
  });
}

// Likewise, for results; a thread begins with what it has summed last.
template <class F>
void write_chunks(const Layout& l, int64_t rows, const F& body) {
  const Chunks chunks(l, rows);
  at::parallel_for(0, chunks.count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = end; k-- > begin;) body(k * chunks.size, std::min(chunks.size, rows - k * chunks.size));
    norm_kernel::end_stream();
  });
}

// Two sums of each channel over all chunks, in their order.
struct ChannelSums {
  std::vector<double> first, second;
};
template <class F>
ChannelSums sum_chunks(const Layout& l, int64_t rows, const F& body) {
  const size_t width = static_cast<size_t>(l.width()), channels = static_cast<size_t>(l.channels);
  const size_t count = static_cast<size_t>(Chunks(l, rows).count);
  std::vector<double> partial(count * 2 * width);
  for_chunks(l, rows, [&](int64_t first, int64_t n, int64_t chunk) {
    double* own = partial.data() + static_cast<size_t>(chunk) * 2 * width;
    body(first, n, own, own + width);
  });
  ChannelSums sums{std::vector<double>(channels), std::vector<double>(channels)};
  for (size_t k = 0; k < count; ++k) {
    const double* own = partial.data() + k * 2 * width;
    for (size_t c = 0; c < width; ++c) {
      sums.first[c % channels] += own[c];
      sums.second[c % channels] += own[width + c];
    }
  }
  return sums;
}

uint8_t* mask_of(const torch::Tensor& mask) { return mask.defined() ? mask.data_ptr<uint8_t>() : nullptr; }

// Where things of row or plane number i begin; null stays null.
template <class P>
P* offset(P* p, int64_t bytes) {
  return p == nullptr ? nullptr : p + bytes;
}
const char* input_of(const torch::Tensor& t) { return t.defined() ? bytes_of(t) : nullptr; }

// Statistics of every channel of rows of channels.
void channel_moments(const Layout& l, const char* x, double* mean, double* var) {
  const int64_t rows = l.rows * l.positions, row_bytes = l.channels * l.element_size;
  const double values = static_cast<double>(rows);
  ComputeArray shift = shift_of(l, x, rows);
  const ChannelSums sums = sum_chunks(l, rows, [&](int64_t first, int64_t n, double* s1, double* s2) {
    norm_kernel::channel_sums(l.elem, x + first * row_bytes, rows_of(l, n), shift.data(), s1, s2);
  });
  for (size_t c = 0; c < static_cast<size_t>(l.channels); ++c) {
    const double m2 = sums.second[c] - sums.first[c] * sums.first[c] / values;
    mean[c] = shift.get(c) + sums.first[c] / values;
    var[c] = m2 < 0 ? 0 : m2 / values;
  }
}

}  // namespace

c10::SymInt mask_size(const torch::Tensor& x) {
  // Rows and planes begin at whole bytes.
  return x.sym_numel() / 8 + x.sym_numel() / 64 + x.sym_size(0) * x.sym_size(1) + 16;
}

torch::Tensor slopes_of_mask(const torch::Tensor& mask, const torch::Tensor& x, double a) {
  torch::Tensor slopes = at::full_like(x, a, x.options(), x.suggest_memory_format());
  if (x.numel() == 0) return slopes;
  slopes = slopes.to(torch::kDouble).contiguous(x.suggest_memory_format());
  const Layout l(slopes);
  const int64_t width = l.channels_last ? l.width() : l.positions;
  const int64_t stride = l.channels_last ? l.row_mask() : l.plane_mask();
  double* s = slopes.data_ptr<double>();
  const uint8_t* bits = mask.data_ptr<uint8_t>();
  for (int64_t i = 0; i < x.numel(); ++i) {
    const int64_t row = i / width, at = i % width;
    if (bits[row * stride + at / 8] >> (at % 8) & 1) s[i] = 1;
  }
  return slopes.to(x.scalar_type());
}

ChannelNormResult batch_norm_cpu(const torch::Tensor& given, const torch::Tensor& given_residual,
                                 const torch::Tensor& weight, const torch::Tensor& bias,
                                 const torch::Tensor& running_mean, const torch::Tensor& running_var, bool training,
                                 double eps, Fused fused) {
  const torch::Tensor x = laid_out(computable(given), computable(given));
  const torch::Tensor residual = laid_out(given_residual, x);
  ChannelNormResult r;
  r.y = at::empty_like(x);
  r.mean = at::zeros({x.size(1)}, x.options().dtype(torch::kDouble));
  r.var = at::zeros_like(r.mean);
  if (residual.defined()) r.mask = at::empty({mask_size(x).expect_int()}, x.options().dtype(torch::kByte));
  if (x.numel() == 0) {
    if (r.mask.defined()) r.mask.zero_();
    r.y = r.y.to(given.scalar_type());
    return r;
  }
  const Layout l(x);
  if (r.mask.defined()) {
    // What no kernel writes must not depend on what the memory held: the rest behind the last whole row or plane.
    const int64_t written = l.channels_last ? l.rows * l.positions / l.together() * l.row_mask() : l.rows * l.channels * l.plane_mask();
    r.mask.narrow(0, written, r.mask.numel() - written).zero_();
  }
  double *mean = r.mean.data_ptr<double>(), *var = r.var.data_ptr<double>();
  const char *in = bytes_of(x), *add = input_of(residual);
  char* out = bytes_of(r.y);
  uint8_t* mask = mask_of(r.mask);
  const std::vector<double> gamma = values_of(weight, l.channels, 1), beta = values_of(bias, l.channels, 0);
  const Slope slope = slope_of(fused);
  if (!training) {
    const std::vector<double> m = values_of(running_mean, l.channels, 0), v = values_of(running_var, l.channels, 1);
    std::copy(m.begin(), m.end(), mean);
    std::copy(v.begin(), v.end(), var);
  }
  const auto affine = [&](int64_t c) {
    const size_t k = static_cast<size_t>(c);
    return affine_of(mean[c], var[c], eps, gamma[k], beta[k], l.elem);
  };
  if (l.channels_last) {
    if (training) channel_moments(l, in, mean, var);
    const size_t width = static_cast<size_t>(l.width());
    Columns columns(l.elem, width);
    for (int64_t c = 0; c < l.channels; ++c) {
      columns.set(static_cast<size_t>(c), static_cast<size_t>(l.channels), width, affine(c));
    }
    const norm_kernel::ColumnAffine view = columns.view();
    write_chunks(l, l.rows * l.positions, [&](int64_t first, int64_t n) {
      const int64_t at = first * l.channels * l.element_size;
      norm_kernel::channel_apply(l.elem, in + at, offset(add, at), out + at,
                                 offset(mask, first / l.together() * l.row_mask()), rows_of(l, n), view, slope);
    });
  } else {
    at::parallel_for(0, l.channels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) {
        const Planes planes = l.planes();
        const int64_t at = c * l.positions * l.element_size;
        if (training) {
          const norm_kernel::Moments m = norm_kernel::plane_moments(l.elem, in + at, planes);
          mean[c] = m.mean;
          var[c] = m.m2 / m.n;
        }
        norm_kernel::plane_apply(l.elem, in + at, offset(add, at), out + at, offset(mask, c * l.plane_mask()),
                                 static_cast<size_t>(l.channels * l.plane_mask()), planes, affine(c), slope);
      }
      norm_kernel::end_stream();
    });
  }
  r.y = r.y.to(given.scalar_type());
  return r;
}

ChannelNormGrads batch_norm_backward_cpu(const torch::Tensor& given_dy, const torch::Tensor& given,
                                         const torch::Tensor& mask, const torch::Tensor& weight,
                                         const torch::Tensor& bias, const torch::Tensor& mean_tensor,
                                         const torch::Tensor& var_tensor, bool training, double eps, Fused fused) {
  const torch::Tensor x = laid_out(computable(given), computable(given));
  const torch::Tensor dy = laid_out(given_dy, x);
  ChannelNormGrads r;
  r.dx = at::empty_like(x);
  if (mask.defined()) r.dresidual = at::empty_like(x);
  const int64_t channels = x.size(1);
  std::vector<double> dgamma(static_cast<size_t>(channels)), dbeta(static_cast<size_t>(channels));
  if (x.numel() > 0) {
    const Layout l(x);
    const double values = static_cast<double>(l.rows * l.positions);
    const torch::Tensor means = mean_tensor.contiguous(), vars = var_tensor.contiguous();
    const double *mean = means.data_ptr<double>(), *var = vars.data_ptr<double>();
    const std::vector<double> gamma = values_of(weight, channels, 1), beta = values_of(bias, channels, 0);
    const Slope slope = slope_of(fused);
    const char *in = bytes_of(x), *g = bytes_of(dy);
    char *out = bytes_of(r.dx), *out_residual = r.dresidual.defined() ? bytes_of(r.dresidual) : nullptr;
    const uint8_t* bits = mask_of(mask);
    const auto affine = [&](int64_t c) {
      return affine_of(mean[c], var[c], eps, gamma[static_cast<size_t>(c)], beta[static_cast<size_t>(c)], l.elem);
    };
    // Takes the sums of a channel; returns the coefficients of its dx.
    const auto finish = [&](int64_t c, double sum_g, double sum_gx) {
      const size_t k = static_cast<size_t>(c);
      const double shift = mean[c] - affine(c).center, is = 1 / std::sqrt(var[c] + eps);
      dbeta[k] = sum_g;
      dgamma[k] = is * (sum_gx - shift * sum_g);
      if (!training) return GradAffine{gamma[k] * is, 0, 0};
      return grad_affine_of(gamma[k], is, gamma[k] * sum_g / values, gamma[k] * dgamma[k] / values, shift);
    };
    if (l.channels_last) {
      const size_t width = static_cast<size_t>(l.width());
      Columns columns(l.elem, width);
      for (int64_t c = 0; c < channels; ++c) {
        columns.set(static_cast<size_t>(c), static_cast<size_t>(channels), width, affine(c));
      }
      const norm_kernel::ColumnAffine view = columns.view();
      const int64_t rows = l.rows * l.positions, row_bytes = channels * l.element_size;
      const ChannelSums sums = sum_chunks(l, rows, [&](int64_t first, int64_t n, double* s1, double* s2) {
        norm_kernel::channel_grad_sums(l.elem, g + first * row_bytes, in + first * row_bytes,
                                       offset(bits, first / l.together() * l.row_mask()), rows_of(l, n), view, slope, s1,
                                       s2);
      });
      GradColumns grads(l.elem, width);
      for (int64_t c = 0; c < channels; ++c) {
        const size_t k = static_cast<size_t>(c);
        grads.set(k, static_cast<size_t>(channels), width, finish(c, sums.first[k], sums.second[k]));
      }
      const norm_kernel::ColumnGradAffine grad_view = grads.view();
      write_chunks(l, rows, [&](int64_t first, int64_t n) {
        const int64_t at = first * row_bytes;
        norm_kernel::channel_grad(l.elem, g + at, in + at, offset(bits, first / l.together() * l.row_mask()), out + at,
                                  offset(out_residual, at), rows_of(l, n), view, slope, grad_view);
      });
    } else {
      at::parallel_for(0, channels, 1, [&](int64_t begin, int64_t end) {
        for (int64_t c = begin; c < end; ++c) {
          const Planes planes = l.planes();
          const int64_t at = c * l.positions * l.element_size;
          const uint8_t* own_bits = offset(bits, c * l.plane_mask());
          const size_t stride = static_cast<size_t>(channels * l.plane_mask());
          const GradSums s =
              norm_kernel::plane_grad_sums(l.elem, g + at, in + at, own_bits, stride, planes, affine(c), slope);
          norm_kernel::plane_grad(l.elem, g + at, in + at, own_bits, stride, out + at, offset(out_residual, at), planes,
                                  affine(c), slope, finish(c, s.g, s.gx));
        }
        norm_kernel::end_stream();
      });
    }
  }
  r.dx = r.dx.to(given.scalar_type());
  if (r.dresidual.defined()) r.dresidual = r.dresidual.to(given.scalar_type());
  r.dweight = gradient_of(weight, dgamma, mean_tensor);
  r.dbias = gradient_of(bias, dbeta, mean_tensor);
  return r;
}

ChannelNormResult group_norm_cpu(const torch::Tensor& given, int64_t groups, const torch::Tensor& weight,
                                 const torch::Tensor& bias, double eps, Fused fused) {
  const torch::Tensor x = laid_out(computable(given), computable(given));
  ChannelNormResult r;
  r.y = at::empty_like(x);
  r.mean = at::zeros({x.size(0), groups}, x.options().dtype(torch::kDouble));
  r.var = at::zeros_like(r.mean);
  if (x.numel() == 0) {
    r.y = r.y.to(given.scalar_type());
    return r;
  }
  const Layout l(x);
  double *mean = r.mean.data_ptr<double>(), *var = r.var.data_ptr<double>();
  const char* in = bytes_of(x);
  char* out = bytes_of(r.y);
  const std::vector<double> gamma = values_of(weight, l.channels, 1), beta = values_of(bias, l.channels, 0);
  const Slope slope = slope_of(fused);
  const int64_t per_group = l.channels / groups, plane_bytes = l.positions * l.element_size;
  const auto affine = [&](int64_t n, int64_t c) {
    const int64_t set = n * groups + c / per_group;
    return affine_of(mean[set], var[set], eps, gamma[static_cast<size_t>(c)], beta[static_cast<size_t>(c)], l.elem);
  };
  if (l.channels_last) {
    const size_t width = static_cast<size_t>(l.width()), channels = static_cast<size_t>(l.channels);
    at::parallel_for(0, l.rows, 1, [&](int64_t begin, int64_t end) {
      Columns columns(l.elem, width);
      for (int64_t n = begin; n < end; ++n) {
        const int64_t at = n * l.channels * plane_bytes;
        ComputeArray shift = shift_of(l, in + at, l.positions);
        std::vector<double> s1(width), s2(width);
        norm_kernel::channel_sums(l.elem, in + at, rows_of(l, l.positions), shift.data(), s1.data(), s2.data());
        const double values = static_cast<double>(l.positions);
        for (int64_t group = 0; group < groups; ++group) {
          norm_kernel::Moments all;
          for (size_t c = static_cast<size_t>(group * per_group); c < static_cast<size_t>((group + 1) * per_group); ++c) {
            double sum = 0, squares = 0;
            for (size_t k = c; k < width; k += channels) {
              sum += s1[k];
              squares += s2[k];
            }
            const double m2 = squares - sum * sum / values;
            all.merge({values, shift.get(c) + sum / values, m2 < 0 ? 0 : m2});
          }
          mean[n * groups + group] = all.mean;
          var[n * groups + group] = all.m2 / all.n;
        }
        for (int64_t c = 0; c < l.channels; ++c) columns.set(static_cast<size_t>(c), channels, width, affine(n, c));
        norm_kernel::channel_apply(l.elem, in + at, nullptr, out + at, nullptr, rows_of(l, l.positions), columns.view(),
                                   slope);
      }
      norm_kernel::end_stream();
    });
  } else {
    const Planes plane = l.plane(per_group);
    at::parallel_for(0, l.rows * groups, 1, [&](int64_t begin, int64_t end) {
      for (int64_t set = begin; set < end; ++set) {
        const size_t values = static_cast<size_t>(per_group * l.positions);
        const norm_kernel::Moments m = norm_kernel::plane_moments(l.elem, in + set * per_group * plane_bytes, {1, values, values});
        mean[set] = m.mean;
        var[set] = m.m2 / m.n;
        const int64_t n = set / groups;
        for (int64_t c = set % groups * per_group; c < (set % groups + 1) * per_group; ++c) {
          const int64_t at = (n * l.channels + c) * plane_bytes;
          norm_kernel::plane_apply(l.elem, in + at, nullptr, out + at, nullptr, 0, plane, affine(n, c), slope);
        }
      }
      norm_kernel::end_stream();
    });
  }
  r.y = r.y.to(given.scalar_type());
  return r;
}

ChannelNormGrads group_norm_backward_cpu(const torch::Tensor& given_dy, const torch::Tensor& given, int64_t groups,
                                         const torch::Tensor& weight, const torch::Tensor& bias,
                                         const torch::Tensor& mean_tensor, const torch::Tensor& var_tensor, double eps,
                                         Fused fused) {
  const torch::Tensor x = laid_out(computable(given), computable(given));
  const torch::Tensor dy = laid_out(given_dy, x);
  ChannelNormGrads r;
  r.dx = at::empty_like(x);
  const size_t channels = static_cast<size_t>(x.size(1));
  std::vector<double> dgamma(channels), dbeta(channels);
  if (x.numel() > 0) {
    const Layout l(x);
    const torch::Tensor means = mean_tensor.contiguous(), vars = var_tensor.contiguous();
    const double *mean = means.data_ptr<double>(), *var = vars.data_ptr<double>();
    const std::vector<double> gamma = values_of(weight, l.channels, 1), beta = values_of(bias, l.channels, 0);
    const Slope slope = slope_of(fused);
    const char *in = bytes_of(x), *g = bytes_of(dy);
    char* out = bytes_of(r.dx);
    const int64_t per_group = l.channels / groups, plane_bytes = l.positions * l.element_size;
    const double values = static_cast<double>(per_group * l.positions);
    const auto affine = [&](int64_t n, int64_t c) {
      const int64_t set = n * groups + c / per_group;
      return affine_of(mean[set], var[set], eps, gamma[static_cast<size_t>(c)], beta[static_cast<size_t>(c)], l.elem);
    };
    // Sums of g and g (x - mean) is of each (n, c).
    std::vector<double> sum_g(static_cast<size_t>(l.rows) * channels), sum_gx(sum_g.size());
    // Takes the sums of the channels of a set; gives the coefficients of each channel's dx.
    const auto finish = [&](int64_t n, int64_t group, const auto& sums, const auto& use) {
      const int64_t set = n * groups + group;
      const double is = 1 / std::sqrt(var[set] + eps);
      double mean_h = 0, mean_hx = 0, shift = 0;
      for (int64_t c = group * per_group; c < (group + 1) * per_group; ++c) {
        const size_t at = static_cast<size_t>(n) * channels + static_cast<size_t>(c);
        const GradSums s = sums(c);
        shift = mean[set] - affine(n, c).center;
        sum_g[at] = s.g;
        sum_gx[at] = is * (s.gx - shift * s.g);
        mean_h += gamma[static_cast<size_t>(c)] * sum_g[at] / values;
        mean_hx += gamma[static_cast<size_t>(c)] * sum_gx[at] / values;
      }
      for (int64_t c = group * per_group; c < (group + 1) * per_group; ++c) {
        use(c, grad_affine_of(gamma[static_cast<size_t>(c)], is, mean_h, mean_hx, shift));
      }
    };
    if (l.channels_last) {
      const size_t width = static_cast<size_t>(l.width());
      at::parallel_for(0, l.rows, 1, [&](int64_t begin, int64_t end) {
        Columns columns(l.elem, width);
        GradColumns grads(l.elem, width);
        for (int64_t n = begin; n < end; ++n) {
          const int64_t at = n * l.channels * plane_bytes;
          for (int64_t c = 0; c < l.channels; ++c) columns.set(static_cast<size_t>(c), channels, width, affine(n, c));
          std::vector<double> s1(width), s2(width);
          norm_kernel::channel_grad_sums(l.elem, g + at, in + at, nullptr, rows_of(l, l.positions), columns.view(), slope,
                                         s1.data(), s2.data());
          const auto sums = [&](int64_t c) {
            GradSums all;
            for (size_t k = static_cast<size_t>(c); k < width; k += channels) {
              all.g += s1[k];
              all.gx += s2[k];
            }
            return all;
          };
          for (int64_t group = 0; group < groups; ++group) {
            finish(n, group, sums, [&](int64_t c, const GradAffine& a) {
              grads.set(static_cast<size_t>(c), channels, width, a);
            });
          }
          norm_kernel::channel_grad(l.elem, g + at, in + at, nullptr, out + at, nullptr, rows_of(l, l.positions),
                                    columns.view(), slope, grads.view());
        }
        norm_kernel::end_stream();
      });
    } else {
      const Planes plane = l.plane(per_group);
      at::parallel_for(0, l.rows * groups, 1, [&](int64_t begin, int64_t end) {
        for (int64_t set = begin; set < end; ++set) {
          const int64_t n = set / groups;
          const auto start = [&](int64_t c) { return (n * l.channels + c) * plane_bytes; };
          const auto sums = [&](int64_t c) {
            return norm_kernel::plane_grad_sums(l.elem, g + start(c), in + start(c), nullptr, 0, plane, affine(n, c),
                                                slope);
          };
          finish(n, set % groups, sums, [&](int64_t c, const GradAffine& a) {
            norm_kernel::plane_grad(l.elem, g + start(c), in + start(c), nullptr, 0, out + start(c), nullptr, plane,
                                    affine(n, c), slope, a);
          });
        }
        norm_kernel::end_stream();
      });
    }
    for (size_t i = 0; i < sum_g.size(); ++i) {
      dbeta[i % channels] += sum_g[i];
      dgamma[i % channels] += sum_gx[i];
    }
  }
  r.dx = r.dx.to(given.scalar_type());
  r.dweight = gradient_of(weight, dgamma, mean_tensor);
  r.dbias = gradient_of(bias, dbeta, mean_tensor);
  return r;
}

}  // namespace ballast::detail
