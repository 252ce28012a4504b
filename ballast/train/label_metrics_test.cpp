#include <ballast/train/label_metrics.h>

#include <cmath>
#include <fstream>
#include <limits>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <ballast/base/key.h>
#include <ballast/base/test_message.h>
#include <ballast/io/test_folder.h>

namespace ballast {
namespace {

PredictionTable label_table(int64_t classes, std::vector<uint8_t> targets, std::vector<float> logits) {
  PredictionTable t;
  t.several_labels = true;
  t.classes = classes;
  t.targets = std::move(targets);
  t.logits = std::move(logits);
  for (size_t i = 0; i < t.targets.size() / static_cast<size_t>(classes); ++i) t.index.push_back(static_cast<int64_t>(i));
  fill_rows(t);
  return t;
}

TEST(LabelMetrics, ByHand) {
  // Scores of class 0 from the top: 2 (yes), 1 (no), -1 (yes): AP = 1/2 * 1 + 1/2 * 2/3. Class 1: 0 (yes, no) tied, -3 (no).
  const Metrics m = compute_metrics(label_table(2, {1, 1, 0, 0, 1, 0}, {2, 0, 1, 0, -1, -3}));
  EXPECT_EQ(m.n, 3);
  EXPECT_TRUE(m.several_labels);
  EXPECT_NEAR(m.per_class[0].average_precision, 5.0 / 6, 1e-15);
  EXPECT_NEAR(m.per_class[1].average_precision, 0.5, 1e-15);
  EXPECT_NEAR(m.map, (5.0 / 6 + 0.5) / 2, 1e-15);
  EXPECT_NEAR(m.micro_f1, 2.0 / (3 + 2), 1e-15);  // one hit; three labels, two said
  EXPECT_EQ(m.exact_match, 0);
  const auto softplus = [](double z) { return std::log1p(std::exp(z)); };
  EXPECT_NEAR(m.loss, (softplus(-2) + softplus(0) + softplus(1) + softplus(0) + softplus(1) + softplus(-3)) / 3, 1e-12);
}

TEST(LabelMetrics, AgreeWithScikitLearn) {
  std::ifstream file(BALLAST_TEST_SOURCE_DIR "/tests/golden/label_metrics.json");
  const auto golden = nlohmann::json::parse(file);
  ASSERT_GE(golden["cases"].size(), 8U);
  for (const auto& c : golden["cases"]) {
    SCOPED_TRACE(c["name"].get<std::string>());
    std::vector<uint8_t> targets;
    std::vector<float> logits;
    for (const auto& row : c["targets"]) targets.insert(targets.end(), row.begin(), row.end());
    for (const auto& row : c["logits"]) logits.insert(logits.end(), row.begin(), row.end());
    const Metrics m = compute_metrics(label_table(static_cast<int64_t>(c["support"].size()), targets, logits));
    EXPECT_NEAR(m.loss, c["loss"], 1e-9);
    if (c["map"].is_null()) {
      EXPECT_TRUE(std::isnan(m.map));
    } else {
      EXPECT_NEAR(m.map, c["map"], 1e-12);
    }
    EXPECT_NEAR(m.micro_f1, c["micro_f1"], 1e-12);
    EXPECT_NEAR(m.exact_match, c["exact_match"], 1e-12);
    for (size_t k = 0; k < m.per_class.size(); ++k) {
      EXPECT_EQ(m.per_class[k].support, c["support"][k]);
      EXPECT_NEAR(m.per_class[k].precision, c["precision"][k], 1e-12);
      EXPECT_NEAR(m.per_class[k].recall, c["recall"][k], 1e-12);
      EXPECT_NEAR(m.per_class[k].f1, c["f1"][k], 1e-12);
      if (!c["average_precision"][k].is_null()) {
        EXPECT_NEAR(m.per_class[k].average_precision, c["average_precision"][k], 1e-12);
      }
    }
  }
}

TEST(LabelMetrics, RowsWithNonFiniteLogitsPredictNothing) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  // The second picture would be first by its other score.
  const Metrics m = compute_metrics(label_table(2, {1, 0, 0, 1}, {1, -1, 5, nan}));
  EXPECT_EQ(m.nonfinite, 1);
  EXPECT_EQ(m.exact_match, 0.5);
  EXPECT_EQ(m.per_class[0].average_precision, 1);
  EXPECT_EQ(m.per_class[0].predicted, 1);
  EXPECT_EQ(m.per_class[1].average_precision, 0.5);  // behind the first picture
  EXPECT_NEAR(m.loss, 2 * std::log1p(std::exp(-1)), 1e-7);
  EXPECT_TRUE(std::isnan(compute_metrics(label_table(1, {1}, {nan})).loss));
}

TEST(LabelMetrics, SameBitsForAnyNumberOfThreads) {
  std::vector<uint8_t> targets;
  std::vector<float> logits;
  const Key key(4);
  for (uint64_t i = 0; i < 5000 * 6; ++i) {
    targets.push_back(uniform(key, 2 * i) < 0.3 ? 1 : 0);
    logits.push_back(static_cast<float>(6 * uniform(key, 2 * i + 1) - 3));
  }
  const int before = at::get_num_threads();
  std::vector<Metrics> all;
  for (const int threads : {1, 2, 4}) {
    at::set_num_threads(threads);
    all.push_back(compute_metrics(label_table(6, targets, logits)));
  }
  at::set_num_threads(before);
  for (const std::string& name : metric_names(true)) {
    EXPECT_EQ(all[0].value(name), all[1].value(name)) << name;
    EXPECT_EQ(all[0].value(name), all[2].value(name)) << name;
  }
}

TEST(LabelMetrics, MetricsOfOneLabelHaveNoValue) {
  const Metrics m = compute_metrics(label_table(2, {1, 0}, {1, -1}));
  EXPECT_EQ(m.value("map"), 1);
  EXPECT_TRUE(std::isnan(m.top1));
  EXPECT_EQ(message_of<std::invalid_argument>([&] { (void)m.value("top1"); }),
            "[metrics] metric must be one of loss, map, micro_f1, exact_match, got \"top1\"");
  EXPECT_EQ(message_of<std::invalid_argument>([] { (void)Metrics().value("map"); }),
            "[metrics] metric must be one of loss, nll_tempered, top1, top5, balanced_acc, brier, ece, got \"map\"");
  EXPECT_TRUE(metric_is_maximized("map"));
  EXPECT_FALSE(metric_is_maximized("loss"));
}

TEST(LabelMetrics, RefusesTablesThatDisagree) {
  EXPECT_THROW(label_table(2, {1, 2}, {0, 0}), std::invalid_argument);
  EXPECT_THROW(label_table(2, {1, 1}, {0, 0, 0}), std::invalid_argument);
  EXPECT_EQ(compute_metrics(label_table(3, {}, {})).n, 0);
}

TEST(LabelMetrics, ATableComesBackFromItsFile) {
  const TestFolder folder;
  PredictionTable t = label_table(2, {1, 1, 0, 0, 1, 0}, {2, 0, 1, 0, -1, -3});
  t.index = {9, 4, 6};
  t.sort();
  EXPECT_EQ(t.targets, (std::vector<uint8_t>{0, 0, 1, 0, 1, 1}));
  EXPECT_EQ(t.logits, (std::vector<float>{1, 0, -1, -3, 2, 0}));
  t.metadata["split"] = "val";
  write_predictions(folder / "t.safetensors", t);
  EXPECT_EQ(read_predictions(folder / "t.safetensors"), t);
  t.target = {0, 1, 1};
  EXPECT_THROW(write_predictions(folder / "u.safetensors", t), std::invalid_argument);
}

}  // namespace
}  // namespace ballast
