#include <ballast/data/order.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace ballast {
namespace {

TEST(WeightedPlaces, GiveEachPictureItsShareRoundedDownOrUp) {
  const std::vector<double> weights = {0, 1, 2.5, 0, 0.1, 7, 1e-3, 1, 0};
  const WeightedPlaces places(weights);
  const double sum = 11.601, n = static_cast<double>(weights.size());
  std::vector<double> mean(weights.size());
  constexpr int kStarts = 1 << 12;
  for (int s = 0; s < kStarts; ++s) {
    const double u = static_cast<double>(s) / kStarts;
    std::vector<uint64_t> count(weights.size());
    for (uint64_t q = 0; q < places.size(); ++q) {
      const WeightedPlaces::Pick pick = places.pick(q, u);
      ASSERT_EQ(pick.repeat, count[pick.picture]++) << "place " << q << " start " << u;
    }
    for (size_t i = 0; i < weights.size(); ++i) {
      const double share = n * weights[i] / sum;
      ASSERT_GE(static_cast<double>(count[i]), std::floor(share)) << i;
      ASSERT_LE(static_cast<double>(count[i]), std::ceil(share)) << i;
      mean[i] += static_cast<double>(count[i]) / kStarts;
    }
  }
  for (size_t i = 0; i < weights.size(); ++i) EXPECT_NEAR(mean[i], n * weights[i] / sum, 1.0 / kStarts) << i;
}

TEST(WeightedPlaces, OfEqualWeightsAreThePictures) {
  for (const double w : {1.0, 3.0, 0.1, 1e300}) {
    const WeightedPlaces places(std::vector<double>(1000, w == 1e300 ? 1e300 / 1e3 : w));
    for (const double u : {0.0, 0x1p-20, 0.5, 1 - 0x1p-20}) {
      for (uint64_t q = 0; q < 1000; ++q) {
        const WeightedPlaces::Pick pick = places.pick(q, u);
        // A tenth has no exact sum: at a start of 0 or next to 1 a place may fall to the neighbour.
        ASSERT_LE(pick.picture > q ? pick.picture - q : q - pick.picture, w == 1.0 || w == 3.0 ? 0U : 1U) << w << ' ' << u << ' ' << q;
      }
    }
  }
}

TEST(WeightedPlaces, RefuseWhatIsNoWeight) {
  for (const std::vector<double>& bad : {std::vector<double>{1, -1}, {0, 0}, {}, {1, NAN}, {1, INFINITY}, {1e308, 1e308}}) {
    EXPECT_THROW(WeightedPlaces{bad}, std::invalid_argument);
  }
}

TEST(EpochOrder, OfWeightsIsAKeyedOrderOfTheirPlaces) {
  const std::vector<double> weights = {1, 2, 3, 4, 0, 0, 0, 0, 0, 0};
  const auto places = std::make_shared<const WeightedPlaces>(weights);
  std::vector<std::vector<uint64_t>> epochs;
  for (uint64_t epoch = 0; epoch < 3; ++epoch) {
    const EpochOrder order = EpochOrder::shuffled(Key(5), epoch, 10, places);
    std::vector<uint64_t> pictures;
    for (uint64_t p = 0; p < 10; ++p) pictures.push_back(order(p).picture);
    epochs.push_back(pictures);
    std::sort(pictures.begin(), pictures.end());
    EXPECT_EQ(pictures, (std::vector<uint64_t>{0, 1, 1, 2, 2, 2, 3, 3, 3, 3}));
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[1], epochs[2]);
  EXPECT_THROW(EpochOrder::shuffled(Key(5), 0, 9, places), std::invalid_argument);
}

}  // namespace
}  // namespace ballast
