#include <ballast/models/model.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ballast/base/test_message.h>
#include <ballast/init/catalog.h>
#include <ballast/models/catalog.h>
#include <ballast/models/layers.h>
#include <ballast/norm/catalog.h>
#include <ballast/norm/convert.h>
#include <ballast/norm/fold.h>

#include <map>
#include <set>

namespace ballast {
namespace {

ModelOptions options_for(std::string name, int64_t channels, int64_t size, int64_t classes) {
  return {.name = std::move(name), .in_channels = channels, .height = size, .width = size, .num_classes = classes};
}

int64_t count(const Model& model) {
  int64_t n = 0;
  for (const auto& p : model.parameters()) n += p.numel();
  return n;
}

std::set<std::string> names_of(const Model& model) {
  std::set<std::string> names;
  for (const auto& p : model.named_parameters()) names.insert(p.key());
  for (const auto& b : model.named_buffers()) names.insert(b.key());
  return names;
}

std::string name_of(const ModelRow& row) {
  return row.name == "resnet" ? "resnet:14" : std::string(row.name);
}

// Forward, loss, backward: every parameter gets a finite gradient.
void expect_trains(Model& model, int64_t batch) {
  const ModelOptions& o = model.options();
  torch::Tensor x = torch::linspace(-1, 1, batch * o.in_channels * o.height * o.width)
                        .reshape({batch, o.in_channels, o.height, o.width});
  if (model.prefers_channels_last()) x = x.contiguous(torch::MemoryFormat::ChannelsLast);
  const torch::Tensor before = x.clone();
  model.train();
  const torch::Tensor y = model.forward(x);
  ASSERT_EQ(y.sizes(), (std::vector<int64_t>{batch, o.num_classes})) << o.name;
  y.square().sum().backward();
  for (const auto& p : model.named_parameters()) {
    ASSERT_TRUE(p.value().grad().defined()) << o.name << ' ' << p.key();
    ASSERT_TRUE(torch::isfinite(p.value().grad()).all().item<bool>()) << o.name << ' ' << p.key();
  }
  EXPECT_TRUE(torch::equal(x, before)) << o.name << " changed its input";
}

TEST(Models, ParameterCountsAreTheKnownOnes) {
  const auto params = [](const char* name, int64_t channels, int64_t size, int64_t classes) {
    return count(*make_model_to_load(options_for(name, channels, size, classes)));
  };
  EXPECT_EQ(params("resnet20", 3, 32, 10), 272'474);
  EXPECT_EQ(params("resnet56", 3, 32, 10), 855'770);
  EXPECT_EQ(params("resnet18", 3, 224, 1000), 11'689'512);
  EXPECT_EQ(params("resnet34", 3, 224, 1000), 21'797'672);
  EXPECT_EQ(params("resnet50", 3, 224, 1000), 25'557'032);
  EXPECT_EQ(params("vit_tiny", 3, 224, 1000), 5'717'416);
  EXPECT_EQ(params("lenet", 1, 28, 10), 61'706);
  EXPECT_EQ(params("lenet", 3, 32, 10), 62'006);
  EXPECT_EQ(params("wide_resnet:28x10", 3, 32, 10), 36'479'194);
  EXPECT_EQ(params("resnet:20x16", 3, 32, 10), params("resnet20", 3, 32, 10));
  // Stem, then 3x3 convolutions with their norms in three stages of 8, 16 and 32 channels, two projections, the head.
  EXPECT_EQ(params("resnet:14x8", 1, 28, 10), (72 + 16) + (4 * 576 + 4 * 16) + (1152 + 3 * 2304 + 4 * 32 + 128 + 32) +
                                                   (4608 + 3 * 9216 + 4 * 64 + 512 + 64) + 330);
  EXPECT_EQ(params("mlp:1x100", 1, 28, 10), 784 * 100 + 100 + 1010);
}

TEST(Models, EveryRowRunsForwardAndBackward) {
  for (const ModelRow& row : kModels) {
    if (row.name == "resnet110" || row.name == "resnet50") continue;  // as resnet56, and below
    const bool large = row.input[1] == 224 && row.name != "vit_tiny";
    const auto model = make_model(options_for(name_of(row), row.input[0], large ? 40 : 16, 7), Key(1));
    expect_trains(*model, 2);
  }
  expect_trains(*make_model(options_for("resnet50", 3, 40, 7), Key(1)), 2);
}

TEST(Models, OddSizesAndOneChannelRun) {
  for (const char* name : {"mlp", "lenet", "plain_cnn", "resnet8", "resnet8_wide", "resnet18", "rnn:gru"}) {
    ModelOptions o{.name = name, .in_channels = 2, .height = 33, .width = 47, .num_classes = 3};
    expect_trains(*make_model(o, Key(2)), 3);
  }
  ModelOptions o{.name = "vit_tiny", .in_channels = 1, .height = 30, .width = 33, .num_classes = 3};
  expect_trains(*make_model(o, Key(2)), 2);
}

TEST(Models, EveryNormActAndStartByNameTrainsOrIsRefusedInWords) {
  for (const char* name : {"resnet8", "plain_cnn:3", "mlp:1x64", "wide_resnet:10x1", "lenet"}) {
    for (const NormRow& norm : kNorms) {
      for (std::string_view act : kActNames) {
        // All activations with the norms that compute them in ways of their own; three with the others.
        const bool all = norm.kind <= NormKind::rms_2d && norm.weight == WeightForm::plain;
        if (!all && act != "relu" && act != "gelu" && act != "silu") continue;
        ModelOptions o = options_for(name, 3, 16, 4);
        o.norm = norm.name;
        o.act = act;
        const auto model = make_model(o, Key(3));
        model->train();
        // A 1x1 map has one position: that is refused by name.
        if (norm.kind == NormKind::instance && (o.name == "mlp:1x64" || o.name == "lenet")) {
          EXPECT_THAT(message_of([&] { model->forward(torch::randn({3, 3, 16, 16})); }),
                      testing::HasSubstr("must"));
          continue;
        }
        expect_trains(*model, 4);  // split: two equal parts
      }
    }
    for (const InitRow& init : kInits) {
      ModelOptions o = options_for(name, 3, 16, 4);
      o.init = std::string(init.name) + (init.number ? ":0.02" : "");
      if (init.name == "fixup") {
        o.norm = "batch";
        EXPECT_THAT(message_of([&] { make_model(o, Key(3)); }), testing::StartsWith("[fixup] model must have no norm layers"));
        o.norm = "none";
        if (!std::string_view(name).starts_with("resnet") && !std::string_view(name).starts_with("wide")) {
          EXPECT_EQ(message_of([&] { make_model(o, Key(3)); }), "[fixup] model must have residual branches, got none");
          continue;
        }
      }
      expect_trains(*make_model(o, Key(3)), 3);
    }
  }
  for (const char* name : {"vit_tiny", "rnn:lstm:64", "rnn:plain:64", "rnn:gru:64"}) {
    for (const NormRow& norm : kNorms) {
      ModelOptions o = options_for(name, 1, 8, 4);
      o.norm = norm.name;
      if (name[0] == 'r' && norm.weight != WeightForm::plain) {
        EXPECT_EQ(message_of([&] { make_model(o, Key(3)); }), "[rnn] norm must leave the weights as they are, got " + o.norm);
        continue;
      }
      const auto model = make_model(o, Key(3));
      if (norm.kind == NormKind::instance && name[0] == 'r') continue;
      expect_trains(*model, 4);
    }
    for (const InitRow& init : kInits) {
      ModelOptions o = options_for(name, 1, 8, 4);
      o.init = std::string(init.name) + (init.number ? ":0.02" : "");
      if (init.name == "fixup") continue;  // the transformer has norms, the recurrent net no branches
      expect_trains(*make_model(o, Key(3)), 2);
    }
  }
}

// Twenty steps of gradient descent on eight pictures of two classes; the scores in the end.
torch::Tensor trained(const std::string& norm) {
  ModelOptions o = options_for("plain_cnn:4x8", 3, 12, 2);
  o.norm = norm;
  const auto model = make_model(o, Key(9));
  model->train();
  const torch::Tensor x = (torch::arange(8 * 3 * 144) * 0.7123f).sin().reshape({8, 3, 12, 12});
  const torch::Tensor target = torch::arange(8) % 2;
  double first = 0, last = 0;
  for (int step = 0; step < 20; ++step) {
    model->zero_grad();
    const torch::Tensor loss = at::cross_entropy_loss(model->forward(x), target);
    loss.backward();
    (step == 0 ? first : last) = loss.item<double>();
    torch::NoGradGuard no_grad;
    for (torch::Tensor& p : model->parameters()) {
      EXPECT_TRUE(p.grad().defined() && p.grad().isfinite().all().item<bool>()) << norm;
      p.sub_(p.grad(), 0.05);
    }
  }
  EXPECT_LT(last, first) << norm << " does not learn";
  model->eval();
  torch::NoGradGuard no_grad;
  return model->forward(x);
}

TEST(Models, EveryNormTrainsTwentyStepsToAResultOfItsOwn) {
  std::map<std::string, torch::Tensor> results;
  for (const NormRow& norm : kNorms) {
    // As many groups as channels would be instance norm.
    const bool groups = norm.kind == NormKind::group || norm.kind == NormKind::evo_s0;
    results.emplace(norm.name, trained(std::string(norm.name) + (groups ? ":2" : "")));
  }
  for (const auto& [name, y] : results) {
    for (const auto& [other, z] : results) {
      // One process: sync is batch. Frozen at its start is none but for eps.
      if (name >= other || (name == "batch" && other == "sync")) continue;
      EXPECT_FALSE(torch::equal(y, z)) << name << " does what " << other << " does";
    }
  }
  EXPECT_TRUE(torch::equal(results.at("sync"), results.at("batch")));
}

TEST(Models, ComputedWeightsStartAsThePlainOnes) {
  for (const char* name : {"plain_cnn:4x8", "mlp:2x16", "lenet"}) {
    ModelOptions o = options_for(name, 1, 16, 4);
    o.norm = "none";
    const auto plain = make_model(o, Key(2));
    o.norm = "weight";
    const auto computed = make_model(o, Key(2));
    plain->eval(), computed->eval();
    const torch::Tensor x = torch::linspace(-1, 1, 2 * 256).reshape({2, 1, 16, 16});
    torch::NoGradGuard no_grad;
    EXPECT_TRUE(torch::allclose(computed->forward(x), plain->forward(x), 1e-4, 1e-5)) << name;
  }
}

TEST(Models, SpectralNormBoundsEveryInnerLayerAndResidualBranchesStartAtZero) {
  ModelOptions o = options_for("resnet8", 3, 16, 4);
  o.norm = "spectral";
  const auto spectral = make_model(o, Key(2));
  {
    // Each forward in training takes a step of the power iteration.
    torch::NoGradGuard no_grad;
    spectral->train();
    for (int i = 0; i < 100; ++i) spectral->forward(torch::ones({1, 3, 8, 8}));
    spectral->eval();
  }
  int64_t layers = 0;
  for (const auto& module : spectral->modules()) {
    const auto* layer = dynamic_cast<detail::WeightLayer*>(module.get());
    if (layer == nullptr || layer->form == WeightForm::plain) continue;
    ++layers;
    const double sigma = at::linalg_svdvals(layer->effective_weight().detach().flatten(1)).max().item<double>();
    EXPECT_NEAR(sigma, 1, 0.01);
  }
  EXPECT_EQ(layers, 9);
  o.init = "resnet";
  for (const char* norm : {"weight", "weight_std"}) {
    o.norm = norm;
    const auto model = make_model(o, Key(2));
    const std::vector<Branch> branches = model->branches();
    EXPECT_EQ(branches.size(), 3u);
    for (const Branch& branch : branches) {
      EXPECT_EQ(branch.last_norm_weight.abs().max().item<float>(), 0) << norm;
      EXPECT_GT(branch.weights.back().abs().max().item<float>(), 0) << norm;
    }
  }
}

TEST(Models, ACloneAfterAConversionIsConverted) {
  const auto model = make_model(options_for("resnet8", 3, 16, 4), Key(2));
  const torch::Tensor x = torch::linspace(-1, 1, 2 * 768).reshape({2, 3, 16, 16});
  model->forward(x);
  convert_norm_(*model, NormOptions{.kind = NormKind::frozen});
  const auto copy = std::dynamic_pointer_cast<Model>(model->clone());
  EXPECT_EQ(names_of(*copy), names_of(*model));
  torch::NoGradGuard no_grad;
  EXPECT_TRUE(torch::equal(copy->forward(x), model->forward(x)));
}

TEST(Models, FoldingKeepsTheLogits) {
  for (const char* name : {"resnet20", "wide_resnet:10x1", "plain_cnn:4x8", "mlp:2x16"}) {
    ModelOptions o = options_for(name, 3, 16, 4);
    o.norm = "batch";
    const auto model = make_model(o, Key(2));
    const torch::Tensor x = (torch::arange(4 * 768) * 0.37f).sin().reshape({4, 3, 16, 16});
    model->train();
    for (int i = 0; i < 3; ++i) model->forward(x * (i + 1));
    model->eval();
    torch::NoGradGuard no_grad;
    const torch::Tensor before = model->forward(x);
    const int64_t folded = fold_model_(*model, [&](const torch::Tensor& in) { return model->forward(in); }, x);
    EXPECT_EQ(folded, std::string(name) == "resnet20" ? 21 : std::string(name) == "plain_cnn:4x8" ? 3 : std::string(name) == "mlp:2x16" ? 2 : 3) << name;
    EXPECT_TRUE(torch::allclose(model->forward(x), before, 1e-4, 1e-5)) << name;
  }
}

TEST(Models, StateDictNamesAreTorchvisions) {
  const auto resnet18 = make_model_to_load(options_for("resnet18", 3, 224, 1000));
  const std::set<std::string> names = names_of(*resnet18);
  EXPECT_EQ(names.size(), 122u);
  for (const char* name : {"conv1.weight", "bn1.running_var", "bn1.num_batches_tracked", "layer1.0.conv1.weight",
                           "layer2.0.downsample.0.weight", "layer2.0.downsample.1.bias", "layer4.1.bn2.weight",
                           "fc.weight", "fc.bias"}) {
    EXPECT_TRUE(names.count(name)) << name;
  }
  EXPECT_FALSE(names.count("conv1.bias"));
  const auto resnet50 = make_model_to_load(options_for("resnet50", 3, 224, 1000));
  EXPECT_EQ(names_of(*resnet50).size(), 320u);
  EXPECT_EQ(resnet50->named_parameters()["layer1.0.downsample.0.weight"].sizes(),
            (std::vector<int64_t>{256, 64, 1, 1}));
}

TEST(Models, StateDictNamesAreTimms) {
  const std::set<std::string> names = names_of(*make_model_to_load(options_for("vit_tiny", 3, 224, 1000)));
  EXPECT_EQ(names.size(), 152u);
  for (const char* name : {"cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.norm1.weight",
                           "blocks.11.attn.qkv.bias", "blocks.3.attn.proj.weight", "blocks.5.mlp.fc1.weight",
                           "blocks.5.mlp.fc2.bias", "norm.weight", "head.bias"}) {
    EXPECT_TRUE(names.count(name)) << name;
  }
}

TEST(Models, WideResnet8HasTheStemOfItsPictures) {
  const auto stem = [](int64_t size) {
    auto model = make_model(options_for("resnet8_wide", 1, size, 10), Key(0));
    model->eval();
    return count(*model);
  };
  EXPECT_EQ(stem(28), stem(23));  // the stride changes no parameter
  EXPECT_EQ(stem(28), 308'074);
}

TEST(Models, AResidualNetStartsWithBlocksThatAreTheIdentity) {
  // zero_gamma: the first blocks of stage 1 pass the stem's output on unchanged, so the depth does not matter.
  ModelOptions shallow = options_for("resnet8", 3, 16, 5), deep = options_for("resnet:26", 3, 16, 5);
  shallow.init = "resnet";
  const auto a = make_model(shallow, Key(4)), b = make_model(deep, Key(4));
  for (const Branch& branch : b->branches()) EXPECT_EQ(branch.last_norm_weight.abs().max().item<float>(), 0);
  a->eval(), b->eval();
  const torch::Tensor x = torch::linspace(-2, 2, 3 * 256).reshape({1, 3, 16, 16});
  torch::NoGradGuard no_grad;
  EXPECT_TRUE(torch::allclose(a->forward(x), b->forward(x), 1e-5, 1e-6));
}

TEST(Models, AShallowResNetStartsWithOpenBranches) {
  for (const char* name : {"resnet8", "resnet20", "resnet:14", "resnet8_wide", "resnet18"}) {
    const auto model = make_model(options_for(name, 3, 32, 5), Key(0));
    EXPECT_EQ(model->options().init, "wide_resnet") << name;
    for (const Branch& branch : model->branches()) EXPECT_EQ(branch.last_norm_weight.min().item<float>(), 1) << name;
  }
  for (const char* name : {"resnet:26", "resnet32", "resnet56", "resnet34"}) {
    EXPECT_EQ(make_model(options_for(name, 3, 32, 5), Key(0))->options().init, "resnet") << name;
  }
}

TEST(Models, AResNetWithoutNormsStartsByFixup) {
  ModelOptions o = options_for("resnet8", 3, 16, 5);
  o.norm = "none";
  const auto model = make_model(o, Key(1));
  EXPECT_EQ(model->options().init, "fixup");
  const std::set<std::string> names = names_of(*model);
  for (const char* name : {"bias1.bias", "bias2.bias", "layer1.0.bias1a.bias", "layer1.0.bias2b.bias", "layer1.0.scale.alpha"}) {
    EXPECT_TRUE(names.count(name)) << name;
    EXPECT_EQ(model->lr_scale().at(name), 0.1);
  }
  EXPECT_EQ(model->lr_scale().size(), 2u + 3 * 5);
  EXPECT_FALSE(names.count("conv1.bias"));
  // The blocks are the identity of the stem's output, and the head is 0: every score is the head's bias.
  EXPECT_EQ(model->forward(torch::randn({2, 3, 16, 16})).abs().max().item<float>(), 0);
  o.init = "he";
  const auto plain = make_model(o, Key(1));
  EXPECT_TRUE(names_of(*plain).count("conv1.bias"));
  EXPECT_TRUE(plain->lr_scale().empty());
}

TEST(Models, FixupKeepsSignalAndGradientAtAnyDepth) {
  for (const char* name : {"resnet20", "resnet56", "resnet110"}) {
    ModelOptions o = options_for(name, 3, 16, 64);
    o.norm = "none";
    const auto model = make_model(o, Key(2));
    auto parameters = model->named_parameters();
    parameters["fc.weight"].detach().copy_(torch::eye(64));  // the scores are what comes before the head
    torch::manual_seed(1);
    const torch::Tensor y = model->forward(torch::randn({8, 3, 16, 16}));
    const double before_head = y.detach().square().mean().item<double>();
    // About 0.02 at every depth: each projection and its ReLU halve it twice, averaging over positions does the rest.
    EXPECT_GT(before_head, 5e-3) << name;
    EXPECT_LT(before_head, 0.1) << name;
    (y * torch::randn({8, 64})).sum().backward();
    double least = 1e300, most = 0;
    for (const Branch& branch : model->branches()) {
      const double rms = branch.weights.back().grad().square().mean().sqrt().item<double>();
      least = std::min(least, rms);
      most = std::max(most, rms);
    }
    EXPECT_GT(least, 0) << name;
    EXPECT_LT(most / least, 10) << name;
  }
}

TEST(Models, SameKeySameBitsForAnyNumberOfThreads) {
  const int before = at::get_num_threads();
  std::vector<std::vector<torch::Tensor>> drawn;
  for (int threads : {1, 2, 4}) {
    at::set_num_threads(threads);
    std::vector<torch::Tensor> values;
    for (const char* name : {"resnet20", "vit_tiny", "rnn:lstm:64"}) {
      for (const auto& p : make_model(options_for(name, 3, 32, 10), Key(5))->parameters()) values.push_back(p);
    }
    drawn.push_back(std::move(values));
  }
  at::set_num_threads(before);
  for (size_t t = 1; t < drawn.size(); ++t) {
    for (size_t i = 0; i < drawn[0].size(); ++i) ASSERT_TRUE(torch::equal(drawn[0][i], drawn[t][i]));
  }
}

TEST(Models, OtherSeedsOtherValuesAndOtherLayersSameValues) {
  const auto a = make_model(options_for("resnet8", 3, 32, 10), Key(1));
  const auto b = make_model(options_for("resnet8", 3, 32, 10), Key(2));
  const auto deeper = make_model(options_for("resnet20", 3, 32, 10), Key(1));
  const char* name = "layer1.0.conv1.weight";
  EXPECT_FALSE(torch::equal(a->named_parameters()[name], b->named_parameters()[name]));
  EXPECT_TRUE(torch::equal(a->named_parameters()[name], deeper->named_parameters()[name]));
}

TEST(Models, BuildingNeverTouchesTheGlobalGenerator) {
  torch::manual_seed(7);
  const torch::Tensor untouched = torch::rand({4});
  torch::manual_seed(7);
  for (const char* name : {"resnet8", "vit_tiny", "rnn", "mlp", "lenet"}) {
    make_model(options_for(name, 3, 32, 10), Key(1));
  }
  EXPECT_TRUE(torch::equal(torch::rand({4}), untouched));
}

TEST(Models, ACloneHasItsOwnEqualTensorsAndModes) {
  const auto model = make_model(options_for("resnet8", 3, 16, 5), Key(1));
  model->train();
  model->forward(torch::randn({4, 3, 16, 16}));
  model->eval();
  model->named_parameters()["fc.bias"].set_requires_grad(false);
  const auto copy = std::dynamic_pointer_cast<Model>(model->clone());
  ASSERT_TRUE(copy);
  EXPECT_EQ(copy->options(), model->options());
  EXPECT_FALSE(copy->is_training());
  EXPECT_FALSE(copy->named_parameters()["fc.bias"].requires_grad());
  const torch::Tensor x = torch::randn({2, 3, 16, 16});
  torch::NoGradGuard no_grad;
  EXPECT_TRUE(torch::equal(copy->forward(x), model->forward(x)));
  const torch::Tensor before = model->forward(x);
  for (auto& p : copy->parameters()) p.add_(1);
  EXPECT_TRUE(torch::equal(model->forward(x), before));
  EXPECT_TRUE(torch::equal(model->named_buffers()["bn1.running_mean"], copy->named_buffers()["bn1.running_mean"]));
}

TEST(Models, ChannelsLastIsKeptToTheEnd) {
  const auto model = make_model(options_for("resnet8", 3, 32, 10), Key(1));
  model->to(torch::kDouble);
  model->train();
  const torch::Tensor x = torch::linspace(-1, 1, 2 * 3 * 32 * 32, torch::kDouble).reshape({2, 3, 32, 32});
  const auto second = std::dynamic_pointer_cast<Model>(model->clone());
  const torch::Tensor y = model->forward(x);
  const torch::Tensor z = second->forward(x.contiguous(torch::MemoryFormat::ChannelsLast));
  EXPECT_TRUE(torch::allclose(y, z, 1e-9, 1e-10));
}

TEST(Models, ErrorsNameWhatIsWrong) {
  const auto make = [](ModelOptions o) { return message_of([&] { make_model(o, Key(0)); }); };
  EXPECT_EQ(make({.name = "resnet19"}),
            "[models] name must be a model that `list models` shows, got \"resnet19\"; did you mean \"resnet18\"?");
  EXPECT_THAT(make({.name = "resnet44"}), testing::EndsWith("did you mean \"resnet:44\"?"));
  EXPECT_EQ(make({.name = "resnet"}), "[models] resnet must be given a depth, as resnet:14, got \"resnet\"");
  EXPECT_EQ(make({.name = "resnet:"}), "[models] resnet must be given a depth, as resnet:14, got \"resnet:\"");
  EXPECT_EQ(make({.name = "plain_cnn:x8"}), "[models] plain_cnn must be given a depth, as plain_cnn:8x16, got \"plain_cnn:x8\"");
  EXPECT_EQ(make({.name = "resnet:21"}), "[models] resnet's depth must be 6n + 2 (8, 14, 20, ...), got 21");
  EXPECT_EQ(make({.name = "resnet18:2"}), "[models] resnet18 takes no size, got \"resnet18:2\"");
  EXPECT_EQ(make({.num_classes = 0}), "[models] num_classes must be >= 1, got 0");
  EXPECT_EQ(make({.name = "lenet", .height = 8, .width = 40}),
            "[lenet] height and width must be at least 12, got 8x40");
  EXPECT_EQ(make({.name = "resnet20", .norm = "group:5"}), "[group_norm] num_groups must divide channels, got 5 and 16");
  EXPECT_THAT(make({.norm = "bacth"}), testing::EndsWith("got \"bacth\"; did you mean \"batch\"?"));
  EXPECT_THAT(make({.init = "xaver"}), testing::EndsWith("got \"xaver\"; did you mean \"xavier\"?"));
  EXPECT_THAT(make({.act = "rleu"}), testing::EndsWith("got \"rleu\"; did you mean \"relu\"?"));
  EXPECT_EQ(make({.name = "rnn:lstm", .act = "relu"}), "[rnn] act of an lstm cell must be tanh, got relu");
  EXPECT_THAT(make({.name = "vit_tiny", .height = 31, .width = 31}), testing::StartsWith("[vit_tiny] height and width"));

  const auto model = make_model(options_for("resnet8", 3, 32, 10), Key(0));
  EXPECT_EQ(message_of([&] { model->forward(torch::zeros({1, 1, 32, 32})); }),
            "[resnet8] x must have shape (N, 3, height, width), got (1, 1, 32, 32)");
  const auto mlp = make_model(options_for("mlp", 1, 28, 10), Key(0));
  EXPECT_EQ(message_of([&] { mlp->forward(torch::zeros({1, 1, 27, 28})); }),
            "[mlp] x must have shape (N, 1, 28, 28), got (1, 1, 27, 28)");
}

}  // namespace
}  // namespace ballast
