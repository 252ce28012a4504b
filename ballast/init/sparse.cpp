#include <ballast/init/sparse.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>
#include <ballast/init/normal.h>

namespace ballast {

torch::Tensor sparse_(torch::Tensor t, double sparsity, double std, Key key) {
  check(t.dim() == 2, "sparse", "t must have 2 dimensions, got ", shape_text(t.sizes()));
  check(sparsity >= 0 && sparsity <= 1, "sparse", "sparsity must be in [0, 1], got ", sparsity);
  torch::NoGradGuard no_grad;
  normal_(t, 0, std, key);
  const int64_t rows = t.size(0), columns = t.size(1);
  const auto zeros = static_cast<int64_t>(std::ceil(sparsity * static_cast<double>(rows)));
  if (zeros == 0 || t.numel() == 0) return t;
  const Key chosen = key.fold_in("sparse");
  torch::Tensor keep = torch::ones({rows, columns}, torch::kBool);
  auto kept = keep.accessor<bool, 2>();
  std::vector<std::pair<uint32_t, int64_t>> order(static_cast<size_t>(rows));
  for (int64_t column = 0; column < columns; ++column) {
    for (int64_t row = 0; row < rows; ++row) {
      order[static_cast<size_t>(row)] = {bits32(chosen, static_cast<uint64_t>(row * columns + column)), row};
    }
    std::nth_element(order.begin(), order.begin() + (zeros - 1), order.end());
    for (int64_t i = 0; i < zeros; ++i) kept[order[static_cast<size_t>(i)].second][column] = false;
  }
  return t.masked_fill_(keep.logical_not_().to(t.device()), 0);
}

}  // namespace ballast
