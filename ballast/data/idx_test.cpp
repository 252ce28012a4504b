#include <ballast/base/check.h>
#include <ballast/base/test_message.h>
#include <ballast/data/idx.h>
#include <ballast/data/test_data.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

namespace ballast {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

std::string gzip(const std::string& text) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, text.size()) + 32, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

class Idx : public testing::Test {
 protected:
  std::string error(const std::string& content) {
    write_text(path_, content);
    return message_of<DataError>([&] { read_idx(path_); });
  }
  IdxArray read(const std::string& content) {
    write_text(path_, content);
    return read_idx(path_);
  }
  TempFolder folder_;
  std::string path_ = folder_ / "file";
};

const std::string kGood = idx_text({2, 3}, "abcdef");

TEST_F(Idx, ReadsPlainAndCompressed) {
  for (const std::string& content : {kGood, gzip(kGood)}) {
    const IdxArray a = read(content);
    EXPECT_EQ(a.type, 8);
    EXPECT_EQ(a.sizes, (std::vector<int64_t>{2, 3}));
    EXPECT_EQ(a.bytes.size(), 6u);
    EXPECT_EQ(a.integer(5), 'f');
  }
}

TEST_F(Idx, ReadsEveryIntegerType) {
  const auto with_type = [](char type, const std::string& values, uint32_t n) {
    return std::string{0, 0, type, 1} + big_endian(n) + values;
  };
  EXPECT_EQ(read(with_type(9, "\xff", 1)).integer(0), -1);
  EXPECT_EQ(read(with_type(0x0B, std::string("\xff\xfe\x01\x02", 4), 2)).integer(0), -2);
  EXPECT_EQ(read(with_type(0x0B, std::string("\xff\xfe\x01\x02", 4), 2)).integer(1), 0x102);
  EXPECT_EQ(read(with_type(0x0C, std::string("\xff\xff\xff\xfd", 4), 1)).integer(0), -3);
  EXPECT_THROW(read(with_type(0x0D, "abcd", 1)).integer(0), std::invalid_argument);
  EXPECT_EQ(read(with_type(0x0E, "abcdefgh", 1)).bytes.size(), 8u);
}

TEST_F(Idx, EmptyArraysAreLegal) { EXPECT_TRUE(read(idx_text({0, 28, 28}, "")).bytes.empty()); }

TEST_F(Idx, NamesWhatIsWrong) {
  EXPECT_EQ(error("\x89PNG\r\n"),
            "[idx] " + path_ + ": must start with the bytes 00 00 TYPE DIMS, got 89 50 4e 47");
  EXPECT_THAT(error(""), EndsWith("got nothing"));
  EXPECT_THAT(error(std::string("\0\0\x07\x01", 4)),
              EndsWith("type must be one of 08, 09, 0b, 0c, 0d, 0e, got 07"));
  EXPECT_THAT(error(std::string("\0\0\x08\x00", 4)),
              EndsWith("must have 1 to 8 dimensions, got 0"));
  EXPECT_THAT(error(kGood.substr(0, 10)), EndsWith("ends within its header"));
  EXPECT_THAT(error(kGood.substr(0, kGood.size() - 1)),
              EndsWith("2x3 needs 6 bytes after the header, got 5"));
  EXPECT_THAT(error(kGood + "x"), EndsWith("2x3 needs 6 bytes after the header, got more"));
  EXPECT_THAT(error(gzip(kGood + "x")), EndsWith("got more"));
  EXPECT_THAT(error(gzip(kGood).substr(0, 20)), HasSubstr("the gzip data are cut off"));
}

TEST_F(Idx, HugeSizesAreRefusedWithoutTakingMemory) {
  EXPECT_THAT(error(idx_text({0xffffffff, 0xffffffff, 0xffffffff}, "")),
              EndsWith("which is too many"));
  EXPECT_THAT(error(idx_text({0xffffffff}, "abc")),
              EndsWith("needs 4294967295 bytes after the header, got 3"));
}

TEST_F(Idx, CorruptCompressionIsAnError) {
  std::string packed = gzip(idx_text({1000}, std::string(1000, 'a') + "bc"));
  packed[14] = static_cast<char>(packed[14] ^ 0x55);
  EXPECT_THAT(error(packed), HasSubstr("[idx] "));
}

TEST_F(Idx, MissingFile) {
  EXPECT_EQ(message_of<DataError>([&] { read_idx(folder_ / "none"); }),
            "[idx] " + (folder_ / "none") + ": No such file or directory");
}

TEST_F(Idx, EveryCutOfACompressedFileIsAnErrorNotACrash) {
  const std::string packed = gzip(kGood);
  for (size_t n = 0; n + 8 < packed.size();
       ++n) {  // without the check sum the content is still whole
    EXPECT_THAT(error(packed.substr(0, n)), HasSubstr("[idx] ")) << n;
  }
}

}  // namespace
}  // namespace ballast
