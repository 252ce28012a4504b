#include <ballast/io/tar_shards.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <random>

#include <ballast/base/check.h>
#include <ballast/io/test_folder.h>

namespace ballast {
namespace {

using testing::HasSubstr;

const std::filesystem::path kGolden = std::filesystem::path(BALLAST_TEST_SOURCE_DIR) / "tests/golden/tar";

std::string content(const TarFile& tar, const TarMember& member) {
  const auto bytes = tar.bytes(member);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string error_of(std::vector<std::byte> bytes) {
  try {
    TarFile::from_bytes(std::move(bytes), "x.tar");
  } catch (const DataError& e) {
    return e.what();
  }
  return "(nothing was thrown)";
}

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

/// An archive of our own writer.
std::vector<std::byte> written(const std::vector<std::pair<std::string, std::string>>& files) {
  const TestFolder folder;
  TarWriter writer(real_fs(), folder / "a.tar");
  for (const auto& [name, text] : files) {
    writer.add(name, bytes_of(text));
  }
  writer.finish();
  return read_file(folder / "a.tar");
}

void set_sum(std::vector<std::byte>& tar, size_t at) {
  uint64_t sum = 0;
  for (size_t i = 0; i < 8; ++i) tar[at + 148 + i] = std::byte{' '};
  for (size_t i = 0; i < 512; ++i) sum += std::to_integer<uint64_t>(tar[at + i]);
  for (size_t i = 6; i-- > 0; sum /= 8) tar[at + 148 + i] = static_cast<std::byte>('0' + sum % 8);
}

// Archives of Python's tarfile and GNU tar, see tests/golden/tar_files.py.
TEST(TarFile, ReadsWhatPythonAndGnuTarWrite) {
  const std::string deep = "folder/" + std::string(90, 'd') + "/" + std::string(70, 'n') + ".txt";
  const std::string longest = std::string(130, 'x') + "/" + std::string(140, 'y') + ".txt";
  for (const char* name : {"ustar.tar", "pax.tar", "gnu.tar", "v7.tar", "gnutar.tar", "oldgnu.tar"}) {
    SCOPED_TRACE(name);
    const TarFile tar = TarFile::open(kGolden / name);
    std::map<std::string, std::string> found;
    for (const TarMember& member : tar.members()) {
      found[member.name] = content(tar, member);
    }
    EXPECT_EQ(found.at("a.txt"), "hello\n");
    EXPECT_EQ(found.at("folder/empty.txt"), "");
    EXPECT_EQ(found.at("folder/block.bin"), std::string(512, 'b'));
    EXPECT_EQ(found.at("folder/more.bin"), std::string(1025, 'm'));
    const bool long_names = std::string_view(name) == "pax.tar" || std::string_view(name).starts_with("gnu") ||
                            std::string_view(name) == "oldgnu.tar";
    if (std::string_view(name) != "v7.tar") {
      EXPECT_EQ(found.at(deep), "deep");
    }
    if (long_names) {
      EXPECT_EQ(found.at(longest), "longest");
      EXPECT_EQ(found.at("folder/sm\xc3\xb8rrebr\xc3\xb8" "d.txt"), "utf-8");
    }
    EXPECT_EQ(found.size(), long_names ? 7U : std::string_view(name) == "v7.tar" ? 4U : 5U);
  }
}

// The archive of our writer is the one whose listing by Python's tarfile is kept beside it.
TEST(TarWriter, WritesTheBytesThatPythonReadsBack) {
  const std::string deep = "folder/" + std::string(90, 'd') + "/" + std::string(70, 'n') + ".txt";
  const std::string longest = std::string(130, 'x') + "/" + std::string(140, 'y') + ".txt";
  const std::vector<std::pair<std::string, std::string>> files = {
      {"a.txt", "hello\n"}, {"empty", ""}, {"block", std::string(512, 'b')}, {deep, "deep"},
      {longest, "longest"}, {"sm\xc3\xb8rrebr\xc3\xb8" "d", "utf-8"}};
  const std::vector<std::byte> bytes = written(files);
  EXPECT_EQ(bytes, read_file(kGolden / "ballast.tar")) << "golden archive: tests/golden/tar_files.py checks it";
  const TarFile tar = TarFile::from_bytes(bytes, "x.tar");
  ASSERT_EQ(tar.members().size(), files.size());
  for (size_t i = 0; i < files.size(); ++i) {
    EXPECT_EQ(tar.members()[i].name, files[i].first);
    EXPECT_EQ(content(tar, tar.members()[i]), files[i].second);
  }
}

TEST(TarWriter, RefusesNamesThatCannotBeRead) {
  const TestFolder folder;
  TarWriter writer(real_fs(), folder / "a.tar");
  for (const std::string& name : {std::string(""), std::string("/etc/passwd"), std::string("a/../../b"),
                                  std::string("a\0b", 3), std::string("a/"), std::string("./a"), std::string(4097, 'a')}) {
    EXPECT_THROW(writer.add(name, {}), std::invalid_argument) << name;
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "a.tar"));
}

TEST(TarWriter, AFaultLeavesNothingBehind) {
  for (int64_t call = 1;; ++call) {
    const TestFolder folder;
    FaultFs fs(real_fs(), {.call = call, .error_number = ENOSPC, .forever = true});
    bool failed = false;
    try {
      TarWriter writer(fs, folder / "a.tar");
      writer.add("a", bytes_of("hello"));
      writer.finish();
    } catch (const StorageError& e) {
      failed = true;
      EXPECT_EQ(e.error_number, ENOSPC);
    }
    if (!fs.hit()) {
      break;
    }
    EXPECT_TRUE(failed) << fs.failed_call();
    const bool there = fs.failed_call() == "fsync_dir";
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), there ? 1 : 0) << fs.failed_call();
  }
}

TEST(TarFile, NamesWhatIsWrong) {
  const auto good = written({{"a.txt", "hello"}});
  EXPECT_THAT(error_of({}), HasSubstr("[tar] x.tar: must not be empty"));
  auto bad = good;
  bad[0] = std::byte{'b'};
  EXPECT_THAT(error_of(bad), HasSubstr("right checksum, got none: it is no tar archive (header at byte 0)"));
  EXPECT_THAT(error_of({good.begin(), good.begin() + 1024}),
              HasSubstr("must end with a block of zeros, got the end of the file at byte 1024: it is truncated"));
  EXPECT_THAT(error_of({good.begin(), good.begin() + 700}), HasSubstr("must hold 5 bytes of a member, got 188: it is truncated"));
  bad = good;
  bad.back() = std::byte{1};
  EXPECT_THAT(error_of(bad), HasSubstr("must hold nothing behind its end at byte 1024"));
  auto twice = good;
  twice.resize(1024);
  twice.insert(twice.end(), good.begin(), good.end());
  EXPECT_THAT(error_of(twice), HasSubstr("must hold each name once, got \"a.txt\" twice"));
  for (const auto& [type, text] : std::map<char, std::string>{{'1', "a hard link"}, {'2', "a symbolic link"}, {'3', "a device"},
                                                             {'6', "a FIFO"}, {'S', "a sparse file"}, {'Z', "unknown type"}}) {
    bad = good;
    bad[156] = static_cast<std::byte>(type);
    set_sum(bad, 0);
    EXPECT_THAT(error_of(bad), HasSubstr(text)) << type;
  }
  for (const auto& [name, text] : std::map<std::string, std::string>{
           {"/abs", "must not be absolute"}, {"../up", "must not have a part \"..\""}, {"a/../..", "\"..\""}}) {
    bad = good;
    std::fill_n(bad.begin(), 100, std::byte{0});
    std::copy_n(bytes_of(name).begin(), name.size(), bad.begin());
    set_sum(bad, 0);
    EXPECT_THAT(error_of(bad), HasSubstr(text)) << name;
  }
  bad = good;
  bad[124] = std::byte{'9'};
  set_sum(bad, 0);
  EXPECT_THAT(error_of(bad), HasSubstr("must have an octal size"));
  for (size_t i = 124; i < 136; ++i) bad[i] = std::byte{0xff};
  set_sum(bad, 0);
  EXPECT_THAT(error_of(bad), HasSubstr("must have an octal size"));
  EXPECT_THAT(error_of({std::byte{0x1f}, std::byte{0x8b}, std::byte{8}}), HasSubstr("must not be compressed, got gzip"));
}

TEST(TarFile, AnExtendedHeaderMayNotLie) {
  const std::string longest = std::string(130, 'x') + "/" + std::string(140, 'y');
  const auto good = written({{longest, "hello"}});
  auto bad = good;
  bad[512] = std::byte{'9'};   // length of the record
  EXPECT_THAT(error_of(bad), HasSubstr("must have a whole extended header"));
  // A size that does not fit in the file.
  auto large = written({{"a", "hello"}});
  const std::string record = "22 size=9999999999999\n";
  std::vector<std::byte> head(large.begin(), large.begin() + 512);
  head[156] = std::byte{'x'};
  const std::string size = "00000000026";
  std::copy_n(bytes_of(size).begin(), 11, head.begin() + 124);
  set_sum(head, 0);
  std::vector<std::byte> body(512);
  std::copy_n(bytes_of(record).begin(), record.size(), body.begin());
  head.insert(head.end(), body.begin(), body.end());
  head.insert(head.end(), large.begin(), large.end());
  EXPECT_THAT(error_of(head), HasSubstr("must hold 9999999999999 bytes of a member"));
}

// Every cut, and keyed changes of single bytes: an error or the same members, never a crash or a read outside the file.
TEST(TarFile, DamageIsAnErrorNeverACrash) {
  std::vector<std::byte> good = read_file(kGolden / "pax.tar");
  const auto last = std::find_if(good.rbegin(), good.rend(), [](std::byte b) { return b != std::byte{0}; });
  const auto end = static_cast<size_t>(good.rend() - last) / 512 * 512 + 1024;   // of the first block of zeros
  for (size_t n = 0; n < end; n += 7) {
    EXPECT_THAT(error_of({good.begin(), good.begin() + static_cast<ptrdiff_t>(n)}), testing::StartsWith("[tar] x.tar: ")) << n;
  }
  std::mt19937 random(1);
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    auto bad = good;
    const size_t changes = 1 + random() % 4;
    std::vector<size_t> headers;
    for (size_t c = 0; c < changes; ++c) {
      const size_t at = random() % bad.size();
      bad[at] = static_cast<std::byte>(random());
      headers.push_back(at / 512 * 512);
    }
    if (i % 2 == 0) {
      for (const size_t at : headers) set_sum(bad, at);   // behind the checksum
    }
    refused += error_of(bad)[0] == '[';
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace ballast
