#include <gtest/gtest.h>

#include <ballast/base/step_scope.h>
#include <ballast/drop/drop_layer.h>
#include <ballast/models/model.h>

namespace ballast {
namespace {

std::shared_ptr<Model> small(std::string name, const std::function<void(ModelOptions&)>& change) {
  ModelOptions o;
  o.name = std::move(name);
  o.height = o.width = 16;
  change(o);
  return make_model(o, Key(1));
}
torch::Tensor pictures(int64_t n = 6) {
  return (torch::arange(n * 3 * 16 * 16, torch::kFloat) * 0.37f).sin().view({n, 3, 16, 16});
}
torch::Tensor forward(Model& model, uint64_t step, const torch::Tensor& x, int64_t first_row = 0) {
  torch::NoGradGuard no_grad;
  const StepScope scope(7, 0, step, first_row);
  return model.forward(x);
}

struct Case {
  const char *model, *stem, *value;
  std::string ModelOptions::* field;
};
const Case kCases[] = {
    {"mlp:2x16", "dropout", "0.3", &ModelOptions::drop},
    {"mlp:2x16", "alpha_dropout", "0.3", &ModelOptions::alpha_dropout},
    {"mlp:2x16", "drop_connect", "0.5", &ModelOptions::drop_connect},
    {"lenet", "dropout", "0.3", &ModelOptions::drop},
    {"lenet", "spatial_dropout", "0.3", &ModelOptions::spatial_dropout},
    {"lenet", "drop_block", "0.3:2", &ModelOptions::drop_block},
    {"lenet", "drop_connect", "0.5:shared", &ModelOptions::drop_connect},
    {"plain_cnn:4x4", "dropout", "0.3", &ModelOptions::drop},
    {"plain_cnn:4x4", "spatial_dropout", "0.3", &ModelOptions::spatial_dropout},
    {"plain_cnn:4x4", "drop_block", "0.3:2", &ModelOptions::drop_block},
    {"plain_cnn:4x4", "drop_connect", "0.5", &ModelOptions::drop_connect},
    {"resnet8", "dropout", "0.3", &ModelOptions::drop},
    {"resnet8", "spatial_dropout", "0.3", &ModelOptions::spatial_dropout},
    {"resnet8", "drop_block", "0.3:2", &ModelOptions::drop_block},
    {"resnet8", "drop_path", "0.5", &ModelOptions::drop_path},
    {"resnet8", "drop_path", "0.5:batch", &ModelOptions::drop_path},
    {"resnet8", "drop_connect", "0.5", &ModelOptions::drop_connect},
    {"resnet8", "shake_drop", "0.5", &ModelOptions::shake_drop},
    {"wide_resnet:10x1", "dropout", "0.3", &ModelOptions::drop},
    {"wide_resnet:10x1", "spatial_dropout", "0.3", &ModelOptions::spatial_dropout},
    {"wide_resnet:10x1", "drop_block", "0.3:2", &ModelOptions::drop_block},
    {"wide_resnet:10x1", "drop_path", "0.5", &ModelOptions::drop_path},
    {"wide_resnet:10x1", "shake_drop", "0.5", &ModelOptions::shake_drop},
    {"vit_tiny", "dropout", "0.3", &ModelOptions::drop},
    {"vit_tiny", "drop_path", "0.5", &ModelOptions::drop_path},
    {"vit_tiny", "patch_dropout", "0.5", &ModelOptions::patch_dropout},
    {"rnn:gru:8", "dropout", "0.3", &ModelOptions::drop},
    {"rnn:gru:8", "drop_connect", "0.5", &ModelOptions::drop_connect},
};

// Recipes set the last norm of a branch, or the head, to 0: then nothing inside could be seen.
void wake(Model& model) {
  torch::NoGradGuard no_grad;
  for (torch::Tensor& p : model.parameters()) {
    if (p.abs().max().item<float>() == 0 && p.dim() != 1) p.fill_(0.02f);
    if (p.dim() == 1 && p.abs().max().item<float>() == 0) p.fill_(0.5f);
  }
}

TEST(Drops, EachPlaceDropsWhileTrainingOnlyAndByItsKey) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(std::string(c.model) + ' ' + c.stem);
    const auto plain = small(c.model, [](ModelOptions&) {});
    const auto model = small(c.model, [&](ModelOptions& o) { o.*(c.field) = c.value; });
    // Names, values and number of parameters stay.
    const auto a = plain->named_parameters(), b = model->named_parameters();
    ASSERT_EQ(a.keys(), b.keys());
    for (const auto& item : a) EXPECT_TRUE(torch::equal(item.value(), b[item.key()])) << item.key();
    const auto places = drop_places(*model);
    ASSERT_FALSE(places.empty());
    for (const DropPlace& place : places) EXPECT_EQ(place.stem, c.stem);
    EXPECT_TRUE(drop_places(*plain).empty());

    wake(*plain);
    wake(*model);
    const torch::Tensor x = pictures();
    plain->eval();
    model->eval();
    // shake_drop's branches are 1 - p of themselves in evaluation.
    EXPECT_EQ(torch::allclose(forward(*plain, 0, x), forward(*model, 0, x), 1e-5, 1e-5), std::string(c.stem) != "shake_drop");
    model->train();
    const torch::Tensor y = forward(*model, 3, x);
    EXPECT_TRUE(torch::equal(y, forward(*model, 3, x))) << "the same step";
    bool differs = false;
    for (uint64_t step = 4; step < 12 && !differs; ++step) differs = !torch::equal(y, forward(*model, step, x));
    EXPECT_TRUE(differs) << "another step";
    const auto copy = std::dynamic_pointer_cast<Model>(model->clone());
    EXPECT_TRUE(torch::equal(forward(*copy, 3, x), forward(*model, 3, x))) << "a copy";
  }
}

TEST(Drops, ModelsWithoutNormsOverTheBatchTreatRowsByTheirPlace) {
  const auto model = small("plain_cnn:4x4", [](ModelOptions& o) {
    o.drop = "0.3";
    o.drop_block = "0.2:2";
    o.spatial_dropout = "0.2";
  });
  const torch::Tensor x = pictures(8);
  const torch::Tensor parts = torch::cat({forward(*model, 1, x.slice(0, 0, 3)), forward(*model, 1, x.slice(0, 3), 3)});
  EXPECT_TRUE(torch::allclose(forward(*model, 1, x), parts, 1e-5, 1e-6));
}

TEST(Drops, PathRatesGrowWithDepthAndGradientsArrive) {
  const auto model = small("resnet20", [](ModelOptions& o) { o.drop_path = "0.4"; });
  const auto places = drop_places(*model);
  ASSERT_EQ(places.size(), 8u);  // of 9 blocks the first has rate 0
  EXPECT_EQ(places.front().name, "layer1.1.drop_path");
  EXPECT_DOUBLE_EQ(places.front().p, 0.05);
  EXPECT_DOUBLE_EQ(places.back().p, 0.4);
  model->train();
  const StepScope scope(7, 0, 0);
  model->forward(pictures(16)).square().sum().backward();
  EXPECT_TRUE(model->named_parameters()["conv1.weight"].grad().defined());
  EXPECT_EQ(set_drop_rate(*model, "drop_path", 0.1), 8);
}

// A batch of one picture is decided alike in both modes; mode batch adds in one operator, mode row in several.
TEST(Drops, PathOfABatchAddsWhatPathOfRowsAdds) {
  for (const char* norm : {"batch", "group:4", "frn", "none"}) {
    const auto rows = small("resnet:26", [&](ModelOptions& o) { o.drop_path = "0.5:row", o.norm = norm, o.init = "he"; });
    const auto batch = small("resnet:26", [&](ModelOptions& o) { o.drop_path = "0.5:batch", o.norm = norm, o.init = "he"; });
    rows->to(torch::kDouble);
    batch->to(torch::kDouble);
    rows->train();
    batch->train();
    const torch::Tensor x = pictures(1).to(torch::kDouble);
    for (uint64_t step = 0; step < 3; ++step) {
      rows->zero_grad();
      batch->zero_grad();
      for (Model* model : {rows.get(), batch.get()}) {
        const StepScope scope(7, 0, step);
        const torch::Tensor y = model->forward(x);
        (y * torch::arange(10, torch::kDouble)).sum().backward();
      }
      const auto a = rows->named_parameters(), b = batch->named_parameters();
      for (const auto& item : a) {
        const torch::Tensor& left = item.value().grad();
        const torch::Tensor& right = b[item.key()].grad();
        const bool none = !left.defined() || left.abs().max().item<double>() == 0;
        if (none) {
          EXPECT_TRUE(!right.defined() || right.abs().max().item<double>() == 0) << norm << ' ' << item.key();
        } else {
          ASSERT_TRUE(right.defined()) << norm << ' ' << item.key();
          EXPECT_LE((left - right).abs().max().item<double>(), 1e-9 * left.abs().max().item<double>() + 1e-12) << norm << ' ' << item.key();
        }
      }
    }
  }
}

TEST(Drops, RatesByName) {
  const auto model = small("resnet20", [](ModelOptions& o) {
    o.drop_path = "0.4";
    o.drop = "0.3";
    o.drop_rate = "layer3.*=0.25,drop=0";
  });
  for (const DropPlace& place : drop_places(*model)) {
    if (place.name == "drop") {
      EXPECT_EQ(place.p, 0);
    } else if (place.name.starts_with("layer3.")) {
      EXPECT_EQ(place.p, 0.25) << place.name;
    } else {
      EXPECT_TRUE(place.p > 0 && place.p <= 0.25) << place.name;  // grows with depth to 0.4
    }
  }
  try {
    small("lenet", [](ModelOptions& o) {
      o.drop = "0.3";
      o.drop_rate = "conv*=0.1";
    });
    FAIL();
  } catch (const std::invalid_argument& e) {
    EXPECT_EQ(std::string(e.what()), "[drop_rate] conv* must match a layer that drops, got none; there are drop1, drop2");
  }
}

TEST(Drops, ShakeRatesGrowWithDepthToTheLastBlock) {
  const auto places = drop_places(*small("resnet20", [](ModelOptions& o) { o.shake_drop = "0.5"; }));
  ASSERT_EQ(places.size(), 9u);
  EXPECT_DOUBLE_EQ(places.front().p, 0.5 / 9);
  EXPECT_EQ(places.back().name, "layer3.2.shake_drop");
  EXPECT_DOUBLE_EQ(places.back().p, 0.5);
}

// The sum of a branch is taken in place: the operator behind it must not need what it returned.
TEST(Drops, ShakenNetsHaveGradientsInEveryBlock) {
  for (const std::string name : {"resnet8", "wide_resnet:10x1"}) {
    const auto model = small(name, [](ModelOptions& o) { o.shake_drop = "0.5"; });
    model->train();
    const StepScope scope(7, 0, 3, 0);
    model->forward(pictures()).square().sum().backward();
    for (const auto& item : model->named_parameters()) {
      ASSERT_TRUE(item->grad().defined()) << name << ' ' << item.key();
      EXPECT_TRUE(item->grad().isfinite().all().item<bool>()) << name << ' ' << item.key();
    }
  }
}

TEST(Drops, AModelWithoutAPlaceSaysSo) {
  try {
    small("mlp:2x16", [](ModelOptions& o) { o.drop_path = "0.2"; });
    FAIL();
  } catch (const std::invalid_argument& e) {
    EXPECT_NE(std::string(e.what()).find("[drop_path] mlp:2x16 must have a place for it, got none"), std::string::npos) << e.what();
  }
  EXPECT_THROW(small("resnet8", [](ModelOptions& o) { o.drop = "1.5"; }), std::invalid_argument);
}

}  // namespace
}  // namespace ballast
