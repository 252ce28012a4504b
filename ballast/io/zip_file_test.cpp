#include <ballast/io/zip_file.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

#include <ballast/base/check.h>
#include <ballast/io/test_folder.h>

namespace ballast {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::filesystem::path golden(const char* name) {
  return std::filesystem::path(BALLAST_TEST_SOURCE_DIR) / "tests/golden/pt" / name;
}

TEST(ZipFile, ARoundTripKeepsEveryByteAndAligns) {
  const TestFolder folder;
  const std::string large(100'000, 'x');
  const ZipPart parts[] = {{"a/b", bytes_of("hello")}, {"a/empty", {}}, {"a/large", bytes_of(large)}};
  write_zip(real_fs(), folder / "z", parts);
  const ZipFile zip = ZipFile::open(folder / "z");
  ASSERT_EQ(zip.entries().size(), 3U);
  for (const ZipPart& part : parts) {
    const ZipEntry* entry = zip.find(part.name);
    ASSERT_NE(entry, nullptr) << part.name;
    EXPECT_EQ(text_of(zip.bytes(*entry)), text_of(part.bytes));
    EXPECT_EQ(entry->begin % 64, 0U);
    zip.check_crc(*entry);
  }
  EXPECT_EQ(zip.find("a/b")->crc, 0x3610a686U);  // of "hello", as Python's zlib.crc32 says
  EXPECT_EQ(zip.find("a"), nullptr);
  EXPECT_EQ(zip.find("a/c"), nullptr);
}

TEST(ZipFile, NoFilesAreAnArchiveToo) {
  const TestFolder folder;
  write_zip(real_fs(), folder / "z", {});
  EXPECT_EQ(std::filesystem::file_size(folder / "z"), 22U);
  EXPECT_TRUE(ZipFile::open(folder / "z").entries().empty());
}

TEST(ZipFile, CompressedFilesAreCheckedWithoutUnpackingThemWhole) {
  const ZipFile zip = ZipFile::open(golden("packed.pt"));
  for (const ZipEntry& entry : zip.entries()) zip.check_crc(entry);
  const ZipEntry* entry = zip.find("layer/data.pkl");
  ASSERT_NE(entry, nullptr);
  EXPECT_TRUE(entry->deflated);
  EXPECT_THAT([&] { zip.bytes(*entry); }, ThrowsMessage<DataError>(HasSubstr("layer/data.pkl must be stored")));
}

TEST(ZipFile, AChangedByteIsFound) {
  const TestFolder folder;
  const ZipPart parts[] = {{"a", bytes_of("hello")}};
  write_zip(real_fs(), folder / "z", parts);
  std::vector<std::byte> file = read_file(folder / "z");
  const ZipEntry before = *ZipFile::open(folder / "z").find("a");
  file[before.begin] = std::byte{'j'};
  const ZipFile zip = ZipFile::from_bytes(file, "z");
  EXPECT_THAT([&] { zip.check_crc(zip.entries()[0]); },
              ThrowsMessage<DataError>("[zip] z: a must have CRC-32 3610a686, got 4cd0f5e6: the file is damaged"));
}

TEST(ZipFile, ATruncatedFileSaysSo) {
  const TestFolder folder;
  const ZipPart parts[] = {{"a", bytes_of("hello")}};
  write_zip(real_fs(), folder / "z", parts);
  const std::vector<std::byte> file = read_file(folder / "z");
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_THAT(
        [&] { ZipFile::from_bytes(std::vector<std::byte>(file.begin(), file.begin() + static_cast<ptrdiff_t>(size)), "z"); },
        ThrowsMessage<DataError>(HasSubstr("truncated")))
        << size;
  }
}

TEST(ZipFile, WrongArgumentsAreRefused) {
  const TestFolder folder;
  const ZipPart twice[] = {{"a", {}}, {"a", {}}};
  EXPECT_THAT([&] { write_zip(real_fs(), folder / "z", twice); },
              ThrowsMessage<std::invalid_argument>("[zip] each name must be given once, got a twice"));
  const ZipPart nameless[] = {{"", {}}};
  EXPECT_THROW(write_zip(real_fs(), folder / "z", nameless), std::invalid_argument);
  EXPECT_FALSE(std::filesystem::exists(folder / "z"));
}

TEST(ZipFile, AFailingDiskLeavesNoPart) {
  const TestFolder folder;
  const ZipPart parts[] = {{"a", bytes_of("hello")}};
  int64_t failures = 0;
  for (int64_t call = 1;; ++call) {
    FaultFs fs(real_fs(), {.call = call, .error_number = ENOSPC});
    try {
      write_zip(fs, folder / "z", parts);
    } catch (const StorageError&) {
      ++failures;
    }
    if (!fs.hit()) break;
  }
  EXPECT_GT(failures, 3);
  EXPECT_EQ(ZipFile::open(folder / "z").entries().size(), 1U);
}

}  // namespace
}  // namespace ballast
