#include <ballast/augment/mix_totals.h>

#include <cmath>

#include <gtest/gtest.h>

#include <ballast/augment/mix.h>

namespace ballast {
namespace {

BatchSlot batch(int64_t n, int32_t side) {
  BatchSlot slot(n, 1, side, side, Layout::chw);
  std::fill_n(slot.data, n * slot.sample_size(), 0.5F);
  for (int64_t i = 0; i < n; ++i) slot.label[static_cast<size_t>(i)] = i % 3;
  return slot;
}

TEST(MixTotals, CountsByHand) {
  MixTotals totals;
  BatchSlot slot = batch(4, 2);
  totals.add(slot);
  EXPECT_EQ(totals.pictures, 4);
  EXPECT_EQ(totals.mixed, 0);
  EXPECT_EQ(totals.mean_lambda(), 1);
  slot.mixed = true;
  slot.label = {0, 1, 1, 0};
  slot.partner = {1, 2, 2, 0};
  slot.lambda = {0.25F, 0.5F, 1, 0.75F};
  slot.weight[3] = 0;
  totals = {};
  totals.add(slot);
  EXPECT_EQ(totals.pictures, 3);
  EXPECT_EQ(totals.mixed, 2);
  EXPECT_DOUBLE_EQ(totals.mixed_share(), 2.0 / 3);
  EXPECT_DOUBLE_EQ(totals.mean_lambda(), 0.375);
  // The second pair has one label.
  EXPECT_NEAR(totals.label_entropy(), -(0.25 * std::log(0.25) + 0.75 * std::log(0.75)) / 3, 1e-12);
}

/// The mean of cutmix's lambda at alpha = 1 on pictures of side x side: the integral over lambda and all centres.
double cutmix_mean(int side) {
  constexpr int kSteps = 20'000;
  double sum = 0;
  for (int k = 0; k < kSteps; ++k) {
    const double s = std::sqrt(1 - (k + 0.5) / kSteps);
    const int cut = static_cast<int>(side * s);
    double width = 0;
    for (int c = 0; c < side; ++c) width += std::min(side, c - cut / 2 + cut) - std::max(0, c - cut / 2);
    width /= static_cast<double>(side) * side;
    sum += 1 - width * width;
  }
  return sum / kSteps;
}

TEST(MixTotals, CutmixKeepsMoreThanAHalfBecauseItsBoxIsClipped) {
  EXPECT_NEAR(cutmix_mean(32), 0.690, 0.0006);
  EXPECT_NEAR(cutmix_mean(224), 0.681, 0.0006);
  for (const MixMode mode : {MixMode::batch, MixMode::pair, MixMode::elem}) {
    MixTotals totals;
    std::vector<float> saved;
    BatchSlot slot = batch(4, 32);
    const int n = 4000;
    double sum = 0, square = 0;
    for (int i = 0; i < n; ++i) {
      mix_batch(slot, {.cutmix_alpha = 1, .mode = mode}, Key(23).fold_in(static_cast<uint64_t>(i)), saved);
      totals.add(slot);
      // Rows of a batch may share lambda: independent are the batches.
      double mean = 0;
      for (const float lam : slot.lambda) mean += static_cast<double>(lam) / 4;
      sum += mean;
      square += mean * mean;
    }
    const double deviation = std::sqrt(square / n - sum / n * (sum / n));
    const double all = totals.mean_lambda() * totals.mixed_share() + 1 - totals.mixed_share();
    EXPECT_NEAR(all, sum / n, 1e-9);
    EXPECT_NEAR(all, cutmix_mean(32), 5 * deviation / std::sqrt(n)) << to_string(mode);
    EXPECT_GT(totals.mixed_share(), 0.97) << "a box of no pixel is rare";
  }
}

}  // namespace
}  // namespace ballast
