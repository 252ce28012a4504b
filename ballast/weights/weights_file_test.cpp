#include <ballast/weights/weights_file.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ballast/base/check.h>
#include <ballast/io/test_folder.h>
#include <ballast/weights/test_weights.h>

namespace ballast {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// tests/golden/pt_files.py made the files, with PyTorch.
std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(BALLAST_TEST_SOURCE_DIR) / "tests/golden/pt" / name;
}

TEST(WeightsFile, EveryKindGivesTheSameState) {
  const StateDict layer = open_weights(golden("layer.safetensors")).state;
  EXPECT_EQ(layer.size(), 7U);
  for (const char* name : {"layer.pt", "protocol4.pt", "checkpoint.pt", "nested.pt", "script.ts"}) {
    EXPECT_TRUE(equal(open_weights(golden(name)).state, layer)) << name;
  }
  EXPECT_EQ(open_weights(golden("script.ts")).kind, WeightsKind::torchscript);
  EXPECT_EQ(open_weights(golden("checkpoint.pt")).wrapper, "state_dict_ema");
  EXPECT_TRUE(equal(open_weights(golden("types.pt")).state, open_weights(golden("types.safetensors")).state));
}

TEST(WeightsFile, FormatsAreWrittenByTheNamesEnd) {
  const TestFolder folder;
  StateDict state = open_weights(golden("types.safetensors")).state;
  state["transposed again"] = torch::arange(6.0).reshape({2, 3}).t();
  for (const char* name : {"a.safetensors", "a.pt", "a.pth", "a.bin"}) {
    save_weights_file(real_fs(), folder / name, state);
    const WeightsFile back = open_weights(folder / name);
    EXPECT_TRUE(equal(back.state, state)) << name;
    EXPECT_EQ(back.kind, std::string(name) == "a.safetensors" ? WeightsKind::safetensors : WeightsKind::pt);
  }
  EXPECT_THAT([&] { save_weights_file(real_fs(), folder / "a.onnx", state); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("must end in .safetensors, .pt, .pth or .bin, got \".onnx\"")));
}

TEST(WeightsFile, AFolderStandsForItsModel) {
  const TestFolder folder;
  make_folders(folder / "run" / "model");
  write_weights(real_fs(), folder / "run" / "model" / "model.safetensors", {{"w", torch::ones({1})}});
  EXPECT_EQ(open_weights(folder / "run").path, folder / "run" / "model" / "model.safetensors");
  EXPECT_EQ(open_weights(folder / "run" / "model").state.size(), 1U);
  EXPECT_THAT([&] { open_weights(folder.path()); }, ThrowsMessage<DataError>(HasSubstr("got a folder without model.safetensors")));
}

TEST(WeightsFile, DamagedTorchScriptIsAnErrorNotACrash) {
  const TestFolder folder;
  const std::vector<std::byte> file = read_file(golden("script.ts"));
  for (size_t i = 0; i < file.size(); i += 37) {
    std::vector<std::byte> bad = file;
    bad[i] ^= std::byte{0x55};
    write_file_atomic(folder / "w", bad);
    try {
      open_weights(folder / "w");
    } catch (const DataError& e) {
      EXPECT_THAT(e.what(), HasSubstr((folder / "w").string()));
    }
  }
  for (const char* name : {"legacy.pt", "module.pt", "command.pt"}) {
    EXPECT_THAT([&] { open_weights(golden(name)); }, ThrowsMessage<DataError>(HasSubstr("torch.save(torch.load("))) << name;
  }
}

}  // namespace
}  // namespace ballast
