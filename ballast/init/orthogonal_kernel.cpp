#include <ballast/init/orthogonal_kernel.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ballast/init/orthogonal_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ballast {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<double, 8>;
using V = hn::Vec<D>;
constexpr size_t kLanes = hn::MaxLanes(D());
constexpr size_t kParts = 8 / kLanes;                          // vectors that hold the eight sums
constexpr size_t kTile = kParts == 1 ? 4 : kParts == 2 ? 2 : 1;  // rows of v and of q whose sums stay in registers

// The sums of R rows of v with C rows of q.
template <size_t R, size_t C>
void DotTile(const double* HWY_RESTRICT v, const double* HWY_RESTRICT q, size_t length, double* HWY_RESTRICT c, size_t stride) {
  const D d;
  V sums[R][C][kParts];
  for (size_t r = 0; r < R; ++r) {
    for (size_t j = 0; j < C; ++j) {
      for (size_t p = 0; p < kParts; ++p) sums[r][j][p] = hn::Zero(d);
    }
  }
  size_t k = 0;
  for (; k + 8 <= length; k += 8) {
    for (size_t p = 0; p < kParts; ++p) {
      V b[C];
      for (size_t j = 0; j < C; ++j) b[j] = hn::LoadU(d, q + j * length + k + p * kLanes);
      for (size_t r = 0; r < R; ++r) {
        const V a = hn::LoadU(d, v + r * length + k + p * kLanes);
        for (size_t j = 0; j < C; ++j) sums[r][j][p] = hn::Add(sums[r][j][p], hn::Mul(a, b[j]));
      }
    }
  }
  for (size_t r = 0; r < R; ++r) {
    for (size_t j = 0; j < C; ++j) {
      double lane[8];
      for (size_t p = 0; p < kParts; ++p) hn::StoreU(sums[r][j][p], d, lane + p * kLanes);
      for (size_t t = k; t < length; ++t) lane[t % 8] += v[r * length + t] * q[j * length + t];
      c[r * stride + j] = ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
    }
  }
}

template <size_t R>
void DotRows(const double* v, const double* q, size_t count, size_t length, double* c, size_t stride) {
  size_t j = 0;
  for (; j + kTile <= count; j += kTile) DotTile<R, kTile>(v, q + j * length, length, c + j, stride);
  for (; j < count; ++j) DotTile<R, 1>(v, q + j * length, length, c + j, stride);
}

void DotProducts(const double* v, size_t rows, const double* q, size_t count, size_t length, double* c, size_t stride) {
  // A few rows of q stay in the cache while all of v passes.
  constexpr size_t kRows = 4 * kTile;
  for (size_t j = 0; j < count; j += kRows) {
    const size_t part = HWY_MIN(kRows, count - j);
    size_t r = 0;
    for (; r + kTile <= rows; r += kTile) DotRows<kTile>(v + r * length, q + j * length, part, length, c + r * stride + j, stride);
    for (; r < rows; ++r) DotRows<1>(v + r * length, q + j * length, part, length, c + r * stride + j, stride);
  }
}

// R rows of v by C vectors of columns.
template <size_t R, size_t C, class T>
HWY_INLINE void SubtractTile(T d, double* HWY_RESTRICT v, const double* HWY_RESTRICT q, size_t count, size_t length,
                             const double* HWY_RESTRICT c, size_t stride) {
  const size_t lanes = hn::Lanes(d);
  hn::Vec<T> x[R][C];
  for (size_t r = 0; r < R; ++r) {
    for (size_t i = 0; i < C; ++i) x[r][i] = hn::LoadU(d, v + r * length + i * lanes);
  }
  for (size_t j = 0; j < count; ++j) {
    hn::Vec<T> b[C];
    for (size_t i = 0; i < C; ++i) b[i] = hn::LoadU(d, q + j * length + i * lanes);
    for (size_t r = 0; r < R; ++r) {
      const auto a = hn::Set(d, c[r * stride + j]);
      for (size_t i = 0; i < C; ++i) x[r][i] = hn::Sub(x[r][i], hn::Mul(a, b[i]));
    }
  }
  for (size_t r = 0; r < R; ++r) {
    for (size_t i = 0; i < C; ++i) hn::StoreU(x[r][i], d, v + r * length + i * lanes);
  }
}

template <size_t R>
void SubtractRows(double* v, const double* q, size_t count, size_t length, const double* c, size_t stride, size_t begin, size_t end) {
  constexpr size_t kVectors = kParts == 1 ? 4 : 2;
  size_t k = begin;
  for (; k + kVectors * kLanes <= end; k += kVectors * kLanes) {
    SubtractTile<R, kVectors>(D(), v + k, q + k, count, length, c, stride);
  }
  for (; k < end; ++k) SubtractTile<R, 1>(hn::CappedTag<double, 1>(), v + k, q + k, count, length, c, stride);
}

void SubtractProducts(double* v, size_t rows, const double* q, size_t count, size_t length, const double* c, size_t stride,
                      size_t begin, size_t end) {
  // A block of q stays in the cache while all rows of v pass.
  constexpr size_t kRows = 64, kColumns = 256, kHeight = kParts <= 2 ? 4 : 2;
  for (size_t j = 0; j < count; j += kRows) {
    const size_t part = HWY_MIN(kRows, count - j);
    for (size_t k = begin; k < end; k += kColumns) {
      const size_t stop = HWY_MIN(end, k + kColumns);
      size_t r = 0;
      for (; r + kHeight <= rows; r += kHeight) {
        SubtractRows<kHeight>(v + r * length, q + j * length, part, length, c + r * stride + j, stride, k, stop);
      }
      for (; r < rows; ++r) SubtractRows<1>(v + r * length, q + j * length, part, length, c + r * stride + j, stride, k, stop);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ballast
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast {
HWY_EXPORT(DotProducts);
HWY_EXPORT(SubtractProducts);

void dot_products(const double* v, size_t rows, const double* q, size_t count, size_t length, double* c, size_t stride) {
  HWY_DYNAMIC_DISPATCH(DotProducts)(v, rows, q, count, length, c, stride);
}

void subtract_products(double* v, size_t rows, const double* q, size_t count, size_t length, const double* c, size_t stride,
                       size_t begin, size_t end) {
  HWY_DYNAMIC_DISPATCH(SubtractProducts)(v, rows, q, count, length, c, stride, begin, end);
}

void dot_products_reference(const double* v, size_t rows, const double* q, size_t count, size_t length, double* c, size_t stride) {
  for (size_t r = 0; r < rows; ++r) {
    for (size_t j = 0; j < count; ++j) {
      double lane[8] = {};
      for (size_t k = 0; k < length; ++k) lane[k % 8] += v[r * length + k] * q[j * length + k];
      c[r * stride + j] = ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
    }
  }
}

void subtract_products_reference(double* v, size_t rows, const double* q, size_t count, size_t length, const double* c,
                                 size_t stride, size_t begin, size_t end) {
  for (size_t r = 0; r < rows; ++r) {
    for (size_t j = 0; j < count; ++j) {
      for (size_t k = begin; k < end; ++k) v[r * length + k] -= c[r * stride + j] * q[j * length + k];
    }
  }
}

}  // namespace ballast
#endif
