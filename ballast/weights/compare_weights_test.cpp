#include <ballast/weights/compare_weights.h>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace ballast {
namespace {

TEST(CompareWeights, EqualBitsAreEqualNanIncluded) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const StateDict a = {{"w", torch::tensor({1.0F, nan, -0.0F})}, {"n", torch::tensor({3})}};
  const StateDict b = {{"w", torch::tensor({1.0F, nan, -0.0F})}, {"n", torch::tensor({3})}};
  const CompareReport report = compare_weights(a, b);
  EXPECT_TRUE(report.same());
  EXPECT_EQ(report.equal, 2);
  EXPECT_EQ(report.ulps, -1);
}

TEST(CompareWeights, TheFirstDifferenceTheCountAndTheUlps) {
  torch::Tensor x = torch::zeros({2, 3}), y = torch::zeros({2, 3});
  x[1][0] = 1;
  y[1][0] = std::nextafter(std::nextafter(1.0F, 2.0F), 2.0F);
  x[1][2] = std::numeric_limits<float>::denorm_min();
  y[1][2] = -std::numeric_limits<float>::denorm_min();
  const CompareReport report = compare_weights({{"a", torch::zeros({1})}, {"b", x}, {"c", torch::ones({1})}},
                                               {{"a", torch::zeros({1})}, {"b", y}, {"c", torch::zeros({1})}});
  ASSERT_EQ(report.differences.size(), 2U);
  const TensorDifference& d = report.differences[0];
  EXPECT_EQ(d.name, "b");
  EXPECT_EQ(d.kind, DifferenceKind::values);
  EXPECT_EQ(d.numbers, 6);
  EXPECT_EQ(d.differing, 2);
  EXPECT_EQ(d.ulps, 2);
  EXPECT_EQ(d.largest, std::ldexp(1.0, -22));
  EXPECT_EQ(d.first, (std::vector<int64_t>{1, 0}));
  EXPECT_EQ(report.largest, 1);
  EXPECT_EQ(report.ulps, 0x3f800000);
  EXPECT_EQ(report.equal, 1);
}

TEST(CompareWeights, EveryTypeAndBothZeros) {
  for (torch::Dtype type : {torch::kDouble, torch::kHalf, torch::kBFloat16, torch::kLong, torch::kChar, torch::kBool}) {
    const torch::Tensor a = torch::zeros({4}, type);
    torch::Tensor b = a.clone();
    EXPECT_TRUE(compare_weights({{"x", a}}, {{"x", b}}).same());
    b[2] = 1;
    const CompareReport report = compare_weights({{"x", a}}, {{"x", b}});
    ASSERT_EQ(report.differences.size(), 1U) << type;
    EXPECT_EQ(report.differences[0].largest, 1);
    EXPECT_EQ(report.differences[0].ulps >= 0, a.is_floating_point());
  }
  const CompareReport zeros = compare_weights({{"x", torch::tensor({0.0F})}}, {{"x", torch::tensor({-0.0F})}});
  EXPECT_EQ(zeros.differences.at(0).ulps, 0);
  EXPECT_EQ(zeros.differences.at(0).largest, 0);
  const CompareReport nan = compare_weights({{"x", torch::tensor({0.0F})}}, {{"x", torch::tensor({std::nanf("")})}});
  EXPECT_EQ(nan.differences.at(0).ulps, -1);
  EXPECT_TRUE(std::isinf(nan.largest));
  const torch::Tensor large = torch::tensor({int64_t{1} << 60});
  EXPECT_EQ(compare_weights({{"x", large}}, {{"x", large + 1}}).largest, 1);
}

TEST(CompareWeights, NamesShapesAndTypes) {
  const CompareReport report = compare_weights({{"a", torch::ones({2})}, {"b", torch::ones({2})}, {"c", torch::ones({2})}},
                                               {{"b", torch::ones({2, 1})}, {"c", torch::ones({2}, torch::kHalf)}, {"d", torch::ones({2})}});
  ASSERT_EQ(report.differences.size(), 4U);
  EXPECT_EQ(report.differences[0].kind, DifferenceKind::only_a);
  EXPECT_EQ(report.differences[1].kind, DifferenceKind::shape);
  EXPECT_EQ(report.differences[2].kind, DifferenceKind::type);
  EXPECT_EQ(report.differences[2].differing, 0);
  EXPECT_EQ(report.differences[3].kind, DifferenceKind::only_b);
}

TEST(CompareWeights, StridedAndEmptyTensors) {
  const torch::Tensor x = torch::arange(6.0).reshape({2, 3});
  EXPECT_TRUE(compare_weights({{"x", x.t().contiguous()}}, {{"x", x.t()}}).same());
  EXPECT_TRUE(compare_weights({{"x", torch::zeros({0, 3})}}, {{"x", torch::zeros({0, 3})}}).same());
  const torch::Tensor c = torch::zeros({2}, torch::kComplexFloat);
  torch::Tensor d = c.clone();
  torch::view_as_real(d)[1][1] = 2;
  const CompareReport report = compare_weights({{"x", c}}, {{"x", d}});
  EXPECT_EQ(report.differences.at(0).first, std::vector<int64_t>{1});
  EXPECT_EQ(report.largest, 2);
}

}  // namespace
}  // namespace ballast
