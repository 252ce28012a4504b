#include <ballast/weights/model_folder.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ballast/base/check.h>
#include <ballast/base/test_message.h>
#include <ballast/io/test_folder.h>
#include <ballast/weights/state_dict.h>

namespace ballast {
namespace {

ModelCard card_of(int64_t classes) {
  ModelCard card;
  for (int64_t i = 0; i < classes; ++i) card.label_names.push_back("class " + std::to_string(i));
  card.mean = {0.5, 0.25, 0.125};
  card.std = {0.2, 0.3, 0.4};
  return card;
}

TEST(ModelFolder, SavesAndOpensWithOptionsCardAndLogits) {
  const TestFolder folder;
  for (const char* name : {"resnet8", "plain_cnn:3x4", "vit_tiny", "rnn:gru:8", "mlp:1x16"}) {
    const auto model = make_model({.name = name, .height = 16, .width = 16, .num_classes = 4, .norm = "layer"}, Key(1));
    model->eval();
    JsonValue own = JsonValue::object();
    own["epoch"] = 7;
    save_model_folder(real_fs(), folder.path() / "model", *model, card_of(4), own);
    const ModelFolder back = load_model_folder(folder.path() / "model");
    EXPECT_EQ(back.model->options(), model->options());
    EXPECT_EQ(back.card.label_names[3], "class 3");
    EXPECT_EQ(back.card.mean, card_of(4).mean);
    EXPECT_EQ(back.own.at("epoch").integer(), 7);
    EXPECT_FALSE(back.model->is_training());
    torch::NoGradGuard no_grad;
    const torch::Tensor x = torch::randn({2, 3, 16, 16});
    EXPECT_TRUE(torch::equal(back.model->forward(x), model->forward(x))) << name;
  }
}

TEST(ModelFolder, ConfigHasTimmsKeysAndTheLayers) {
  const auto model = make_model_to_load({.name = "resnet18", .in_channels = 1, .height = 96, .width = 64, .num_classes = 2});
  for (auto& p : model->parameters()) p.detach().zero_();
  const JsonValue config = model_config(*model, card_of(2));
  EXPECT_EQ(config.at("architecture").string(), "resnet18");
  EXPECT_EQ(config.at("num_classes").integer(), 2);
  EXPECT_EQ(config.at("num_features").integer(), 512);
  EXPECT_EQ(config.at("global_pool").string(), "avg");
  EXPECT_EQ(config.at("model_args").at("in_chans").integer(), 1);
  const JsonValue& pretrained = config.at("pretrained_cfg");
  for (const char* key : {"tag", "custom_load", "input_size", "fixed_input_size", "interpolation", "crop_pct",
                          "crop_mode", "mean", "std", "num_classes", "pool_size", "first_conv", "classifier"}) {
    EXPECT_TRUE(pretrained.find(key)) << key;
  }
  EXPECT_EQ(pretrained.at("classifier").string(), "fc");
  EXPECT_EQ(pretrained.at("pool_size").text(), "[3,2]");
  const JsonValue& layers = config.at("ballast").at("layers");
  EXPECT_EQ(layers.elements().at(0).at("name").string(), "conv1");
  EXPECT_EQ(layers.elements().at(0).at("shape").text(), "[64,48,32]");
}

TEST(ModelFolder, AVisionTransformerNamesTimmsArchitectureWithItsSize) {
  const auto model = make_model({.name = "vit_tiny", .height = 32, .width = 32, .num_classes = 10}, Key(0));
  const JsonValue config = model_config(*model, card_of(10));
  EXPECT_EQ(config.at("architecture").string(), "vit_tiny_patch16_224");
  EXPECT_EQ(config.at("model_args").text(), R"({"img_size":[32,32],"patch_size":4})");
  EXPECT_EQ(config.at("pretrained_cfg").at("first_conv").string(), "patch_embed.proj");
}

TEST(ModelFolder, AFolderThatTimmWroteOpens) {
  const TestFolder folder;
  const auto model = make_model({.name = "resnet18", .height = 64, .width = 64, .num_classes = 5}, Key(1));
  write_weights(real_fs(), folder.path() / "model.safetensors", state_dict(*model));
  write_file_atomic(folder.path() / "config.json", std::string_view(
      R"({"architecture": "resnet18", "num_classes": 5, "num_features": 512,
          "pretrained_cfg": {"input_size": [3, 64, 64], "mean": [0.485, 0.456, 0.406], "crop_pct": 0.95}})"));
  const ModelFolder back = load_model_folder(folder.path());
  EXPECT_EQ(back.model->options().name, "resnet18");
  EXPECT_EQ(back.model->options().height, 64);
  EXPECT_EQ(back.card.crop_pct, 0.95);
  EXPECT_EQ(back.card.mean.at(2), 0.406);
}

TEST(ModelFolder, BrokenFoldersAreNamed) {
  const TestFolder folder;
  const auto path = folder.path();
  EXPECT_THAT(message_of<DataError>([&] { load_model_folder(path); }), testing::HasSubstr("config.json"));
  const auto model = make_model({.name = "mlp:1x8", .height = 4, .width = 4, .num_classes = 3}, Key(1));
  save_model_folder(real_fs(), path, *model, card_of(3));
  remove_file(path / "model.safetensors");
  EXPECT_THAT(message_of<DataError>([&] { load_model_folder(path); }), testing::HasSubstr("model.safetensors"));
  StateDict fewer = state_dict(*model);
  fewer.erase("head.bias");
  write_weights(real_fs(), path / "model.safetensors", fewer);
  EXPECT_THAT(message_of<DataError>([&] { load_model_folder(path); }), testing::HasSubstr("1 name is missing: head.bias"));
  write_file_atomic(path / "config.json", std::string_view(R"({"architecture": "convnext", "num_classes": 3})"));
  EXPECT_THAT(message_of<DataError>([&] { load_model_folder(path); }), testing::HasSubstr("got \"convnext\""));
}

TEST(ModelFolder, AFaultInAnyCallLeavesTheOldFolderWhole) {
  const TestFolder folder;
  const auto first = make_model({.name = "mlp:1x8", .height = 4, .width = 4, .num_classes = 3}, Key(1));
  const auto second = make_model({.name = "mlp:1x8", .height = 4, .width = 4, .num_classes = 3}, Key(2));
  save_model_folder(real_fs(), folder.path(), *first, card_of(3));
  for (int64_t call = 1;; ++call) {
    FaultFs fs(real_fs(), {.call = call, .error_number = ENOSPC});
    bool thrown = false;
    try {
      save_model_folder(fs, folder.path(), *second, card_of(3));
    } catch (const StorageError&) {
      thrown = true;
    }
    // Old or new, but whole.
    const ModelFolder back = load_model_folder(folder.path());
    const torch::Tensor w = state_dict(*back.model).at("fc1.weight");
    EXPECT_TRUE(torch::equal(w, state_dict(*first).at("fc1.weight")) || torch::equal(w, state_dict(*second).at("fc1.weight")));
    if (!fs.hit()) {
      EXPECT_FALSE(thrown);
      break;
    }
    ASSERT_LT(call, 100);
  }
}

}  // namespace
}  // namespace ballast
