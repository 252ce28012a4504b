// Training has the same bits for any number of threads: every model of the catalog, through the trainer and as a run.

#include <algorithm>
#include <cstring>
#include <filesystem>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <ballast/io/file.h>
#include <ballast/models/catalog.h>
#include <ballast/models/model.h>
#include <ballast/train/autocast.h>
#include <ballast/train/run.h>
#include <ballast/train/run_options.h>
#include <ballast/train/test_bars.h>
#include <ballast/train/trainer.h>

namespace ballast {
namespace {

namespace stdfs = std::filesystem;

using Values = std::vector<std::pair<std::string, torch::Tensor>>;

struct Case {
  std::string name;
  ModelOptions model;
  int64_t rows = 22;  // pieces of 3 rows, and one of 1; no thread's share is that of another number of threads
  bool channels_last = true, bf16 = false;
  LossName loss = LossName::cross_entropy;
};

// Every parameter and buffer after two steps, their losses and norms of the gradient, and what the model then says.
Values trained(const Case& c, int threads) {
  at::set_num_threads(threads);
  EXPECT_EQ(at::get_num_threads(), threads);
  const std::shared_ptr<Model> model = make_model(c.model, Key(3));
  if (c.channels_last) to_channels_last(*model);
  model->train();
  TrainerOptions options;
  options.total_steps = 10;
  options.schedule.lr = 0.02;
  options.label_smoothing = 0.1;
  options.clip = ClipMode::norm;
  options.loss = c.loss;
  options.focal_gamma = 1.7;
  options.bf16 = c.bf16;
  options.head = model->classifier();
  Trainer trainer(*model, [&](const torch::Tensor& x) { return model->forward(x); }, options);

  std::vector<double> normals(static_cast<size_t>(c.rows * c.model.in_channels * c.model.height * c.model.width));
  fill_normal(Key(4), 0, normals);
  torch::Tensor x = torch::tensor(normals).view({c.rows, c.model.in_channels, c.model.height, c.model.width});
  if (c.channels_last) x = x.contiguous(torch::MemoryFormat::ChannelsLast);
  const torch::Tensor y = torch::arange(c.rows) % c.model.num_classes;
  std::vector<double> numbers;
  for (int i = 0; i < 2; ++i) {
    const StepResult step = trainer.step(x, y);
    EXPECT_TRUE(step.finite) << c.name;
    numbers.insert(numbers.end(), {step.loss, step.gradient_norm});
  }
  Values values;
  for (const auto& p : model->named_parameters()) values.emplace_back(p.key(), p.value().detach());
  for (const auto& b : model->named_buffers()) values.emplace_back(b.key(), b.value());
  values.emplace_back("losses and norms", torch::tensor(numbers));
  model->eval();
  const torch::NoGradGuard no_grad;
  values.emplace_back("scores", model->forward(x));
  values.emplace_back("scores of one picture", model->forward(x.narrow(0, 0, 1)));
  return values;
}

bool same_bits(const torch::Tensor& a, const torch::Tensor& b) {
  const torch::Tensor ac = a.contiguous(), bc = b.contiguous();
  return ac.sizes() == bc.sizes() && std::memcmp(ac.data_ptr(), bc.data_ptr(), ac.nbytes()) == 0;
}

void expect_same_bits(const Case& c) {
  const int before = at::get_num_threads();
  const Values expected = trained(c, 1);
  for (const int threads : {2, 3, 4}) {
    const Values got = trained(c, threads);
    ASSERT_EQ(got.size(), expected.size());
    int64_t others = 0;
    std::string first;
    for (size_t i = 0; i < got.size(); ++i) {
      if (same_bits(got[i].second, expected[i].second)) continue;
      if (others++ == 0) first = got[i].first;
    }
    EXPECT_EQ(others, 0) << c.name << " with " << threads << " threads, first " << first << ", of " << got.size();
  }
  at::set_num_threads(before);
}

Case case_of(const std::string& name) {
  Case c;
  c.name = name;
  c.model.name = name;
  const std::string_view row = parse_model_name(name).row->name;
  const bool gray = row == "mlp" || row == "lenet" || row == "rnn";
  c.model.in_channels = gray ? 1 : 3;
  // Linear layers are cut from 33 rows on.
  if (gray) c.rows = 75;
  const bool small = row == "resnet8" || row == "resnet8_wide" || row == "plain_cnn" || row == "resnet";
  c.model.height = c.model.width = gray ? 28 : small ? 32 : 16;
  if (!gray && !small) c.rows = 12;
  if (row == "vit_tiny") c.rows = 4, c.model.height = c.model.width = 12;  // 37 tokens each
  return c;
}

TEST(Threads, EveryModelOfTheCatalogTrainsToTheSameBits) {
  for (const ModelRow& row : kModels) {
    const std::string name(row.name);
    expect_same_bits(case_of(name == "resnet" ? "resnet:14x8" : name));  // one row has no size of its own
  }
  Case wide = case_of("wide_resnet");
  wide.rows = 22;  // where gradients of inputs differ, too, in oneDNN 3
  expect_same_bits(wide);
  expect_same_bits(case_of("rnn:lstm:40"));
  expect_same_bits(case_of("rnn:gru:40"));
}

TEST(Threads, SameBitsWithDropsNormsActivationsAndLosses) {
  Case all = case_of("resnet8");
  all.model.norm = "group:4";
  all.model.act = "silu";
  all.model.drop = all.model.drop_connect = all.model.spatial_dropout = all.model.drop_path = "0.2";
  all.model.drop_block = "0.1:3";
  expect_same_bits(all);
  for (const char* norm : {"evo_s0", "frn", "weight", "spectral", "weight_std", "none"}) {
    Case c = case_of("plain_cnn:4x12");
    c.name += std::string(" with norm ") + norm;
    c.model.norm = norm;
    c.model.act = std::string(norm) == "weight" ? "mish" : std::string(norm) == "none" ? "gelu" : "auto";
    expect_same_bits(c);
  }
  Case selu = case_of("mlp:3x150");
  selu.model.act = "selu";
  selu.model.alpha_dropout = "0.1";
  expect_same_bits(selu);
  Case planes = case_of("resnet8");  // NCHW
  planes.channels_last = false;
  expect_same_bits(planes);
  for (const LossName loss : {LossName::bce, LossName::focal}) {
    Case c = case_of("mlp:1x32");
    c.name += loss == LossName::bce ? " with bce" : " with focal";
    c.loss = loss;
    c.model.num_classes = 1000;  // enough scores that LibTorch starts threads for them
    expect_same_bits(c);
  }
}

TEST(Threads, SameBitsInBfloat16) {
  if (!cpu_has_bf16()) GTEST_SKIP() << "no bfloat16 in this processor";
  for (const char* name : {"resnet8", "mlp"}) {
    Case c = case_of(name);
    c.name += " in bfloat16";
    c.bf16 = true;
    expect_same_bits(c);
  }
}

struct Quiet : RunEvents {
  void on_plan(const RunPlan& p) override { fingerprint = p.fingerprint; }
  void on_progress(const RunProgress& p) override { step = p.step; }
  bool stop_requested() override { return step >= stop_at; }
  int64_t step = 0, stop_at = 1'000'000;
  std::string fingerprint;
};

// With mixing, augmentation, drops and norms: a run, and one that is stopped and goes on with other numbers of threads.
TEST(Threads, ARunGoesOnWithAnotherNumberOfThreadsToTheSameBits) {
  const stdfs::path root = stdfs::temp_directory_path() / ("ballast-threads-" + std::to_string(getpid()));
  stdfs::remove_all(root);
  stdfs::create_directories(root / "bars");
  write_bars(root / "bars", "train", 200, 0);
  write_bars(root / "bars", "t10k", 40, 1000);
  const auto run = [&](const char* name, int64_t threads, int64_t stop_at) {
    RunOptions o;
    o.data.source = (root / "bars").string();
    o.run.out = (root / name).string();
    o.run.threads = Auto<int64_t>(threads);
    o.run.workers = Auto<int64_t>(0);
    o.model.name = Auto<std::string>("resnet8");
    o.model.drop = "0.1";
    o.model.drop_block = "0.1:3";
    o.model.drop_path = "0.2";
    o.train.epochs = Auto<int64_t>(2);
    o.train.batch_size = 40;
    o.augment.train = Auto<std::string>("random_crop(12, padding=1)");
    o.augment.mixup_alpha = Auto<double>(0.4);
    Quiet events;
    events.stop_at = stop_at;
    run_training(o, events);
    return events.fingerprint;
  };
  const std::string fingerprint = run("one", 1, 1'000'000);
  EXPECT_EQ(run("other", 3, 3), fingerprint);
  EXPECT_EQ(run("other", 2, 1'000'000), fingerprint);
  EXPECT_EQ(read_text_file(root / "other/model/model.safetensors"), read_text_file(root / "one/model/model.safetensors"));
  EXPECT_EQ(read_text_file(root / "other/predictions/test.safetensors"), read_text_file(root / "one/predictions/test.safetensors"));
  stdfs::remove_all(root);
}

}  // namespace
}  // namespace ballast
