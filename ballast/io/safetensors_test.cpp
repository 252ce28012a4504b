#include <ballast/io/safetensors.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <random>

#include <ballast/base/check.h>
#include <ballast/io/test_folder.h>

namespace ballast {
namespace {

using testing::HasSubstr;

std::vector<std::byte> to_bytes(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// A file of that length field, that header and `data` zero bytes.
std::vector<std::byte> file_of(uint64_t n, std::string_view header, size_t data) {
  std::string file(8, '\0');
  std::memcpy(file.data(), &n, 8);
  file += header;
  file.append(data, '\0');
  return to_bytes(file);
}

std::vector<std::byte> file_of(std::string_view header, size_t data = 0) {
  return file_of(header.size(), header, data);
}

// One F32 tensor "x" with these fields.
std::string entry(std::string_view shape, std::string_view offsets,
                  std::string_view dtype = "\"F32\"") {
  return "{\"x\":{\"dtype\":" + std::string(dtype) + ",\"shape\":" + std::string(shape) +
         ",\"data_offsets\":" + std::string(offsets) + "}}";
}

std::string two(std::string_view a, std::string_view b) {
  return "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" + std::string(a) +
         "},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" + std::string(b) + "}}";
}

struct Case {
  const char* name;
  std::vector<std::byte> file;
  // A part of the message; unused for accepted files.
  const char* message = "";
};

std::string case_name(const testing::TestParamInfo<Case>& info) { return info.param.name; }

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::vector<Case> refused() {
  return {
      {"Empty", {}, "at least 8 bytes, got 0"},
      {"SevenBytes", to_bytes("\1\0\0\0\0\0\0"), "at least 8 bytes"},
      {"HeaderOfZeroBytes", file_of(""), "one JSON object"},
      {"HeaderBeyondTheFile", file_of(3, "{}", 0), "must lie in the file"},
      {"HeaderOfTwoTo64Minus1", file_of(UINT64_MAX, "{}", 0), "at most 100000000"},
      {"HeaderOfTwoTo64Minus8", file_of(UINT64_MAX - 7, "{}", 0), "at most 100000000"},
      {"HeaderAbove100MB", file_of(100'000'001, "{}", 0), "at most 100000000"},
      {"NotUtf8", file_of("{\"\xff\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4),
       "UTF-8"},
      {"OpenBrace", file_of("{"), "one JSON object"},
      {"AnArray", file_of("[]"), "one JSON object"},
      {"TrailingText", file_of("{}x"), "one JSON object"},
      {"NulPadding", file_of(std::string_view("{}\0\0\0\0\0\0", 8)), "one JSON object"},
      {"Overlap", file_of(two("[0,4]", "[2,6]"), 6), "must begin at 4"},
      {"SameRangeTwice", file_of(two("[0,4]", "[0,4]"), 4), "must begin at 4"},
      {"HoleInTheMiddle", file_of(two("[0,4]", "[6,10]"), 10), "must begin at 4"},
      {"HoleAtTheStart", file_of(entry("[1]", "[4,8]"), 8), "must begin at 0"},
      {"Tail", file_of(entry("[1]", "[0,4]"), 5), "require 4 bytes of data, the file has 5"},
      {"MissingBytes", file_of(entry("[1]", "[0,4]"), 3),
       "require 4 bytes of data, the file has 3"},
      {"EndBeforeBegin", file_of(entry("[1]", "[4,0]"), 4), "must rise"},
      {"NegativeOffset", file_of(entry("[1]", "[-4,0]"), 0), "unsigned integers, got -4"},
      {"NegativeDimension", file_of(entry("[-1]", "[0,4]"), 4),
       "unsigned integers below 2^63, got -1"},
      {"FloatDimension", file_of(entry("[1.0]", "[0,4]"), 4), "got 1.0"},
      {"ExponentDimension", file_of(entry("[1e0]", "[0,4]"), 4), "got 1e0"},
      {"BooleanDimension", file_of(entry("[true]", "[0,4]"), 4), "got true"},
      {"HugeDimension", file_of(entry("[18446744073709551616]", "[0,4]"), 4),
       "got 18446744073709551616"},
      {"ProductWrapsToZero", file_of(entry("[4294967296,4294967296]", "[0,0]"), 0), "below 2^64"},
      {"ProductWrapsToZeroBehindAZero", file_of(entry("[0,4294967296,4294967296]", "[0,0]"), 0),
       "below 2^64"},
      {"SizeWraps", file_of(entry("[4611686018427387905]", "[0,4]"), 4), "bits must be below 2^64"},
      {"SizeMismatch", file_of(entry("[2]", "[0,4]"), 4), "require 8 bytes, data_offsets give 4"},
      {"UnknownDType", file_of(entry("[1]", "[0,4]", "\"F33\""), 4), "known one, got F33"},
      {"OneOffset", file_of(entry("[1]", "[4]"), 4), "two numbers, got 1"},
      {"ThreeOffsets", file_of(entry("[1]", "[0,4,4]"), 4), "two numbers, got more"},
      {"NoDType", file_of("{\"x\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4),
       "dtype is required"},
      {"NoShape", file_of("{\"x\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4),
       "shape is required"},
      {"MetadataNotStrings", file_of("{\"__metadata__\":{\"a\":1}}"),
       "metadata must be strings, got 1"},
      {"MetadataAnArray", file_of("{\"__metadata__\":[]}"), "__metadata__ must be an object"},
      {"DuplicateKey",
       file_of("{\"x\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},"
               "\"\\u0078\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}"),
       "got x twice"},
      {"DuplicateField",
       file_of("{\"x\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
               4),
       "got dtype twice"},
      {"Depth100000",
       file_of("{\"x\":" + std::string(99'999, '[') + std::string(99'999, ']') + "}"),
       "must be an object"},
      {"Comment", file_of("{/* no */}"), "one JSON object"},
      {"SingleQuotes", file_of("{'x':{'dtype':'F32','shape':[1],'data_offsets':[0,4]}}", 4),
       "one JSON object"},
      {"TrailingComma",
       file_of("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},}", 4),
       "one JSON object"},
  };
}

std::vector<Case> refused_besides() {
  return {
      {"ByteOrderMark", file_of("\xef\xbb\xbf{}"), "one JSON object"},
      {"NulInside", file_of(std::string_view("{}\0{}", 5)), "one JSON object"},
      {"UnknownField",
       file_of("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"a\":1}}", 4),
       "got a"},
      {"NoOffsets", file_of("{\"x\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4),
       "data_offsets is required"},
      {"NullEntry", file_of("{\"x\":null}"), "x must be an object, got null"},
      {"StringEntry", file_of("{\"x\":\"y\"}"), "x must be an object, got a string"},
      {"NumberEntry", file_of("{\"x\":7}"), "x must be an object, got 7"},
      {"NumberDType", file_of(entry("[1]", "[0,4]", "7"), 4), "dtype must not be 7"},
      {"ObjectShape", file_of(entry("{}", "[0,4]"), 4), "shape must not be an object"},
      {"StringShape", file_of(entry("\"1\"", "[0,4]"), 4), "shape must not be a string"},
      {"NestedShape", file_of(entry("[[1]]", "[0,4]"), 4), "got an array"},
      {"DepthFive", file_of(entry("[[[1]]]", "[0,4]"), 4), "got an array"},
      {"StringOffset", file_of(entry("[1]", "[\"0\",4]"), 4), "got a string"},
      {"FalseOffset", file_of(entry("[1]", "[false,4]"), 4), "got false"},
      {"MinusZero", file_of(entry("[-0]", "[0,0]")), "unsigned integers below 2^63"},
      {"DimensionOf2To63", file_of(entry("[9223372036854775808,0]", "[0,0]")), "below 2^63"},
      {"DuplicateMetadata", file_of("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}"), "got a twice"},
      {"MetadataTwice", file_of("{\"__metadata__\":{},\"__metadata__\":{}}"),
       "got __metadata__ twice"},
      {"HalfByte", file_of(entry("[3]", "[0,1]", "\"F4\""), 1), "whole bytes"},
      {"HalfByteF6", file_of(entry("[3]", "[0,2]", "\"F6_E2M3\""), 2), "whole bytes"},
      {"LoneSurrogate",
       file_of("{\"\\ud800\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}"),
       "one JSON object"},
      {"ZeroSizeInsideAnother",
       file_of("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
               "\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[2,2]}}",
               4),
       "must begin at"},
      {"OffsetsNearTwoTo64",
       file_of(entry("[1]", "[18446744073709551612,18446744073709551615]"), 4), "must begin at 0"},
      {"SpacesOnly", file_of("   "), "one JSON object"},
      {"Word", file_of("true"), "one JSON object"},
  };
}

std::vector<Case> accepted() {
  return {
      {"BracesAndBlanks", file_of("{}      ")},
      {"Scalar", file_of(entry("[]", "[0,4]"), 4)},
      {"ZeroDimension", file_of(entry("[3,0,2]", "[0,0]"))},
      {"WhiteSpaceBothEnds", file_of(" \t\r\n" + entry("[1]", "[0,4]") + " \t\r\n", 4)},
      {"TwoTensors", file_of(two("[0,4]", "[4,8]"), 8)},
      {"Metadata", file_of("{\"__metadata__\":{\"format\":\"pt\"},\"x\":{\"dtype\":\"F32\","
                           "\"shape\":[1],\"data_offsets\":[0,4]}}",
                           4)},
      {"UnorderedEntries", file_of(two("[4,8]", "[0,4]"), 8)},
      {"NonAsciiName",
       file_of("{\"\xe5\xb1\xa4\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4)},
      {"RankNine", file_of(entry("[1,1,1,1,2,1,1,1,1]", "[0,8]"), 8)},
      {"MetadataOnly", file_of("{\"__metadata__\":{\"format\":\"pt\"}}")},
  };
}

class SafetensorsRefused : public testing::TestWithParam<Case> {};
TEST_P(SafetensorsRefused, NamesFileAndCause) {
  try {
    SafetensorsFile::from_bytes(GetParam().file, "dir/a.safetensors");
    FAIL() << "was accepted";
  } catch (const DataError& e) {
    EXPECT_THAT(e.what(), HasSubstr("[safetensors] dir/a.safetensors: "));
    EXPECT_THAT(e.what(), HasSubstr(GetParam().message));
  }
}
INSTANTIATE_TEST_SUITE_P(Conformance, SafetensorsRefused, testing::ValuesIn(refused()), case_name);
INSTANTIATE_TEST_SUITE_P(Besides, SafetensorsRefused, testing::ValuesIn(refused_besides()),
                         case_name);

class SafetensorsAccepted : public testing::TestWithParam<Case> {};
TEST_P(SafetensorsAccepted, FromBytesAndMapped) {
  const TestFolder folder;
  write_file_atomic(folder / "a.safetensors", GetParam().file);
  const auto owned = SafetensorsFile::from_bytes(GetParam().file, "a");
  const auto mapped = SafetensorsFile::open(folder / "a.safetensors");
  ASSERT_EQ(owned.entries().size(), mapped.entries().size());
  EXPECT_EQ(owned.metadata(), mapped.metadata());
  for (const auto& e : owned.entries()) {
    const auto a = owned.bytes(e);
    const auto b = mapped.bytes(mapped.at(e.name));
    EXPECT_EQ(a.size(), e.end - e.begin);
    EXPECT_TRUE(std::ranges::equal(a, b));
  }
}
INSTANTIATE_TEST_SUITE_P(Conformance, SafetensorsAccepted, testing::ValuesIn(accepted()),
                         case_name);

TEST(Safetensors, ConformanceListIsWhole) {
  EXPECT_EQ(refused().size(), 42U);
  EXPECT_EQ(accepted().size(), 10U);
}

TEST(Safetensors, ReadsNamesShapesAndMetadata) {
  const auto file = SafetensorsFile::from_bytes(
      file_of("{\"__metadata__\":{\"k\":\"v\"},\"b\":{\"shape\":[2,1],\"data_offsets\":[4,12],"
              "\"dtype\":\"F32\"},"
              "\"a\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[0,4]}}",
              12),
      "f");
  ASSERT_EQ(file.entries().size(), 2U);
  EXPECT_EQ(file.entries()[0].name, "a");
  EXPECT_EQ(file.at("b").shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(file.at("b").dtype, SafetensorsDType::f32);
  EXPECT_EQ(file.metadata().at("k"), "v");
  EXPECT_EQ(file.find("c"), nullptr);
  EXPECT_THAT([&] { file.at("c"); },
              testing::ThrowsMessage<DataError>("[safetensors] f: tensor c is required, got none"));
}

TEST(Safetensors, MissingFileIsNamed) {
  EXPECT_THAT(
      [] { SafetensorsFile::open("/nonexistent/a.safetensors"); },
      testing::ThrowsMessage<DataError>(
          "[safetensors] cannot read /nonexistent/a.safetensors: No such file or directory"));
}

TEST(Safetensors, AFolderIsRefused) {
  const TestFolder folder;
  EXPECT_THROW(SafetensorsFile::open(folder.path()), DataError);
}

TEST(Safetensors, EachDTypeIsFoundByItsName) {
  for (int i = 0; i <= static_cast<int>(SafetensorsDType::u64); ++i) {
    const auto dtype = static_cast<SafetensorsDType>(i);
    EXPECT_EQ(safetensors_dtype(safetensors_dtype_name(dtype)), dtype);
  }
  EXPECT_FALSE(safetensors_dtype("f32"));
  EXPECT_EQ(safetensors_dtype_bits(SafetensorsDType::f6_e3m2), 6U);
}

// ---- writing ----

std::vector<std::byte> counting(size_t n) {
  std::vector<std::byte> bytes(n);
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(i % 251);
  return bytes;
}

// Tensors that own their bytes.
struct Tensors {
  std::vector<std::unique_ptr<std::vector<std::byte>>> owned;
  std::vector<SafetensorsTensor> list;
  void add(std::string name, SafetensorsDType dtype, std::vector<int64_t> shape) {
    uint64_t n = safetensors_dtype_bits(dtype);
    for (const int64_t size : shape) n *= static_cast<uint64_t>(size);
    owned.push_back(std::make_unique<std::vector<std::byte>>(counting(n / 8)));
    list.push_back({std::move(name), dtype, std::move(shape), *owned.back()});
  }
};

using Metadata = std::optional<std::map<std::string, std::string>>;
const Metadata kPt = std::map<std::string, std::string>();

std::vector<std::byte> golden(const std::string& name) {
  return read_file(std::string(BALLAST_TEST_SOURCE_DIR "/tests/golden/safetensors/") + name +
                   ".safetensors");
}

TEST(SafetensorsWriter, EmptyEqualsTheReference) {
  EXPECT_EQ(encode_safetensors({}, std::nullopt), golden("empty"));
  EXPECT_EQ(encode_safetensors({}, std::nullopt), file_of("{}      "));
}

TEST(SafetensorsWriter, MetadataOnlyEqualsTheReference) {
  EXPECT_EQ(encode_safetensors({}), golden("metadata_only"));
}

TEST(SafetensorsWriter, OneTensorEqualsTheReference) {
  Tensors t;
  t.add("weight", SafetensorsDType::f32, {2, 3});
  EXPECT_EQ(encode_safetensors(t.list, std::nullopt), golden("one"));
  EXPECT_EQ(encode_safetensors(t.list, kPt), golden("one_pt"));
}

TEST(SafetensorsWriter, ScalarsAndZeroSizesEqualTheReference) {
  Tensors t;
  t.add("zero", SafetensorsDType::f32, {3, 0, 2});
  t.add("a", SafetensorsDType::f32, {1});
  t.add("scalar", SafetensorsDType::f32, {});
  EXPECT_EQ(encode_safetensors(t.list, kPt), golden("scalar_and_zero"));
}

TEST(SafetensorsWriter, NamesEqualTheReference) {
  Tensors t;
  for (const char* name : {"b", "a", "layer1.0.conv1.weight", "layer1.0.bn1.bias", "quote\"",
                           "back\\slash", "sl/ash", "tab\t", "line\n", "bell\x07", "del\x7f",
                           "na\xc3\xafve", "\xe5\xb1\xa4", "\xf0\x9f\x90\x8b", ""}) {
    t.add(name, SafetensorsDType::f32, {1});
  }
  EXPECT_EQ(encode_safetensors(t.list, kPt), golden("names"));
}

TEST(SafetensorsWriter, OrderOfDTypesEqualsTheReference) {
  Tensors t;
  for (int i = 0; i <= static_cast<int>(SafetensorsDType::u64); ++i) {
    const auto dtype = static_cast<SafetensorsDType>(i);
    // Python has no word for these, so the reference file lacks them.
    if (dtype == SafetensorsDType::f6_e2m3 || dtype == SafetensorsDType::f6_e3m2) continue;
    for (const char* part : {"b.", "a."})
      t.add(part + std::string(safetensors_dtype_name(dtype)), dtype, {4});
  }
  EXPECT_EQ(encode_safetensors(t.list, kPt), golden("dtypes"));
}

TEST(SafetensorsWriter, PaddingEqualsTheReference) {
  for (size_t n = 0; n < 8; ++n) {
    Tensors t;
    t.add(std::string(n + 1, 'x'), SafetensorsDType::f32, {1});
    EXPECT_EQ(encode_safetensors(t.list, std::nullopt), golden("pad" + std::to_string(n)));
  }
}

TEST(SafetensorsWriter, MetadataKeysAreSortedAndTheFormatStays) {
  const auto file =
      encode_safetensors({}, std::map<std::string, std::string>{{"z", "1"}, {"a", "2"}});
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, file.size() - 8);
  EXPECT_THAT(std::string(text),
              HasSubstr("{\"__metadata__\":{\"a\":\"2\",\"format\":\"pt\",\"z\":\"1\"}}"));
}

TEST(SafetensorsWriter, SharedBytesAreStoredOnce) {
  Tensors t;
  t.add("head.weight", SafetensorsDType::f32, {4});
  t.list.push_back(t.list[0]);
  t.list[1].name = "embed.weight";
  t.list.push_back(t.list[0]);
  t.list[2].name = "other_shape";
  t.list[2].shape = {2, 2};
  const auto file = SafetensorsFile::from_bytes(encode_safetensors(t.list), "f");
  EXPECT_EQ(file.entries().size(), 2U);
  EXPECT_EQ(file.find("head.weight"), nullptr);
  EXPECT_EQ(file.metadata().at("head.weight"), "embed.weight");
}

TEST(SafetensorsWriter, ReadsBackWhatItWroteToDisk) {
  const TestFolder folder;
  Tensors t;
  t.add("w", SafetensorsDType::bf16, {3, 5});
  t.add("b", SafetensorsDType::i64, {7});
  write_safetensors(folder / "m.safetensors", t.list, kPt);
  EXPECT_EQ(read_file(folder / "m.safetensors"), encode_safetensors(t.list, kPt));
  const auto file = SafetensorsFile::open(folder / "m.safetensors");
  EXPECT_TRUE(std::ranges::equal(file.bytes(file.at("w")), t.list[0].bytes));
  EXPECT_TRUE(std::ranges::equal(file.bytes(file.at("b")), t.list[1].bytes));
}

TEST(SafetensorsWriter, RefusesWhatNoReaderAccepts) {
  const auto refuse = [](const SafetensorsTensor& tensor, const char* message) {
    EXPECT_THAT([&] { encode_safetensors(std::span(&tensor, 1)); },
                testing::ThrowsMessage<std::invalid_argument>(HasSubstr(message)));
  };
  const auto bytes = counting(8);
  refuse({"__metadata__", SafetensorsDType::u8, {8}, bytes}, "other than __metadata__");
  refuse({"x", SafetensorsDType::u8, {7}, bytes},
         "[safetensors] tensor x: shape and dtype require 7 bytes, got 8");
  refuse({"x", SafetensorsDType::u8, {-8}, bytes}, "sizes must be 0 or more, got -8");
  refuse({"\xff", SafetensorsDType::u8, {8}, bytes}, "UTF-8");
  refuse({"x", SafetensorsDType::f4, {3}, bytes}, "whole bytes");
  refuse({"x", SafetensorsDType::u8, {int64_t{1} << 62, 8}, bytes}, "below 2^64");
  const std::vector<SafetensorsTensor> twice(2, {"x", SafetensorsDType::u8, {8}, bytes});
  EXPECT_THAT([&] { encode_safetensors(twice); },
              testing::ThrowsMessage<std::invalid_argument>(HasSubstr("got x twice")));
  EXPECT_THROW(encode_safetensors({}, std::map<std::string, std::string>{{"a", "\xff"}}),
               std::invalid_argument);
}

TEST(SafetensorsWriter, AFullDiskLeavesTheOldFile) {
  const TestFolder folder;
  Tensors t;
  t.add("w", SafetensorsDType::f32, {64});
  write_safetensors(folder / "m.safetensors", t.list, kPt);
  const auto before = read_file(folder / "m.safetensors");
  t.add("x", SafetensorsDType::f32, {64});
  FaultFs fs(real_fs(), {.call = 3, .error_number = ENOSPC});
  EXPECT_THROW(write_safetensors(fs, folder / "m.safetensors", t.list, kPt), StorageError);
  EXPECT_EQ(read_file(folder / "m.safetensors"), before);
}

// ---- hostile input ----

// Whatever the bytes are: a DataError, or a file whose every range lies inside it.
void expect_bounded(const std::vector<std::byte>& bytes) {
  try {
    const auto file = SafetensorsFile::from_bytes(bytes, "mutant");
    uint64_t sum = 0;
    for (const auto& e : file.entries()) {
      for (const std::byte b : file.bytes(e)) sum += std::to_integer<uint64_t>(b);
    }
    EXPECT_LE(sum, bytes.size() * 255);
  } catch (const DataError&) {
  }
}

TEST(SafetensorsHostile, FortyThousandMutants) {
  Tensors t;
  t.add("layer1.weight", SafetensorsDType::f32, {2, 3});
  t.add("layer1.bias", SafetensorsDType::f16, {3});
  t.add("n", SafetensorsDType::i64, {});
  const auto good =
      encode_safetensors(t.list, std::map<std::string, std::string>{{"key", "value"}});
  const std::vector<std::string> pieces = {"{",
                                           "}",
                                           "[",
                                           "]",
                                           "\"",
                                           ",",
                                           ":",
                                           "0",
                                           "-1",
                                           "1e9",
                                           "18446744073709551615",
                                           "9223372036854775808",
                                           "null",
                                           "true",
                                           "\\u0000",
                                           "\\ud800",
                                           "\xff",
                                           "\xc3",
                                           std::string(1, '\0'),
                                           "__metadata__",
                                           "F4",
                                           "[[[[[[",
                                           "\"dtype\":",
                                           "data_offsets",
                                           "4294967296,4294967296"};
  std::mt19937_64 random(20240611);
  const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  int still_good = 0;
  for (int i = 0; i < 40'000; ++i) {
    auto mutant = good;
    for (size_t edits = 1 + below(3); edits > 0 && !mutant.empty(); --edits) {
      const size_t at = below(mutant.size());
      switch (below(5)) {
        case 0:
          mutant[at] ^= static_cast<std::byte>(1U << below(8));
          break;
        case 1:
          mutant.resize(at);
          break;
        case 2:
          mutant.erase(mutant.begin() + static_cast<std::ptrdiff_t>(at));
          break;
        case 3: {
          const auto& piece = pieces[below(pieces.size())];
          const auto bytes = to_bytes(piece);
          mutant.insert(mutant.begin() + static_cast<std::ptrdiff_t>(at), bytes.begin(),
                        bytes.end());
          break;
        }
        default:
          std::swap(mutant[at], mutant[below(mutant.size())]);
      }
    }
    // Half of them with a length that is right again, so that the JSON is reached.
    if (mutant.size() > 40 && below(2) == 0) {
      const uint64_t n = mutant.size() - 8 - std::min<size_t>(mutant.size() - 8, 38);
      std::memcpy(mutant.data(), &n, 8);
    }
    expect_bounded(mutant);
    still_good += mutant == good ? 1 : 0;
  }
  EXPECT_LT(still_good, 400);
}

TEST(SafetensorsHostile, EachTruncation) {
  Tensors t;
  t.add("w", SafetensorsDType::f32, {5});
  const auto good = encode_safetensors(t.list, kPt);
  for (size_t n = 0; n < good.size(); ++n) {
    EXPECT_THROW(SafetensorsFile::from_bytes(
                     {good.begin(), good.begin() + static_cast<std::ptrdiff_t>(n)}, "cut"),
                 DataError);
  }
}

TEST(SafetensorsHostile, EachBitOfTheHeader) {
  Tensors t;
  t.add("w", SafetensorsDType::f32, {5});
  const auto good = encode_safetensors(t.list, kPt);
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    auto mutant = good;
    mutant[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    expect_bounded(mutant);
  }
}

}  // namespace
}  // namespace ballast
