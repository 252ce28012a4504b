#include <ballast/norm/plane_kernel.h>

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ballast/norm/plane_kernel.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <ballast/norm/kernel_inl.h>

HWY_BEFORE_NAMESPACE();
namespace ballast::norm_kernel {
namespace HWY_NAMESPACE {

// Values that are summed in float before they go to double: their second read comes from the first-level cache.
constexpr size_t kBlock = 4096;

// Calls f(offset, planes, size) for blocks of whole planes, or of parts of one, of at most kBlock values.
template <class F>
HWY_INLINE void for_blocks(const Planes& p, F& f) {
  if (p.size == 0) return;
  if (p.size > kBlock) {
    for (size_t k = 0; k < p.count; ++k) {
      for (size_t i = 0; i < p.size; i += kBlock) f(k, i, size_t{1}, HWY_MIN(kBlock, p.size - i));
    }
    return;
  }
  const size_t together = kBlock / p.size;
  for (size_t k = 0; k < p.count; k += together) f(k, size_t{0}, HWY_MIN(together, p.count - k), p.size);
}

// What the processor does not foresee, the jump to the next plane or page, is fetched while this one is summed: so many
// values ahead. Past the last plane that is memory nobody reads; to ask for it does no harm.
HWY_INLINE size_t ahead_of(const Planes& p) { return p.size > kBlock ? size_t{1024} : p.stride; }
template <class T>
HWY_INLINE void prefetch(const T* p, size_t ahead) {
  hwy::Prefetch(reinterpret_cast<const T*>(reinterpret_cast<uintptr_t>(p) + ahead * sizeof(T)));
}

template <class T>
struct ValueTerm {
  const T* x;
  size_t ahead;
  template <class D>
  HWY_INLINE void operator()(D d, size_t i, hn::Vec<D>* out) const {
    prefetch(x + i, ahead);
    out[0] = load(d, x + i);
  }
};

template <class T>
struct ShiftedTerm {
  const T* x;
  Compute<T> shift;
  template <class D>
  HWY_INLINE void operator()(D d, size_t i, hn::Vec<D>* out) const {
    out[0] = hn::Sub(load(d, x + i), hn::Set(d, shift));
    out[1] = hn::Mul(out[0], out[0]);
  }
};

template <class T>
struct MomentsBlock {
  const T* x;
  size_t stride, ahead;
  Moments all;

  HWY_INLINE void operator()(size_t plane, size_t offset, size_t count, size_t size) {
    using C = Compute<T>;
    const T* start = x + plane * stride + offset;
    const double n = static_cast<double>(count * size);
    LaneSums<C, 1> first;
    for (size_t k = 0; k < count; ++k) first.run(ValueTerm<T>{start + k * stride, ahead}, size);
    const C shift = static_cast<C>(first.total(0) / n);
    LaneSums<C, 2> second;
    for (size_t k = 0; k < count; ++k) second.run(ShiftedTerm<T>{start + k * stride, shift}, size);
    const double s1 = second.total(0), s2 = second.total(1);
    all.merge({n, static_cast<double>(shift) + s1 / n, HWY_MAX(0.0, s2 - s1 * s1 / n)});
  }
};

template <class T>
Moments moments(const T* x, const Planes& planes) {
  MomentsBlock<T> block{x, planes.stride, ahead_of(planes), {}};
  for_blocks(planes, block);
  return block.all;
}

Moments PlaneMoments(Elem elem, const void* x, const Planes& planes) {
  switch (elem) {
    case Elem::f32: return moments(static_cast<const float*>(x), planes);
    case Elem::bf16: return moments(static_cast<const uint16_t*>(x), planes);
    case Elem::f64: return moments(static_cast<const double*>(x), planes);
  }
  return {};
}

template <class C>
struct AffineOf {
  C center, scale, offset;
  explicit AffineOf(const Affine& a)
      : center(static_cast<C>(a.center)), scale(static_cast<C>(a.scale)), offset(static_cast<C>(a.offset)) {}
  template <class D>
  HWY_INLINE hn::Vec<D> z(D d, hn::Vec<D> centered) const {
    return hn::Add(hn::Mul(centered, hn::Set(d, scale)), hn::Set(d, offset));
  }
};

// Past the caches where a result is too large to be found there again: saves the read that comes before a usual store.
template <class T>
bool streams(const Planes& planes, const T* y) {
  const bool lines = reinterpret_cast<uintptr_t>(y) % 64 == 0 && planes.size * sizeof(T) % 64 == 0 &&
                     planes.stride * sizeof(T) % 64 == 0;
  return planes.stream && sizeof(T) == sizeof(float) && lines;
}
template <class T, class P, class D>
HWY_INLINE void apply_vector(D d, const T* x, const T* residual, T* y, uint8_t* mask, size_t i,
                             const AffineOf<Compute<T>>& a, const P& phi, bool six, size_t ahead, size_t next, bool stream) {
  auto z = a.z(d, hn::Sub(load(d, x + i), hn::Set(d, a.center)));
  prefetch(x + i, next);
  if (residual != nullptr) {
    prefetch(residual + i, ahead);
    z = hn::Add(z, load(d, residual + i));
  }
  if (mask != nullptr) {
    auto one = hn::Gt(z, hn::Zero(d));
    if (six) one = hn::And(one, hn::Le(z, hn::Set(d, Compute<T>(6))));
    store_bits(d, one, mask, i);
  }
  store_or_stream(d, phi.value(d, z), y + i, stream);
}

template <class T>
struct ApplyPlanes {
  const T *x, *residual;
  T* y;
  uint8_t* mask;
  size_t mask_stride;
  const Planes& planes;
  AffineOf<Compute<T>> affine;
  bool six;

  template <class P>
  HWY_INLINE void operator()(const P& phi) const {
    const Tag<Compute<T>> d;
    const One<Compute<T>> one;
    const size_t lanes = hn::Lanes(d);
    const bool stream = streams(planes, y);
    const size_t ahead = ahead_of(planes);
    for (size_t k = planes.count; k-- > 0;) {
      const size_t start = k * planes.stride;
      const T* r = residual == nullptr ? nullptr : residual + start;
      uint8_t* m = mask == nullptr ? nullptr : mask + k * mask_stride;
      size_t i = 0;
      for (; i + lanes <= planes.size; i += lanes) {
        apply_vector(d, x + start, r, y + start, m, i, affine, phi, six, ahead, planes.next, stream);
      }
      for (; i < planes.size; ++i) apply_vector(one, x + start, r, y + start, m, i, affine, phi, six, ahead, planes.next, false);
    }
  }
};

template <class T>
void apply(const void* x, const void* residual, void* y, uint8_t* mask, size_t mask_stride, const Planes& planes,
           const Affine& affine, const Slope& slope) {
  with_phi<T>(slope, ApplyPlanes<T>{static_cast<const T*>(x), static_cast<const T*>(residual), static_cast<T*>(y), mask,
                                 mask_stride, planes, AffineOf<Compute<T>>(affine), slope.phi == Phi::relu6});
}

void PlaneApply(Elem elem, const void* x, const void* residual, void* y, uint8_t* mask, size_t mask_stride,
                const Planes& planes, const Affine& affine, const Slope& slope) {
  switch (elem) {
    case Elem::f32: return apply<float>(x, residual, y, mask, mask_stride, planes, affine, slope);
    case Elem::bf16: return apply<uint16_t>(x, residual, y, mask, mask_stride, planes, affine, slope);
    case Elem::f64: return apply<double>(x, residual, y, mask, mask_stride, planes, affine, slope);
  }
}

// g by z, or by the stored bits.
template <class T, class P, class D>
HWY_INLINE hn::Vec<D> gradient(D d, const T* dy, const uint8_t* mask, size_t i, hn::Vec<D> centered,
                               const AffineOf<Compute<T>>& a, const P& phi, double mask_a) {
  const auto g = load(d, dy + i);
  if (mask != nullptr) return gradient_by_bit(d, g, load_bits(d, mask, i), mask_a);
  if constexpr (!P::kNeedsZ) return g;
  return phi.gradient(d, g, a.z(d, centered));
}

template <class T, class P>
struct GradTerm {
  const T *dy, *x;
  const uint8_t* mask;
  const AffineOf<Compute<T>>& affine;
  const P& phi;
  double mask_a;
  size_t ahead;
  template <class D>
  HWY_INLINE void operator()(D d, size_t i, hn::Vec<D>* out) const {
    prefetch(dy + i, ahead);
    prefetch(x + i, ahead);
    const auto centered = hn::Sub(load(d, x + i), hn::Set(d, affine.center));
    out[0] = gradient<T>(d, dy, mask, i, centered, affine, phi, mask_a);
    out[1] = hn::Mul(out[0], centered);
  }
};

template <class T, class P>
struct GradSumsBlock {
  const T *dy, *x;
  const uint8_t* mask;
  size_t mask_stride, stride, ahead;
  const AffineOf<Compute<T>>& affine;
  const P& phi;
  double mask_a;
  GradSums all;

  HWY_INLINE void operator()(size_t plane, size_t offset, size_t count, size_t size) {
    LaneSums<Compute<T>, 2> sums;
    for (size_t k = 0; k < count; ++k) {
      const size_t start = (plane + k) * stride + offset;
      const uint8_t* m = mask == nullptr ? nullptr : mask + (plane + k) * mask_stride + offset / 8;
      sums.run(GradTerm<T, P>{dy + start, x + start, m, affine, phi, mask_a, ahead}, size);
    }
    all.g += sums.total(0);
    all.gx += sums.total(1);
  }
};

template <class T>
struct SumPlanes {
  const T *dy, *x;
  const uint8_t* mask;
  size_t mask_stride;
  const Planes& planes;
  AffineOf<Compute<T>> affine;
  double mask_a;
  GradSums* result;

  template <class P>
  HWY_INLINE void operator()(const P& phi) const {
    GradSumsBlock<T, P> block{dy, x, mask, mask_stride, planes.stride, ahead_of(planes), affine, phi, mask_a, {}};
    for_blocks(planes, block);
    *result = block.all;
  }
};


template <class T>
GradSums grad_sums(const void* dy, const void* x, const uint8_t* mask, size_t mask_stride, const Planes& planes,
                   const Affine& affine, const Slope& slope) {
  GradSums result;
  with_phi<T>(mask == nullptr ? slope : Slope{},
           SumPlanes<T>{static_cast<const T*>(dy), static_cast<const T*>(x), mask, mask_stride, planes,
                        AffineOf<Compute<T>>(affine), slope_elsewhere(slope), &result});
  return result;
}

GradSums PlaneGradSums(Elem elem, const void* dy, const void* x, const uint8_t* mask, size_t mask_stride,
                       const Planes& planes, const Affine& affine, const Slope& slope) {
  switch (elem) {
    case Elem::f32: return grad_sums<float>(dy, x, mask, mask_stride, planes, affine, slope);
    case Elem::bf16: return grad_sums<uint16_t>(dy, x, mask, mask_stride, planes, affine, slope);
    case Elem::f64: return grad_sums<double>(dy, x, mask, mask_stride, planes, affine, slope);
  }
  return {};
}

template <class T>
struct GradPlanes {
  const T *dy, *x;
  const uint8_t* mask;
  size_t mask_stride;
  T *dx, *dresidual;
  const Planes& planes;
  AffineOf<Compute<T>> affine;
  double mask_a;
  Compute<T> by_g, by_x, constant;

  template <class P, class D>
  HWY_INLINE void vector(D d, size_t start, const uint8_t* m, size_t i, const P& phi, bool stream) const {
    const auto centered = hn::Sub(load(d, x + start + i), hn::Set(d, affine.center));
    prefetch(x + start + i, planes.next);
    prefetch(dy + start + i, planes.next);
    const auto g = gradient<T>(d, dy + start, m, i, centered, affine, phi, mask_a);
    if (dresidual != nullptr) store_or_stream(d, g, dresidual + start + i, stream);
    const auto part = hn::Add(hn::Mul(centered, hn::Set(d, by_x)), hn::Set(d, constant));
    store_or_stream(d, hn::Add(hn::Mul(g, hn::Set(d, by_g)), part), dx + start + i, stream);
  }
  template <class P>
  HWY_INLINE void operator()(const P& phi) const {
    const Tag<Compute<T>> d;
    const One<Compute<T>> one;
    const size_t lanes = hn::Lanes(d);
    const bool stream = streams(planes, dx) && (dresidual == nullptr || streams(planes, dresidual));
    for (size_t k = planes.count; k-- > 0;) {
      const uint8_t* m = mask == nullptr ? nullptr : mask + k * mask_stride;
      size_t i = 0;
      for (; i + lanes <= planes.size; i += lanes) vector(d, k * planes.stride, m, i, phi, stream);
      for (; i < planes.size; ++i) vector(one, k * planes.stride, m, i, phi, false);
    }
  }
};

template <class T>
void grad(const void* dy, const void* x, const uint8_t* mask, size_t mask_stride, void* dx, void* dresidual,
          const Planes& planes, const Affine& affine, const Slope& slope, const GradAffine& g) {
  using C = Compute<T>;
  with_phi<T>(mask == nullptr ? slope : Slope{},
           GradPlanes<T>{static_cast<const T*>(dy), static_cast<const T*>(x), mask, mask_stride, static_cast<T*>(dx),
                         static_cast<T*>(dresidual), planes, AffineOf<C>(affine), slope_elsewhere(slope),
                         static_cast<C>(g.by_g), static_cast<C>(g.by_x), static_cast<C>(g.constant)});
}

void PlaneGrad(Elem elem, const void* dy, const void* x, const uint8_t* mask, size_t mask_stride, void* dx,
               void* dresidual, const Planes& planes, const Affine& affine, const Slope& slope, const GradAffine& g) {
  switch (elem) {
    case Elem::f32: return grad<float>(dy, x, mask, mask_stride, dx, dresidual, planes, affine, slope, g);
    case Elem::bf16: return grad<uint16_t>(dy, x, mask, mask_stride, dx, dresidual, planes, affine, slope, g);
    case Elem::f64: return grad<double>(dy, x, mask, mask_stride, dx, dresidual, planes, affine, slope, g);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ballast::norm_kernel
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast::norm_kernel {
HWY_EXPORT(PlaneMoments);
HWY_EXPORT(PlaneApply);
HWY_EXPORT(PlaneGradSums);
HWY_EXPORT(PlaneGrad);

Moments plane_moments(Elem elem, const void* x, const Planes& planes) {
  return HWY_DYNAMIC_DISPATCH(PlaneMoments)(elem, x, planes);
}

void plane_apply(Elem elem, const void* x, const void* residual, void* y, uint8_t* mask, size_t mask_stride,
                 const Planes& planes, const Affine& affine, const Slope& slope) {
  HWY_DYNAMIC_DISPATCH(PlaneApply)(elem, x, residual, y, mask, mask_stride, planes, affine, slope);
}

GradSums plane_grad_sums(Elem elem, const void* dy, const void* x, const uint8_t* mask, size_t mask_stride,
                         const Planes& planes, const Affine& affine, const Slope& slope) {
  return HWY_DYNAMIC_DISPATCH(PlaneGradSums)(elem, dy, x, mask, mask_stride, planes, affine, slope);
}

void plane_grad(Elem elem, const void* dy, const void* x, const uint8_t* mask, size_t mask_stride, void* dx,
                void* dresidual, const Planes& planes, const Affine& affine, const Slope& slope, const GradAffine& g) {
  HWY_DYNAMIC_DISPATCH(PlaneGrad)(elem, dy, x, mask, mask_stride, dx, dresidual, planes, affine, slope, g);
}

}  // namespace ballast::norm_kernel
#endif
