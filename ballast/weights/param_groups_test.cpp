#include <ballast/weights/param_groups.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include <ballast/models/model.h>
#include <ballast/weights/freeze.h>

namespace ballast {
namespace {

using testing::ThrowsMessage;

std::map<std::string, int64_t> depths(const char* name, int64_t* head = nullptr) {
  const auto model = make_model_to_load({.name = name});
  const ParamDepths d = param_depths(*model);
  if (head != nullptr) *head = d.head;
  return {d.depth.begin(), d.depth.end()};
}

TEST(ParamDepths, StemBlocksAndHeadOfEachFamily) {
  int64_t head = 0;
  auto d = depths("resnet20", &head);
  EXPECT_EQ(head, 10);  // 9 blocks
  EXPECT_EQ(d.at("conv1.weight"), 0);
  EXPECT_EQ(d.at("bn1.bias"), 0);
  EXPECT_EQ(d.at("layer1.0.conv1.weight"), 1);
  EXPECT_EQ(d.at("layer2.0.downsample.0.weight"), 4);
  EXPECT_EQ(d.at("layer3.2.bn2.weight"), 9);
  EXPECT_EQ(d.at("fc.weight"), 10);
  d = depths("vit_tiny", &head);  // as timm's: 12 blocks, norm with the head
  EXPECT_EQ(head, 13);
  EXPECT_EQ(d.at("pos_embed"), 0);
  EXPECT_EQ(d.at("cls_token"), 0);
  EXPECT_EQ(d.at("patch_embed.proj.weight"), 0);
  EXPECT_EQ(d.at("blocks.0.norm1.weight"), 1);
  EXPECT_EQ(d.at("blocks.11.mlp.fc2.bias"), 12);
  EXPECT_EQ(d.at("norm.weight"), 13);
  EXPECT_EQ(d.at("head.weight"), 13);
  d = depths("plain_cnn:4", &head);
  EXPECT_EQ(d.at("layers.0.conv.weight"), 0);
  EXPECT_EQ(d.at("fc.weight"), head);
  d = depths("lenet", &head);
  EXPECT_EQ(head, 4);
  EXPECT_EQ(d.at("conv1.weight"), 0);
  EXPECT_EQ(d.at("conv1.bias"), 0);
  EXPECT_EQ(d.at("conv2.weight"), 1);
  EXPECT_EQ(d.at("fc3.weight"), 4);
  d = depths("mlp:3x8", &head);
  EXPECT_EQ(d.at("fc1.weight"), 0);
  EXPECT_EQ(d.at("fc3.bias"), 2);
  EXPECT_EQ(d.at("head.weight"), 3);
}

TEST(ParamGroups, RatesFallFromTheHeadToTheStem) {
  const auto model = make_model_to_load({.name = "resnet8"});
  const auto groups = param_groups(*model, {.lr = 0.1, .layer_decay = 0.75, .weight_decay = 0.05});
  std::map<std::string, const ParamGroup*> of;
  int64_t numbers = 0;
  for (const ParamGroup& g : groups) {
    numbers += g.numbers;
    for (const std::string& name : g.parameters) of[name] = &g;
  }
  EXPECT_EQ(numbers, 78'042);
  EXPECT_EQ(groups.size(), 10U);  // stem, 3 blocks, head: each with and without decay
  EXPECT_DOUBLE_EQ(of.at("fc.weight")->lr, 0.1);
  EXPECT_DOUBLE_EQ(of.at("layer3.0.conv1.weight")->lr, 0.1 * 0.75);
  EXPECT_DOUBLE_EQ(of.at("layer1.0.bn2.weight")->lr, 0.1 * std::pow(0.75, 3));
  EXPECT_DOUBLE_EQ(of.at("conv1.weight")->lr_scale, std::pow(0.75, 4));
  EXPECT_EQ(of.at("conv1.weight")->weight_decay, 0.05);
  EXPECT_EQ(of.at("bn1.weight")->weight_decay, 0);
  EXPECT_EQ(of.at("conv1.weight")->name, "stem, decay");
  EXPECT_EQ(of.at("layer2.0.bn1.bias")->name, "block 2, no_decay");
}

TEST(ParamGroups, WithoutLayerDecayTwoGroups) {
  const auto vit = make_model_to_load({.name = "vit_tiny"});
  const auto groups = param_groups(*vit, {.weight_decay = 0.1});
  ASSERT_EQ(groups.size(), 2U);
  for (const ParamGroup& g : groups) {
    const bool declared = std::find(g.parameters.begin(), g.parameters.end(), "pos_embed") != g.parameters.end();
    EXPECT_EQ(declared, g.name == "no_decay");
    EXPECT_EQ(g.weight_decay, g.name == "decay" ? 0.1 : 0);
  }
  EXPECT_EQ(param_groups(*vit, {.weight_decay = 0.1, .no_decay_1d = false}).size(), 1U);
}

TEST(ParamGroups, FrozenTensorsAreLeftOut) {
  const auto model = make_model_to_load({.name = "resnet8"});
  freeze(*model, {"layer1.*", "conv1.*"});
  for (const ParamGroup& g : param_groups(*model, {})) {
    for (const std::string& name : g.parameters) {
      EXPECT_FALSE(name.starts_with("layer1.") || name.starts_with("conv1.")) << name;
    }
  }
}

TEST(ParamGroups, TheFirstRuleThatMatchesCounts) {
  const auto model = make_model_to_load({.name = "resnet8"});
  const auto groups = param_groups(*model, {.lr = 1,
                                            .weight_decay = 0.1,
                                            .rules = {{.match = "fc.*", .lr_scale = 10, .weight_decay = 0},
                                                      {.match = "*.weight", .lr_scale = 2}}});
  std::map<std::string, const ParamGroup*> of;
  for (const ParamGroup& g : groups) {
    for (const std::string& name : g.parameters) of[name] = &g;
  }
  EXPECT_EQ(of.at("fc.weight")->lr, 10);
  EXPECT_EQ(of.at("fc.weight")->weight_decay, 0);
  EXPECT_EQ(of.at("conv1.weight")->lr, 2);
  EXPECT_EQ(of.at("conv1.weight")->weight_decay, 0.1);
  EXPECT_EQ(of.at("bn1.weight")->weight_decay, 0);
  EXPECT_EQ(of.at("bn1.bias")->lr, 1);
}

TEST(ParamGroups, WrongOptionsAreRefused) {
  const auto model = make_model_to_load({.name = "resnet8"});
  const auto refused = [&](GroupOptions o, const char* message) {
    EXPECT_THAT([&] { param_groups(*model, o); }, ThrowsMessage<std::invalid_argument>(message));
  };
  refused({.layer_decay = 0}, "[weights] layer_decay must be in (0, 1], got 0");
  refused({.layer_decay = 1.5}, "[weights] layer_decay must be in (0, 1], got 1.5");
  refused({.layer_decay = std::numeric_limits<double>::quiet_NaN()}, "[weights] layer_decay must be in (0, 1], got nan");
  refused({.lr = 0}, "[weights] lr must be > 0, got 0");
  refused({.weight_decay = -1}, "[weights] weight_decay must be >= 0, got -1");
  refused({.rules = {{.match = "fc9.*"}}}, "[weights] fc9.* must match a parameter, got none");
  refused({.rules = {{.match = "fc.*", .lr_scale = -1}}}, "[weights] lr_scale must be >= 0, got -1");
}

}  // namespace
}  // namespace ballast
