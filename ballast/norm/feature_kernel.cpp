#include <ballast/norm/feature_kernel.h>

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ballast/norm/feature_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <ballast/norm/kernel_inl.h>

HWY_BEFORE_NAMESPACE();
namespace ballast::norm_kernel {
namespace HWY_NAMESPACE {

// Rows whose parameter gradients are summed in float before they go to double.
constexpr size_t kBlockRows = 4;

// Calls f(d, i) for vectors, then single values, of [0, size).
template <class C, class F>
HWY_INLINE void for_values(size_t size, const F& f) {
  const Tag<C> d;
  const One<C> one;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= size; i += lanes) f(d, i);
  for (; i < size; ++i) f(one, i);
}

template <class C, class D>
HWY_INLINE hn::Vec<D> parameter(D d, const C* p, size_t i, C otherwise) {
  return p == nullptr ? hn::Set(d, otherwise) : hn::LoadU(d, p + i);
}

// Whether rows or values of columns at y may go past the caches. Short rows are bound by their sums: nothing is gained there.
template <class T>
bool streams(const Features& f, const T* y) {
  const size_t step = f.stride == 0 ? f.size : f.stride;
  return f.stream && step >= 256 && reinterpret_cast<uintptr_t>(y) % 64 == 0 && step * sizeof(T) % 64 == 0;
}

// ---- Rows

template <class T>
struct ValueTerm {
  const T* x;
  template <class D>
  HWY_INLINE void operator()(D d, size_t i, hn::Vec<D>* out) const {
    out[0] = load(d, x + i);
  }
};

template <class T>
struct SquareTerm {
  const T* x;
  Compute<T> center;
  template <class D>
  HWY_INLINE void operator()(D d, size_t i, hn::Vec<D>* out) const {
    const auto centered = hn::Sub(load(d, x + i), hn::Set(d, center));
    out[0] = hn::Mul(centered, centered);
  }
};

template <class T, class P>
struct RowApply {
  const T* x;
  T* y;
  Compute<T> center, rstd;
  const Compute<T> *weight, *bias;
  const P& phi;
  bool stream;
  template <class D>
  HWY_INLINE void operator()(D d, size_t i) const {
    auto z = hn::Mul(hn::Sub(load(d, x + i), hn::Set(d, center)), hn::Set(d, rstd));
    if (weight != nullptr) z = hn::Mul(z, hn::LoadU(d, weight + i));
    if (bias != nullptr) z = hn::Add(z, hn::LoadU(d, bias + i));
    store_or_stream(d, phi.value(d, z), y + i, stream);
  }
};

template <class T>
struct RowsForward {
  const T* x;
  T* y;
  const Features& features;
  const FeatureNorm& norm;
  Compute<T>*mean, *rstd;
  template <class P>
  HWY_INLINE void operator()(const P& phi) const {
    using C = Compute<T>;
    const double n = static_cast<double>(features.size);
    const bool stream = streams(features, y);
    for (size_t r = 0; r < features.sets; ++r) {
      const T* row = x + r * features.size;
      C center = 0;
      if (!norm.rms) {
        LaneSums<C, 1> values;
        values.run(ValueTerm<T>{row}, features.size);
        center = static_cast<C>(values.total(0) / n);
        mean[r] = center;
      }
      LaneSums<C, 1> squares;
      squares.run(SquareTerm<T>{row, center}, features.size);
      rstd[r] = static_cast<C>(1 / std::sqrt(squares.total(0) / n + norm.eps));
      for_values<C>(features.size, RowApply<T, P>{row, y + r * features.size, center, rstd[r],
                                                  static_cast<const C*>(norm.weight), static_cast<const C*>(norm.bias), phi, stream});
    }
  }
};

// h = g weight and h xh; adds g and g xh to the parameters' sums.
template <class T, class P>
struct RowGradTerm {
  const T *dy, *x;
  Compute<T> center, rstd;
  const Compute<T> *weight, *bias;
  const P& phi;
  Compute<T>*dweight, *dbias;

  template <class D>
  HWY_INLINE hn::Vec<D> g(D d, size_t i, hn::Vec<D> xh) const {
    auto out = load(d, dy + i);
    if constexpr (P::kNeedsZ) {
      const auto z = hn::Add(hn::Mul(xh, parameter(d, weight, i, Compute<T>(1))), parameter(d, bias, i, Compute<T>(0)));
      out = phi.gradient(d, out, z);
    }
    return out;
  }
  template <class D>
  HWY_INLINE hn::Vec<D> xh(D d, size_t i) const {
    return hn::Mul(hn::Sub(load(d, x + i), hn::Set(d, center)), hn::Set(d, rstd));
  }
  template <class D>
  HWY_INLINE void operator()(D d, size_t i, hn::Vec<D>* out) const {
    const auto x_hat = xh(d, i);
    const auto grad = g(d, i, x_hat);
    hn::StoreU(hn::Add(hn::LoadU(d, dweight + i), hn::Mul(grad, x_hat)), d, dweight + i);
    hn::StoreU(hn::Add(hn::LoadU(d, dbias + i), grad), d, dbias + i);
    out[0] = weight == nullptr ? grad : hn::Mul(grad, hn::LoadU(d, weight + i));
    out[1] = hn::Mul(out[0], x_hat);
  }
};

template <class T, class P>
struct RowGradApply {
  const RowGradTerm<T, P>& term;
  T* dx;
  Compute<T> mean_h, mean_hx;
  bool stream;
  template <class D>
  HWY_INLINE void operator()(D d, size_t i) const {
    const auto x_hat = term.xh(d, i);
    auto h = term.g(d, i, x_hat);
    if (term.weight != nullptr) h = hn::Mul(h, hn::LoadU(d, term.weight + i));
    const auto centered = hn::Sub(hn::Sub(h, hn::Set(d, mean_h)), hn::Mul(x_hat, hn::Set(d, mean_hx)));
    store_or_stream(d, hn::Mul(centered, hn::Set(d, term.rstd)), dx + i, stream);
  }
};

template <class C>
HWY_INLINE void flush(C* sums, size_t n, double* into) {
  for (size_t i = 0; i < n; ++i) {
    into[i] += static_cast<double>(sums[i]);
    sums[i] = 0;
  }
}

template <class T>
struct RowsBackward {
  const T *dy, *x;
  T* dx;
  const Features& features;
  const FeatureNorm& norm;
  const Compute<T>*mean, *rstd;
  double *dweight, *dbias;
  Compute<T>* scratch;
  template <class P>
  HWY_INLINE void operator()(const P& phi) const {
    using C = Compute<T>;
    const size_t size = features.size;
    const double n = static_cast<double>(size);
    const bool stream = streams(features, dx);
    for (size_t i = 0; i < 2 * size; ++i) scratch[i] = 0;
    for (size_t r = 0; r < features.sets; ++r) {
      const RowGradTerm<T, P> term{dy + r * size,
                                   x + r * size,
                                   norm.rms ? C(0) : mean[r],
                                   rstd[r],
                                   static_cast<const C*>(norm.weight),
                                   static_cast<const C*>(norm.bias),
                                   phi,
                                   scratch,
                                   scratch + size};
      LaneSums<C, 2> sums;
      sums.run(term, size);
      const C mean_h = norm.rms ? C(0) : static_cast<C>(sums.total(0) / n);
      for_values<C>(size, RowGradApply<T, P>{term, dx + r * size, mean_h, static_cast<C>(sums.total(1) / n), stream});
      if ((r + 1) % kBlockRows == 0 || r + 1 == features.sets) {
        flush(scratch, size, dweight);
        flush(scratch + size, size, dbias);
      }
    }
  }
};

// ---- Columns

// sum[s] = 0, then the sum of f(x) over the values of set s: four at a time, so that rounding stays small.
template <class C, class F>
struct AddValues {
  C* sum;
  const F& f;
  size_t v, count;
  template <class D>
  HWY_INLINE void operator()(D d, size_t i) const {
    auto all = f(d, v, i);
    if (count == 4) {
      all = hn::Add(hn::Add(all, f(d, v + 1, i)), hn::Add(f(d, v + 2, i), f(d, v + 3, i)));
    }
    hn::StoreU(hn::Add(hn::LoadU(d, sum + i), all), d, sum + i);
  }
};

template <class C, class F>
HWY_INLINE void sum_columns(const Features& features, C* sum, const F& f) {
  for (size_t s = 0; s < features.sets; ++s) sum[s] = 0;
  size_t v = 0;
  for (; v + 4 <= features.size; v += 4) for_values<C>(features.sets, AddValues<C, F>{sum, f, v, 4});
  for (; v < features.size; ++v) for_values<C>(features.sets, AddValues<C, F>{sum, f, v, 1});
}

template <class T>
struct ColumnValue {
  const T* x;
  size_t stride;
  template <class D>
  HWY_INLINE hn::Vec<D> operator()(D d, size_t v, size_t i) const {
    return load(d, x + v * stride + i);
  }
};

template <class T>
struct ColumnSquare {
  const T* x;
  size_t stride;
  const Compute<T>* center;  // null: 0
  template <class D>
  HWY_INLINE hn::Vec<D> operator()(D d, size_t v, size_t i) const {
    auto centered = load(d, x + v * stride + i);
    if (center != nullptr) centered = hn::Sub(centered, hn::LoadU(d, center + i));
    return hn::Mul(centered, centered);
  }
};

template <class T, class P>
struct ColumnApply {
  const T* x;
  T* y;
  const Compute<T>*mean, *rstd;
  Compute<T> weight, bias;
  const P& phi;
  bool stream;
  template <class D>
  HWY_INLINE void operator()(D d, size_t i) const {
    auto centered = load(d, x + i);
    if (mean != nullptr) centered = hn::Sub(centered, hn::LoadU(d, mean + i));
    const auto xh = hn::Mul(centered, hn::LoadU(d, rstd + i));
    store_or_stream(d, phi.value(d, hn::Add(hn::Mul(xh, hn::Set(d, weight)), hn::Set(d, bias))), y + i, stream);
  }
};

template <class T>
struct ColumnsForward {
  const T* x;
  T* y;
  const Features& features;
  const FeatureNorm& norm;
  Compute<T>*mean, *rstd;
  template <class P>
  HWY_INLINE void operator()(const P& phi) const {
    using C = Compute<T>;
    const double n = static_cast<double>(features.size);
    C* center = norm.rms ? nullptr : mean;
    if (center != nullptr) {
      sum_columns(features, center, ColumnValue<T>{x, features.stride});
      for (size_t s = 0; s < features.sets; ++s) center[s] = static_cast<C>(center[s] / n);
    }
    sum_columns(features, rstd, ColumnSquare<T>{x, features.stride, center});
    for (size_t s = 0; s < features.sets; ++s) rstd[s] = static_cast<C>(1 / std::sqrt(rstd[s] / n + norm.eps));
    const bool stream = streams(features, y);
    for (size_t v = 0; v < features.size; ++v) {
      const C weight = norm.weight == nullptr ? C(1) : static_cast<const C*>(norm.weight)[v];
      const C bias = norm.bias == nullptr ? C(0) : static_cast<const C*>(norm.bias)[v];
      for_values<C>(features.sets, ColumnApply<T, P>{x + v * features.stride, y + v * features.stride, center, rstd,
                                                     weight, bias, phi, stream});
    }
  }
};

template <class T, class P>
struct ColumnGrad {
  const T *dy, *x;
  const Compute<T>*mean, *rstd;
  Compute<T> weight, bias;
  const P& phi;
  Compute<T>*h_sum, *hx_sum;

  template <class D>
  HWY_INLINE hn::Vec<D> xh(D d, size_t i) const {
    auto centered = load(d, x + i);
    if (mean != nullptr) centered = hn::Sub(centered, hn::LoadU(d, mean + i));
    return hn::Mul(centered, hn::LoadU(d, rstd + i));
  }
  template <class D>
  HWY_INLINE hn::Vec<D> g(D d, size_t i, hn::Vec<D> x_hat) const {
    const auto out = load(d, dy + i);
    if constexpr (!P::kNeedsZ) return out;
    return phi.gradient(d, out, hn::Add(hn::Mul(x_hat, hn::Set(d, weight)), hn::Set(d, bias)));
  }
  // Terms of dbias and dweight; adds h and h xh to the sums of each set.
  template <class D>
  HWY_INLINE void operator()(D d, size_t i, hn::Vec<D>* out) const {
    const auto x_hat = xh(d, i);
    out[0] = g(d, i, x_hat);
    out[1] = hn::Mul(out[0], x_hat);
    const auto w = hn::Set(d, weight);
    hn::StoreU(hn::Add(hn::LoadU(d, h_sum + i), hn::Mul(out[0], w)), d, h_sum + i);
    hn::StoreU(hn::Add(hn::LoadU(d, hx_sum + i), hn::Mul(out[1], w)), d, hx_sum + i);
  }
};

template <class T, class P>
struct ColumnGradApply {
  const ColumnGrad<T, P>& grad;
  T* dx;
  bool stream;
  template <class D>
  HWY_INLINE void operator()(D d, size_t i) const {
    const auto x_hat = grad.xh(d, i);
    auto h = hn::Mul(grad.g(d, i, x_hat), hn::Set(d, grad.weight));
    if (grad.mean != nullptr) h = hn::Sub(h, hn::LoadU(d, grad.h_sum + i));
    h = hn::Sub(h, hn::Mul(x_hat, hn::LoadU(d, grad.hx_sum + i)));
    store_or_stream(d, hn::Mul(h, hn::LoadU(d, grad.rstd + i)), dx + i, stream);
  }
};

template <class T>
struct ColumnsBackward {
  const T *dy, *x;
  T* dx;
  const Features& features;
  const FeatureNorm& norm;
  const Compute<T>*mean, *rstd;
  double *dweight, *dbias;
  Compute<T>* scratch;

  template <class P>
  HWY_INLINE ColumnGrad<T, P> grad(const P& phi, size_t v) const {
    using C = Compute<T>;
    return {dy + v * features.stride,
            x + v * features.stride,
            norm.rms ? nullptr : mean,
            rstd,
            norm.weight == nullptr ? C(1) : static_cast<const C*>(norm.weight)[v],
            norm.bias == nullptr ? C(0) : static_cast<const C*>(norm.bias)[v],
            phi,
            scratch,
            scratch + features.sets};
  }
  template <class P>
  HWY_INLINE void operator()(const P& phi) const {
    using C = Compute<T>;
    const C n = static_cast<C>(features.size);
    for (size_t i = 0; i < 2 * features.sets; ++i) scratch[i] = 0;
    for (size_t v = 0; v < features.size; ++v) {
      LaneSums<C, 2> sums;
      sums.run(grad(phi, v), features.sets);
      dbias[v] += sums.total(0);
      dweight[v] += sums.total(1);
    }
    for (size_t i = 0; i < 2 * features.sets; ++i) scratch[i] /= n;
    const bool stream = streams(features, dx);
    for (size_t v = 0; v < features.size; ++v) {
      const ColumnGrad<T, P> column = grad(phi, v);
      for_values<C>(features.sets, ColumnGradApply<T, P>{column, dx + v * features.stride, stream});
    }
  }
};

// ----

template <class T>
void forward(const void* x, void* y, const Features& features, const FeatureNorm& norm, void* mean, void* rstd) {
  using C = Compute<T>;
  if (features.stride == 0) {
    with_phi<T>(norm.slope, RowsForward<T>{static_cast<const T*>(x), static_cast<T*>(y), features, norm, static_cast<C*>(mean),
                                        static_cast<C*>(rstd)});
  } else {
    with_phi<T>(norm.slope, ColumnsForward<T>{static_cast<const T*>(x), static_cast<T*>(y), features, norm,
                                           static_cast<C*>(mean), static_cast<C*>(rstd)});
  }
}

void FeatureForward(Elem elem, const void* x, void* y, const Features& features, const FeatureNorm& norm, void* mean,
                    void* rstd) {
  switch (elem) {
    case Elem::f32: return forward<float>(x, y, features, norm, mean, rstd);
    case Elem::bf16: return forward<uint16_t>(x, y, features, norm, mean, rstd);
    case Elem::f64: return forward<double>(x, y, features, norm, mean, rstd);
  }
}

template <class T>
void backward(const void* dy, const void* x, void* dx, const Features& features, const FeatureNorm& norm,
              const void* mean, const void* rstd, double* dweight, double* dbias, void* scratch) {
  using C = Compute<T>;
  const T *g = static_cast<const T*>(dy), *in = static_cast<const T*>(x);
  const C *m = static_cast<const C*>(mean), *s = static_cast<const C*>(rstd);
  if (features.stride == 0) {
    with_phi<T>(norm.slope, RowsBackward<T>{g, in, static_cast<T*>(dx), features, norm, m, s, dweight, dbias,
                                         static_cast<C*>(scratch)});
  } else {
    with_phi<T>(norm.slope, ColumnsBackward<T>{g, in, static_cast<T*>(dx), features, norm, m, s, dweight, dbias,
                                            static_cast<C*>(scratch)});
  }
}

void FeatureBackward(Elem elem, const void* dy, const void* x, void* dx, const Features& features,
                     const FeatureNorm& norm, const void* mean, const void* rstd, double* dweight, double* dbias,
                     void* scratch) {
  switch (elem) {
    case Elem::f32: return backward<float>(dy, x, dx, features, norm, mean, rstd, dweight, dbias, scratch);
    case Elem::bf16: return backward<uint16_t>(dy, x, dx, features, norm, mean, rstd, dweight, dbias, scratch);
    case Elem::f64: return backward<double>(dy, x, dx, features, norm, mean, rstd, dweight, dbias, scratch);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ballast::norm_kernel
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast::norm_kernel {
HWY_EXPORT(FeatureForward);
HWY_EXPORT(FeatureBackward);

void feature_forward(Elem elem, const void* x, void* y, const Features& features, const FeatureNorm& norm, void* mean,
                     void* rstd) {
  HWY_DYNAMIC_DISPATCH(FeatureForward)(elem, x, y, features, norm, mean, rstd);
}

void feature_backward(Elem elem, const void* dy, const void* x, void* dx, const Features& features,
                      const FeatureNorm& norm, const void* mean, const void* rstd, double* dweight, double* dbias,
                      void* scratch) {
  HWY_DYNAMIC_DISPATCH(FeatureBackward)(elem, dy, x, dx, features, norm, mean, rstd, dweight, dbias, scratch);
}

}  // namespace ballast::norm_kernel
#endif
