#include <ballast/train/run.h>

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include <ballast/augment/batch_slot.h>
#include <ballast/base/check.h>
#include <ballast/image/encode.h>
#include <ballast/image/image.h>
#include <ballast/init/catalog.h>
#include <ballast/io/file.h>
#include <ballast/io/jsonl.h>
#include <ballast/io/prediction_file.h>
#include <ballast/io/safetensors.h>
#include <ballast/train/evaluate.h>
#include <ballast/train/predict.h>
#include <ballast/train/run_options.h>
#include <ballast/train/test_bars.h>

namespace ballast {
namespace {

namespace stdfs = std::filesystem;

struct Events : RunEvents {
  void on_plan(const RunPlan& p) override { plan = p; }
  void on_progress(const RunProgress& p) override { steps.insert(p.step); }
  void on_check(const RunCheck& c) override { checks.push_back(c); }
  void on_warning(const std::string& text) override { warnings.push_back(text); }
  bool stop_requested() override { return !steps.empty() && *steps.rbegin() >= stop_at; }
  RunPlan plan;
  std::set<int64_t> steps;
  std::vector<RunCheck> checks;
  std::vector<std::string> warnings;
  int64_t stop_at = 1'000'000;
};

class Runs : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = stdfs::temp_directory_path() / ("ballast-run-" + std::to_string(getpid()));
    stdfs::remove_all(root_);
    stdfs::create_directories(root_ / "bars");
    write_bars(root_ / "bars", "train", 240, 0);
    write_bars(root_ / "bars", "t10k", 80, 1000);
  }
  void TearDown() override { stdfs::remove_all(root_); }

  RunOptions options(const std::string& name) const {
    RunOptions o;
    o.data.source = (root_ / "bars").string();
    o.run.out = (root_ / name).string();
    o.run.threads = Auto<int64_t>(2);
    o.run.workers = Auto<int64_t>(1);
    o.model.name = Auto<std::string>("plain_cnn:3x8");
    o.train.epochs = Auto<int64_t>(4);
    o.train.batch_size = 32;
    o.optim.lr = Auto<double>(0.05);
    o.augment.train = Auto<std::string>("random_crop(12, padding=1)");
    return o;
  }

  std::string bytes(const stdfs::path& file) const { return read_text_file(root_ / file); }
  stdfs::path root_;
};

TEST_F(Runs, LearnsAndLeavesACompleteFolder) {
  Events events;
  RunOptions o = options("a");
  o.model.name = Auto<std::string>("mlp:1x64");  // the classes differ by position
  o.train.epochs = Auto<int64_t>(8);
  const RunResult r = run_training(o, events);
  EXPECT_EQ(r.reason, "completed");
  EXPECT_EQ(r.epochs, 8);
  ASSERT_FALSE(r.test.empty());
  for (const auto& [name, value] : r.test) {
    if (name == "top1") {
      EXPECT_GT(value, 0.8);
    }
  }
  for (const char* name : {"config.toml", "env.json", "metrics.jsonl", "timing.jsonl", "events.jsonl", "metrics.csv", "split.csv",
                           "bad_samples.csv", "model/model.safetensors", "model/config.json", "predictions/val.safetensors",
                           "predictions/test.safetensors"}) {
    EXPECT_TRUE(stdfs::exists(r.folder / name)) << name;
  }
  // 216 pictures train: 7 steps an epoch
  EXPECT_EQ(r.steps, 8 * 7);
  EXPECT_TRUE(stdfs::exists(r.folder / "checkpoints/step-000000056/model.safetensors"));
  EXPECT_EQ(events.checks.size(), 8U);
  EXPECT_EQ(events.plan.train_images, 216);
  EXPECT_EQ(events.plan.val_images, 24);
  EXPECT_GT(events.plan.seconds_estimate, 0);
  EXPECT_GT(events.plan.parameters, 0);

  // Each training picture once an epoch, each test picture once.
  const PredictionTable test = read_predictions(r.folder / "predictions/test.safetensors");
  EXPECT_EQ(test.size(), 80);
  int64_t checks = 0;
  for (const JsonValue& row : read_jsonl(r.folder / "metrics.jsonl").rows) {
    if (row.at("kind").string() == "check" && row.at("split").string() == "val") {
      EXPECT_EQ(row.at("ids").at("n").integer(), 216);
      ++checks;
    }
  }
  EXPECT_EQ(checks, 8);
}

TEST_F(Runs, SameCommandSameBytesForAnyNumberOfWorkers) {
  for (const int64_t workers : {0, 1, 2, 4}) {
    Events events;
    RunOptions o = options("w" + std::to_string(workers));
    o.run.workers = Auto<int64_t>(workers);
    o.train.epochs = Auto<int64_t>(2);
    run_training(o, events);
  }
  for (const char* file : {"model/model.safetensors", "checkpoints/step-000000014/model.safetensors", "metrics.jsonl",
                           "predictions/test.safetensors"}) {
    const std::string expected = bytes(stdfs::path("w0") / file);
    for (const char* other : {"w1", "w2", "w4"}) {
      EXPECT_EQ(bytes(stdfs::path(other) / file) == expected, true) << other << ' ' << file;
    }
  }
  Events events;
  RunOptions o = options("seed");
  o.run.seed = 1;
  o.train.epochs = Auto<int64_t>(2);
  run_training(o, events);
  EXPECT_NE(bytes("seed/model/model.safetensors"), bytes("w0/model/model.safetensors"));
}

TEST_F(Runs, SavedModelsEvaluateAndPredictAsTheRunSaid) {
  Events events;
  const RunResult r = run_training(options("a"), events);
  EvalOptions e;
  e.model = r.folder;
  const EvalResult again = evaluate_saved(e, events);
  EXPECT_EQ(again.metrics.n, 80);
  for (const auto& [name, value] : r.test) {
    EXPECT_NEAR(again.metrics.value(name), value, 1e-6) << name;
  }
  std::vector<stdfs::path> files;
  for (int label = 0; label < 4; ++label) {
    std::string pixels = bar_picture(label, 5000 + static_cast<uint64_t>(label));
    const ImageView view{reinterpret_cast<std::byte*>(pixels.data()), 12, 12, 1, 12, DType::u8};
    const auto png = encode_png(view);
    files.push_back(root_ / (std::to_string(label) + ".png"));
    write_bytes(files.back(), png);
  }
  files.push_back(root_ / "missing.png");
  const Predictor predictor(r.folder / "model", {.topk = 9});
  const std::vector<Prediction> p = predictor.predict(files);
  ASSERT_EQ(p.size(), 5U);
  for (size_t i = 0; i < 4; ++i) {
    ASSERT_EQ(p[i].classes.size(), 4U) << p[i].error;
    double sum = 0;
    for (const double q : p[i].probabilities) {
      sum += q;
    }
    EXPECT_NEAR(sum, 1, 1e-6);
  }
  EXPECT_FALSE(p[4].error.empty());
  EXPECT_TRUE(p[4].classes.empty());
}

TEST_F(Runs, PatienceStopsAndTheBestWeightsAreRestored) {
  Events events;
  RunOptions o = options("a");
  o.train.epochs = Auto<int64_t>(50);
  o.stop.patience = 2;
  o.stop.min_delta = 100;  // nothing improves on the first check by that much
  const RunResult r = run_training(o, events);
  EXPECT_EQ(r.reason, "patience");
  EXPECT_EQ(r.epochs, 3);
  double best = 1e9;
  for (const RunCheck& c : events.checks) {
    best = std::min(best, c.value);
  }
  for (const auto& [name, value] : r.val) {
    if (name == "nll_tempered") {
      EXPECT_EQ(value, best);
    }
  }
}

TEST_F(Runs, AStopRequestEndsCleanlyAndKeepsTheLastWeights) {
  Events events;
  events.stop_at = 7;
  RunOptions o = options("a");
  o.train.epochs = Auto<int64_t>(1000);
  const RunResult r = run_training(o, events);
  EXPECT_TRUE(r.interrupted);
  EXPECT_EQ(r.reason, "signal");
  EXPECT_TRUE(stdfs::exists(r.folder / "model/model.safetensors"));
  EXPECT_TRUE(stdfs::exists(r.folder / "checkpoints"));
  EXPECT_FALSE(read_jsonl(r.folder / "metrics.jsonl").cut_last_line);
}

TEST_F(Runs, MaxTimeEndsInTimeWithWeights) {
  Events events;
  RunOptions o = options("a");
  o.train.epochs = Auto<int64_t>(100'000);
  o.run.max_time = Duration{4, Duration::Unit::seconds};
  const RunResult r = run_training(o, events);
  EXPECT_EQ(r.reason, "max_time");
  EXPECT_LT(r.seconds, 6);
  EXPECT_TRUE(stdfs::exists(r.folder / "model/model.safetensors"));
}

TEST_F(Runs, NonFiniteTrainingStopsAndNamesTheBatch) {
  Events events;
  RunOptions o = options("a");
  o.optim.lr = Auto<double>(1e30);
  try {
    run_training(o, events);
    FAIL();
  } catch (const NonFiniteError& e) {
    const std::string text = e.what();
    EXPECT_NE(text.find("at step "), std::string::npos) << text;
    EXPECT_NE(text.find("batch "), std::string::npos) << text;
    EXPECT_NE(text.find("train-images-idx3-ubyte"), std::string::npos) << text;
  }
  bool report = false;
  for (const auto& entry : stdfs::recursive_directory_iterator(root_ / "a/nonfinite")) {
    report = report || entry.path().filename() == "report.json";
  }
  EXPECT_TRUE(report);
}

TEST_F(Runs, ADryRunTakesTwoStepsAndLeavesNothing) {
  Events events;
  RunOptions o = options("a");
  o.dry_run = true;
  const RunResult r = run_training(o, events);
  EXPECT_EQ(r.steps, 2);
  EXPECT_FALSE(stdfs::exists(root_ / "a"));
  EXPECT_GT(events.plan.steps, 0);
}

TEST_F(Runs, AnExistingFolderIsRefusedBeforeAnythingIsWritten) {
  stdfs::create_directories(root_ / "a");
  write_text(root_ / "a/file", "mine");
  Events events;
  EXPECT_THROW(run_training(options("a"), events), std::invalid_argument);
  EXPECT_EQ(bytes("a/file"), "mine");
  EXPECT_FALSE(stdfs::exists(root_ / "a/metrics.jsonl"));
}

TEST_F(Runs, MeasuringTheTimeLeavesNoTrace) {
  // A run that cannot measure (it is asked to stop at once) starts from the same weights: compare step 1 of both.
  Events events;
  RunOptions o = options("a");
  o.train.epochs = Auto<int64_t>(1);
  o.log.every = Duration{1, Duration::Unit::steps};
  run_training(o, events);
  o.run.out = (root_ / "b").string();
  run_training(o, events);
  EXPECT_EQ(bytes("a/metrics.jsonl"), bytes("b/metrics.jsonl"));
}

TEST_F(Runs, EveryStartOfTheCatalogTrainsToWeightsOfItsOwn) {
  std::map<std::string, std::string> seen;  // weights after 27 steps, and the start that led there
  for (const InitRow& row : kInits) {
    Events events;
    RunOptions o = options("init-" + std::string(row.name));
    o.model.name = Auto<std::string>("resnet8");
    o.model.norm = row.name == "fixup" ? "none" : "batch";
    o.model.act = "tanh";  // with relu, he is plain_cnn
    o.model.init = std::string(row.name) + (row.number ? ":0.05" : "");
    o.train.epochs = Auto<int64_t>(1);
    o.train.batch_size = 8;
    const RunResult r = run_training(o, events);
    EXPECT_EQ(r.steps, 27) << row.name;
    EXPECT_NE(events.plan.init.find(row.name), std::string::npos);
    const auto [other, is_new] = seen.emplace(bytes(r.folder / "model/model.safetensors"), row.name);
    if (row.summary == "as plain_cnn") {
      EXPECT_EQ(other->second, "plain_cnn") << row.name;
    } else {
      EXPECT_TRUE(is_new) << row.name << " trains as " << other->second;
    }
  }
}

TEST_F(Runs, LsuvUsesTheFirstTrainingPictures) {
  Events events;
  RunOptions o = options("lsuv");
  o.model.init = "lsuv";
  o.train.epochs = Auto<int64_t>(1);
  run_training(o, events);
  // Two convolutions and the head, which starts at 0.
  EXPECT_TRUE(events.plan.init.starts_with("lsuv on 128 pictures: 2 of 3 layers rescaled, by ")) << events.plan.init;
  o.run.out = (root_ / "again").string();
  o.run.workers = Auto<int64_t>(0);
  run_training(o, events);
  EXPECT_EQ(bytes("lsuv/model/model.safetensors"), bytes("again/model/model.safetensors"));
}

TEST_F(Runs, MonitoringTheTestPartIsRefused) {
  Events events;
  RunOptions o = options("a");
  o.stop.monitor = "test/top1";
  EXPECT_THROW(run_training(o, events), std::invalid_argument);
}

}  // namespace
}  // namespace ballast
