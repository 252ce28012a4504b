#include <ballast/train/export_ensemble.h>

#include <ATen/Functions.h>
#include <gtest/gtest.h>
#include <torch/script.h>

#include <cmath>

#include <ballast/init/normal.h>
#include <ballast/io/test_folder.h>
#include <ballast/models/model.h>
#include <ballast/train/ensemble_model.h>
#include <ballast/train/saved_model.h>
#include <ballast/weights/state_dict.h>

namespace ballast {
namespace {

/// Four nets of three members: other architectures, normalizations and orders of classes; the last
/// member has two nets.
class ExportEnsemble : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::vector<std::string> classes = {"a", "b", "c", "d", "e"};
    const std::vector<std::string> turned = {"c", "a", "e", "b", "d"};
    save("n0", "mlp:1x16", classes, {{0.5F, 0.4F, 0.3F}, {0.2F, 0.25F, 0.3F}});
    save("n1", "plain_cnn:3x4", turned, {{0.1F, 0.2F, 0.3F}, {0.5F, 0.6F, 0.7F}});
    save("n2", "resnet8", classes, {{0.5F, 0.4F, 0.3F}, {0.2F, 0.25F, 0.3F}});
    save("n3", "mlp:1x16", classes, {{0.5F, 0.4F, 0.3F}, {0.2F, 0.25F, 0.3F}});
    file_.classes = classes;
    file_.members = {{.id = 0, .name = "0", .nets = {"n0"}},
                     {.id = 1, .name = "1", .nets = {"n1"}},
                     {.id = 2, .name = "2", .nets = {"n2", "n3"}}};
    x_ = normal_(at::empty({64, 3, 12, 12}), 0.5, 0.3, Key(5)).clamp_(0, 1);
  }

  void save(const char* name, const char* model, const std::vector<std::string>& classes,
            Normalize normalize, int64_t side = 12) {
    SavedModelInfo info;
    info.model = {.name = model, .in_channels = 3, .height = side, .width = side, .num_classes = 5};
    info.classes = classes;
    info.eval_pipeline = "resize(" + std::to_string(side) + ")";
    info.normalize = std::move(normalize);
    const auto net = make_model(info.model, Key(1).fold_in(name));
    info.model = net->options();
    torch::NoGradGuard no_grad;
    for (auto& [key, tensor] : state_dict(*net)) {
      // As after training: large logits, statistics that are not those of the start.
      if (tensor.is_floating_point())
        tensor.add_(
            normal_(at::empty_like(tensor), 0, 0.2, Key(4).fold_in(name).fold_in(key)).abs_());
    }
    save_model(real_fs(), folder_ / name, *net, info);
  }

  Ensemble ensemble() const {
    write_file_atomic(folder_ / "ensemble.json", to_json(file_).text(2));
    return load_ensemble(folder_.path(), {.device = "cpu"});
  }
  double difference() const {
    return write_ensemble_torchscript(real_fs(), folder_ / "ensemble.ts", ensemble(), x_);
  }

  TestFolder folder_;
  EnsembleFile file_;
  torch::Tensor x_;
};

TEST_F(ExportEnsemble, GivesTheProbabilitiesOfEveryRule) {
  for (const Rule rule : all_rules()) {
    file_.rule = {};
    file_.rule.rule = rule;
    EXPECT_LE(difference(), 1e-5) << to_string(rule);
    file_.rule.temperature = 1.7;
    file_.rule.member_temperature = {0.5, 2, 1.3};
    if (takes_weights(rule)) file_.rule.weights = {2, 1, 4};
    EXPECT_LE(difference(), 1e-5) << to_string(rule) << " with weights and temperatures";
    if (takes_weights(rule)) {
      file_.rule.weights = {3, 0, 1};
      EXPECT_LE(difference(), 1e-5) << to_string(rule) << " with a weight of 0";
    }
  }
}

TEST_F(ExportEnsemble, GivesTheProbabilitiesOfStacking) {
  for (const StackForm form : {StackForm::full, StackForm::shared}) {
    Stack stack;
    stack.form = form;
    stack.members = 3;
    stack.k = 5;
    const size_t weights = form == StackForm::full ? 75 : 3;
    for (size_t i = 0; i < weights; ++i)
      stack.weights.push_back(0.3 * std::sin(static_cast<double>(i)));
    stack.bias = {0.1, -0.2, 0.3, 0, -0.2};
    file_.rule.stack = stack;
    file_.rule.temperature = form == StackForm::full ? 1 : 0.8;
    EXPECT_LE(difference(), 1e-5);
  }
}

TEST_F(ExportEnsemble, TheFileTakesAnyNumberOfPictures) {
  const Ensemble all = ensemble();
  write_ensemble_torchscript(real_fs(), folder_ / "ensemble.ts", all, x_);
  torch::jit::Module module = torch::jit::load((folder_ / "ensemble.ts").string());
  const torch::NoGradGuard no_grad;
  for (const int64_t n : {1, 7}) {
    const torch::Tensor x = x_.slice(0, 3, 3 + n);
    const torch::Tensor p = module.forward({x}).toTensor();
    EXPECT_EQ(p.sizes(), (std::vector<int64_t>{n, 5}));
    EXPECT_LE((p - all.predict(x).probability).abs().max().item<double>(), 1e-5);
    EXPECT_LE((p.sum(1) - 1).abs().max().item<double>(), 1e-5);
  }
}

TEST_F(ExportEnsemble, RefusesMembersOfOtherSizes) {
  save("n1", "mlp:1x8", file_.classes, {{0.5F, 0.4F, 0.3F}, {0.2F, 0.25F, 0.3F}}, 16);
  try {
    write_ensemble_torchscript(real_fs(), folder_ / "ensemble.ts", ensemble(), x_);
    FAIL();
  } catch (const std::invalid_argument& e) {
    EXPECT_STREQ(
        e.what(),
        "[export] members must take the same picture, got 3 x 12 x 12 by \"resize(12)\" and "
        "3 x 16 x 16 by \"resize(16)\"");
  }
}

}  // namespace
}  // namespace ballast
