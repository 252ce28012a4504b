#pragma once

// Private to the room: what its operators share.

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include <ballast/base/key.h>
#include <ballast/base/stream.h>
#include <ballast/drop/mask_kernel.h>

namespace ballast::detail {

/// y = M x with a mask M that is drawn again wherever it is needed: forward below autograd, and `again` of the gradient
/// behind it. `again` calls registered operators, so that it can be differentiated in turn.
torch::Tensor drawn_again(const torch::Tensor& x, const std::function<torch::Tensor(const torch::Tensor&)>& forward,
                          const std::function<torch::Tensor(const torch::Tensor&)>& again);

/// x as kernels walk it: contiguous, or channels_last as (rows, positions, channels); other strides are copied, and half
/// types without kernels widened to float.
struct Walk {
  torch::Tensor x, y;
  bool channels_last = false;
  int64_t rows = 0, channels = 1, positions = 1;
  int64_t row_size() const { return channels * positions; }
  bool streams() const { return x.numel() * x.element_size() >= kStreamBytes; }
  /// The result, in the dtype of what was given.
  torch::Tensor result(const torch::Tensor& given) const;
};
Walk walk(const torch::Tensor& x);

/// apply_keep on whole rows; keep(row, words, ahead) draws the bits of a row (in the order channels, positions) into words
/// and returns their offset; `ahead` is the row itself, for draw_keep.
void apply_rows(const Walk& w, const std::function<size_t(int64_t row, uint16_t* words, Ahead ahead)>& keep,
                const std::function<KeepValues(int64_t row, const uint16_t* words, size_t offset)>& values);

/// One event for each group of a row: its channels (per_channel), else the whole row; event number
/// (first_row + n) groups + c. `one`: a single event, number 0, for the whole batch.
torch::Tensor drop_groups(const torch::Tensor& x, bool per_channel, bool one, DropRate rate, KeepValues values, Key key,
                          int64_t first_row);

/// call(x, first_row); where `rows` tells other places of x's rows than 0, 1, 2, ..., runs of neighbours one by one.
template <class Call>
torch::Tensor by_rows(const torch::Tensor& x, int64_t first_row, const std::vector<int64_t>* rows, const Call& call) {
  const int64_t n = x.dim() == 0 ? 0 : x.size(0);
  if (rows == nullptr || static_cast<int64_t>(rows->size()) != n || n == 0) return call(x, first_row);
  std::vector<torch::Tensor> parts;
  for (int64_t begin = 0, end = 0; begin < n; begin = end) {
    const int64_t place = (*rows)[static_cast<size_t>(begin)];
    end = begin + 1;
    while (end < n && (*rows)[static_cast<size_t>(end)] == place + end - begin) ++end;
    parts.push_back(call(end - begin == n ? x : x.narrow(0, begin, end - begin), first_row + place));
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

/// Number of the first element of row 0.
inline uint64_t first_element(const torch::Tensor& x, int64_t first_row) {
  return x.dim() == 0 || x.size(0) == 0 ? 0 : static_cast<uint64_t>(first_row) * static_cast<uint64_t>(x.numel() / x.size(0));
}

inline int64_t to_int(Key key) { return static_cast<int64_t>(key.bits()); }
inline Key to_key(int64_t bits) { return Key(static_cast<uint64_t>(bits)); }

/// Throws unless x is floating point and has at least `dims` dimensions.
void check_input(std::string_view stem, const torch::Tensor& x, int64_t dims);
/// Throws unless p is in [0, 1], or in [0, 1) if `open`; NaN fails.
void check_rate(std::string_view stem, std::string_view name, double p, bool open);

}  // namespace ballast::detail
