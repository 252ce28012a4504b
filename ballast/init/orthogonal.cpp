#include <ballast/init/orthogonal.h>

#include <ATen/Parallel.h>

#include <cmath>
#include <vector>

#include <ballast/base/check.h>
#include <ballast/init/normal.h>

namespace ballast {
namespace {

std::string shape_text(const torch::Tensor& x) {
  std::ostringstream out;
  out << '(';
  for (int64_t i = 0; i < x.dim(); ++i) out << (i ? ", " : "") << x.size(i);
  out << ')';
  return out.str();
}

// Multiplications that are worth a thread.
constexpr int64_t kGrain = 1 << 18;

// Eight lanes in fixed order.
double dot(const double* a, const double* b, int64_t n) {
  double lanes[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int64_t l = 0; l < 8; ++l) lanes[l] += a[i + l] * b[i + l];
  }
  for (; i < n; ++i) lanes[i % 8] += a[i] * b[i];
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

// Orthonormalizes `rows` rows of `length` numbers, rows <= length, in order.
void orthonormalize(double* q, int64_t rows, int64_t length) {
  std::vector<double> c(static_cast<size_t>(rows));
  for (int64_t i = 0; i < rows; ++i) {
    double* v = q + i * length;
    for (int round = 0; round < 2; ++round) {
      at::parallel_for(0, i, std::max<int64_t>(1, kGrain / length), [&](int64_t begin, int64_t end) {
        for (int64_t j = begin; j < end; ++j) c[static_cast<size_t>(j)] = dot(q + j * length, v, length);
      });
      at::parallel_for(0, length, std::max<int64_t>(64, kGrain / std::max<int64_t>(i, 1)), [&](int64_t begin, int64_t end) {
        for (int64_t j = 0; j < i; ++j) {
          const double* row = q + j * length;
          const double cj = c[static_cast<size_t>(j)];
          for (int64_t k = begin; k < end; ++k) v[k] -= cj * row[k];
        }
      });
    }
    const double scale = 1 / std::sqrt(dot(v, v, length));
    for (int64_t k = 0; k < length; ++k) v[k] *= scale;
  }
}

}  // namespace

torch::Tensor orthogonal_(torch::Tensor w, double gain, int64_t groups, Key key) {
  check(w.dim() >= 2, "orthogonal", "w must have at least 2 dimensions, got ", shape_text(w));
  check(groups >= 1 && w.size(0) % groups == 0, "orthogonal", "groups must divide dimension 0, got groups ", groups,
        " and ", shape_text(w));
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
