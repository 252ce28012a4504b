#include <ballast/init/orthogonal.h>

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>
#include <ballast/init/normal.h>
#include <ballast/init/orthogonal_kernel.h>

namespace ballast {
namespace {

// Multiplications that are worth a thread.
constexpr int64_t kGrain = 1 << 18;

// Rows that are orthonormalized together: their products with all rows before them run at the speed of a matrix product.
constexpr int64_t kPanel = 32;

// Takes from each of the `rows` rows of v what lies along the `count` orthonormal rows of q.
void remove(double* v, int64_t rows, const double* q, int64_t count, int64_t length, std::vector<double>& c) {
  if (count == 0) return;
  c.resize(static_cast<size_t>(rows * count));
  const auto size = [](int64_t n) { return static_cast<size_t>(n); };
  at::parallel_for(0, count, std::max<int64_t>(16, kGrain / (rows * length)), [&](int64_t begin, int64_t end) {
    dot_products(v, size(rows), q + begin * length, size(end - begin), size(length), c.data() + begin, size(count));
  });
  at::parallel_for(0, length, std::max<int64_t>(256, kGrain / (rows * count)), [&](int64_t begin, int64_t end) {
    subtract_products(v, size(rows), q, size(count), size(length), c.data(), size(count), size(begin), size(end));
  });
}

double norm_of(const double* v, int64_t length) {
  double square = 0;
  dot_products(v, 1, v, 1, static_cast<size_t>(length), &square, 1);
  return std::sqrt(square);
}

// Orthonormalizes `rows` rows of `length` numbers, rows <= length, in order.
void orthonormalize(double* q, int64_t rows, int64_t length) {
  std::vector<double> c;
  for (int64_t start = 0; start < rows; start += kPanel) {
    double* panel = q + start * length;
    const int64_t height = std::min(kPanel, rows - start);
    for (int round = 0; round < 2; ++round) remove(panel, height, q, start, length, c);
    for (int64_t i = 0; i < height; ++i) {
      double* v = panel + i * length;
      const double before = norm_of(v, length);
      for (int round = 0; round < 2; ++round) remove(v, 1, panel, i, length, c);
      // Little is left where the rows nearly fill the space: then the rounding of the panel's rounds counts.
      for (int round = 0; round < 2 && norm_of(v, length) < 0.1 * before; ++round) remove(v, 1, q, start + i, length, c);
      const double scale = 1 / norm_of(v, length);
      for (int64_t k = 0; k < length; ++k) v[k] *= scale;
    }
  }
}

}  // namespace

torch::Tensor orthogonal_(torch::Tensor w, double gain, int64_t groups, Key key) {
  check(w.dim() >= 2, "orthogonal", "w must have at least 2 dimensions, got ", shape_text(w.sizes()));
  check(groups >= 1 && w.size(0) % groups == 0, "orthogonal", "groups must divide dimension 0, got groups ", groups,
        " and ", shape_text(w.sizes()));
  if (w.numel() == 0) return w;
  torch::NoGradGuard no_grad;
  const int64_t rows = w.size(0) / groups, columns = w.numel() / w.size(0);
  const int64_t fewer = std::min(rows, columns), longer = std::max(rows, columns);
  // Kept as `fewer` rows of `longer` numbers.
  torch::Tensor q = torch::empty({groups, fewer, longer}, torch::kDouble);
  normal_(q, 0, 1, key);
  for (int64_t g = 0; g < groups; ++g) orthonormalize(q[g].data_ptr<double>(), fewer, longer);
  q.mul_(gain);
  w.copy_((rows > columns ? q.transpose(1, 2) : q).reshape(w.sizes()));
  return w;
}

}  // namespace ballast
