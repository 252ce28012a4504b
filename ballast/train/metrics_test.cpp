#include <ballast/train/metrics.h>

#include <cmath>
#include <limits>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/nn/functional/loss.h>

namespace ballast {
namespace {

PredictionTable table(int64_t classes, const std::vector<int64_t>& target, std::vector<float> logits) {
  PredictionTable t;
  t.classes = classes;
  t.target.assign(target.begin(), target.end());
  for (size_t i = 0; i < t.target.size(); ++i) {
    t.index.push_back(static_cast<int64_t>(i));
  }
  t.logits = std::move(logits);
  fill_rows(t);
  return t;
}

PredictionTable random_table(int64_t n, int64_t k, float scale) {
  torch::manual_seed(5);
  const torch::Tensor target = torch::randint(k, {n});
  torch::Tensor z = torch::randn({n, k});
  z += 1.5 * torch::one_hot(target, k);
  z *= scale;
  PredictionTable t = table(k, {target.data_ptr<int64_t>(), target.data_ptr<int64_t>() + n},
                            {z.data_ptr<float>(), z.data_ptr<float>() + n * k});
  return t;
}

TEST(Metrics, ByHand) {
  const Metrics m = compute_metrics(table(2, {0, 1, 1}, {0, 0, std::log(3.0F), 0, 0, std::log(3.0F)}));
  EXPECT_EQ(m.n, 3);
  EXPECT_NEAR(m.loss, (std::log(2.0) + std::log(4.0) + std::log(4.0 / 3)) / 3, 1e-7);
  EXPECT_DOUBLE_EQ(m.top1, 2.0 / 3);  // a tie goes to the lower class
  EXPECT_EQ(m.top5, 1);
  EXPECT_EQ(m.confusion, (std::vector<int64_t>{1, 0, 1, 1}));
  EXPECT_DOUBLE_EQ(m.per_class[0].precision, 0.5);
  EXPECT_DOUBLE_EQ(m.per_class[1].recall, 0.5);
  EXPECT_DOUBLE_EQ(m.per_class[1].precision, 1);
  EXPECT_NEAR(m.per_class[1].f1, 2.0 / 3, 1e-12);
  EXPECT_DOUBLE_EQ(m.balanced_acc, 0.75);
  EXPECT_NEAR(m.brier, (0.5 + 2 * 0.5625 + 2 * 0.0625) / 3, 1e-7);
  // confidences .5 (right), .75 (wrong), .75 (right): bins of their own
  EXPECT_NEAR(m.ece, (0.5 + 0.5) / 3, 1e-7);
}

TEST(Metrics, TiesCountLowerClassesFirst) {
  const PredictionTable rows = table(3, {0, 1, 2}, {1, 1, 1, 1, 1, 1, 1, 1, 1});
  EXPECT_EQ(rows.rank, (std::vector<int32_t>{0, 1, 2}));
  EXPECT_EQ(rows.pred, (std::vector<int32_t>{0, 0, 0}));
}

TEST(Metrics, RowsWithNonFiniteLogitsAreWrongAndCountedApart) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Metrics m = compute_metrics(table(2, {0, 0, 0, 0}, {inf, 0, nan, 0, 1, -inf, 2, 0}));
  EXPECT_EQ(m.nonfinite, 3);
  EXPECT_EQ(m.top1, 0.25);
  EXPECT_EQ(m.top5, 0.25);
  EXPECT_NEAR(m.loss, std::log1p(std::exp(-2.0)), 1e-12);
}

TEST(Metrics, LossAndAccuracyEqualLibTorchs) {
  const PredictionTable t = random_table(5000, 17, 1.0F);
  const Metrics m = compute_metrics(t);
  const torch::Tensor z = torch::tensor(t.logits).view({5000, 17}).to(torch::kDouble);
  const torch::Tensor y = torch::tensor(std::vector<int64_t>(t.target.begin(), t.target.end()));
  EXPECT_NEAR(m.loss, torch::nn::functional::cross_entropy(z, y).item<double>(), 1e-12);
  EXPECT_EQ(m.top1, z.argmax(1).eq(y).to(torch::kDouble).mean().item<double>());
  const torch::Tensor top5 = std::get<1>(z.topk(5, 1)).eq(y.unsqueeze(1)).any(1);
  EXPECT_EQ(m.top5, top5.to(torch::kDouble).mean().item<double>());
}

TEST(Metrics, TemperatureUndoesAScaleOfTheLogits) {
  const Metrics one = compute_metrics(random_table(4000, 10, 1.0F));
  const Metrics sharp = compute_metrics(random_table(4000, 10, 4.0F));
  EXPECT_NEAR(sharp.temperature / one.temperature, 4, 1e-4);
  EXPECT_NEAR(sharp.nll_tempered, one.nll_tempered, 1e-6);
  EXPECT_LT(sharp.nll_tempered, sharp.loss);
}

TEST(Metrics, TemperatureIsTheMinimum) {
  const PredictionTable t = random_table(2000, 10, 3.0F);
  const Metrics m = compute_metrics(t);
  const torch::Tensor z = torch::tensor(t.logits).view({2000, 10}).to(torch::kDouble);
  const torch::Tensor y = torch::tensor(std::vector<int64_t>(t.target.begin(), t.target.end()));
  for (const double factor : {0.99, 1.01}) {
    EXPECT_LT(m.nll_tempered, torch::nn::functional::cross_entropy(z / (m.temperature * factor), y).item<double>());
  }
}

TEST(Metrics, SeparableAndUninformativeTablesKeepTemperatureOne) {
  EXPECT_EQ(compute_metrics(random_table(500, 10, 1000.0F)).temperature, 1);  // the optimum lies outside [1/20, 20]
  std::vector<int64_t> target(200, 0);
  std::vector<float> right, wrong;
  for (int i = 0; i < 200; ++i) {
    right.insert(right.end(), {5, 0});
    wrong.insert(wrong.end(), {0, 5});
  }
  EXPECT_EQ(compute_metrics(table(2, target, right)).temperature, 1);
  EXPECT_EQ(compute_metrics(table(2, target, wrong)).temperature, 1);
}

TEST(Metrics, BitsDoNotDependOnThreads) {
  const int threads = at::get_num_threads();
  const PredictionTable t = random_table(20000, 10, 2.0F);
  at::set_num_threads(1);
  const Metrics one = compute_metrics(t);
  at::set_num_threads(4);
  const Metrics four = compute_metrics(t);
  at::set_num_threads(threads);
  for (const std::string& name : metric_names()) {
    EXPECT_EQ(one.value(name), four.value(name)) << name;
  }
}

TEST(Metrics, NamesAndDirections) {
  EXPECT_TRUE(metric_is_maximized("top1"));
  EXPECT_FALSE(metric_is_maximized("nll_tempered"));
  try {
    metric_is_maximized("accuracy");
    FAIL();
  } catch (const std::invalid_argument& e) {
    EXPECT_STREQ(e.what(), "[metrics] metric must be one of loss, nll_tempered, top1, top5, balanced_acc, brier, ece, got \"accuracy\"");
  }
}

TEST(Metrics, WrongTablesAreRefused) {
  EXPECT_THROW(compute_metrics(table(2, {2}, {0, 0})), std::invalid_argument);
  EXPECT_THROW(compute_metrics(table(2, {0}, {0, 0, 0})), std::invalid_argument);
  EXPECT_EQ(compute_metrics(table(3, {}, {})).n, 0);
}

TEST(Metrics, AConfidenceOfOneFallsIntoTheLastBin) {
  const Metrics m = compute_metrics(table(2, {0, 1}, {1000, 0, 1000, 0}));
  EXPECT_DOUBLE_EQ(m.ece, 0.5);
}

}  // namespace
}  // namespace ballast
