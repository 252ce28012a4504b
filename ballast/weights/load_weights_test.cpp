#include <ballast/weights/load_weights.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ballast/base/check.h>
#include <ballast/base/test_message.h>
#include <ballast/models/model.h>
#include <ballast/weights/test_weights.h>

namespace ballast {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

StateDict copy_of(const torch::nn::Module& module) {
  StateDict copy;
  for (const auto& [name, tensor] : state_dict(module)) copy.emplace(name, tensor.clone());
  return copy;
}

TEST(LoadWeights, PrefixesOfOtherProgramsAreTakenOff) {
  const auto a = resnet8(1);
  for (const std::string prefix : {"module.", "_orig_mod.", "module._orig_mod.", "model."}) {
    StateDict renamed;
    for (const auto& [name, tensor] : state_dict(*a)) renamed.emplace(prefix + name, tensor);
    const auto b = resnet8(2);
    EXPECT_EQ(load_weights(*b, renamed).prefix, prefix);
    EXPECT_TRUE(equal(state_dict(*a), state_dict(*b)));
  }
}

TEST(LoadWeights, TypesAreConvertedAndCountersMayMiss) {
  const auto a = resnet8(1), b = resnet8(2);
  StateDict weights;
  for (const auto& [name, tensor] : state_dict(*a)) {
    if (!name.ends_with("num_batches_tracked")) weights.emplace(name, tensor.to(torch::kDouble));
  }
  const LoadReport report = load_weights(*b, weights);
  EXPECT_EQ(report.names(LoadAction::missing).size(), 9u);
  EXPECT_TRUE(torch::equal(state_dict(*a).at("conv1.weight"), state_dict(*b).at("conv1.weight")));
}

TEST(LoadWeights, ARefusedFileChangesNothingAndIsNamedExactly) {
  const auto model = resnet8(1);
  const StateDict before = copy_of(*model);
  const StateDict good = copy_of(*resnet8(2));
  const auto refused = [&](const std::function<void(StateDict&)>& spoil) {
    StateDict bad = good;
    spoil(bad);
    const std::string message = message_of<std::exception>([&] { load_weights(*model, bad); });
    EXPECT_TRUE(equal(state_dict(*model), before));
    return message;
  };
  EXPECT_EQ(refused([](StateDict& w) { w["fc.weight"] = torch::zeros({1000, 64}); }),
            "[weights] fc.weight must be (10, 64), got (1000, 64); head reset replaces it");
  EXPECT_EQ(refused([](StateDict& w) {
              w["layer1.0.norm1.weight"] = w["layer1.0.bn1.weight"];
              w.erase("layer1.0.bn1.weight");
            }),
            "[weights] 1 name is missing: layer1.0.bn1.weight (nearest in file: layer1.0.norm1.weight)");
  EXPECT_EQ(refused([](StateDict& w) { w["fc.weigth"] = torch::zeros({1}); }),
            "[weights] 1 name is not in the model: fc.weigth (nearest in model: fc.weight)");
  EXPECT_EQ(refused([](StateDict& w) { w["fc.bias"] = torch::zeros({10}, torch::kLong); }),
            "[weights] fc.bias must be of type Float, got Long");
  EXPECT_THAT(refused([](StateDict& w) { w.clear(); }), HasSubstr("names are missing: bn1.bias, "));
}

TEST(LoadWeights, AHeadOfOtherClassesIsDrawnAsInANewModelOrZero) {
  const StateDict file = copy_of(*resnet8(1, 1000));
  const auto model = resnet8(2), fresh = resnet8(7);
  const LoadReport report = load_weights(*model, file, {.head = HeadPolicy::reset, .key = Key(7)});
  EXPECT_THAT(report.names(LoadAction::reset), ElementsAre("fc.bias", "fc.weight"));
  EXPECT_EQ(report.loaded, static_cast<int64_t>(file.size()) - 2);
  const StateDict own = state_dict(*model);
  EXPECT_TRUE(torch::equal(own.at("fc.weight"), state_dict(*fresh).at("fc.weight")));
  EXPECT_TRUE(torch::equal(own.at("fc.bias"), state_dict(*fresh).at("fc.bias")));
  EXPECT_TRUE(torch::equal(own.at("layer3.0.conv2.weight"), file.at("layer3.0.conv2.weight")));
  const auto row = std::find_if(report.rows.begin(), report.rows.end(), [](const LoadRow& r) { return r.name == "fc.weight"; });
  ASSERT_NE(row, report.rows.end());
  EXPECT_EQ(row->file_shape, (std::vector<int64_t>{1000, 64}));
  EXPECT_EQ(row->model_shape, (std::vector<int64_t>{10, 64}));
  EXPECT_EQ(row->why, "the file has 1000 outputs, the model 10");

  const auto zero = resnet8(2);
  EXPECT_THAT(load_weights(*zero, file, {.head = HeadPolicy::zero}).names(LoadAction::zeroed), ElementsAre("fc.bias", "fc.weight"));
  EXPECT_EQ(state_dict(*zero).at("fc.weight").abs().max().item<float>(), 0);
  EXPECT_EQ(message_of<std::exception>([&] { load_weights(*zero, file); }),
            "[weights] fc.weight must be (10, 64), got (1000, 64); head reset replaces it");
  // A head that fits is loaded, whatever the policy; one that the file lacks counts as other.
  const auto same = resnet8(2, 1000);
  EXPECT_TRUE(load_weights(*same, file, {.head = HeadPolicy::reset}).names(LoadAction::reset).empty());
  StateDict headless = file;
  headless.erase("fc.weight");
  headless.erase("fc.bias");
  EXPECT_EQ(load_weights(*model, headless, {.head = HeadPolicy::reset}).names(LoadAction::reset).size(), 2U);
  EXPECT_THAT(message_of<std::exception>([&] { load_weights(*model, headless); }), HasSubstr("2 names are missing: fc.bias, fc.weight"));
}

TEST(LoadWeights, OnlyTheHeadAndTheFirstConvolutionMayDiffer) {
  StateDict file = copy_of(*resnet8(1));
  file["layer2.0.conv1.weight"] = torch::zeros({32, 17, 3, 3});
  const auto model = resnet8(2);
  const StateDict before = copy_of(*model);
  EXPECT_EQ(message_of<std::exception>([&] { load_weights(*model, file, {.partial = true, .head = HeadPolicy::reset, .input = InputPolicy::adapt}); }),
            "[weights] layer2.0.conv1.weight must be (32, 16, 3, 3), got (32, 17, 3, 3)");
  file = copy_of(*resnet8(1));
  file["conv1.weight"] = torch::zeros({16, 3, 5, 5});
  EXPECT_EQ(message_of<std::exception>([&] { load_weights(*model, file, {.input = InputPolicy::adapt}); }),
            "[weights] conv1.weight must be (16, 3, 3, 3), got (16, 3, 5, 5)");
  EXPECT_TRUE(equal(before, state_dict(*model)));
}

TEST(LoadWeights, AGrayPictureGivesWhatItGaveInThreeEqualChannels) {
  const auto colour = resnet8(1);
  const auto gray = resnet8(2, 10, 1);
  const StateDict file = copy_of(*colour);
  EXPECT_EQ(message_of<std::exception>([&] { load_weights(*gray, file); }),
            "[weights] conv1.weight must be (16, 1, 3, 3), got (16, 3, 3, 3); input adapt converts it");
  const LoadReport report = load_weights(*gray, file, {.input = InputPolicy::adapt});
  EXPECT_THAT(report.names(LoadAction::adapted), ElementsAre("conv1.weight"));
  torch::NoGradGuard no_grad;
  colour->eval();
  gray->eval();
  const torch::Tensor x = torch::randn({4, 1, 32, 32});
  const torch::Tensor a = gray->forward(x), b = colour->forward(x.repeat({1, 3, 1, 1}));
  EXPECT_LT((a - b).abs().max().item<float>(), 1e-5 * b.abs().max().item<float>());
}

TEST(LoadWeights, ChannelsAreRepeatedInTurnAndScaled) {
  const torch::Tensor w = torch::tensor({1.0, 2.0, 4.0}).reshape({1, 3, 1, 1});
  EXPECT_TRUE(torch::equal(adapt_channels(w, 1).flatten(), torch::tensor({7.0})));
  EXPECT_TRUE(torch::allclose(adapt_channels(w, 4).flatten(), torch::tensor({1.0, 2.0, 4.0, 1.0}) * 0.75));
  EXPECT_TRUE(torch::allclose(adapt_channels(w, 2).flatten(), torch::tensor({1.0, 2.0}) * 1.5));
  EXPECT_TRUE(torch::allclose(adapt_channels(torch::tensor({6.0}).reshape({1, 1, 1, 1}), 3).flatten(),
                              torch::tensor({2.0, 2.0, 2.0})));
  EXPECT_THAT(message_of<std::exception>([&] { adapt_channels(torch::zeros({3}), 1); }), HasSubstr("must have input channels"));
}

TEST(LoadWeights, PartialTakesWhatFitsAndSaysTheRest) {
  StateDict file = copy_of(*resnet8(1));
  file.erase("layer3.0.conv2.weight");
  file["layer4.0.conv1.weight"] = torch::zeros({1});
  const auto model = resnet8(2);
  const torch::Tensor kept = state_dict(*model).at("layer3.0.conv2.weight").clone();
  const LoadReport report = load_weights(*model, file, {.partial = true});
  EXPECT_THAT(report.names(LoadAction::missing), ElementsAre("layer3.0.conv2.weight"));
  EXPECT_THAT(report.names(LoadAction::unexpected), ElementsAre("layer4.0.conv1.weight"));
  EXPECT_TRUE(torch::equal(kept, state_dict(*model).at("layer3.0.conv2.weight")));
  EXPECT_TRUE(torch::equal(file.at("conv1.weight"), state_dict(*model).at("conv1.weight")));
  EXPECT_THAT(message_of<std::exception>([&] { load_weights(*model, {{"a", torch::zeros({1})}}, {.partial = true}); }),
              HasSubstr("the file must hold tensors of this model, got none of its"));
}

TEST(LoadWeights, NamesCanBeReplaced) {
  StateDict file;
  for (const auto& [name, tensor] : copy_of(*resnet8(1))) {
    file.emplace("model." + (name == "conv1.weight" ? std::string("stem.weight") : name), tensor);
  }
  const auto model = resnet8(2);
  const LoadReport report = load_weights(*model, file, {.rename = {{"stem.weight", "conv1.weight"}}});
  EXPECT_EQ(report.prefix, "model.");
  EXPECT_TRUE(torch::equal(state_dict(*model).at("conv1.weight"), file.at("model.stem.weight")));
  EXPECT_EQ(message_of<std::exception>([&] { load_weights(*model, file, {.rename = {{"stm.weight", "conv1.weight"}}}); }),
            "[weights] rename must name a tensor of the file, got stm.weight");
}

// Modules with today's names of weight_norm (a) and spectral_norm (b).
struct Reparametrized : torch::nn::Module {
  Reparametrized() {
    const auto add = [](torch::nn::Module& to, const char* name) { return to.register_module(name, std::make_shared<torch::nn::Module>()); };
    auto a = add(*add(*add(*this, "a"), "parametrizations"), "weight");
    a->register_parameter("original0", torch::zeros({2, 1}));
    a->register_parameter("original1", torch::zeros({2, 3}));
    auto b = add(*add(*add(*this, "b"), "parametrizations"), "weight");
    b->register_parameter("original", torch::zeros({2, 3}));
    auto zero = add(*b, "0");
    zero->register_buffer("_u", torch::zeros({2}));
    zero->register_buffer("_v", torch::zeros({3}));
  }
};

TEST(LoadWeights, OldNamesOfWeightAndSpectralNorm) {
  Reparametrized module;
  const StateDict file = {{"a.weight_g", torch::full({2, 1}, 1)}, {"a.weight_v", torch::full({2, 3}, 2)},
                          {"b.weight_orig", torch::full({2, 3}, 3)}, {"b.weight_u", torch::full({2}, 4)},
                          {"b.weight_v", torch::full({3}, 5)}};
  StateDict floats;
  for (const auto& [name, tensor] : file) floats.emplace(name, tensor.to(torch::kFloat));
  EXPECT_EQ(load_weights(module, floats).loaded, 5);
  const StateDict own = state_dict(module);
  const std::pair<const char*, float> expected[] = {{"a.parametrizations.weight.original0", 1}, {"a.parametrizations.weight.original1", 2},
                                                    {"b.parametrizations.weight.original", 3}, {"b.parametrizations.weight.0._u", 4},
                                                    {"b.parametrizations.weight.0._v", 5}};
  for (const auto& [name, value] : expected) EXPECT_EQ(own.at(name).max().item<float>(), value) << name;
}

}  // namespace
}  // namespace ballast
