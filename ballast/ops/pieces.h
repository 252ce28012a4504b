#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

#include <ballast/ops/one_thread.h>

// Work of LibTorch in pieces that do not depend on the number of threads: the number decides which thread computes a
// piece, never what is computed.

namespace ballast::ops {

/// Pieces that a sum over a batch is cut into at most, up to batches of kPieces * kPieceRows.
constexpr int64_t kPieces = 8;
constexpr int64_t kPieceRows = 16;

/// Rows of a piece of a batch of n: an eighth of a small one, kPieceRows of a large one.
inline int64_t rows_of_piece(int64_t n) { return std::clamp<int64_t>((n + kPieces - 1) / kPieces, 1, kPieceRows); }

/// Calls f(i) for each i in [0, n), spread over LibTorch's threads; what f calls of LibTorch, oneDNN and BLAS runs on one.
template <class F>
void for_pieces(int64_t n, const F& f) {
  // Of at least two pieces, one of them perhaps empty: a single one would be called outside of a parallel region.
  at::parallel_for(0, std::max<int64_t>(n, 2), 1, [&](int64_t begin, int64_t end) {
    const OneThread one;
    for (int64_t i = begin; i < std::min(end, n); ++i) f(i);
  });
}

/// f() in the calling thread; what it calls of LibTorch, oneDNN and BLAS runs on one thread. For what is small: sums to one
/// number, products with a vector.
template <class F>
auto on_one_thread(const F& f) {
  decltype(f()) result;
  at::parallel_for(0, 2, 1, [&](int64_t begin, int64_t) {
    const OneThread one;
    if (begin == 0) result = f();
  });
  return result;
}

}  // namespace ballast::ops
