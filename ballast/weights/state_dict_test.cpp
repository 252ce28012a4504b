#include <ballast/weights/state_dict.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ballast/base/check.h>
#include <ballast/base/test_message.h>
#include <ballast/io/test_folder.h>
#include <ballast/models/model.h>
#include <ballast/weights/load_weights.h>
#include <ballast/weights/test_weights.h>

namespace ballast {
namespace {

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

TEST(StateDict, AFileThatIsNoneIsRefusedWithItsPath) {
  const TestFolder folder;
  write_file_atomic(folder.path() / "w.safetensors", std::string_view("not weights"));
  EXPECT_THAT(message_of<DataError>([&] { read_weights(folder.path() / "w.safetensors"); }), testing::HasSubstr("w.safetensors"));
  EXPECT_THAT(message_of<DataError>([&] { read_weights(folder.path() / "none.safetensors"); }),
              testing::HasSubstr("none.safetensors"));
}

}  // namespace
}  // namespace ballast
