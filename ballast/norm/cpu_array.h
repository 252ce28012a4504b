#pragma once

#include <torch/types.h>

#include <vector>

#include <ballast/norm/composed.h>
#include <ballast/norm/kernel_types.h>

// Between tensors and the kernels' plain pointers.

namespace ballast::detail {

inline norm_kernel::Elem elem_of(const torch::Tensor& x) {
  return x.scalar_type() == torch::kDouble ? norm_kernel::Elem::f64
         : x.scalar_type() == torch::kFloat ? norm_kernel::Elem::f32
                                            : norm_kernel::Elem::bf16;
}

inline norm_kernel::Slope slope_of(Fused fused) {
  using norm_kernel::Phi;
  switch (fused.act) {
    case Act::relu: return {Phi::relu, 0};
    case Act::relu6: return {Phi::relu6, 0};
    case Act::leaky_relu: return {Phi::leaky_relu, fused.a};
    case Act::silu: return {Phi::silu, 0};
    case Act::hardswish: return {Phi::hardswish, 0};
    default: return {};
  }
}

/// Values of the compute type of an Elem.
class ComputeArray {
 public:
  ComputeArray(norm_kernel::Elem elem, size_t n) : is_double_(elem == norm_kernel::Elem::f64) {
    if (is_double_) {
      f64_.resize(n);
    } else {
      f32_.resize(n);
    }
  }
  void set(size_t i, double v) {
    if (is_double_) {
      f64_[i] = v;
    } else {
      f32_[i] = static_cast<float>(v);
    }
  }
  /// v as it will be read.
  double rounded(double v) const { return is_double_ ? v : static_cast<double>(static_cast<float>(v)); }
  double get(size_t i) const { return is_double_ ? f64_[i] : static_cast<double>(f32_[i]); }
  void* data() { return is_double_ ? static_cast<void*>(f64_.data()) : static_cast<void*>(f32_.data()); }

 private:
  bool is_double_;
  std::vector<float> f32_;
  std::vector<double> f64_;
};

/// The values of a parameter in double; `otherwise` where it is undefined.
inline std::vector<double> values_of(const torch::Tensor& t, int64_t n, double otherwise) {
  if (!t.defined()) return std::vector<double>(static_cast<size_t>(n), otherwise);
  const torch::Tensor wide = t.scalar_type() == torch::kFloat ? t.contiguous() : t.to(torch::kDouble).contiguous();
  std::vector<double> values(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    values[static_cast<size_t>(i)] =
        wide.scalar_type() == torch::kFloat ? static_cast<double>(wide.data_ptr<float>()[i]) : wide.data_ptr<double>()[i];
  }
  return values;
}

/// A parameter's gradient from sums in double; (0) where there is no parameter.
inline torch::Tensor gradient_of(const torch::Tensor& parameter, const std::vector<double>& sums,
                                 const torch::Tensor& like) {
  if (!parameter.defined()) return at::empty({0}, like.options());
  torch::Tensor result = at::empty(parameter.sizes(), parameter.options().dtype(
      parameter.scalar_type() == torch::kFloat ? torch::kFloat : torch::kDouble));
  for (size_t i = 0; i < sums.size(); ++i) {
    if (result.scalar_type() == torch::kFloat) {
      result.data_ptr<float>()[i] = static_cast<float>(sums[i]);
    } else {
      result.data_ptr<double>()[i] = sums[i];
    }
  }
  return result.to(parameter.scalar_type());
}

inline const char* bytes_of(const torch::Tensor& t) { return static_cast<const char*>(t.data_ptr()); }
inline char* bytes_of(torch::Tensor& t) { return static_cast<char*>(t.data_ptr()); }

}  // namespace ballast::detail
