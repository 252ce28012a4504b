#include <ballast/models/layer_table.h>

#include <gtest/gtest.h>

#include <ballast/models/catalog.h>

#include <iostream>

namespace ballast {
namespace {

const LayerRow* row_named(const std::vector<LayerRow>& rows, const std::string& name) {
  for (const LayerRow& row : rows) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

TEST(LayerTable, ResNet18At224HasItsKnownCounts) {
  const auto model = make_model_to_load({.name = "resnet18", .height = 224, .width = 224, .num_classes = 1000});
  for (auto& p : model->parameters()) p.detach().zero_();
  const auto rows = layer_table(*model);
  EXPECT_EQ(totals(rows).params, 11'689'512);
  EXPECT_EQ(totals(rows).multiply_adds, 1'814'073'344);
  const LayerRow* stem = row_named(rows, "conv1");
  ASSERT_TRUE(stem);
  EXPECT_EQ(*stem, (LayerRow{"conv1", "conv 7x7 /2", {64, 112, 112}, 9408, 9408 * 112 * 112}));
  EXPECT_EQ(*row_named(rows, "bn1"), (LayerRow{"bn1", "batch norm", {64, 112, 112}, 128, 0}));
  EXPECT_EQ(*row_named(rows, "maxpool"), (LayerRow{"maxpool", "max pool", {64, 56, 56}, 0, 0}));
  EXPECT_EQ(row_named(rows, "layer2.0.downsample.0")->output, (std::vector<int64_t>{128, 28, 28}));
  EXPECT_EQ(*row_named(rows, "fc"), (LayerRow{"fc", "linear", {1000}, 513'000, 512'000}));
  EXPECT_TRUE(model->is_training());
}

TEST(LayerTable, EveryRowOfTheCatalogHasItsCounts) {
  for (const ModelRow& row : kModels) {
    ModelOptions o{.name = row.name == "resnet" ? "resnet:14" : std::string(row.name),
                   .in_channels = row.input[0],
                   .height = row.input[1],
                   .width = row.input[2],
                   .num_classes = row.num_classes};
    const auto model = make_model_to_load(o);
    for (auto& p : model->parameters()) p.detach().zero_();
    const LayerTotals sum = totals(layer_table(*model));
    int64_t params = 0;
    for (const auto& p : model->parameters()) params += p.numel();
    EXPECT_EQ(sum.params, params) << o.name;
    EXPECT_EQ(row.params, params) << o.name;
    EXPECT_EQ(row.multiply_adds, sum.multiply_adds) << o.name;
  }
}

TEST(LayerTable, AttentionAndRecurrenceAreCounted) {
  const auto vit = make_model({.name = "vit_tiny", .height = 32, .width = 32, .num_classes = 10}, Key(0));
  const auto rows = layer_table(*vit);
  const int64_t tokens = 65;
  EXPECT_EQ(row_named(rows, "pos_embed")->params, tokens * 192);
  EXPECT_EQ(row_named(rows, "cls_token")->params, 192);
  EXPECT_EQ(row_named(rows, "blocks.0.attn")->multiply_adds, 2 * tokens * tokens * 192);
  EXPECT_EQ(row_named(rows, "blocks.0.attn.qkv")->multiply_adds, tokens * 192 * 576);
  const auto rnn = make_model({.name = "rnn:lstm:16", .in_channels = 1, .height = 5, .width = 7}, Key(0));
  const auto recurrent = layer_table(*rnn);
  EXPECT_EQ(*row_named(recurrent, "rnn"),
            (LayerRow{"rnn", "lstm", {5, 16}, 4 * 16 * (7 + 16 + 2), 5 * 4 * 16 * (7 + 16)}));
}

TEST(LayerTable, AnotherSizeForModelsThatTakeIt) {
  const auto model = make_model({.name = "resnet8"}, Key(0));
  EXPECT_EQ(4 * row_named(layer_table(*model), "conv1")->multiply_adds,
            row_named(layer_table(*model, 64, 64), "conv1")->multiply_adds);
  const auto mlp = make_model({.name = "mlp"}, Key(0));
  mlp->train();
  EXPECT_THROW(layer_table(*mlp, 64, 64), std::invalid_argument);
  EXPECT_TRUE(mlp->is_training());
}

}  // namespace
}  // namespace ballast
