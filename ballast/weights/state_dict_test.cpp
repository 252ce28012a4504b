#include <ballast/weights/state_dict.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ballast/base/check.h>
#include <ballast/io/test_folder.h>
#include <ballast/models/model.h>

namespace ballast {
namespace {

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const DataError& e) {
    return e.what();
  }
  return "nothing thrown";
}

std::shared_ptr<Model> resnet8(uint64_t seed, int64_t classes = 10) {
  return make_model({.name = "resnet8", .num_classes = classes}, Key(seed));
}

bool equal(const StateDict& a, const StateDict& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [name, tensor] : a) {
    if (!b.count(name) || !torch::equal(tensor, b.at(name))) return false;
  }
  return true;
}

StateDict copy_of(const torch::nn::Module& module) {
  StateDict copy;
  for (const auto& [name, tensor] : state_dict(module)) copy.emplace(name, tensor.clone());
  return copy;
}

TEST(StateDict, ARoundTripThroughAFileKeepsEveryBit) {
  const TestFolder folder;
  const auto a = resnet8(1), b = resnet8(2);
  a->train();
  a->forward(torch::randn({4, 3, 32, 32}));
  write_weights(real_fs(), folder.path() / "w.safetensors", state_dict(*a));
  const LoadReport report = load_weights(*b, read_weights(folder.path() / "w.safetensors"));
  EXPECT_EQ(report.prefix, "");
  EXPECT_EQ(report.loaded, static_cast<int64_t>(state_dict(*a).size()));
  EXPECT_TRUE(equal(state_dict(*a), state_dict(*b)));
  EXPECT_EQ(state_dict(*b).at("bn1.num_batches_tracked").item<int64_t>(), 1);
}

TEST(StateDict, TypesAndEmptyTensorsSurviveAFile) {
  const TestFolder folder;
  StateDict all;
  for (torch::Dtype type : {torch::kFloat, torch::kDouble, torch::kHalf, torch::kBFloat16, torch::kLong, torch::kInt,
                            torch::kShort, torch::kChar, torch::kByte}) {
    all.emplace(std::string("t") + std::to_string(static_cast<int>(type)), torch::arange(6).reshape({2, 3}).to(type));
  }
  all.emplace("bool", torch::tensor({true, false}));
  all.emplace("scalar", torch::tensor(2.5));
  all.emplace("empty", torch::zeros({0, 3}));
  all.emplace("transposed", torch::arange(6.0).reshape({2, 3}).t());
  write_weights(real_fs(), folder.path() / "w.safetensors", all);
  const StateDict back = read_weights(folder.path() / "w.safetensors");
  EXPECT_TRUE(equal(all, back));
  for (const auto& [name, tensor] : all) EXPECT_EQ(back.at(name).scalar_type(), tensor.scalar_type()) << name;
}

TEST(StateDict, PrefixesOfOtherProgramsAreTakenOff) {
  const auto a = resnet8(1);
  for (const std::string prefix : {"module.", "_orig_mod.", "module._orig_mod.", "model."}) {
    StateDict renamed;
    for (const auto& [name, tensor] : state_dict(*a)) renamed.emplace(prefix + name, tensor);
    const auto b = resnet8(2);
    EXPECT_EQ(load_weights(*b, renamed).prefix, prefix);
    EXPECT_TRUE(equal(state_dict(*a), state_dict(*b)));
  }
}

TEST(StateDict, TypesAreConvertedAndCountersMayMiss) {
  const auto a = resnet8(1), b = resnet8(2);
  StateDict weights;
  for (const auto& [name, tensor] : state_dict(*a)) {
    if (!name.ends_with("num_batches_tracked")) weights.emplace(name, tensor.to(torch::kDouble));
  }
  const LoadReport report = load_weights(*b, weights);
  EXPECT_EQ(report.missing.size(), 9u);
  EXPECT_TRUE(torch::equal(state_dict(*a).at("conv1.weight"), state_dict(*b).at("conv1.weight")));
}

TEST(StateDict, ARefusedFileChangesNothingAndIsNamedExactly) {
  const auto model = resnet8(1);
  const StateDict before = copy_of(*model);
  const StateDict good = copy_of(*resnet8(2));
  const auto refused = [&](const std::function<void(StateDict&)>& spoil) {
    StateDict bad = good;
    spoil(bad);
    const std::string message = message_of([&] { load_weights(*model, bad); });
    EXPECT_TRUE(equal(state_dict(*model), before));
    return message;
  };
  EXPECT_EQ(refused([](StateDict& w) { w["fc.weight"] = torch::zeros({1000, 64}); }),
            "[weights] fc.weight must be (10, 64), got (1000, 64)");
  EXPECT_EQ(refused([](StateDict& w) {
              w["layer1.0.norm1.weight"] = w["layer1.0.bn1.weight"];
              w.erase("layer1.0.bn1.weight");
            }),
            "[weights] 1 name is missing: layer1.0.bn1.weight (nearest in file: layer1.0.norm1.weight)");
  EXPECT_EQ(refused([](StateDict& w) { w["fc.weigth"] = torch::zeros({1}); }),
            "[weights] 1 name is not in the model: fc.weigth (nearest in model: fc.weight)");
  EXPECT_EQ(refused([](StateDict& w) { w["fc.bias"] = torch::zeros({10}, torch::kLong); }),
            "[weights] fc.bias must be of type Float, got Long");
  EXPECT_THAT(refused([](StateDict& w) { w.clear(); }), testing::HasSubstr("names are missing: bn1.bias, "));
}

TEST(StateDict, AFileThatIsNoneIsRefusedWithItsPath) {
  const TestFolder folder;
  write_file_atomic(folder.path() / "w.safetensors", std::string_view("not weights"));
  EXPECT_THAT(message_of([&] { read_weights(folder.path() / "w.safetensors"); }), testing::HasSubstr("w.safetensors"));
  EXPECT_THAT(message_of([&] { read_weights(folder.path() / "none.safetensors"); }),
              testing::HasSubstr("none.safetensors"));
}

}  // namespace
}  // namespace ballast
