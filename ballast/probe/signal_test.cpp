#include <ballast/probe/signal.h>

#include <gtest/gtest.h>

#include <cmath>

#include <ballast/base/cpu.h>
#include <ballast/probe/signal_kernel.h>

namespace ballast {
namespace {

TEST(AddRow, EqualsItsReferenceOnEveryTargetAndLength) {
  for (const std::string& target : simd_targets()) {
    force_simd_target(target);
    for (size_t n = 0; n <= 67; ++n) {
      for (const size_t offset : {0, 1, 3}) {
        std::vector<float> x(n + offset + 1), shift(n + offset + 1);
        for (size_t i = 0; i < x.size(); ++i) {
          x[i] = i % 5 == 0 ? 0.0F : std::sin(static_cast<float>(i) * 1.7F);
          shift[i] = 0.01F * static_cast<float>(i);
        }
        std::vector<std::vector<float>> got(4, std::vector<float>(n + 2, 0.5F)), want = got;
        for (int row = 0; row < 2; ++row) {
          detail::add_row(x.data() + offset, shift.data() + offset, n, -0.5F, 0.5F, {got[0].data(), got[1].data(), got[2].data(), got[3].data()});
          detail::add_row_reference(x.data() + offset, shift.data() + offset, n, -0.5F, 0.5F,
                                    {want[0].data(), want[1].data(), want[2].data(), want[3].data()});
        }
        ASSERT_EQ(got, want) << target << " " << n << " " << offset;
      }
    }
  }
  force_simd_target("");
}

// Mean, std and across-sample variance in double by LibTorch's own operators.
void expect_equal_to_torch(const torch::Tensor& y, int64_t channel_dim) {
  const Signal s = measure_signal(y, {.channel_dim = channel_dim});
  const torch::Tensor d = y.to(torch::kDouble);
  const double tolerance = 4e-6;  // of variances up to 3, in float sums of up to 1500 terms
  EXPECT_NEAR(s.mean, d.mean().item<double>(), 1e-6);
  EXPECT_NEAR(s.std, d.std(false).item<double>(), 1e-6);
  EXPECT_NEAR(s.across, d.var(0).mean().item<double>(), tolerance);
  EXPECT_NEAR(s.zeros, d.eq(0).to(torch::kDouble).mean().item<double>(), 1e-12);
  const torch::Tensor by_channel = channel_dim == 1 ? d.transpose(0, 1).flatten(1) : d.flatten(0, -2).t();
  EXPECT_EQ(s.channels, by_channel.size(0));
  for (int64_t c = 0; c < s.channels; ++c) {
    EXPECT_NEAR(s.channel_variance[static_cast<size_t>(c)], by_channel[c].var(false).item<double>(), tolerance);
    const torch::Tensor own = channel_dim == 1 ? d.select(1, c) : d.select(-1, c);
    EXPECT_NEAR(s.channel_across[static_cast<size_t>(c)], own.var(0).mean().item<double>(), tolerance);
  }
}

TEST(Signal, AgreesWithLibTorchInEveryLayout) {
  torch::manual_seed(0);
  const torch::Tensor y = torch::relu(torch::randn({9, 5, 7, 3}) + 0.3);
  expect_equal_to_torch(y, 1);
  expect_equal_to_torch(y.contiguous(torch::MemoryFormat::ChannelsLast), 1);
  expect_equal_to_torch(y.slice(0, 0, 9, 2).slice(2, 1, 6), 1);
  expect_equal_to_torch(torch::randn({1500, 1}).expand({1500, 3}), 1);
  expect_equal_to_torch(torch::randn({8, 2100}), -1);
  expect_equal_to_torch(torch::randn({8, 6, 11}), -1);
  expect_equal_to_torch(torch::randn({8, 6}, torch::kDouble), -1);
}

TEST(Signal, AcrossSamplesIsNotFooledByConstantOffsets) {
  torch::manual_seed(0);
  const torch::Tensor offsets = torch::randn({1, 64});
  const Signal s = measure_signal(offsets.expand({128, 64}) + 1e-5 * torch::randn({128, 64}), {.channel_dim = -1});
  EXPECT_GT(s.std, 0.5);
  EXPECT_NEAR(s.across, 1e-10, 3e-11);
  EXPECT_GT(s.sample_correlation, 0.999);
}

TEST(Signal, CountsDeadAndSaturatedUnits) {
  torch::Tensor y = torch::full({4, 3, 2, 2}, 0.5);
  y.select(1, 0).zero_();
  y.select(1, 1).fill_(1);
  const Signal s = measure_signal(y, {.channel_dim = 1, .high = 1.0F});
  EXPECT_DOUBLE_EQ(s.dead_units, 1.0 / 3);
  EXPECT_DOUBLE_EQ(s.zeros, 1.0 / 3);
  EXPECT_DOUBLE_EQ(s.saturated_units, 1.0 / 3);
  EXPECT_DOUBLE_EQ(s.saturated, 1.0 / 3);
}

TEST(Signal, CorrelationIsOneForOneUnitAndSmallForManyDraws) {
  torch::manual_seed(0);
  const torch::Tensor unit = torch::randn({64, 1, 4, 4});
  const torch::Tensor signs = torch::tensor({1.0, -2.0, 0.5, 3.0}).view({1, 4, 1, 1});
  EXPECT_NEAR(measure_signal(unit * signs).channel_correlation, 1, 1e-5);
  // |r| of n independent pairs has mean sqrt(2 / (pi n)); 1024 rows, 2016 pairs.
  EXPECT_NEAR(measure_signal(torch::randn({64, 64, 4, 4})).channel_correlation, std::sqrt(2 / (M_PI * 1024)), 0.003);
  EXPECT_TRUE(std::isnan(measure_signal(torch::ones({64, 4, 2, 2})).channel_correlation));
  // A signal whose squares are below float's range.
  EXPECT_NEAR(measure_signal(1e-25 * unit * signs).channel_correlation, 1, 1e-5);
}

TEST(Signal, SameBitsForAnyNumberOfThreads) {
  torch::manual_seed(0);
  const torch::Tensor y = torch::randn({16, 8, 33, 31});
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const Signal one = measure_signal(y);
  for (const int threads : {2, 4}) {
    at::set_num_threads(threads);
    const Signal s = measure_signal(y);
    EXPECT_EQ(s.mean, one.mean);
    EXPECT_EQ(s.std, one.std);
    EXPECT_EQ(s.across, one.across);
    EXPECT_EQ(s.channel_across, one.channel_across);
  }
  at::set_num_threads(before);
}

TEST(Signal, NamesWhatItCannotMeasure) {
  EXPECT_FALSE(measure_signal(torch::full({4, 2}, NAN)).finite);
  EXPECT_TRUE(measure_signal(torch::full({4, 2}, 1e30)).finite);
  EXPECT_EQ(measure_signal(torch::zeros({0, 2})).samples, 0);
  EXPECT_EQ(measure_signal(torch::ones({1, 2})).across, 0);
  try {
    measure_signal(torch::ones({8}, torch::kLong));
    FAIL();
  } catch (const std::invalid_argument& e) {
    EXPECT_STREQ(e.what(), "[signal] y must be floating point and have at least 2 dimensions, got Long [8]");
  }
}

}  // namespace
}  // namespace ballast
