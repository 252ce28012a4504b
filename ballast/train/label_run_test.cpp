// Pictures of several labels, from the list to the prediction.

#include <cmath>
#include <filesystem>
#include <map>

#include <ATen/Functions.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/linear.h>

#include <ballast/base/test_message.h>
#include <ballast/data/pack.h>
#include <ballast/io/file.h>
#include <ballast/io/jsonl.h>
#include <ballast/io/prediction_file.h>
#include <ballast/io/test_folder.h>
#include <ballast/train/ensemble_model.h>
#include <ballast/train/evaluate.h>
#include <ballast/train/overfit.h>
#include <ballast/train/predict.h>
#include <ballast/train/probe_run.h>
#include <ballast/train/run.h>
#include <ballast/train/run_options.h>
#include <ballast/train/soup.h>
#include <ballast/train/tensor_batch.h>
#include <ballast/train/test_squares.h>
#include <ballast/train/trainer.h>

namespace ballast {
namespace {

namespace stdfs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

struct LabelEvents : RunEvents {
  void on_check(const RunCheck& c) override { checks.push_back(c); }
  bool stop_requested() override { return left-- <= 0; }
  std::vector<RunCheck> checks;
  int64_t left = 1'000'000;
};

double named(const std::vector<std::pair<std::string, double>>& metrics, const std::string& name) {
  for (const auto& [key, value] : metrics) {
    if (key == name) return value;
  }
  return std::nan("");
}

EvalOptions of_model(const stdfs::path& model, const std::string& data = "") {
  EvalOptions o;
  o.model = model;
  o.data = data;
  o.threads = 2;
  return o;
}

class LabelRuns : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TestFolder>();
    write_squares(*folder_ / "squares", 384);
    LabelEvents events;
    trained_ = run_training(options("trained"), events);
    checks_ = events.checks;
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static RunOptions options(const std::string& name) {
    RunOptions o;
    o.data.source = (*folder_ / "squares/list.csv").string();
    o.run.out = (*folder_ / name).string();
    o.run.threads = Auto<int64_t>(2);
    o.run.workers = Auto<int64_t>(1);
    o.model.name = Auto<std::string>("plain_cnn:3x8");
    o.train.epochs = Auto<int64_t>(12);  // 192 pictures train: 6 steps an epoch
    o.train.batch_size = 32;
    o.optim.lr = Auto<double>(0.1);
    o.augment.preset = "none";
    return o;
  }
  static std::string refused(const std::function<void(RunOptions&)>& change) {
    RunOptions o = options("refused");
    change(o);
    LabelEvents events;
    return message_of<std::invalid_argument>([&] { run_training(o, events); });
  }

  static std::unique_ptr<TestFolder> folder_;
  static RunResult trained_;
  static std::vector<RunCheck> checks_;
};
std::unique_ptr<TestFolder> LabelRuns::folder_;
RunResult LabelRuns::trained_;
std::vector<RunCheck> LabelRuns::checks_;

TEST_F(LabelRuns, LearnsAndRecordsMetricsOfSeveralLabels) {
  EXPECT_EQ(trained_.reason, "completed");
  EXPECT_EQ(trained_.steps, 72);
  EXPECT_GT(named(trained_.test, "map"), 0.95);
  EXPECT_GT(named(trained_.test, "micro_f1"), 0.8);
  EXPECT_TRUE(std::isnan(named(trained_.test, "top1")));
  ASSERT_EQ(checks_.size(), 12U);
  EXPECT_EQ(checks_.back().monitor, "val/loss");
  EXPECT_LT(checks_.back().value, checks_.front().value);

  const std::string config = read_text_file(trained_.folder / "config.toml");
  EXPECT_THAT(config, HasSubstr("name = \"bce\""));
  EXPECT_THAT(config, HasSubstr("monitor = \"val/loss\""));
  EXPECT_THAT(read_text_file(trained_.folder / "model/config.json"), HasSubstr("\"labels\": \"several\""));
  EXPECT_THAT(read_text_file(trained_.folder / "metrics.csv"),
              HasSubstr("epoch,step,lr,train_loss,val_loss,val_map,val_micro_f1,val_exact_match\n"));
  for (const JsonValue& row : read_jsonl(trained_.folder / "metrics.jsonl").rows) {
    if (row.at("kind").string() == "check") {
      EXPECT_EQ(row.find("top1"), nullptr);
      EXPECT_EQ(row.at("average_precision").size(), 3U);
    }
  }
  const std::string page = read_text_file(trained_.folder / "report.html");
  EXPECT_THAT(page, HasSubstr("Test mean average precision"));
  EXPECT_THAT(page, HasSubstr("Recall by class on"));

  const PredictionTable test = read_predictions(trained_.folder / "predictions/test.safetensors");
  EXPECT_TRUE(test.several_labels);
  EXPECT_EQ(test.size(), 96);
  EXPECT_EQ(compute_metrics(test).map, named(trained_.test, "map"));
}

TEST_F(LabelRuns, EndsWithTheSameBitsAfterAStop) {
  RunOptions o = options("stopped");
  o.augment.mixup_alpha = Auto<double>(0.4);
  o.augment.cutmix_alpha = Auto<double>(1);
  o.augment.mix_multi_label = "union";
  o.train.epochs = Auto<int64_t>(4);
  o.stop.monitor = "val/map";
  o.save.every = Duration{5, Duration::Unit::steps};
  RunOptions whole = o;
  whole.run.out = (*folder_ / "unbroken").string();
  LabelEvents events;
  const RunResult want = run_training(whole, events);
  EXPECT_EQ(want.reason, "completed");
  LabelEvents stopping;
  stopping.left = 17;
  EXPECT_TRUE(run_training(o, stopping).interrupted);
  LabelEvents going_on;
  const RunResult got = run_training(o, going_on);
  EXPECT_EQ(got.reason, "completed");
  for (const char* file : {"model/model.safetensors", "predictions/test.safetensors", "metrics.jsonl"}) {
    EXPECT_EQ(read_text_file(got.folder / file), read_text_file(want.folder / file)) << file;
  }
}

TEST_F(LabelRuns, APackedFileTrainsToTheSameWeights) {
  pack(*open_source({.source = (*folder_ / "squares/list.csv").string()}), *folder_ / "squares.bpk", {});
  RunOptions plain = options("of-the-list"), packed = options("of-the-pack");
  packed.data.source = (*folder_ / "squares.bpk").string();
  LabelEvents events;
  for (RunOptions* o : {&plain, &packed}) {
    o->train.epochs = Auto<int64_t>(1);
    run_training(*o, events);
  }
  EXPECT_EQ(read_text_file(*folder_ / "of-the-pack/model/model.safetensors"), read_text_file(*folder_ / "of-the-list/model/model.safetensors"));
}

TEST_F(LabelRuns, EvaluationGivesTheFiguresOfTheRun) {
  LabelEvents events;
  const EvalResult r = evaluate_saved(of_model(trained_.folder), events);
  EXPECT_EQ(r.split, "test");
  EXPECT_TRUE(r.metrics.several_labels);
  for (const std::string& name : metric_names(true)) {
    EXPECT_NEAR(r.metrics.value(name), named(trained_.test, name), 1e-6) << name;
  }
  // A view that is the picture itself, twice.
  EvalOptions views = of_model(trained_.folder), tempered = views, passes = views;
  views.tta = {"identity", "identity"};
  const EvalResult twice = evaluate_saved(views, events);
  EXPECT_NEAR(twice.metrics.loss, r.metrics.loss, 1e-5);
  // A temperature divides the logits of the sigmoids.
  tempered.temperature = 3;
  EXPECT_EQ(evaluate_saved(tempered, events).metrics.exact_match, r.metrics.exact_match);
  passes.mc = 3;
  EXPECT_EQ(message_of<std::invalid_argument>([&] { evaluate_saved(passes, events); }),
            "[evaluate] mc must be 0 for a model of several labels a picture, got 3");
}

TEST_F(LabelRuns, ADataSetOfOneLabelCountsAsSetsOfOne) {
  // Other classes in another order: green and red are 0 and 1 there, 1 and 2 here.
  std::string csv = "path,label,role\n";
  for (int i = 0; i < 384; ++i) {
    if (i % 8 == 1 || i % 8 == 2) csv += std::to_string(i) + ".png," + squares_label(static_cast<uint32_t>(i % 8)) + ",test\n";
  }
  write_text(*folder_ / "squares/one.csv", csv);
  LabelEvents events;
  const EvalResult r = evaluate_saved(of_model(trained_.folder, (*folder_ / "squares/one.csv").string()), events);
  EXPECT_EQ(r.metrics.n, 96);
  EXPECT_EQ(r.metrics.per_class[0].support, 0);
  EXPECT_EQ(r.metrics.per_class[1].support, 48);
  EXPECT_GT(r.metrics.map, 0.9);
}

TEST_F(LabelRuns, PredictsEveryClassAboveTheThreshold) {
  const Predictor predictor(trained_.folder, {.logits = true});
  EXPECT_TRUE(predictor.several_labels());
  EXPECT_THAT(predictor.classes(), ElementsAre("blue", "green", "red"));
  std::vector<stdfs::path> files;
  for (int i = 24; i < 32; ++i) files.push_back(*folder_ / "squares" / (std::to_string(i) + ".png"));
  const std::vector<Prediction> all = predictor.predict(files);
  int64_t right = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const Prediction& p = all[i];
    std::map<int64_t, double> want;
    for (int64_t c = 0; c < 3; ++c) {
      const double probability = 1 / (1 + std::exp(-p.logits[static_cast<size_t>(c)]));
      if (probability > 0.5) want[c] = probability;
    }
    ASSERT_EQ(p.classes.size(), want.size());
    std::string label;
    for (size_t k = 0; k < p.classes.size(); ++k) {
      EXPECT_NEAR(p.probabilities[k], want.at(p.classes[k]), 1e-6);
      EXPECT_TRUE(k == 0 || p.probabilities[k] <= p.probabilities[k - 1]);
    }
    for (const int64_t c : {2, 1, 0}) {
      if (want.contains(c)) label += (label.empty() ? "" : ";") + predictor.classes()[static_cast<size_t>(c)];
    }
    right += label == squares_label(static_cast<uint32_t>(i)) ? 1 : 0;
  }
  EXPECT_GE(right, 6);
  EXPECT_EQ(Predictor(trained_.folder, {.threshold = 0}).predict(files)[0].classes.size(), 3U);
  // Views: the mean of the sigmoids.
  const Predictor mirrored(trained_.folder, {.logits = true, .tta = {"identity", "identity"}});
  EXPECT_NEAR(mirrored.predict(files)[3].logits[1], all[3].logits[1], 1e-4);
  EXPECT_EQ(message_of<std::invalid_argument>([&] { Predictor(trained_.folder, {.threshold = 1}); }),
            "[predict] threshold must be in [0, 1), got 1");
}

TEST_F(LabelRuns, WhatIsOfOneLabelIsRefused) {
  const auto given = [](const char* key) {
    return [key](RunOptions& o) { o.origins[key] = "flag"; };
  };
  EXPECT_EQ(refused(given("loss.name")), "[loss] name must be bce for pictures of several labels, got cross_entropy");
  EXPECT_EQ(refused([](RunOptions& o) { o.loss.name = "focal"; }),
            "[loss] name must be bce for pictures of several labels, got focal");
  EXPECT_EQ(refused([](RunOptions& o) { o.stop.monitor = "val/top1"; }),
            "[stop] monitor must be a metric of pictures with several labels, as list.csv has them: val/loss, val/map, val/micro_f1, "
            "val/exact_match, got val/top1");
  EXPECT_THAT(refused([](RunOptions& o) { o.stop.patience = 2; o.stop.also = {"val/ece"}; }), HasSubstr("got val/ece"));
  EXPECT_EQ(refused([](RunOptions& o) { o.distill.teacher = trained_.folder.string(); }),
            "[distill] teacher must be of pictures with one label, got data of several labels");
  EXPECT_EQ(message_of<std::invalid_argument>([] { probe_run(options("probed"), {}); }),
            "[probe] data must have one label a picture, got several in list.csv");

  const std::vector<stdfs::path> twice = {trained_.folder, trained_.folder};
  EXPECT_EQ(message_of<DataError>([&] { load_ensemble(twice); }),
            "[ensemble] members must be of one label a picture, got several in " + trained_.folder.string());
  EXPECT_EQ(message_of<std::invalid_argument>([&] { load_ensemble(trained_.folder, {.mc = 2}); }),
            "[predict] mc must be 0 for a model of several labels a picture, got 2");
  const Ensemble alone = load_ensemble(trained_.folder);
  EXPECT_THAT(message_of<std::invalid_argument>([&] { (void)alone.predict(torch::zeros({1, 3, 16, 16})); }),
              HasSubstr("[ensemble] a model must be of one label a picture to predict one, got several"));
}

TEST_F(LabelRuns, MetricsOfSeveralLabelsAreRefusedForOne) {
  std::string csv = "path,label\n";
  for (int i = 0; i < 64; ++i) csv += std::to_string(i) + ".png," + (i % 2 == 0 ? "even\n" : "odd\n");
  write_text(*folder_ / "squares/parity.csv", csv);
  const auto parity = [](RunOptions& o) { o.data.source = (*folder_ / "squares/parity.csv").string(); };
  EXPECT_EQ(refused([&](RunOptions& o) { parity(o); o.stop.monitor = "val/map"; }),
            "[stop] monitor must be a metric of pictures with one label, as parity.csv has them: val/loss, val/nll_tempered, val/top1, "
            "val/top5, val/balanced_acc, val/brier, val/ece, got val/map");
  EXPECT_EQ(refused([&](RunOptions& o) { parity(o); o.augment.mix_multi_label = "union"; }),
            "[mix] multi_label must be linear for pictures of one label, got union");
  // Its model is not asked about several.
  RunOptions o = options("parity");
  parity(o);
  o.train.epochs = Auto<int64_t>(1);
  LabelEvents events;
  run_training(o, events);
  EXPECT_EQ(message_of<std::invalid_argument>([&] {
              evaluate_saved(of_model(o.run.out, (*folder_ / "squares/list.csv").string()), events);
            }).substr(0, 70),
            "[evaluate] classes of the data must be among the model's, got \"blue\"");
}

TEST_F(LabelRuns, LearnsABatchByHeart) {
  LabelEvents events;
  const OverfitResult r = overfit(options("heart"), 1, events, 400);
  EXPECT_NEAR(r.goal, 0.03 * std::log(2.0), 1e-12);
  EXPECT_TRUE(r.passed) << r.loss;
  EXPECT_EQ(r.accuracy, 1);
}

TEST_F(LabelRuns, ASoupOfCheckpointsStaysOfSeveralLabels) {
  LabelEvents events;
  const SoupResult r = make_soup({trained_.folder, trained_.folder}, *folder_ / "soup", {.max_barrier = 1, .threads = 2}, events);
  EXPECT_NEAR(r.nll[0], named(trained_.val, "loss"), 1e-6);
  EXPECT_TRUE(evaluate_saved(of_model(*folder_ / "soup"), events).metrics.several_labels);
}

// One layer, so that a loss can be computed by hand.
struct Linear : torch::nn::Module {
  Linear() {
    torch::manual_seed(1);
    fc = register_module("fc", torch::nn::Linear(4, 3));
  }
  torch::Tensor forward(const torch::Tensor& x) { return fc(x.flatten(1)); }
  torch::nn::Linear fc{nullptr};
};

TEST(LabelTrainer, TargetsAreThoseOfAHandComputation) {
  torch::manual_seed(7);
  const torch::Tensor x = torch::randn({6, 4, 1, 1});
  const LabelSets sets = {{}, {0}, {0, 2}, {1}, {0, 1, 2}};
  const torch::Tensor matrix = label_matrix(sets, 3);
  EXPECT_TRUE(matrix.equal(torch::tensor({{0.F, 0.F, 0.F}, {1.F, 0.F, 0.F}, {1.F, 0.F, 1.F}, {0.F, 1.F, 0.F}, {1.F, 1.F, 1.F}})));
  const torch::Tensor y = torch::tensor({0, 1, 2, 3, 4, 1}), partner = torch::tensor({2, 3, 0, 1, 1, 3});
  const torch::Tensor lam = torch::tensor({0.1F, 0.5F, 0.9F, 1.0F, 0.0F, 0.3F});
  const std::vector<std::vector<float>> linear = {{.9F, 0, .9F}, {.5F, .5F, 0}, {.9F, 0, .9F}, {0, 1, 0}, {1, 0, 0}, {.3F, .7F, 0}};
  const std::vector<std::vector<float>> both = {{1, 0, 1}, {1, 1, 0}, {1, 0, 1}, {0, 1, 0}, {1, 0, 0}, {1, 1, 0}};
  const std::vector<std::vector<float>> unmixed = {{0, 0, 0}, {1, 0, 0}, {1, 0, 1}, {0, 1, 0}, {1, 1, 1}, {1, 0, 0}};
  for (const double smoothing : {0.0, 0.2}) {
    for (const auto* rows : {&linear, &both, &unmixed}) {
      for (const int64_t micro : {0, 4}) {
        Linear net;
        TrainerOptions o;
        o.schedule = {.name = LrScheduleName::constant, .lr = 0.1};
        o.micro_batch = micro;
        o.loss = LossName::bce;
        o.label_sets = matrix;
        o.mix_union = rows == &both;
        o.label_smoothing = smoothing;
        double want = 0;
        const torch::Tensor z = net.forward(x);
        for (int64_t i = 0; i < 6; ++i) {
          for (int64_t k = 0; k < 3; ++k) {
            const double t = (*rows)[static_cast<size_t>(i)][static_cast<size_t>(k)] * (1 - smoothing) + smoothing / 2;
            const double s = z[i][k].item<double>();
            want += (t * std::log1p(std::exp(-s)) + (1 - t) * std::log1p(std::exp(s))) / 6;
          }
        }
        Trainer trainer(net, [&net](const torch::Tensor& in) { return net.forward(in); }, o);
        const StepResult r = rows == &unmixed ? trainer.step(x, y) : trainer.step(x, y, partner, lam);
        EXPECT_NEAR(r.loss, want, 1e-5) << smoothing << ' ' << micro;
      }
    }
  }
  Linear net;
  TrainerOptions o;
  o.label_sets = matrix;
  EXPECT_EQ(message_of<std::invalid_argument>([&] { Trainer(net, [&net](const torch::Tensor& in) { return net.forward(in); }, o); }),
            "[trainer] loss must be bce for several labels a picture, got another");
}

}  // namespace
}  // namespace ballast
