#include <gtest/gtest.h>

#include <ballast/image/decode.h>
#include <ballast/image/encode.h>
#include <ballast/image/test_files.h>

namespace ballast {
namespace {

using test::JpegKind;

std::vector<std::byte> bytes(std::string_view text) {
  const auto* p = reinterpret_cast<const std::byte*>(text.data());
  return {p, p + text.size()};
}

BadReason reason_of(std::span<const std::byte> file, const DecodeOptions& options = {}) {
  try {
    decode(file, options);
  } catch (const DecodeError& e) {
    return e.reason();
  }
  ADD_FAILURE() << "the file was accepted";
  return BadReason::missing;
}

const std::vector<JpegKind>& jpeg_kinds() {
  static const std::vector<JpegKind> kinds = {
      {.name = "444", .h_factor = 1, .v_factor = 1},
      {.name = "422", .h_factor = 2, .v_factor = 1},
      {.name = "420", .h_factor = 2, .v_factor = 2},
      {.name = "440", .h_factor = 1, .v_factor = 2},
      {.name = "411", .h_factor = 4, .v_factor = 1},
      {.name = "410", .h_factor = 4, .v_factor = 2},
      {.name = "gray", .components = 1},
      {.name = "420 progressive", .progressive = true},
      {.name = "422 progressive", .h_factor = 2, .v_factor = 1, .progressive = true},
      {.name = "444 progressive", .h_factor = 1, .v_factor = 1, .progressive = true},
      {.name = "gray progressive", .progressive = true, .components = 1},
      {.name = "420 restarts", .restart = 3},
      {.name = "420 optimized", .optimized = true},
  };
  return kinds;
}

TEST(DecodeJpeg, EqualsThePlainFullDecodeForEveryKindAndSize) {
  const std::pair<int, int> sizes[] = {{1, 1}, {1, 40}, {40, 1}, {5, 7}, {33, 17}, {64, 48}, {101, 99}};
  for (const JpegKind& kind : jpeg_kinds()) {
    for (const auto& [h, w] : sizes) {
      SCOPED_TRACE(std::string(kind.name) + " " + std::to_string(h) + "x" + std::to_string(w));
      const auto file = test::make_jpeg(test::picture(h, w, kind.components), kind);
      EXPECT_TRUE(equal_pixels(decode(file, {.channels = 3}), test::plain_jpeg(file, JCS_RGB)));
      if (kind.components == 1) {
        EXPECT_TRUE(equal_pixels(decode(file), test::plain_jpeg(file, JCS_GRAYSCALE)));
      }
    }
  }
}

TEST(DecodeJpeg, RegionEqualsTheCropOfTheFullDecode) {
  uint32_t state = 7;
  const auto below = [&](int n) {
    state = state * 1664525U + 1013904223U;
    return static_cast<int32_t>((uint64_t{state} * static_cast<uint64_t>(n)) >> 32);
  };
  Image storage;
  for (const JpegKind& kind : jpeg_kinds()) {
    for (int round = 0; round < 6; ++round) {
      const int32_t h = 1 + below(90), w = 1 + below(130);
      const auto file = test::make_jpeg(test::picture(h, w, kind.components), kind);
      const Image full = decode(file);
      for (int i = 0; i < 60; ++i) {
        Roi roi;
        roi.x0 = below(w);
        roi.x1 = roi.x0 + 1 + below(w - roi.x0);
        roi.y0 = below(h);
        roi.y1 = roi.y0 + 1 + below(h - roi.y0);
        const ImageView part = decode_into(file, {.roi = roi}, storage);
        ASSERT_TRUE(equal_pixels(part, full.view().crop(roi.y0, roi.x0, roi.h(), roi.w())))
            << kind.name << " " << h << "x" << w << " rows " << roi.y0 << ".." << roi.y1 << " columns " << roi.x0
            << ".." << roi.x1;
      }
    }
  }
}

TEST(DecodeJpeg, CmykFollowsPillowsRule) {
  for (const bool ycck : {false, true}) {
    const auto file = test::make_jpeg(test::picture(20, 31, 4), {.name = "cmyk", .components = 4, .ycck = ycck});
    const Image raw = test::plain_jpeg(file, JCS_CMYK);
    const Image rgb = decode(file);
    EXPECT_TRUE(read_info(file).cmyk);
    ASSERT_EQ(rgb.c(), 3);
    for (int y = 0; y < 20; ++y) {
      for (int x = 0; x < 31; ++x) {
        const uint8_t* p = raw.row_u8(y) + 4 * x;
        for (int j = 0; j < 3; ++j) {
          // As stored, values are inverted: C = 255 - p, K = 255 - p[3], so n = 255 - K = p[3].
          const int n = p[3], t = (255 - p[j]) * n + 128;
          ASSERT_EQ(rgb.row_u8(y)[3 * x + j], n - ((t + (t >> 8)) >> 8));
        }
      }
    }
  }
}

TEST(Decode, ColourToGrayIsTheWeightedSum) {
  const Image image = test::picture(9, 14, 3);
  const Image gray = decode(encode_png(image), {.channels = 1});
  for (int y = 0; y < 9; ++y) {
    for (int x = 0; x < 14; ++x) {
      const uint8_t* p = image.row_u8(y) + 3 * x;
      ASSERT_EQ(gray.row_u8(y)[x], (19595 * p[0] + 38470 * p[1] + 7471 * p[2] + 32768) >> 16);
    }
  }
}

TEST(Decode, GrayBecomesThreeEqualChannelsAndAlphaIsDropped) {
  const Image gray = test::picture(6, 11, 1);
  const Image rgb = decode(encode_png(gray), {.channels = 3});
  const Image rgba = test::picture(6, 11, 4);
  const Image dropped = decode(encode_png(rgba), {.channels = 3});
  const Image added = decode(encode_png(rgb), {.channels = 4});
  for (int y = 0; y < 6; ++y) {
    for (int x = 0; x < 11; ++x) {
      for (int j = 0; j < 3; ++j) {
        ASSERT_EQ(rgb.row_u8(y)[3 * x + j], gray.row_u8(y)[x]);
        ASSERT_EQ(dropped.row_u8(y)[3 * x + j], rgba.row_u8(y)[4 * x + j]);
      }
      ASSERT_EQ(added.row_u8(y)[4 * x + 3], 255);
    }
  }
}

TEST(DecodePng, LosslessForEveryChannelCount) {
  for (int c : {1, 3, 4}) {
    const Image image = test::picture(23, 37, c);
    const auto file = encode_png(image);
    EXPECT_TRUE(equal_pixels(decode(file), image));
    EXPECT_TRUE(equal_pixels(decode(file, {.roi = Roi{3, 5, 20, 22}}), image.view().crop(5, 3, 17, 17)));
    EXPECT_EQ(read_info(file).codec, Codec::png);
    EXPECT_EQ(read_info(file).c, c);
  }
}

TEST(DecodePng, ReadsEveryTypeDepthAndInterlacing) {
  for (const bool interlaced : {false, true}) {
    for (const test::PngKind& kind : std::vector<test::PngKind>{
             {"gray 1", PNG_COLOR_TYPE_GRAY, 1}, {"gray 2", PNG_COLOR_TYPE_GRAY, 2}, {"gray 4", PNG_COLOR_TYPE_GRAY, 4},
             {"gray 8", PNG_COLOR_TYPE_GRAY, 8}, {"gray 16", PNG_COLOR_TYPE_GRAY, 16},
             {"gray alpha", PNG_COLOR_TYPE_GRAY_ALPHA, 8}, {"gray alpha 16", PNG_COLOR_TYPE_GRAY_ALPHA, 16},
             {"palette 1", PNG_COLOR_TYPE_PALETTE, 1}, {"palette 4", PNG_COLOR_TYPE_PALETTE, 4},
             {"palette 8", PNG_COLOR_TYPE_PALETTE, 8}, {"rgb", PNG_COLOR_TYPE_RGB, 8}, {"rgb 16", PNG_COLOR_TYPE_RGB, 16},
             {"rgba", PNG_COLOR_TYPE_RGB_ALPHA, 8}, {"rgba 16", PNG_COLOR_TYPE_RGB_ALPHA, 16}}) {
      test::PngKind k = kind;
      k.interlaced = interlaced;
      SCOPED_TRACE(std::string(k.name) + (interlaced ? " interlaced" : ""));
      const auto file = test::make_png(13, 18, k);
      const Image full = decode(file, {.channels = 3});
      EXPECT_EQ(full.h(), 13);
      EXPECT_EQ(full.w(), 18);
      EXPECT_TRUE(equal_pixels(decode(file, {.channels = 3, .roi = Roi{4, 2, 11, 9}}),
                               full.view().crop(2, 4, 7, 7)));
      for (int channels : {0, 1, 4}) EXPECT_FALSE(decode(file, {.channels = channels}).empty());
    }
  }
}

TEST(DecodeWebp, LosslessRoundTripAndRegion) {
  for (int c : {3, 4}) {
    Image image = test::picture(19, 26, c);
    if (c == 4) {
      for (int y = 0; y < 19; ++y) {
        for (int x = 0; x < 26; ++x) image.row_u8(y)[4 * x + 3] |= 1;  // invisible pixels lose their colour
      }
    }
    const auto file = test::make_webp(image, true);
    EXPECT_TRUE(equal_pixels(decode(file), image));
    EXPECT_TRUE(equal_pixels(decode(file, {.roi = Roi{1, 2, 9, 12}}), image.view().crop(2, 1, 10, 8)));
    EXPECT_EQ(read_info(file).codec, Codec::webp);
  }
}

TEST(Decode, OtherFormatsAreRefusedByNameWithTheRemedy) {
  using namespace std::string_literals;
  const std::pair<std::string, const char*> files[] = {
      {"GIF89a\1\0\1\0\0\0\0"s, "GIF"},          {"II*\0\x08\0\0\0"s, "TIFF"},
      {"MM\0*\0\0\0\x08"s, "TIFF"},               {"BM\x46\0\0\0\0\0"s, "BMP"},
      {"\0\0\0\x18" "ftypheic\0\0\0\0"s, "HEIC"}, {"\0\0\0\x18" "ftypmif1\0\0\0\0"s, "HEIC"},
      {"\0\0\0\x18" "ftypavif\0\0\0\0"s, "AVIF"},
  };
  for (const auto& [text, name] : files) {
    try {
      read_info(bytes(text));
      ADD_FAILURE() << name;
    } catch (const DecodeError& e) {
      EXPECT_EQ(e.reason(), BadReason::unsupported);
      EXPECT_EQ(std::string(e.what()),
                "[decode] unsupported: this is a " + std::string(name) + " file; convert it to JPEG or PNG");
    }
  }
}

TEST(Decode, TextIsNoImageAndNothingIsEmpty) {
  EXPECT_EQ(reason_of(bytes("hello, world")), BadReason::not_an_image);
  EXPECT_EQ(reason_of(bytes("")), BadReason::empty);
  try {
    read_info(bytes("hello"));
  } catch (const DecodeError& e) {
    EXPECT_EQ(e.detail(), "not a JPEG, PNG or WebP file, starts with 68 65 6c 6c 6f");
  }
}

TEST(Decode, TruncatedJpegIsRejectedWithItsRowForEveryRegion) {
  auto file = test::make_jpeg(test::picture(80, 80, 3), {.name = "420"});
  file.resize(file.size() / 2);
  EXPECT_EQ(reason_of(file), BadReason::truncated);
  EXPECT_EQ(reason_of(file, {.roi = Roi{0, 0, 8, 8}}), BadReason::truncated);
  const Image part = decode(file, {.truncated = Truncated::accept});
  EXPECT_EQ(part.h(), 80);
}

TEST(Decode, JpegThatOnlyLacksItsEndMarkerIsUsed) {
  for (const bool progressive : {false, true}) {
    auto file = test::make_jpeg(test::picture(40, 40, 3), {.name = "420", .progressive = progressive});
    const Image whole = decode(file);
    file.resize(file.size() - 2);
    EXPECT_TRUE(equal_pixels(decode(file), whole));
  }
}

TEST(Decode, TruncatedProgressiveJpegIsRejected) {
  auto file = test::make_jpeg(test::picture(80, 80, 3), {.name = "p", .progressive = true});
  file.resize(file.size() * 2 / 3);
  EXPECT_EQ(reason_of(file), BadReason::truncated);
}

TEST(Decode, TruncatedPngAndWebpAreRejected) {
  auto png = encode_png(test::picture(60, 60, 3));
  png.resize(png.size() / 2);
  EXPECT_EQ(reason_of(png), BadReason::truncated);
  EXPECT_EQ(decode(png, {.truncated = Truncated::accept}).h(), 60);
  auto webp = test::make_webp(test::picture(60, 60, 3), false);
  webp.resize(webp.size() / 2);
  EXPECT_EQ(reason_of(webp), BadReason::truncated);
}

TEST(Decode, HugePngHeaderIsRefusedBeforeMemoryIsTaken) {
  auto file = encode_png(test::picture(4, 4, 3));
  for (int at : {16, 20}) {  // 65,500 = 0x0000ffdc
    file[static_cast<size_t>(at) + 2] = std::byte{0xff};
    file[static_cast<size_t>(at) + 3] = std::byte{0xdc};
  }
  try {
    read_info(file);
    ADD_FAILURE();
  } catch (const DecodeError& e) {
    EXPECT_EQ(e.reason(), BadReason::too_large);
    EXPECT_EQ(e.detail(), "65500x65500 pixels, the limit is 16384 a side");
  }
}

TEST(Decode, LimitsHoldAtTheirValueAndRefuseAboveIt) {
  const auto file = encode_png(test::picture(10, 20, 3));
  EXPECT_NO_THROW(read_info(file, {.max_pixels = 200}));
  EXPECT_THROW(read_info(file, {.max_pixels = 199}), DecodeError);
  EXPECT_NO_THROW(read_info(file, {.max_side = 20}));
  EXPECT_THROW(read_info(file, {.max_side = 19}), DecodeError);
  const auto progressive = test::make_jpeg(test::picture(16, 16, 3), {.name = "p", .progressive = true});
  EXPECT_EQ(reason_of(progressive, {.limits = {.max_scans = 2}}), BadReason::too_many_scans);
  EXPECT_EQ(reason_of(progressive, {.limits = {.max_scan_pixels = 300}}), BadReason::too_many_scans);
  EXPECT_EQ(reason_of(progressive, {.limits = {.max_memory = 1000}}), BadReason::too_large);
}

TEST(Decode, HeaderSaysSizeSubsamplingAndExif) {
  const auto file = test::make_jpeg(test::picture(30, 50, 3), {.name = "422", .h_factor = 2, .v_factor = 1});
  ImageInfo info = read_info(file);
  EXPECT_EQ(info.w, 50);
  EXPECT_EQ(info.h, 30);
  EXPECT_EQ(info.sub, Subsampling::s422);
  EXPECT_EQ(info.exif, 1);
  // An APP1 block behind the start marker: little-endian TIFF with one entry, orientation 6.
  using namespace std::string_literals;
  const std::string app1 = "\xff\xe1\x00\x22"s "Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"s;
  auto turned = file;
  const auto block = bytes(app1);
  turned.insert(turned.begin() + 2, block.begin(), block.end());
  EXPECT_EQ(read_info(turned).exif, 6);
  EXPECT_TRUE(equal_pixels(decode(turned), decode(file))) << "orientation is ignored";
}

TEST(Decode, WrongOptionsAreNamed) {
  const auto file = encode_png(test::picture(4, 6, 3));
  EXPECT_THROW(decode(file, {.channels = 2}), std::invalid_argument);
  EXPECT_THROW(decode(file, {.roi = Roi{0, 0, 7, 4}}), std::invalid_argument);
  EXPECT_THROW(decode(file, {.roi = Roi{2, 0, 2, 4}}), std::invalid_argument);
}

/// Cut, flipped and overwritten files of every kind: accepted or refused, never a crash, and the decoder works on.
TEST(Decode, HostileFilesNeverCrash) {
  std::vector<std::vector<std::byte>> files;
  for (const JpegKind& kind : jpeg_kinds()) files.push_back(test::make_jpeg(test::picture(45, 61, kind.components), kind));
  files.push_back(test::make_jpeg(test::picture(20, 20, 4), {.name = "cmyk", .components = 4}));
  files.push_back(test::make_jpeg(test::picture(20, 20, 4), {.name = "ycck", .components = 4, .ycck = true}));
  for (int c : {1, 3, 4}) files.push_back(encode_png(test::picture(31, 22, c)));
  files.push_back(test::make_png(17, 17, {"palette", PNG_COLOR_TYPE_PALETTE, 4, true}));
  files.push_back(test::make_png(17, 17, {"rgba 16", PNG_COLOR_TYPE_RGB_ALPHA, 16, true}));
  for (int c : {3, 4}) {
    for (bool lossless : {false, true}) files.push_back(test::make_webp(test::picture(24, 33, c), lossless));
  }
  uint32_t state = 99;
  const auto next = [&] { return state = state * 1664525U + 1013904223U, state >> 8; };
  Image storage;
  int accepted = 0, refused = 0;
  const auto attempt = [&](const std::vector<std::byte>& file) {
    try {
      const ImageInfo info = read_info(file);
      const Roi roi{info.w / 3, info.h / 3, info.w, info.h};
      decode_into(file, {.channels = 3, .roi = roi}, storage);
      decode_into(file, {.channels = 1, .truncated = Truncated::accept}, storage);
      ++accepted;
    } catch (const DecodeError&) {
      ++refused;
    }
  };
  for (const auto& file : files) {
    for (int i = 0; i < 12; ++i) {
      auto cut = file;
      cut.resize(next() % file.size());
      attempt(cut);
    }
    for (int i = 0; i < 24; ++i) {
      auto flipped = file;
      for (uint32_t k = 0; k < 1 + next() % 4; ++k) {
        flipped[next() % (i % 2 == 0 ? std::min<size_t>(file.size(), 64) : file.size())] ^= std::byte(1U << (next() % 8));
      }
      attempt(flipped);
      auto noise = file;
      const size_t from = next() % file.size();
      for (size_t k = from; k < std::min(file.size(), from + 20); ++k) noise[k] = std::byte(next() & 255U);
      attempt(noise);
    }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_GT(refused, 300);
  const auto good = test::make_jpeg(test::picture(45, 61, 3), {.name = "420"});
  EXPECT_TRUE(equal_pixels(decode(good), test::plain_jpeg(good, JCS_RGB)));
}

TEST(Encode, JpegIsCloseAndErrorsAreNamed) {
  Image smooth(32, 48, 3);
  for (int y = 0; y < 32; ++y) {
    for (int x = 0; x < 48 * 3; ++x) smooth.row_u8(y)[x] = static_cast<uint8_t>(x + y);
  }
  const Image back = decode(encode_jpeg(smooth, 95));
  double error = 0;
  for (int y = 0; y < 32; ++y) {
    for (int x = 0; x < 48 * 3; ++x) error += std::abs(int{back.row_u8(y)[x]} - int{smooth.row_u8(y)[x]});
  }
  EXPECT_LT(error / (32 * 48 * 3), 3);
  EXPECT_THROW(encode_jpeg(test::picture(2, 2, 4)), std::invalid_argument);
  EXPECT_THROW(encode_jpeg(smooth, 0), std::invalid_argument);
  EXPECT_THROW(encode_jpeg(ImageView{}), std::invalid_argument);
}

}  // namespace
}  // namespace ballast
