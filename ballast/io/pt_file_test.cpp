#include <ballast/io/pt_file.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include <ballast/base/check.h>
#include <ballast/io/test_folder.h>

namespace ballast {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;
using testing::ThrowsMessage;

// tests/golden/pt_files.py made the files, with PyTorch.
std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(BALLAST_TEST_SOURCE_DIR) / "tests/golden/pt" / name;
}

struct Named {
  SafetensorsDType dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
  bool operator==(const Named&) const = default;
};
using State = std::map<std::string, Named>;

State state_of(const PtFile& file) {
  State state;
  for (const PtEntry& e : file.entries()) state[e.name] = {e.dtype, e.shape, file.bytes(e)};
  return state;
}

State state_of(const SafetensorsFile& file) {
  State state;
  for (const SafetensorsEntry& e : file.entries()) {
    const auto bytes = file.bytes(e);
    state[e.name] = {e.dtype, e.shape, {bytes.begin(), bytes.end()}};
  }
  return state;
}

TEST(PtFile, EveryTypeAndViewOfPyTorchIsRead) {
  const PtFile file = PtFile::open(golden("types.pt"));
  EXPECT_EQ(file.wrapper(), "");
  EXPECT_TRUE(file.skipped().empty());
  const State ours = state_of(file), theirs = state_of(SafetensorsFile::open(golden("types.safetensors")));
  EXPECT_EQ(ours.size(), 17U);
  ASSERT_EQ(ours.size(), theirs.size());
  for (const auto& [name, tensor] : theirs) EXPECT_TRUE(ours.at(name) == tensor) << name;
}

TEST(PtFile, AModulesStateInProtocols2And4) {
  const State theirs = state_of(SafetensorsFile::open(golden("layer.safetensors")));
  EXPECT_TRUE(state_of(PtFile::open(golden("layer.pt"))) == theirs);
  EXPECT_TRUE(state_of(PtFile::open(golden("protocol4.pt"))) == theirs);
}

TEST(PtFile, WrappersAreOpenedAndTheAverageIsPreferred) {
  const State theirs = state_of(SafetensorsFile::open(golden("layer.safetensors")));
  const PtFile file = PtFile::open(golden("checkpoint.pt"));
  EXPECT_EQ(file.wrapper(), "state_dict_ema");
  EXPECT_TRUE(state_of(file) == theirs);
  EXPECT_THAT(file.skipped(), ElementsAre("epoch", "arch", "state_dict", "optimizer", "metric", "args"));
  const PtFile nested = PtFile::open(golden("nested.pt"));
  EXPECT_EQ(nested.wrapper(), "model.state_dict");
  EXPECT_TRUE(state_of(nested) == theirs);
}

TEST(PtFile, WhatIsNoStateDictIsRefusedWithTheRemedy) {
  EXPECT_THAT([] { PtFile::open(golden("legacy.pt")); },
              ThrowsMessage<DataError>(AllOf(StartsWith("[pt] "), HasSubstr("legacy.pt must be a zip archive"),
                                             HasSubstr("before version 1.6"), HasSubstr("torch.save(torch.load("))));
  EXPECT_THAT([] { PtFile::open(golden("module.pt")); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("torch.nn.modules.container.Sequential is not a constructor"),
                                             HasSubstr("whole module"), HasSubstr("state_dict()"))));
  EXPECT_THAT([] { PtFile::open(golden("command.pt")); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("posix.system is not a constructor"), HasSubstr("nothing was run"))));
  EXPECT_FALSE(std::filesystem::exists("ballast-was-here"));
  EXPECT_THAT([] { PtFile::open(golden("script.ts")); }, ThrowsMessage<DataError>(HasSubstr("got a TorchScript module")));
  EXPECT_THAT([] { PtFile::open(golden("packed.pt")); }, ThrowsMessage<DataError>(HasSubstr("must be stored")));
  EXPECT_THAT([] { PtFile::open(golden("layer.safetensors")); }, ThrowsMessage<DataError>(HasSubstr("zip directory")));
  EXPECT_THAT([] { PtFile::open(golden("none.pt")); }, ThrowsMessage<DataError>(HasSubstr("none.pt")));
}

TEST(PtFile, TheKindIsToldByTheContent) {
  EXPECT_EQ(weights_kind(golden("layer.pt")), WeightsKind::pt);
  EXPECT_EQ(weights_kind(golden("layer.safetensors")), WeightsKind::safetensors);
  EXPECT_EQ(weights_kind(golden("script.ts")), WeightsKind::torchscript);
  EXPECT_EQ(weights_kind(golden("legacy.pt")), WeightsKind::pickle);
  // A header of 640 or 0x04034b50 bytes begins like a pickle or an archive.
  const TestFolder folder;
  write_file_atomic(folder / "w", std::string("\x80\x02\0\0\0\0\0\0{", 9));
  EXPECT_EQ(weights_kind(folder / "w"), WeightsKind::safetensors);
  write_file_atomic(folder / "w", std::string("PK\x03\x04\0\0\0\0{", 9));
  EXPECT_EQ(weights_kind(folder / "w"), WeightsKind::safetensors);
}

// Error, or exactly the result: nothing else may come of a damaged file.
void expect_error_or(const State& good, std::vector<std::byte> bytes, const std::string& what) {
  try {
    EXPECT_TRUE(state_of(PtFile::from_bytes(std::move(bytes), "w.pt")) == good) << what;
  } catch (const DataError& e) {
    EXPECT_THAT(e.what(), AllOf(StartsWith("["), HasSubstr("w.pt"))) << what;
  }
}

TEST(PtFile, EveryTruncationIsAnErrorThatSaysSo) {
  for (const char* name : {"types.pt", "layer.pt"}) {
    const std::vector<std::byte> file = read_file(golden(name));
    for (size_t size = 0; size < file.size(); ++size) {
      std::vector<std::byte> cut(file.begin(), file.begin() + static_cast<ptrdiff_t>(size));
      EXPECT_THAT([&] { PtFile::from_bytes(std::move(cut), "w.pt"); }, ThrowsMessage<DataError>(HasSubstr("truncated"))) << size;
    }
  }
}

TEST(PtFile, EveryFlippedByteIsAnErrorOrTheSameResult) {
  for (const char* name : {"types.pt", "layer.pt", "checkpoint.pt", "command.pt", "script.ts"}) {
    const std::vector<std::byte> file = read_file(golden(name));
    State good;
    try {
      good = state_of(PtFile::from_bytes(file, "w.pt"));
    } catch (const DataError&) {
    }
    for (size_t i = 0; i < file.size(); ++i) {
      for (const int flip : {0x01, 0x80, 0xff}) {
        std::vector<std::byte> bad = file;
        bad[i] ^= static_cast<std::byte>(flip);
        expect_error_or(good, std::move(bad), std::string(name) + " byte " + std::to_string(i));
      }
    }
  }
}

// A pickle damaged before its CRC was made: the reader of pickles alone stands against it.
TEST(PtFile, AFlippedByteUnderAGoodChecksumNeverReadsOutsideTheStorage) {
  const TestFolder folder;
  const ZipFile zip = ZipFile::open(golden("types.pt"));
  std::vector<ZipPart> parts;
  size_t pickle = 0;
  for (const ZipEntry& e : zip.entries()) {
    if (e.name == "types/data.pkl") pickle = parts.size();
    parts.push_back({e.name, zip.bytes(e)});
  }
  const std::vector<std::byte> good(parts[pickle].bytes.begin(), parts[pickle].bytes.end());
  int opened = 0;
  for (size_t i = 0; i < good.size(); i += 3) {
    for (const int flip : {0x01, 0x40, 0xff}) {
      std::vector<std::byte> bad = good;
      bad[i] ^= static_cast<std::byte>(flip);
      parts[pickle].bytes = bad;
      write_zip(real_fs(), folder / "w.pt", parts);
      try {
        state_of(PtFile::open(folder / "w.pt"));  // may differ: a name, a smaller shape
        ++opened;
      } catch (const DataError& e) {
        EXPECT_THAT(e.what(), HasSubstr("w.pt"));
      }
    }
  }
  EXPECT_GT(opened, 0);
}

TEST(PtFile, ATensorBeyondItsStorageIsRefused) {
  const TestFolder folder;
  const float numbers[6] = {};
  const auto write = [&](const std::string& from, const std::string& to) {
    const SafetensorsTensor tensor{"w", SafetensorsDType::f32, {2, 3}, std::as_bytes(std::span(numbers))};
    write_pt(real_fs(), folder / "w.pt", {&tensor, 1});
    const ZipFile zip = ZipFile::open(folder / "w.pt");
    std::vector<ZipPart> parts;
    std::string pickle;
    for (const ZipEntry& e : zip.entries()) {
      parts.push_back({e.name, zip.bytes(e)});
      if (e.name.ends_with("data.pkl")) {
        pickle.assign(reinterpret_cast<const char*>(zip.bytes(e).data()), e.size);
        const size_t at = pickle.find(from);
        ASSERT_NE(at, std::string::npos);
        pickle.replace(at, from.size(), to);
        parts.back().bytes = std::as_bytes(std::span(pickle));
      }
    }
    write_zip(real_fs(), folder / "bad.pt", parts);
  };
  const auto refused = [&](const char* text) {
    EXPECT_THAT([&] { PtFile::open(folder / "bad.pt"); }, ThrowsMessage<DataError>(HasSubstr(text)));
  };
  write("(K\x02K\x03t", "(K\x03K\x03t");
  refused("w must lie in its storage of 6 numbers");
  write("(K\x03K\x01t", "(K\x04K\x01t");
  refused("w must lie in its storage");
  write("cpuK\x06", "cpuK\x07");
  refused("archive/data/0 must hold 7 numbers of 4 bytes, got 24 bytes");
  write("(K\x02K\x03t", "(J\xff\xff\xff\xffK\x03t");
  refused("w must have sizes >= 0, got -1");
  write("(K\x02K\x03t", std::string("(\x8a\x08\0\0\0\0\0\0\0\x40K\x03t", 14));
  refused("w must lie in its storage");
  write("(K\x03K\x01t", std::string("(K\0K\0t", 6));
  EXPECT_NO_THROW(PtFile::open(folder / "bad.pt"));
  write("(K\x02K\x03t", "(K\x02t");
  refused("w must have a stride for each dimension, got 2 for 1");
}

TEST(PtFile, WhatIsWrittenIsReadBackAndSharedBytesAreStoredOnce) {
  const TestFolder folder;
  const State types = state_of(SafetensorsFile::open(golden("types.safetensors")));
  std::vector<SafetensorsTensor> tensors;
  for (const auto& [name, t] : types) tensors.push_back({name, t.dtype, t.shape, t.bytes});
  tensors.push_back({"tied", types.at("whole").dtype, {3, 4}, types.at("whole").bytes});
  write_pt(real_fs(), folder / "w.pt", tensors);
  const PtFile file = PtFile::open(folder / "w.pt");
  State back = state_of(file);
  EXPECT_EQ(back.at("tied").bytes, types.at("whole").bytes);
  back.erase("tied");
  EXPECT_TRUE(back == types);
  const ZipFile zip = ZipFile::open(folder / "w.pt");
  EXPECT_EQ(zip.entries().size(), 3 + types.size());
  write_pt(real_fs(), folder / "again.pt", tensors);
  EXPECT_EQ(read_file(folder / "w.pt"), read_file(folder / "again.pt"));
}

TEST(PtFile, WrongTensorsAreRefused) {
  const TestFolder folder;
  const float numbers[2] = {};
  const auto bytes = std::as_bytes(std::span(numbers));
  const SafetensorsTensor twice[] = {{"a", SafetensorsDType::f32, {2}, bytes}, {"a", SafetensorsDType::f32, {2}, bytes}};
  EXPECT_THROW(write_pt(real_fs(), folder / "w.pt", twice), std::invalid_argument);
  const SafetensorsTensor size[] = {{"a", SafetensorsDType::f32, {3}, bytes}};
  EXPECT_THAT([&] { write_pt(real_fs(), folder / "w.pt", size); },
              ThrowsMessage<std::invalid_argument>("[pt] a must have 3 numbers, got 8 bytes"));
  const SafetensorsTensor type[] = {{"a", SafetensorsDType::u64, {1}, bytes}};
  EXPECT_THAT([&] { write_pt(real_fs(), folder / "w.pt", type); },
              ThrowsMessage<std::invalid_argument>("[pt] a must be of a type of .pt files, got U64"));
}

}  // namespace
}  // namespace ballast
