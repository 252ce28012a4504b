#include <ballast/loss/cross_entropy_kernel.h>

#include <algorithm>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ballast/loss/cross_entropy_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <ballast/base/lanes_inl.h>

HWY_BEFORE_NAMESPACE();
namespace ballast::loss_kernel {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using lanes::HWY_NAMESPACE::exp_of;
using lanes::HWY_NAMESPACE::LaneSums;
using lanes::HWY_NAMESPACE::One;
using lanes::HWY_NAMESPACE::Tag;

template <class T>
T greatest(const T* x, size_t n) {
  const Tag<T> d;
  const size_t lanes = hn::Lanes(d);
  T m = x[0];
  size_t i = 0;
  if (n >= lanes) {
    auto best = hn::LoadU(d, x);
    for (i = lanes; i + lanes <= n; i += lanes) best = hn::Max(best, hn::LoadU(d, x + i));
    m = hn::GetLane(hn::MaxOfLanes(d, best));
  }
  for (; i < n; ++i) m = m < x[i] ? x[i] : m;
  return m;
}

// e^x for x <= 0, down to 0; NaN stays NaN, and so does what follows a greatest score of infinity.
template <class D>
HWY_INLINE hn::Vec<D> exp_below(D d, hn::Vec<D> x) {
  using C = hn::TFromD<D>;
  const auto y = hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, C(sizeof(C) == 8 ? -708 : -87))), exp_of(d, x));
  return hn::IfThenElse(hn::IsNaN(x), x, y);
}

// w_k q'_k of neighbouring classes, where probabilities are given.
template <class T>
struct SoftTarget {
  const T* q;
  const T* weight;
  T keep, even;

  template <class D>
  HWY_INLINE hn::Vec<D> operator()(D d, size_t k, hn::Vec<D> own) const {
    const auto smooth = hn::Add(hn::Mul(own, hn::Set(d, keep)), hn::Set(d, even));
    return weight == nullptr ? smooth : hn::Mul(smooth, hn::LoadU(d, weight + k));
  }
};

template <class T>
void forward(const T* x, size_t rows, const Target<T>& t, T* loss, T* stats) {
  const size_t classes = t.classes;
  const double e = t.smoothing, even = e / static_cast<double>(classes);
  double all_weights = static_cast<double>(classes);
  if (t.weight != nullptr) {
    all_weights = 0;
    for (size_t k = 0; k < classes; ++k) all_weights += static_cast<double>(t.weight[k]);
  }
  for (size_t n = 0; n < rows; ++n, x += classes, stats += kRowStats) {
    if (t.a != nullptr && t.a[n] == t.ignored) {
      loss[n] = 0;
      std::fill(stats, stats + kRowStats, T(0));
      continue;
    }
    const T m = greatest(x, classes);
    stats[0] = m;
    if (t.probabilities != nullptr) {
      const SoftTarget<T> soft{t.probabilities + n * classes, t.weight, static_cast<T>(1 - e), static_cast<T>(even)};
      LaneSums<T, 4> sums;
      sums.run(
          [&](auto d, size_t k, auto* term) {
            const auto above = hn::Sub(hn::LoadU(d, x + k), hn::Set(d, m)), q = hn::LoadU(d, soft.q + k);
            const auto wq = soft(d, k, q);
            term[0] = exp_below(d, above);
            // A class of probability 0 may have a score of -infinity.
            term[1] = hn::IfThenZeroElse(hn::Eq(wq, hn::Zero(d)), hn::Mul(wq, above));
            term[2] = wq;
            term[3] = q;
          },
          classes);
      const double sum = sums.total(0), total = sums.total(2);
      stats[1] = static_cast<T>(sum);
      stats[2] = static_cast<T>(total);
      stats[3] = static_cast<T>(sums.total(3));
      loss[n] = static_cast<T>(std::log(sum) * total - sums.total(1));
      continue;
    }
    double sum, above_weighted = 0;
    if (e > 0) {
      LaneSums<T, 2> sums;
      sums.run(
          [&](auto d, size_t k, auto* term) {
            const auto above = hn::Sub(hn::LoadU(d, x + k), hn::Set(d, m));
            term[0] = exp_below(d, above);
            term[1] = t.weight == nullptr ? above : hn::Mul(above, hn::LoadU(d, t.weight + k));
          },
          classes);
      sum = sums.total(0), above_weighted = sums.total(1);
    } else {
      LaneSums<T, 1> sums;
      sums.run(
          [&](auto d, size_t k, auto* term) {
            term[0] = exp_below(d, hn::Sub(hn::LoadU(d, x + k), hn::Set(d, m)));
          },
          classes);
      sum = sums.total(0);
    }
    const double log_sum = std::log(sum), lam = t.b == nullptr ? 1 : static_cast<double>(t.lam[n * t.lam_stride]);
    double own = 0, hard = 0;
    const auto add = [&](int64_t k, double share) {
      const double w = (t.weight == nullptr ? 1.0 : static_cast<double>(t.weight[k])) * share;
      hard += w;
      if (w != 0) own += w * (log_sum - (static_cast<double>(x[k]) - static_cast<double>(m)));
    };
    add(t.a[n], lam);
    if (t.b != nullptr) add(t.b[n], 1 - lam);
    double total = hard;
    if (e > 0) {
      own = (1 - e) * own + even * (all_weights * log_sum - above_weighted);
      total = (1 - e) * hard + even * all_weights;
    }
    stats[1] = static_cast<T>(sum);
    stats[2] = static_cast<T>(total);
    stats[3] = t.b == nullptr ? static_cast<T>(hard) : T(1);
    loss[n] = sum == sum ? static_cast<T>(own) : std::numeric_limits<T>::quiet_NaN();
  }
}

template <class T>
void backward(const T* x, size_t rows, const Target<T>& t, const T* stats, const T* grad, size_t grad_stride, T* dx) {
  const size_t classes = t.classes;
  const double e = t.smoothing, even = e / static_cast<double>(classes);
  const auto each = [&](const auto& body) {
    const Tag<T> d;
    size_t k = 0;
    for (; k + hn::Lanes(d) <= classes; k += hn::Lanes(d)) body(d, k);
    for (; k < classes; ++k) body(One<T>(), k);
  };
  for (size_t n = 0; n < rows; ++n, x += classes, dx += classes, stats += kRowStats) {
    if (t.a != nullptr && t.a[n] == t.ignored) {
      std::fill(dx, dx + classes, T(0));
      continue;
    }
    const T m = stats[0], g = grad[n * grad_stride];
    const T factor = static_cast<T>(static_cast<double>(g) * static_cast<double>(stats[2]) / static_cast<double>(stats[1]));
    if (t.probabilities != nullptr) {
      const SoftTarget<T> soft{t.probabilities + n * classes, t.weight, static_cast<T>(1 - e), static_cast<T>(even)};
      each([&](auto d, size_t k) {
        const auto p = exp_below(d, hn::Sub(hn::LoadU(d, x + k), hn::Set(d, m)));
        const auto wq = soft(d, k, hn::LoadU(d, soft.q + k));
        hn::StoreU(hn::Sub(hn::Mul(p, hn::Set(d, factor)), hn::Mul(wq, hn::Set(d, g))), d, dx + k);
      });
      continue;
    }
    const T everywhere = static_cast<T>(static_cast<double>(g) * even);
    each([&](auto d, size_t k) {
      auto y = hn::Mul(exp_below(d, hn::Sub(hn::LoadU(d, x + k), hn::Set(d, m))), hn::Set(d, factor));
      if (e > 0) {
        auto same = hn::Set(d, everywhere);
        if (t.weight != nullptr) same = hn::Mul(same, hn::LoadU(d, t.weight + k));
        y = hn::Sub(y, same);
      }
      hn::StoreU(y, d, dx + k);
    });
    const double lam = t.b == nullptr ? 1 : static_cast<double>(t.lam[n * t.lam_stride]);
    const auto subtract = [&](int64_t k, double share) {
      const double w = (t.weight == nullptr ? 1.0 : static_cast<double>(t.weight[k])) * share * (1 - e);
      dx[k] = static_cast<T>(static_cast<double>(dx[k]) - static_cast<double>(g) * w);
    };
    subtract(t.a[n], lam);
    if (t.b != nullptr) subtract(t.b[n], 1 - lam);
  }
}

void ForwardF32(const float* x, size_t rows, const Target<float>& t, float* loss, float* stats) {
  forward(x, rows, t, loss, stats);
}
void ForwardF64(const double* x, size_t rows, const Target<double>& t, double* loss, double* stats) {
  forward(x, rows, t, loss, stats);
}
void BackwardF32(const float* x, size_t rows, const Target<float>& t, const float* stats, const float* grad,
                 size_t grad_stride, float* dx) {
  backward(x, rows, t, stats, grad, grad_stride, dx);
}
void BackwardF64(const double* x, size_t rows, const Target<double>& t, const double* stats, const double* grad,
                 size_t grad_stride, double* dx) {
  backward(x, rows, t, stats, grad, grad_stride, dx);
}

}  // namespace HWY_NAMESPACE
}  // namespace ballast::loss_kernel
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast::loss_kernel {

HWY_EXPORT(ForwardF32);
HWY_EXPORT(ForwardF64);
HWY_EXPORT(BackwardF32);
HWY_EXPORT(BackwardF64);

void cross_entropy(const float* x, size_t rows, const Target<float>& target, float* loss, float* stats) {
  HWY_DYNAMIC_DISPATCH(ForwardF32)(x, rows, target, loss, stats);
}
void cross_entropy(const double* x, size_t rows, const Target<double>& target, double* loss, double* stats) {
  HWY_DYNAMIC_DISPATCH(ForwardF64)(x, rows, target, loss, stats);
}
void cross_entropy_backward(const float* x, size_t rows, const Target<float>& target, const float* stats,
                            const float* grad, size_t grad_stride, float* dx) {
  HWY_DYNAMIC_DISPATCH(BackwardF32)(x, rows, target, stats, grad, grad_stride, dx);
}
void cross_entropy_backward(const double* x, size_t rows, const Target<double>& target, const double* stats,
                            const double* grad, size_t grad_stride, double* dx) {
  HWY_DYNAMIC_DISPATCH(BackwardF64)(x, rows, target, stats, grad, grad_stride, dx);
}

}  // namespace ballast::loss_kernel
#endif
