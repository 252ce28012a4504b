// Results and gradients of PyTorch and timm in tests/golden/norm.json, made by norm.py beside it.

#include <gtest/gtest.h>

#include <fstream>

#include <nlohmann/json.hpp>

#include <ballast/norm/evo_norm.h>
#include <ballast/norm/filter_response_norm.h>
#include <ballast/norm/grn.h>
#include <ballast/norm/spectral_norm.h>
#include <ballast/norm/test_gradients.h>
#include <ballast/norm/weight_norm.h>
#include <ballast/norm/weight_standardization.h>

namespace ballast {
namespace {

using nlohmann::json;
using test::draw;

const json& golden() {
  static const json all = [] {
    std::ifstream file(BALLAST_TEST_SOURCE_DIR "/tests/golden/norm.json");
    return json::parse(file).at("rows");
  }();
  return all;
}

void expect_close(const torch::Tensor& ours, const json& theirs, double tolerance, const std::string& what) {
  const auto values = theirs.get<std::vector<double>>();
  const torch::Tensor flat = ours.detach().reshape(-1);
  ASSERT_EQ(flat.numel(), static_cast<int64_t>(values.size())) << what;
  for (int64_t i = 0; i < flat.numel(); ++i) {
    const double expected = values[static_cast<size_t>(i)];
    EXPECT_NEAR(flat[i].item<double>(), expected, tolerance * (1 + std::abs(expected))) << what << ' ' << i;
  }
}

// timm takes variances in float32 in some of its layers: those rows have a wider tolerance.
template <class Module>
void expect_row(const char* name, Module& module, int forwards, double tolerance) {
  SCOPED_TRACE(name);
  const json& row = golden().at(name);
  module->to(torch::kDouble);
  std::map<std::string, torch::Tensor> parameters;
  for (const auto& p : module->named_parameters()) parameters.emplace(p.key(), p.value());
  double seed = 11;
  for (auto& [key, p] : parameters) {
    torch::NoGradGuard no_grad;
    p.copy_(draw(p.sizes().vec(), seed++));
  }
  torch::Tensor x = draw({2, 4, 3, 2}).requires_grad_();
  torch::Tensor y;
  for (int i = 0; i < forwards; ++i) y = module->forward(x);
  (y * draw(y.sizes().vec(), 3)).sum().backward();
  expect_close(y, row.at("y"), tolerance, "y");
  expect_close(x.grad(), row.at("dx"), tolerance, "dx");
  EXPECT_EQ(parameters.size(), row.at("grads").size());
  for (const auto& [key, grad] : row.at("grads").items()) {
    ASSERT_TRUE(parameters.count(key)) << key;
    expect_close(parameters.at(key).grad(), grad, tolerance, key);
  }
  for (const auto& [key, values] : row.at("buffers").items()) {
    expect_close(module->named_buffers()[key], values, tolerance, key);
  }
}

TEST(NormGolden, NormsEqualTimms) {
  FilterResponseNorm frn(FilterResponseNormOptions{.num_features = 4});
  expect_row("filter_response_norm", frn, 1, 1e-5);
  Grn grn_module(GrnOptions{.num_features = 4});
  expect_row("grn", grn_module, 1, 1e-10);
  EvoNormB0 b0(EvoNormB0Options{.num_features = 4});
  expect_row("evo_norm_b0", b0, 1, 1e-5);
  EvoNormS0 s0(EvoNormS0Options{.num_features = 4, .num_groups = 2});
  expect_row("evo_norm_s0", s0, 1, 1e-5);
}

TEST(NormGolden, ReparametrizedLayersEqualPyTorchsAndTimms) {
  const Conv2dLayerOptions sizes{.in_channels = 4, .out_channels = 3, .kernel_size = {2, 2}};
  WeightNormConv2d weight_norm_conv(sizes);
  expect_row("weight_norm", weight_norm_conv, 1, 1e-10);
  StdConv2d std_conv(sizes);
  expect_row("std_conv", std_conv, 1, 1e-10);
  SpectralNormConv2d spectral(sizes);
  spectral->to(torch::kDouble);
  const auto unit = [](const torch::Tensor& t) { return t / t.norm(); };
  spectral->parametrizations->weight->vectors->_u.copy_(unit(draw({3}, 1)));
  spectral->parametrizations->weight->vectors->_v.copy_(unit(draw({16}, 2)));
  expect_row("spectral_norm", spectral, 4, 1e-10);
}

TEST(NormGolden, ScaledStdConvEqualsTimmsUpToItsConstant) {
  // timm rounds the activation's constant (relu: 1.7139588594436646); the row was made with 1.5 in its place.
  const json& row = golden().at("scaled_std_conv");
  torch::Tensor bias = draw({3}, 11), scale = draw({3, 1, 1, 1}, 12), w = draw({3, 4, 2, 2}, 13);
  scale.requires_grad_();
  w.requires_grad_();
  torch::Tensor x = draw({2, 4, 3, 2}).requires_grad_();
  // Of no activation the constant is 1.
  const torch::Tensor y = at::conv2d(x, scaled_weight_standardization(w, scale * 1.5, Act::none, 1e-6), bias);
  (y * draw(y.sizes().vec(), 3)).sum().backward();
  expect_close(y, row.at("y"), 1e-10, "y");
  expect_close(x.grad(), row.at("dx"), 1e-10, "dx");
  expect_close(scale.grad(), row.at("grads").at("gain"), 1e-10, "gain");
  expect_close(w.grad(), row.at("grads").at("weight"), 1e-10, "weight");
}

}  // namespace
}  // namespace ballast
