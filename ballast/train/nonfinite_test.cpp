#include <cmath>
#include <limits>

#include <gtest/gtest.h>
#include <torch/types.h>

#include <ballast/base/check.h>
#include <ballast/io/jsonl.h>
#include <ballast/io/safetensors.h>
#include <ballast/train/run.h>
#include <ballast/train/run_context.h>
#include <ballast/train/run_options.h>
#include <ballast/train/test_photos.h>

namespace ballast {
namespace {

struct Told : RunEvents {
  void on_warning(const std::string& text) override { warnings += text + "\n"; }
  bool stop_requested() override { return left-- <= 0; }
  std::string warnings;
  int64_t left = 1'000'000'000;
};

class NonFinite : public ::testing::Test {
 protected:
  void TearDown() override { detail::spoil_batch() = nullptr; }

  RunOptions options(const std::string& policy, const std::string& name) const {
    RunOptions o;
    o.data.source = photos_.path().string();
    o.run.out = (dir_ / name).string();
    o.run.threads = Auto<int64_t>(1);
    o.run.workers = Auto<int64_t>(0);
    o.model.name = Auto<std::string>("mlp:1x8");
    o.train.epochs = Auto<int64_t>(3);
    o.train.batch_size = 8;
    o.train.on_nonfinite = policy;
    o.schedule.name = Auto<std::string>("constant");
    o.log.every = Duration{1, Duration::Unit::steps};
    o.log.tensorboard = false;
    return o;
  }
  // The pictures of this step become NaN, in attempts below `attempts`.
  static void spoil(int64_t step, int64_t attempts) {
    detail::spoil_batch() = [=](torch::Tensor& x, int64_t t, int64_t attempt) {
      if (t == step && attempt < attempts) x.fill_(std::numeric_limits<float>::quiet_NaN());
    };
  }
  std::vector<JsonValue> rows(const std::string& name, const std::string& kind) const {
    std::vector<JsonValue> out;
    for (const JsonValue& row : read_jsonl(dir_ / name / "metrics.jsonl").rows) {
      if (row.string_or("kind", "") == kind) out.push_back(row);
    }
    return out;
  }
  std::string message(const RunOptions& o) const {
    Told events;
    try {
      run_training(o, events);
    } catch (const NonFiniteError& e) {
      return e.what();
    }
    return "";
  }

  TestPhotos photos_;
  TestFolder dir_;
};

TEST_F(NonFinite, StopNamesStepSamplesAndOrigin) {
  spoil(4, 1);
  const std::string text = message(options("stop", "a"));
  EXPECT_NE(text.find("at step 4 (epoch 1, batch 4) of samples "), std::string::npos) << text;
  EXPECT_NE(text.find("the pictures themselves are not finite"), std::string::npos) << text;
  const JsonValue report = parse_json(read_text_file(dir_ / "a/nonfinite/step-4/report.json"), "report");
  EXPECT_EQ(report.at("samples").size(), 8u);
  EXPECT_EQ(report.at("first").at("pass").string(), "input");
  const SafetensorsFile batch = SafetensorsFile::open(dir_ / "a/nonfinite/step-4/batch.safetensors");
  EXPECT_EQ(batch.at("x").shape.at(0), 8);
  EXPECT_EQ(batch.at("y").shape.at(0), 8);
  EXPECT_TRUE(std::filesystem::exists(dir_ / "a/model/model.safetensors"));
}

TEST_F(NonFinite, SkipLeavesTheStepOut) {
  spoil(4, 1);
  Told events;
  const RunResult r = run_training(options("skip", "a"), events);
  EXPECT_EQ(r.reason, "completed");
  const auto train = rows("a", "train");
  ASSERT_GE(train.size(), 6u);
  int64_t skipped = 0;
  for (const JsonValue& row : train) {
    skipped += row.at("skipped").integer();
    EXPECT_EQ(row.at("skipped").integer(), row.at("step").integer() == 5 ? 1 : 0);
  }
  EXPECT_EQ(skipped, 1);
  EXPECT_NE(events.warnings.find("step 4 is left out"), std::string::npos);
  // Each sample of the epoch is still counted once.
  EXPECT_EQ(rows("a", "check").front().at("ids").at("n").integer(), rows("a", "run").front().at("steps_per_epoch").integer() * 8);
}

TEST_F(NonFinite, TenSkipsInARowAreTooMany) {
  detail::spoil_batch() = [](torch::Tensor& x, int64_t t, int64_t) {
    if (t >= 3) x.fill_(std::numeric_limits<float>::infinity());
  };
  const std::string text = message(options("skip", "a"));
  EXPECT_NE(text.find("at step 12 "), std::string::npos) << text;
  EXPECT_NE(text.find("10 steps in a row were not finite"), std::string::npos) << text;
}

TEST_F(NonFinite, RollbackGoesBackWithHalfTheRate) {
  spoil(9, 1);
  RunOptions o = options("rollback", "a");
  o.save.every = Duration{4, Duration::Unit::steps};
  o.optim.lr = Auto<double>(0.05);
  Told events;
  const RunResult r = run_training(o, events);
  EXPECT_EQ(r.reason, "completed");
  EXPECT_NE(events.warnings.find("back from step 9 to step "), std::string::npos) << events.warnings;
  const auto train = rows("a", "train");
  int64_t last = 0;
  for (const JsonValue& row : train) {  // no row doubled, none lost
    EXPECT_EQ(row.at("step").integer(), ++last);
    EXPECT_EQ(row.at("skipped").integer(), 0);
  }
  EXPECT_DOUBLE_EQ(train.front().at("lr").number(), 0.05);
  EXPECT_DOUBLE_EQ(train.back().at("lr").number(), 0.025);
  bool told = false;
  for (const JsonValue& row : rows("a", "decision")) told = told || row.at("what").string() == "rollback";
  EXPECT_TRUE(told);
}

TEST_F(NonFinite, ThreeRollbacksAreTheMost) {
  spoil(9, 100);
  const std::string text = message(options("rollback", "a"));
  EXPECT_NE(text.find("3 rollbacks did not help"), std::string::npos) << text;
}

TEST_F(NonFinite, ARunWithASkipIsContinuedWithTheSameBits) {
  spoil(4, 1);
  Told whole;
  run_training(options("skip", "whole"), whole);
  const RunOptions o = options("skip", "parts");
  for (int64_t left = 6; ; left += 3) {
    Told events;
    events.left = left;
    if (!run_training(o, events).interrupted) break;
    ASSERT_LT(left, 500);
  }
  for (const char* file : {"metrics.jsonl", "model/model.safetensors", "result.json"}) {
    EXPECT_EQ(read_text_file(dir_ / "whole" / file), read_text_file(dir_ / "parts" / file)) << file;
  }
}

TEST_F(NonFinite, ALossAboveItsLimitIsDiverged) {
  RunOptions o = options("stop", "a");
  o.train.max_loss = 1e-6;
  EXPECT_NE(message(o).find("train.max_loss"), std::string::npos);
  EXPECT_EQ(rows("a", "decision").back().at("reason").string(), "diverged");
}

}  // namespace
}  // namespace ballast
