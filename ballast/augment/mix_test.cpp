#include <ballast/augment/mix.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

namespace ballast {
namespace {

BatchSlot batch(int64_t n, Layout layout = Layout::chw, int32_t h = 6, int32_t w = 9) {
  BatchSlot slot(n, 3, h, w, layout);
  for (int64_t i = 0; i < n * slot.sample_size(); ++i) slot.data[i] = static_cast<float>(std::sin(static_cast<double>(i)) * 3);
  for (int64_t i = 0; i < n; ++i) slot.label[static_cast<size_t>(i)] = i;
  return slot;
}

std::vector<float> pixels(const BatchSlot& slot) { return {slot.data, slot.data + slot.n * slot.sample_size()}; }

TEST(Mix, MixupIsTheFormulaForEveryModeAndSize) {
  for (const MixMode mode : {MixMode::batch, MixMode::pair, MixMode::elem}) {
    for (const int64_t n : {2, 3, 4, 5, 8, 9}) {
      BatchSlot slot = batch(n);
      const auto before = pixels(slot);
      std::vector<float> saved;
      mix_batch(slot, {.mixup_alpha = 1, .mode = mode}, Key(3).fold_in(static_cast<uint64_t>(n)), saved);
      ASSERT_TRUE(slot.mixed);
      std::set<int64_t> partners;
      for (int64_t i = 0; i < n; ++i) {
        const auto r = static_cast<size_t>(i);
        const int64_t j = slot.partner[r];
        ASSERT_NE(j, i) << "nobody mixes with itself";
        partners.insert(j);
        const float lam = slot.lambda[r];
        ASSERT_TRUE(lam >= 0 && lam < 1);
        for (int64_t k = 0; k < slot.sample_size(); ++k) {
          const float want = lam * before[static_cast<size_t>(i * slot.sample_size() + k)] +
                             (1 - lam) * before[static_cast<size_t>(j * slot.sample_size() + k)];
          ASSERT_EQ(slot.row(i)[k], want);
        }
      }
      EXPECT_EQ(partners.size(), static_cast<size_t>(n)) << "each sample is somebody's partner once";
      if (mode == MixMode::batch) {
        EXPECT_EQ(std::set<float>(slot.lambda.begin(), slot.lambda.end()).size(), 1U);
      }
      if (mode == MixMode::pair && n % 2 == 0) {
        for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
          EXPECT_EQ(slot.partner[static_cast<size_t>(slot.partner[i])], static_cast<int64_t>(i));
          EXPECT_EQ(slot.lambda[static_cast<size_t>(slot.partner[i])], slot.lambda[i]);
        }
      }
    }
  }
}

TEST(Mix, CutmixPastesOneBoxAndLambdaIsTheKeptArea) {
  for (const Layout layout : {Layout::chw, Layout::hwc}) {
    for (const MixMode mode : {MixMode::batch, MixMode::pair, MixMode::elem}) {
      for (uint64_t seed = 0; seed < 30; ++seed) {
        BatchSlot slot = batch(5, layout, 16, 11);
        const auto before = pixels(slot);
        std::vector<float> saved;
        mix_batch(slot, {.cutmix_alpha = 1, .mode = mode}, Key(seed), saved);
        for (int64_t i = 0; i < 5; ++i) {
          const int64_t j = slot.partner[static_cast<size_t>(i)];
          int from_partner = 0, from_itself = 0, x0 = 99, x1 = -1, y0 = 99, y1 = -1;
          for (int y = 0; y < 16; ++y) {
            for (int x = 0; x < 11; ++x) {
              const int64_t at = layout == Layout::chw ? y * 11 + x : (y * 11 + x) * 3;
              const float v = slot.row(i)[at];
              if (v == before[static_cast<size_t>(i * slot.sample_size() + at)]) {
                ++from_itself;
                continue;
              }
              ASSERT_EQ(v, before[static_cast<size_t>(j * slot.sample_size() + at)]);
              ++from_partner;
              x0 = std::min(x0, x);
              x1 = std::max(x1, x);
              y0 = std::min(y0, y);
              y1 = std::max(y1, y);
            }
          }
          EXPECT_EQ(from_partner, from_partner == 0 ? 0 : (x1 - x0 + 1) * (y1 - y0 + 1)) << "a box";
          EXPECT_FLOAT_EQ(slot.lambda[static_cast<size_t>(i)], 1 - static_cast<float>(from_partner) / (16 * 11));
        }
      }
    }
  }
}

TEST(Mix, LambdaFollowsItsLaw) {
  // alpha = 1: mixup's lambda is uniform; cutmix's, corrected by clipping, has mean 1 - int t (1 - sqrt(t) / 4)^2 dt = 0.679.
  const int n = 100'000;
  const std::vector<int64_t> rows = {0, 1};
  std::vector<size_t> begins;
  double uniform_sum = 0, cut_sum = 0, cut_square = 0;
  std::vector<double> lambdas;
  for (int i = 0; i < n; ++i) {
    const Key key = Key(17).fold_in(static_cast<uint64_t>(i));
    lambdas.push_back(static_cast<double>(draw_mix({.mixup_alpha = 1}, key, rows, 224, 224, begins)[0].lambda));
    uniform_sum += lambdas.back();
    const double c = static_cast<double>(draw_mix({.cutmix_alpha = 1}, key, rows, 1000, 1000, begins)[0].lambda);
    cut_sum += c;
    cut_square += c * c;
  }
  std::sort(lambdas.begin(), lambdas.end());
  double d = 0;
  for (int i = 0; i < n; ++i) {
    d = std::max({d, std::abs(lambdas[static_cast<size_t>(i)] - static_cast<double>(i) / n),
                  std::abs(lambdas[static_cast<size_t>(i)] - static_cast<double>(i + 1) / n)});
  }
  EXPECT_LT(d, std::sqrt(std::log(2e6) / (2.0 * n))) << "Kolmogorov and Smirnov at a false alarm of 1e-6";
  const double mean = cut_sum / n, deviation = std::sqrt(cut_square / n - mean * mean);
  // Rounding down the sides takes about 1/1000 of the box.
  EXPECT_NEAR(mean, 0.6793, 5 * deviation / std::sqrt(n) + 0.001);
}

TEST(Mix, SwitchingAndProbHaveTheirShares) {
  const std::vector<int64_t> rows = {0, 1};
  std::vector<size_t> begins;
  int cut = 0, off = 0;
  const int n = 20'000;
  for (int i = 0; i < n; ++i) {
    const MixDraw d = draw_mix({.mixup_alpha = 0.2, .cutmix_alpha = 1, .prob = 0.7, .switch_prob = 0.4},
                               Key(5).fold_in(static_cast<uint64_t>(i)), rows, 64, 64, begins)[0];
    if (d.lambda == 1 && d.w == 0) {
      ++off;
    } else if (d.w > 0) {
      ++cut;
    }
  }
  // A cutmix box can have no area, a mixup lambda of Beta(0.2, 0.2) rounds to 1 at times: both count as off here.
  EXPECT_NEAR(cut, 0.28 * n, 5 * std::sqrt(n * 0.28 * 0.72) + 0.002 * n);
  EXPECT_GT(off, 0.3 * n - 5 * std::sqrt(n * 0.21));
}

TEST(Mix, MinmaxBoxesLieInside) {
  const std::vector<int64_t> rows = {0, 1, 2};
  std::vector<size_t> begins;
  for (uint64_t i = 0; i < 2000; ++i) {
    const MixDraw d = draw_mix({.cutmix_minmax = std::array<double, 2>{0.2, 0.8}}, Key(i), rows, 40, 60, begins)[0];
    ASSERT_TRUE(d.x >= 0 && d.y >= 0 && d.x + d.w <= 60 && d.y + d.h <= 40);
    ASSERT_TRUE(d.h >= 8 && d.h <= 32 && d.w >= 12 && d.w <= 48);
    ASSERT_FLOAT_EQ(d.lambda, 1 - static_cast<float>(d.w * d.h) / 2400);
  }
}

TEST(Mix, OneSampleAndBadRowsStayOut) {
  BatchSlot one = batch(1);
  const auto before = pixels(one);
  std::vector<float> saved;
  mix_batch(one, {.mixup_alpha = 1}, Key(1), saved);
  EXPECT_FALSE(one.mixed);
  EXPECT_EQ(pixels(one), before);
  BatchSlot slot = batch(4);
  slot.weight[2] = 0;
  const auto all = pixels(slot);
  mix_batch(slot, {.mixup_alpha = 1}, Key(1), saved);
  EXPECT_EQ(slot.lambda[2], 1);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(slot.partner[i] == 2, i == 2);
  for (int64_t k = 0; k < slot.sample_size(); ++k) ASSERT_EQ(slot.row(2)[k], all[static_cast<size_t>(2 * slot.sample_size() + k)]);
}

TEST(Mix, ErrorsSayWhatIsRequired) {
  const auto error = [](const MixOptions& o, int64_t classes) -> std::string {
    try {
      check_mix(o, classes);
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(error({.mixup_alpha = 0.2}, 1), "[mixup] num_classes must be at least 2, got 1");
  EXPECT_EQ(error({.cutmix_alpha = 1}, 1), "[cutmix] num_classes must be at least 2, got 1");
  EXPECT_EQ(error({.mixup_alpha = -1}, 5), "[mixup] mixup_alpha must be >= 0, got -1");
  EXPECT_EQ(error({.prob = 2}, 5), "[mixup] prob must be in [0, 1], got 2");
  EXPECT_EQ(error({.cutmix_minmax = std::array<double, 2>{0.5, 0.2}}, 5),
            "[cutmix] cutmix_minmax must be an increasing pair in [0, 1], got [0.5, 0.2]");
  EXPECT_EQ(error({}, 1), "");
  EXPECT_THROW(parse_mix_mode("half"), std::invalid_argument);
}

}  // namespace
}  // namespace ballast
