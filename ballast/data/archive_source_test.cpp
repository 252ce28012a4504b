#include <ballast/base/check.h>
#include <ballast/base/test_message.h>
#include <ballast/data/pack.h>
#include <ballast/data/source.h>
#include <ballast/data/test_data.h>
#include <ballast/image/decode.h>
#include <ballast/io/tar_shards.h>
#include <ballast/io/zip_file.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

namespace ballast {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using Files = std::vector<std::pair<std::string, std::string>>;

const fs::path kGolden = fs::path(BALLAST_TEST_SOURCE_DIR) / "tests/golden/archives";

void write_tar(const std::string& path, const Files& files) {
  fs::create_directories(fs::path(path).parent_path());
  TarWriter tar(real_fs(), path);
  for (const auto& [name, text] : files) {
    tar.add(name, std::as_bytes(std::span(text)));
  }
  tar.finish();
}

/// Name, role, label and content of every picture.
std::vector<std::string> listing(const Source& source) {
  std::vector<std::string> rows;
  std::vector<std::byte> buffer;
  for (int64_t i = 0; i < source.size(); ++i) {
    const auto file = source.read(i, buffer).file;
    rows.push_back((source.role(i) ? std::string(to_string(*source.role(i))) : "-") + " " + source.name(i) + " " +
                   source.classes()[static_cast<size_t>(source.label(i))] + " " + std::to_string(file.size()) + " " +
                   std::to_string(crc32_z(0, reinterpret_cast<const unsigned char*>(file.data()), file.size())));
  }
  return rows;
}

std::string error_of(const std::string& path) {
  return message_of<DataError>([&] { open_source({.source = path}); });
}

/// Files of a folder into an archive, sorted by a plain walk.
Files files_of(const fs::path& root, const std::string& prefix) {
  Files files;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_regular_file()) {
      std::ifstream in(entry.path(), std::ios::binary);
      files.emplace_back(prefix + fs::relative(entry.path(), root).string(),
                         std::string(std::istreambuf_iterator<char>(in), {}));
    }
  }
  return files;
}

TEST(ArchiveSource, AnArchiveOfAFolderIsThatFolder) {
  TempFolder folder;
  write_classes(folder / "one", {{"a", 3}, {"a-b", 2}, {"B", 1}});
  write_classes(folder / "two/train", {{"a", 3}, {"b", 2}}, 1);
  write_classes(folder / "two/test", {{"b", 2}}, 2);
  write_text(folder / "one/a/notes.txt", "x");
  for (const std::string set : {"one", "two"}) {
    const auto plain = open_source({.source = folder / set});
    for (const std::string prefix : {"", "photos/"}) {
      const Files files = files_of(folder / set, prefix);
      write_tar(folder / "x.tar", files);
      std::vector<ZipPart> parts;
      for (const auto& [name, text] : files) {
        parts.push_back({name, std::as_bytes(std::span(text))});
      }
      write_zip(real_fs(), folder / "x.zip", parts);
      for (const std::string form : {"tar", "zip"}) {
        const auto packed = open_source({.source = folder / ("x." + form)});
        EXPECT_EQ(packed->format(), form);
        EXPECT_EQ(packed->classes(), plain->classes());
        EXPECT_EQ(listing(*packed), listing(*plain)) << set << prefix << form;
        EXPECT_EQ(packed->digest(), plain->digest());
        EXPECT_EQ(packed->identical(), plain->identical());
      }
    }
  }
}

// Made by the programs people use: tests/golden/archives.py.
TEST(ArchiveSource, ReadsDeflatedZipsOfOtherPrograms) {
  const auto source = open_source({.source = kGolden / "pictures.zip"});
  EXPECT_THAT(source->classes(), ElementsAre("cat", "dog"));
  std::vector<std::byte> buffer;
  for (int64_t i = 0; i < source->size(); ++i) {
    const Image image = decode(source->read(i, buffer).file);
    EXPECT_EQ(image.w(), 20);
    EXPECT_EQ(image.row_u8(0)[0], source->label(i) == 0 ? 10 : 200);
  }
  EXPECT_EQ(source->size(), 4);
  EXPECT_THAT(source->notes(), ElementsAre("1 member is ignored: no picture by name, or in no part"));
}

TEST(ArchiveSource, AZipBombIsRefused) {
  // 4 MiB of zeros, deflated a thousandfold, called a picture.
  EXPECT_THAT(error_of(kGolden / "bomb.zip"), HasSubstr("must unpack to at most 200 times its size, got 4194304 bytes from"));
  EXPECT_THAT(error_of(kGolden / "up.zip"), HasSubstr("a member's name must not have a part \"..\", got \"cat/../../up.png\""));
}

TEST(TarShards, SamplesAreMembersOfOneKey) {
  TempFolder folder;
  write_tar(folder / "s/train-000.tar", {{"00.jpg", "first"}, {"00.cls", "1\n"}, {"00.json", "{}"}, {"__info__", "x"},
                                         {"sub/00.x.JPG", "no picture: the field is x.jpg"}, {"sub/00.png", "second"}, {"sub/00.cls", "0"}});
  write_tar(folder / "s/train-001.tar", {{"00.cls", "1"}, {"00.webp", "third"}});
  write_tar(folder / "s/test-000.tar", {{"9.png", "fourth"}, {"9.cls", "0"}});
  const auto source = open_source({.source = folder / "s"});
  EXPECT_EQ(source->format(), "tar");
  EXPECT_THAT(source->classes(), ElementsAre("0", "1"));
  std::vector<std::string> rows;
  std::vector<std::byte> buffer;
  for (int64_t i = 0; i < source->size(); ++i) {
    const auto file = source->read(i, buffer).file;
    rows.push_back(std::string(to_string(*source->role(i))) + " " + source->name(i) + " " + std::to_string(source->label(i)) + " " +
                   std::string(reinterpret_cast<const char*>(file.data()), file.size()));
  }
  EXPECT_THAT(rows, ElementsAre("train train-000.tar/00.jpg 1 first", "train train-000.tar/sub/00.png 0 second",
                                "train train-001.tar/00.webp 1 third", "test test-000.tar/9.png 0 fourth"));
  write_text(folder / "s/classes.txt", "ant\r\nbee\ncat\n");
  EXPECT_THAT(open_source({.source = folder / "s"})->classes(), ElementsAre("ant", "bee", "cat"));
  write_text(folder / "s/classes.txt", "ant\n");
  EXPECT_THAT(error_of(folder / "s"), HasSubstr("label must be in [0, 1) or a name of "));
}

TEST(TarShards, NameWhatIsWrong) {
  TempFolder folder;
  const auto error = [&](const Files& files) {
    write_tar(folder / "x.tar", files);
    return error_of(folder / "x.tar");
  };
  EXPECT_THAT(error({{"0.cls", "1"}}), HasSubstr("sample \"0\" must have a picture (jpg, jpeg, png, webp), got none"));
  EXPECT_THAT(error({{"0.jpg", "x"}, {"1.jpg", "x"}, {"1.cls", "1"}}), HasSubstr("sample \"0\" must have a label (cls), got none"));
  EXPECT_THAT(error({{"0.jpg", "x"}, {"0.cls", "1"}, {"1.jpg", "x"}, {"1.cls", "1"}, {"0.txt", "x"}}),
              HasSubstr("members of sample \"0\" must stand side by side"));
  EXPECT_THAT(error({{"0.jpg", "x"}, {"0.JPG", "x"}, {"0.cls", "1"}}), HasSubstr("must have each field once, got \"jpg\" twice"));
  EXPECT_THAT(error({{"0.jpg", "x"}, {"0.png", "x"}, {"0.cls", "1"}}), HasSubstr("must have one picture, got several"));
  EXPECT_THAT(error({{"0.jpg", "x"}, {"0.cls", ""}}), HasSubstr("label of sample \"0\" must have 1 to 4,096 bytes, got 0"));
  EXPECT_THAT(error({{"0.jpg", "x"}, {"0.cls", "a\nb"}}), HasSubstr("must be one line"));
  EXPECT_THAT(error({{"0", "x"}, {"1.cls", "a"}}), HasSubstr("names must be KEY.FIELD, got \"0\""));
  EXPECT_THAT(error({{"x.jpg", "x"}}), HasSubstr("pictures must stand in a folder for each class, got x.jpg"));
  EXPECT_THAT(error({{"x.txt", "x"}}), HasSubstr("holds no picture"));
  write_text(folder / "y.tar.gz", "\x1f\x8b\x08 and more");
  EXPECT_THAT(error_of(folder / "y.tar.gz"), HasSubstr("must not be compressed, got gzip"));
}

}  // namespace
}  // namespace ballast
