// What init_report says of the catalog's models: its verdicts are promises about them.

#include <gtest/gtest.h>

#include <cmath>

#include <ballast/init/lsuv.h>
#include <ballast/models/model.h>
#include <ballast/models/probe_model.h>

namespace ballast {
namespace {

torch::Tensor pictures(const ModelOptions& o, int64_t samples) {
  std::vector<double> values(static_cast<size_t>(samples * o.in_channels * o.height * o.width));
  fill_normal(Key(7).fold_in("pictures"), 0, values);
  return torch::tensor(values, torch::kDouble).to(torch::kFloat).view({samples, o.in_channels, o.height, o.width});
}

InitReport probe(const ModelOptions& options, uint64_t seed, int64_t samples = 16) {
  const auto model = make_model(options, Key(seed));
  const torch::Tensor x = pictures(model->options(), samples);
  if (options.init == "lsuv") lsuv(*model, [&](torch::Tensor in) { return model->forward(std::move(in)); }, x, {.key = Key(seed)});
  return probe_model(*model, x, torch::arange(samples, torch::kLong).remainder(options.num_classes));
}

bool has(const InitReport& r, const std::string& name) {
  return std::any_of(r.findings.begin(), r.findings.end(), [&](const InitFinding& f) { return f.name == name && f.level != FindingLevel::info; });
}

std::string all_of(const InitReport& r) {
  std::string text = r.text;
  for (const InitFinding& f : r.findings) text += "\n  " + f.name + " (" + f.statistic + ") at " + f.layer + ": " + f.text;
  return text;
}

constexpr uint64_t kKeys = 5;
const ModelOptions kPlain{.name = "plain_cnn:21", .in_channels = 3, .height = 32, .width = 32};

ModelOptions with(ModelOptions o, const std::string& init, const std::string& norm = "auto", const std::string& act = "auto") {
  o.init = init;
  o.norm = norm;
  o.act = act;
  return o;
}

TEST(ProbeModels, HealthyStartsAreQuiet) {
  for (uint64_t seed = 0; seed < kKeys; ++seed) {
    for (const std::string init : {"he", "auto", "orthogonal", "lsuv"}) {
      const InitReport r = probe(with(kPlain, init), seed);
      EXPECT_EQ(r.verdict, "healthy") << init << " " << seed << ": " << all_of(r);
    }
    const InitReport normed = probe(with(kPlain, "normal:0.01", "batch"), seed);
    EXPECT_EQ(normed.verdict, "healthy") << seed << ": " << all_of(normed);
  }
}

TEST(ProbeModels, AfterLsuvEachOfThirtyLayersHasVarianceOne) {
  const InitReport r = probe({.name = "mlp:30x512", .in_channels = 1, .height = 16, .width = 16, .init = "lsuv"}, 0, 128);
  EXPECT_EQ(r.verdict, "healthy") << all_of(r);
  ASSERT_EQ(r.layers.size(), 31u);
  for (size_t i = 0; i < 30; ++i) EXPECT_NEAR(r.layers[i].signal.across, 1, 0.02) << r.layers[i].name;
}

TEST(ProbeModels, ResidualNetsAreQuiet) {
  const ModelOptions resnet{.name = "resnet20", .in_channels = 3, .height = 32, .width = 32};
  for (uint64_t seed = 0; seed < 2; ++seed) {
    const InitReport open = probe(resnet, seed);
    EXPECT_EQ(open.verdict, "healthy") << all_of(open);
    const InitReport zero_gamma = probe(with(resnet, "resnet"), seed);
    EXPECT_EQ(zero_gamma.verdict, "healthy") << all_of(zero_gamma);
    const InitReport plain = probe(with(resnet, "he"), seed);
    EXPECT_EQ(plain.verdict, "healthy") << all_of(plain);
    const InitReport fixup = probe(with(resnet, "auto", "none"), seed);
    EXPECT_EQ(fixup.verdict, "healthy") << all_of(fixup);
    const InitReport group = probe(with(resnet, "auto", "group:8"), seed);
    EXPECT_EQ(group.verdict, "healthy") << all_of(group);
  }
}

TEST(ProbeModels, OtherFamiliesAreQuietWithTheirOwnStart) {
  for (const char* name : {"mlp", "lenet", "rnn", "rnn:gru", "rnn:plain"}) {
    const InitReport r = probe({.name = name, .in_channels = 1, .height = 28, .width = 28}, 0, 32);
    EXPECT_EQ(r.verdict, "healthy") << name << ": " << all_of(r);
  }
  for (const char* name : {"wide_resnet:10x1", "vit_tiny"}) {
    const InitReport r = probe({.name = name, .in_channels = 3, .height = 32, .width = 32}, 0, 8);
    EXPECT_EQ(r.verdict, "healthy") << name << ": " << all_of(r);
  }
}

TEST(ProbeModels, SickStartsAreNamed) {
  for (uint64_t seed = 0; seed < kKeys; ++seed) {
    for (const std::string init : {"xavier", "torch", "normal:0.01"}) {
      const InitReport r = probe(with(kPlain, init), seed);
      EXPECT_EQ(r.verdict, "vanishing") << init << " " << seed << ": " << all_of(r);
      EXPECT_TRUE(r.cure == "he") << r.cure;
      EXPECT_EQ(r.layer.rfind("layers.", 0), 0u) << r.layer;
    }
    const InitReport large = probe(with(kPlain, "normal:1"), seed);
    EXPECT_TRUE(large.verdict == "exploding" || large.verdict == "not_finite") << all_of(large);
  }
  const InitReport constant = probe(with(kPlain, "constant:0.05"), 0);
  EXPECT_EQ(constant.verdict, "symmetric") << all_of(constant);
  const InitReport zero = probe(with(kPlain, "zeros"), 0);
  EXPECT_EQ(zero.verdict, "symmetric") << all_of(zero);
  EXPECT_TRUE(has(zero, "no_gradient")) << all_of(zero);
  const InitReport sigmoid = probe(with(kPlain, "xavier", "none", "sigmoid"), 0);
  EXPECT_EQ(sigmoid.verdict, "vanishing") << all_of(sigmoid);
  EXPECT_TRUE(has(sigmoid, "update_small")) << all_of(sigmoid);
}

}  // namespace
}  // namespace ballast
