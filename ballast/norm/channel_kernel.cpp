#include <ballast/norm/channel_kernel.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ballast/norm/channel_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <ballast/norm/kernel_inl.h>

HWY_BEFORE_NAMESPACE();
namespace ballast::norm_kernel {
namespace HWY_NAMESPACE {

// Rows that are summed in float before they go to double: few, so that rounding stays that of the terms.
constexpr size_t kBlockRows = 4;

// sum[l] += v[l], in double.
template <class D>
HWY_INLINE void add_to(D d, hn::Vec<D> v, double* sum) {
  if constexpr (sizeof(hn::TFromD<D>) == sizeof(double)) {
    hn::StoreU(hn::Add(hn::LoadU(d, sum), v), d, sum);
  } else if constexpr (hn::MaxLanes(D()) == 1) {
    sum[0] += static_cast<double>(hn::GetLane(v));
  } else {
#if HWY_TARGET != HWY_SCALAR  // which has one lane
    const hn::Repartition<double, D> wide;
    const hn::Half<D> narrow;
    const size_t half = hn::Lanes(wide);
    hn::StoreU(hn::Add(hn::LoadU(wide, sum), hn::PromoteTo(wide, hn::LowerHalf(narrow, v))), wide, sum);
    hn::StoreU(hn::Add(hn::LoadU(wide, sum + half), hn::PromoteTo(wide, hn::UpperHalf(narrow, v))), wide, sum + half);
#endif
  }
}

// Vectors of columns that are summed together: as many as there are registers for.
#if HWY_TARGET <= HWY_AVX3
constexpr int kTogether = 4;
#else
constexpr int kTogether = 2;
#endif

// Adds the two terms of `rows` rows to s1, s2 for V vectors of columns from column c on.
template <int V, class D, class Term>
HWY_INLINE void sum_columns(D d, const Term& term, size_t first_row, size_t rows, size_t width, size_t c, double* s1,
                            double* s2) {
  const size_t lanes = hn::Lanes(d);
  hn::Vec<D> a[V], b[V];
  typename Term::template Columns<D> columns[V];
  for (int v = 0; v < V; ++v) {
    a[v] = b[v] = hn::Zero(d);
    columns[v].load(d, term, c + static_cast<size_t>(v) * lanes);
  }
  for (size_t r = first_row; r < first_row + rows; ++r) {
    HWY_UNROLL(4)
    for (int v = 0; v < V; ++v) {
      hn::Vec<D> t1, t2;
      term.get(d, r * width, r, c + static_cast<size_t>(v) * lanes, columns[v], t1, t2);
      a[v] = hn::Add(a[v], t1);
      b[v] = hn::Add(b[v], t2);
    }
  }
  for (int v = 0; v < V; ++v) {
    const size_t at = c + static_cast<size_t>(v) * lanes;
    add_to(d, a[v], s1 + at);
    add_to(d, b[v], s2 + at);
  }
}

template <class C, class Term>
HWY_INLINE void sum_block(const Term& term, size_t first_row, size_t rows, size_t width, size_t columns, double* s1,
                          double* s2) {
  const Tag<C> d;
  const One<C> one;
  const size_t lanes = hn::Lanes(d);
  size_t c = 0;
  for (; c + kTogether * lanes <= columns; c += kTogether * lanes) {
    sum_columns<kTogether>(d, term, first_row, rows, width, c, s1, s2);
  }
  for (; c + lanes <= columns; c += lanes) sum_columns<1>(d, term, first_row, rows, width, c, s1, s2);
  for (; c < columns; ++c) sum_columns<1>(one, term, first_row, rows, width, c, s1, s2);
}

template <class C, class Term>
HWY_INLINE void sum_rows(const Term& term, const Rows& rows, double* s1, double* s2) {
  const size_t whole = rows.values / rows.width, rest = rows.values % rows.width;
  for (size_t r = 0; r < whole; r += kBlockRows) {
    sum_block<C>(term, r, HWY_MIN(kBlockRows, whole - r), rows.width, rows.width, s1, s2);
  }
  if (rest > 0) sum_block<C>(term, whole, 1, rows.width, rest, s1, s2);
}

template <class T>
struct ShiftedTerms {
  const T* x;
  const Compute<T>* shift;
  template <class D>
  struct Columns {
    hn::Vec<D> shift;
    HWY_INLINE void load(D d, const ShiftedTerms& term, size_t c) { shift = hn::LoadU(d, term.shift + c); }
  };
  template <class D>
  HWY_INLINE void get(D d, size_t row, size_t, size_t c, const Columns<D>& columns, hn::Vec<D>& t1,
                      hn::Vec<D>& t2) const {
    t1 = hn::Sub(load(d, x + row + c), columns.shift);
    t2 = hn::Mul(t1, t1);
  }
};

template <class T>
void sums(const void* x, const Rows& rows, const void* shift, double* s1, double* s2) {
  using C = Compute<T>;
  sum_rows<C>(ShiftedTerms<T>{static_cast<const T*>(x), static_cast<const C*>(shift)}, rows, s1, s2);
}

void ChannelSums(Elem elem, const void* x, const Rows& rows, const void* shift, double* s1, double* s2) {
  switch (elem) {
    case Elem::f32: return sums<float>(x, rows, shift, s1, s2);
    case Elem::bf16: return sums<uint16_t>(x, rows, shift, s1, s2);
    case Elem::f64: return sums<double>(x, rows, shift, s1, s2);
  }
}

template <class C>
struct ColumnsOf {
  const C *center, *scale, *offset;
  explicit ColumnsOf(const ColumnAffine& a)
      : center(static_cast<const C*>(a.center)), scale(static_cast<const C*>(a.scale)),
        offset(static_cast<const C*>(a.offset)) {}
};

// Calls f(d, row index, offset of the row, column) for every vector of every row.
template <class C, class F>
HWY_INLINE void for_vectors(const Rows& rows, const F& f) {
  const Tag<C> d;
  const One<C> one;
  const size_t lanes = hn::Lanes(d);
  size_t start = 0;
  for (size_t r = 0; start < rows.values; ++r, start += rows.width) {
    const size_t width = HWY_MIN(rows.width, rows.values - start);
    size_t c = 0;
    for (; c + lanes <= width; c += lanes) f(d, r, start, c);
    for (; c < width; ++c) f(one, r, start, c);
  }
}

template <class T>
bool streams(const Rows& rows, const T* y) {
  return rows.stream && reinterpret_cast<uintptr_t>(y) % 64 == 0 && rows.width * sizeof(T) % 64 == 0;
}

template <class T, class P, bool kMasked>
struct ApplyVector {
  const T *x, *residual;
  T* y;
  uint8_t* mask;
  size_t mask_stride;
  ColumnsOf<Compute<T>> columns;
  const P& phi;
  bool six, stream;
  template <class D>
  HWY_INLINE void operator()(D d, size_t r, size_t start, size_t c) const {
    const size_t i = start + c;
    const auto centered = hn::Sub(load(d, x + i), hn::LoadU(d, columns.center + c));
    auto z = hn::Add(hn::Mul(centered, hn::LoadU(d, columns.scale + c)), hn::LoadU(d, columns.offset + c));
    if (residual != nullptr) z = hn::Add(z, load(d, residual + i));
    if constexpr (kMasked) {
      auto one = hn::Gt(z, hn::Zero(d));
      if (six) one = hn::And(one, hn::Le(z, hn::Set(d, Compute<T>(6))));
      store_bits(d, one, mask + r * mask_stride, c);
    }
    store_or_stream(d, phi.value(d, z), y + i, stream);
  }
};

template <class T>
struct ApplyRows {
  const T *x, *residual;
  T* y;
  uint8_t* mask;
  const Rows& rows;
  ColumnsOf<Compute<T>> columns;
  bool six;
  template <class P>
  HWY_INLINE void operator()(const P& phi) const {
    const size_t stride = mask_bytes(rows.width);
    const bool stream = streams(rows, y);
    if (mask == nullptr) {
      for_vectors<Compute<T>>(rows, ApplyVector<T, P, false>{x, residual, y, mask, stride, columns, phi, six, stream});
    } else {
      for_vectors<Compute<T>>(rows, ApplyVector<T, P, true>{x, residual, y, mask, stride, columns, phi, six, stream});
    }
  }
};

template <class T>
void apply(const void* x, const void* residual, void* y, uint8_t* mask, const Rows& rows, const ColumnAffine& affine,
           const Slope& slope) {
  with_phi<T>(slope, ApplyRows<T>{static_cast<const T*>(x), static_cast<const T*>(residual), static_cast<T*>(y), mask, rows,
                               ColumnsOf<Compute<T>>(affine), slope.phi == Phi::relu6});
}

void ChannelApply(Elem elem, const void* x, const void* residual, void* y, uint8_t* mask, const Rows& rows,
                  const ColumnAffine& affine, const Slope& slope) {
  switch (elem) {
    case Elem::f32: return apply<float>(x, residual, y, mask, rows, affine, slope);
    case Elem::bf16: return apply<uint16_t>(x, residual, y, mask, rows, affine, slope);
    case Elem::f64: return apply<double>(x, residual, y, mask, rows, affine, slope);
  }
}

// With a mask the activation does not matter: only the one with_phi chooses for none is needed.
template <class T, class P>
inline constexpr bool kByBits = sizeof(T) == sizeof(double) || !P::kNeedsZ;

// The activation's gradient from z, or from stored bits (kMasked).
template <class T, class P, bool kMasked>
struct Gradient {
  const T *dy, *x;
  const uint8_t* mask;
  size_t mask_stride;
  ColumnsOf<Compute<T>> columns;
  const P& phi;
  double mask_a;

  template <class D>
  struct Columns {
    hn::Vec<D> center, scale, offset;
    HWY_INLINE void load(D d, const Gradient& g, size_t c) {
      center = hn::LoadU(d, g.columns.center + c);
      if constexpr (P::kNeedsZ) {
        scale = hn::LoadU(d, g.columns.scale + c);
        offset = hn::LoadU(d, g.columns.offset + c);
      }
    }
  };
  template <class D>
  HWY_INLINE hn::Vec<D> g(D d, size_t row, size_t r, size_t c, const Columns<D>& k, hn::Vec<D>& centered) const {
    centered = hn::Sub(ballast::norm_kernel::HWY_NAMESPACE::load(d, x + row + c), k.center);
    const auto out = ballast::norm_kernel::HWY_NAMESPACE::load(d, dy + row + c);
    if constexpr (kMasked) {
      return gradient_by_bit(d, out, load_bits(d, mask + r * mask_stride, c), mask_a);
    } else if constexpr (P::kNeedsZ) {
      return phi.gradient(d, out, hn::Add(hn::Mul(centered, k.scale), k.offset));
    } else {
      return out;
    }
  }
  template <class D>
  HWY_INLINE void get(D d, size_t row, size_t r, size_t c, const Columns<D>& k, hn::Vec<D>& t1, hn::Vec<D>& t2) const {
    hn::Vec<D> centered;
    t1 = g(d, row, r, c, k, centered);
    t2 = hn::Mul(t1, centered);
  }
};

template <class T>
struct SumGrads {
  const T *dy, *x;
  const uint8_t* mask;
  const Rows& rows;
  ColumnsOf<Compute<T>> columns;
  double mask_a;
  double *s1, *s2;
  template <class P>
  HWY_INLINE void operator()(const P& phi) const {
    const size_t stride = mask_bytes(rows.width);
    if (mask == nullptr) {
      sum_rows<Compute<T>>(Gradient<T, P, false>{dy, x, mask, stride, columns, phi, mask_a}, rows, s1, s2);
    } else if constexpr (kByBits<T, P>) {
      sum_rows<Compute<T>>(Gradient<T, P, true>{dy, x, mask, stride, columns, phi, mask_a}, rows, s1, s2);
    }
  }
};


template <class T>
void grad_sums(const void* dy, const void* x, const uint8_t* mask, const Rows& rows, const ColumnAffine& affine,
               const Slope& slope, double* s1, double* s2) {
  with_phi<T>(mask == nullptr ? slope : Slope{},
           SumGrads<T>{static_cast<const T*>(dy), static_cast<const T*>(x), mask, rows, ColumnsOf<Compute<T>>(affine),
                       slope_elsewhere(slope), s1, s2});
}

void ChannelGradSums(Elem elem, const void* dy, const void* x, const uint8_t* mask, const Rows& rows,
                     const ColumnAffine& affine, const Slope& slope, double* s1, double* s2) {
  switch (elem) {
    case Elem::f32: return grad_sums<float>(dy, x, mask, rows, affine, slope, s1, s2);
    case Elem::bf16: return grad_sums<uint16_t>(dy, x, mask, rows, affine, slope, s1, s2);
    case Elem::f64: return grad_sums<double>(dy, x, mask, rows, affine, slope, s1, s2);
  }
}

template <class T, class G>
struct GradVector {
  G gradient;
  T *dx, *dresidual;
  const Compute<T> *by_g, *by_x, *constant;
  bool stream;
  template <class D>
  HWY_INLINE void operator()(D d, size_t r, size_t start, size_t c) const {
    typename G::template Columns<D> k;
    k.load(d, gradient, c);
    hn::Vec<D> centered;
    const auto g = gradient.g(d, start, r, c, k, centered);
    if (dresidual != nullptr) store_or_stream(d, g, dresidual + start + c, stream);
    const auto part = hn::Add(hn::Mul(centered, hn::LoadU(d, by_x + c)), hn::LoadU(d, constant + c));
    store_or_stream(d, hn::Add(hn::Mul(g, hn::LoadU(d, by_g + c)), part), dx + start + c, stream);
  }
};

template <class T>
struct GradRows {
  const T *dy, *x;
  const uint8_t* mask;
  T *dx, *dresidual;
  const Rows& rows;
  ColumnsOf<Compute<T>> columns;
  double mask_a;
  const Compute<T> *by_g, *by_x, *constant;
  template <class P>
  HWY_INLINE void operator()(const P& phi) const {
    const size_t stride = mask_bytes(rows.width);
    const bool stream = streams(rows, dx) && (dresidual == nullptr || streams(rows, dresidual));
    if (mask == nullptr) {
      using G = Gradient<T, P, false>;
      for_vectors<Compute<T>>(
          rows, GradVector<T, G>{G{dy, x, mask, stride, columns, phi, mask_a}, dx, dresidual, by_g, by_x, constant, stream});
    } else if constexpr (kByBits<T, P>) {
      using G = Gradient<T, P, true>;
      for_vectors<Compute<T>>(
          rows, GradVector<T, G>{G{dy, x, mask, stride, columns, phi, mask_a}, dx, dresidual, by_g, by_x, constant, stream});
    }
  }
};

template <class T>
void grad(const void* dy, const void* x, const uint8_t* mask, void* dx, void* dresidual, const Rows& rows,
          const ColumnAffine& affine, const Slope& slope, const ColumnGradAffine& g) {
  using C = Compute<T>;
  with_phi<T>(mask == nullptr ? slope : Slope{},
           GradRows<T>{static_cast<const T*>(dy), static_cast<const T*>(x), mask, static_cast<T*>(dx),
                       static_cast<T*>(dresidual), rows, ColumnsOf<C>(affine), slope_elsewhere(slope),
                       static_cast<const C*>(g.by_g), static_cast<const C*>(g.by_x), static_cast<const C*>(g.constant)});
}

void ChannelGrad(Elem elem, const void* dy, const void* x, const uint8_t* mask, void* dx, void* dresidual,
                 const Rows& rows, const ColumnAffine& affine, const Slope& slope, const ColumnGradAffine& g) {
  switch (elem) {
    case Elem::f32: return grad<float>(dy, x, mask, dx, dresidual, rows, affine, slope, g);
    case Elem::bf16: return grad<uint16_t>(dy, x, mask, dx, dresidual, rows, affine, slope, g);
    case Elem::f64: return grad<double>(dy, x, mask, dx, dresidual, rows, affine, slope, g);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ballast::norm_kernel
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast::norm_kernel {
HWY_EXPORT(ChannelSums);
HWY_EXPORT(ChannelApply);
HWY_EXPORT(ChannelGradSums);
HWY_EXPORT(ChannelGrad);

void channel_sums(Elem elem, const void* x, const Rows& rows, const void* shift, double* s1, double* s2) {
  HWY_DYNAMIC_DISPATCH(ChannelSums)(elem, x, rows, shift, s1, s2);
}

void channel_apply(Elem elem, const void* x, const void* residual, void* y, uint8_t* mask, const Rows& rows,
                   const ColumnAffine& affine, const Slope& slope) {
  HWY_DYNAMIC_DISPATCH(ChannelApply)(elem, x, residual, y, mask, rows, affine, slope);
}

void channel_grad_sums(Elem elem, const void* dy, const void* x, const uint8_t* mask, const Rows& rows,
                       const ColumnAffine& affine, const Slope& slope, double* s1, double* s2) {
  HWY_DYNAMIC_DISPATCH(ChannelGradSums)(elem, dy, x, mask, rows, affine, slope, s1, s2);
}

void channel_grad(Elem elem, const void* dy, const void* x, const uint8_t* mask, void* dx, void* dresidual,
                  const Rows& rows, const ColumnAffine& affine, const Slope& slope, const ColumnGradAffine& grad) {
  HWY_DYNAMIC_DISPATCH(ChannelGrad)(elem, dy, x, mask, dx, dresidual, rows, affine, slope, grad);
}

}  // namespace ballast::norm_kernel
#endif
