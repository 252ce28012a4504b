#include <ballast/probe/signal.h>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include <ballast/base/check.h>
#include <ballast/probe/signal_kernel.h>

namespace ballast {
namespace {

constexpr int64_t kChunk = 1024;  // columns whose sums stay in the first-level cache
constexpr int64_t kPairs = 64;

// y as a matrix of float: a row per sample, its columns in the order of memory.
struct Matrix {
  torch::Tensor held;
  const float* data = nullptr;
  int64_t rows = 0, columns = 0, channels = 1;
  int64_t inner = 1;  // column j belongs to channel (j / inner) % channels
  int64_t channel_of(int64_t column) const { return column / inner % channels; }
};

Matrix matrix_of(const torch::Tensor& y, int64_t channel_dim) {
  Matrix m;
  m.held = y.detach().to(torch::kCPU, torch::kFloat);
  m.rows = y.size(0);
  m.columns = m.rows == 0 ? 0 : y.numel() / m.rows;
  m.channels = channel_dim < 0 ? y.size(y.dim() + channel_dim) : y.size(channel_dim);
  if (y.dim() == 4 && channel_dim == 1 && !m.held.is_contiguous() &&
      m.held.is_contiguous(torch::MemoryFormat::ChannelsLast)) {
    m.inner = 1;
  } else {
    m.held = m.held.contiguous();
    m.inner = channel_dim == 1 && y.dim() > 2 ? m.columns / std::max<int64_t>(1, m.channels) : 1;
  }
  m.data = m.held.data_ptr<float>();
  return m;
}

// `count` of `n` indices, evenly spread.
torch::Tensor spread(int64_t n, int64_t count) {
  std::vector<int64_t> at(static_cast<size_t>(std::min(n, count)));
  for (size_t i = 0; i < at.size(); ++i) at[i] = static_cast<int64_t>(i) * n / static_cast<int64_t>(at.size());
  return torch::tensor(at, torch::kLong);
}

// Mean |correlation| of the pairs of columns of a: (rows, columns); columns that do not vary are left out.
double mean_correlation(const torch::Tensor& a) {
  const torch::Tensor centred = a - a.mean(0, true);
  // Scaled first: squares of a vanishing signal would be 0.
  const torch::Tensor largest = std::get<0>(centred.abs().max(0, true));
  const torch::Tensor varies = largest.gt(0).flatten().nonzero().flatten();
  if (varies.numel() < 2) return std::numeric_limits<double>::quiet_NaN();
  torch::Tensor unit = (centred / largest).index_select(1, varies);
  unit = unit / unit.square().sum(0, true).sqrt();
  const double n = static_cast<double>(unit.size(1));
  const double all = at::mm(unit.t(), unit).abs().sum(torch::kDouble).item<double>();
  return std::min(1.0, std::max(0.0, (all - n) / (n * (n - 1))));
}

void correlate(Signal& s, const torch::Tensor& y, int64_t channel_dim) {
  torch::Tensor x = y.detach().to(torch::kCPU, torch::kFloat);
  // (N, positions, C), of at most 1024 rows and 64 channels.
  x = x.dim() == 2 ? x.unsqueeze(1) : channel_dim == 1 ? x.flatten(2).transpose(1, 2) : x.flatten(1, -2);
  const int64_t n = x.size(0), positions = x.size(1);
  const torch::Tensor few = x.index_select(0, spread(n, 128)).index_select(1, spread(positions, std::max<int64_t>(1, 1024 / std::min<int64_t>(n, 128))))
                                .index_select(2, spread(x.size(2), kPairs));
  if (n * positions > 1) s.channel_correlation = mean_correlation(few.flatten(0, 1));
  const torch::Tensor samples = x.index_select(0, spread(n, kPairs)).index_select(1, spread(positions, 64)).flatten(1);
  if (samples.size(1) > 1) s.sample_correlation = mean_correlation(samples.t());
}

}  // namespace

Signal measure_signal(const torch::Tensor& y, const SignalOptions& options) {
  std::ostringstream shape;
  shape << y.sizes();
  check(y.is_floating_point() && y.dim() >= 2, "signal", "y must be floating point and have at least 2 dimensions, got ",
        c10::toString(y.scalar_type()), " ", shape.str());
  torch::NoGradGuard no_grad;
  const Matrix m = matrix_of(y, options.channel_dim);
  Signal s;
  s.samples = m.rows;
  s.channels = m.channels;
  s.positions = m.channels > 0 ? m.columns / m.channels : 0;
  if (y.numel() == 0) return s;

  const auto columns = static_cast<size_t>(m.columns);
  std::vector<float> sum(columns), square(columns), zeros(columns), outside(columns);
  const int64_t chunks = (m.columns + kChunk - 1) / kChunk;
  at::parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t j = chunk * kChunk;
      const auto n = static_cast<size_t>(std::min(kChunk, m.columns - j));
      const detail::ColumnSums sums{&sum[static_cast<size_t>(j)], &square[static_cast<size_t>(j)],
                                    &zeros[static_cast<size_t>(j)], &outside[static_cast<size_t>(j)]};
      for (int64_t i = 0; i < m.rows; ++i) {
        detail::add_row(m.data + i * m.columns + j, m.data + j, n, options.low, options.high, sums);
      }
    }
  });

  const auto rows = static_cast<double>(m.rows), places = static_cast<double>(s.positions);
  const auto channels = static_cast<size_t>(m.channels);
  std::vector<double> means(channels), squares(channels), across(channels), zero(channels), beyond(channels);
  for (size_t j = 0; j < columns; ++j) {
    const auto c = static_cast<size_t>(m.channel_of(static_cast<int64_t>(j)));
    const double mean_of_shifted = sum[j] / rows;
    const double mean = m.data[j] + mean_of_shifted;
    const double spread_sum = std::max(0.0, static_cast<double>(square[j]) - rows * mean_of_shifted * mean_of_shifted);
    means[c] += mean;
    squares[c] += mean * mean + spread_sum / rows;
    across[c] += m.rows > 1 ? spread_sum / (rows - 1) : 0;
    zero[c] += zeros[j];
    beyond[c] += outside[j];
  }
  double second = 0;
  for (size_t c = 0; c < channels; ++c) {
    means[c] /= places;
    squares[c] /= places;
    across[c] /= places;
    s.mean += means[c];
    second += squares[c];
    s.across += across[c];
    s.zeros += zero[c];
    s.saturated += beyond[c];
    s.dead_units += zero[c] == rows * places ? 1 : 0;
    s.saturated_units += beyond[c] == rows * places ? 1 : 0;
    s.channel_variance.push_back(std::max(0.0, squares[c] - means[c] * means[c]));
  }
  const auto units = static_cast<double>(channels), all = rows * places * units;
  s.mean /= units;
  s.across /= units;
  s.std = std::sqrt(std::max(0.0, second / units - s.mean * s.mean));
  s.zeros /= all;
  s.saturated /= all;
  s.dead_units /= units;
  s.saturated_units /= units;
  s.channel_mean = std::move(means);
  s.channel_across = std::move(across);
  // A square that overflowed does not make a value infinite.
  s.finite = std::isfinite(s.mean) && (std::isfinite(second) || torch::isfinite(m.held).all().item<bool>());
  if (options.correlations && s.finite) correlate(s, y, options.channel_dim);
  return s;
}

}  // namespace ballast
