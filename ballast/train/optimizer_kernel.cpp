#include <ballast/train/optimizer_kernel.h>

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ballast/train/optimizer_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ballast {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 32-byte vectors are enough: these loops wait for memory.
using F = hn::CappedTag<float, 8>;

template <class D>
HWY_INLINE void sgd_vector(D d, float* w, const float* g, float* v, size_t i, const SgdStep& s, float scale) {
  const auto wd = hn::Set(d, s.weight_decay);
  const auto mu = hn::Set(d, s.momentum);
  const auto lr = hn::Set(d, s.lr);
  const auto wi = hn::LoadU(d, w + i);
  const auto gi = hn::Add(hn::Mul(hn::LoadU(d, g + i), hn::Set(d, scale)), hn::Mul(wd, wi));
  auto update = gi;
  if (s.momentum != 0) {
    auto vi = gi;
    if (!s.first) {
      vi = hn::Add(hn::Mul(mu, hn::LoadU(d, v + i)), gi);
    }
    hn::StoreU(vi, d, v + i);
    update = s.nesterov ? hn::Add(gi, hn::Mul(mu, vi)) : vi;
  }
  hn::StoreU(hn::Sub(wi, hn::Mul(lr, update)), d, w + i);
}

void Sgd(float* w, const float* g, float* v, size_t n, const SgdStep& s, float scale) {
  const F d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    sgd_vector(d, w, g, v, i, s, scale);
  }
  for (; i < n; ++i) {
    sgd_vector(hn::CappedTag<float, 1>(), w, g, v, i, s, scale);
  }
}

template <class D>
HWY_INLINE void adam_vector(D d, float* w, const float* g, float* m, float* v, size_t i, const AdamStep& s, float scale) {
  const auto wi = hn::Mul(hn::LoadU(d, w + i), hn::Set(d, s.shrink));
  const auto gi = hn::Add(hn::Mul(hn::LoadU(d, g + i), hn::Set(d, scale)), hn::Mul(hn::Set(d, s.weight_decay), wi));
  const auto m0 = hn::LoadU(d, m + i);
  const auto mi = hn::Add(m0, hn::Mul(hn::Set(d, s.rest1), hn::Sub(gi, m0)));
  const auto vi = hn::Add(hn::Mul(hn::Set(d, s.beta2), hn::LoadU(d, v + i)),
                          hn::Mul(hn::Set(d, s.rest2), hn::Mul(gi, gi)));
  hn::StoreU(mi, d, m + i);
  hn::StoreU(vi, d, v + i);
  const auto denominator = hn::Add(hn::Div(hn::Sqrt(vi), hn::Set(d, s.root_bc2)), hn::Set(d, s.eps));
  hn::StoreU(hn::Sub(wi, hn::Mul(hn::Set(d, s.step_size), hn::Div(mi, denominator))), d, w + i);
}

void Adam(float* w, const float* g, float* m, float* v, size_t n, const AdamStep& s, float scale) {
  const F d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    adam_vector(d, w, g, m, v, i, s, scale);
  }
  for (; i < n; ++i) {
    adam_vector(hn::CappedTag<float, 1>(), w, g, m, v, i, s, scale);
  }
}

double SumSquares(const float* g, size_t n) {
  double lane[8] = {};
  size_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  // Lane k sums the elements i with i mod 8 = k, whatever the width of a vector.
  const hn::CappedTag<double, 8> dd;
  const hn::Rebind<float, decltype(dd)> df;
  const size_t lanes = hn::Lanes(dd);
  if (n >= 8 && 8 % lanes == 0) {
    for (size_t k = 0; k < 8; k += lanes) {
      auto sum = hn::Zero(dd);
      for (size_t j = k; j + 8 - k <= n; j += 8) {
        const auto x = hn::PromoteTo(dd, hn::LoadU(df, g + j));
        sum = hn::Add(sum, hn::Mul(x, x));
      }
      hn::StoreU(sum, dd, lane + k);
    }
    i = n / 8 * 8;
  }
#endif
  for (; i < n; ++i) {
    const double x = g[i];
    lane[i % 8] += x * x;
  }
  return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

}  // namespace HWY_NAMESPACE
}  // namespace ballast
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast {
HWY_EXPORT(Sgd);
HWY_EXPORT(Adam);
HWY_EXPORT(SumSquares);

void sgd_update(float* w, const float* g, float* v, size_t n, const SgdStep& step, float scale) {
  HWY_DYNAMIC_DISPATCH(Sgd)(w, g, v, n, step, scale);
}

void adam_update(float* w, const float* g, float* m, float* v, size_t n, const AdamStep& step, float scale) {
  HWY_DYNAMIC_DISPATCH(Adam)(w, g, m, v, n, step, scale);
}

double sum_squares(const float* g, size_t n) { return HWY_DYNAMIC_DISPATCH(SumSquares)(g, n); }

void sgd_update_reference(float* w, const float* g, float* v, size_t n, const SgdStep& s, float scale) {
  for (size_t i = 0; i < n; ++i) {
    const float gi = g[i] * scale + s.weight_decay * w[i];
    float update = gi;
    if (s.momentum != 0) {
      v[i] = s.first ? gi : s.momentum * v[i] + gi;
      update = s.nesterov ? gi + s.momentum * v[i] : v[i];
    }
    w[i] -= s.lr * update;
  }
}

void adam_update_reference(float* w, const float* g, float* m, float* v, size_t n, const AdamStep& s, float scale) {
  for (size_t i = 0; i < n; ++i) {
    const float wi = w[i] * s.shrink;
    const float gi = g[i] * scale + s.weight_decay * wi;
    m[i] += s.rest1 * (gi - m[i]);
    v[i] = s.beta2 * v[i] + s.rest2 * (gi * gi);
    w[i] = wi - s.step_size * (m[i] / (std::sqrt(v[i]) / s.root_bc2 + s.eps));
  }
}

double sum_squares_reference(const float* g, size_t n) {
  double lane[8] = {};
  for (size_t i = 0; i < n; ++i) {
    lane[i % 8] += static_cast<double>(g[i]) * static_cast<double>(g[i]);
  }
  return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

void clamp_abs(float* g, size_t n, float c) {
  for (size_t i = 0; i < n; ++i) {
    const float x = g[i];
    g[i] = x > c ? c : x < -c ? -c : x;
  }
}

}  // namespace ballast
#endif
