#pragma once

// Pictures made to harm: for hostile_test.cpp.

#include <ballast/image/encode.h>
#include <ballast/image/test_files.h>

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace ballast::test {

using FileBytes = std::vector<std::byte>;

struct HostileFile {
  std::string name;
  FileBytes bytes;
};

class HostileFiles {
 public:
  std::vector<HostileFile> make() {
    jpegs();
    jpeg_headers();
    pngs();
    png_chunks();
    webps();
    others();
    return std::move(files_);
  }

 private:
  std::vector<HostileFile> files_;
  uint32_t state_ = 2024;

  uint32_t next() { return state_ = state_ * 1664525U + 1013904223U, state_ >> 8; }
  void add(const std::string& name, FileBytes bytes) { files_.push_back({name, std::move(bytes)}); }
  static FileBytes bytes_of(std::string_view text) {
    const auto* p = reinterpret_cast<const std::byte*>(text.data());
    return {p, p + text.size()};
  }
  static void put(FileBytes& file, size_t at, std::string_view text) { std::memcpy(file.data() + at, text.data(), text.size()); }

  /// The file cut, with flipped bits, with a stretch of noise and with a stretch left out.
  void damage(const std::string& name, const FileBytes& good) {
    for (const int percent : {2, 30, 60, 90, 99}) {
      add(name + "-cut" + std::to_string(percent), {good.begin(), good.begin() + static_cast<ptrdiff_t>(good.size() * static_cast<size_t>(percent) / 100)});
    }
    for (int k = 0; k < 3; ++k) {
      FileBytes bad = good;
      for (uint32_t i = 0; i < 1 + next() % 4; ++i) {
        bad[next() % bad.size()] ^= static_cast<std::byte>(1U << next() % 8);
      }
      add(name + "-flip" + std::to_string(k), std::move(bad));
    }
    FileBytes noise = good;
    for (size_t i = good.size() / 3; i < good.size() / 3 + 40 && i < good.size(); ++i) {
      noise[i] = static_cast<std::byte>(next());
    }
    add(name + "-noise", std::move(noise));
    FileBytes hole = good;
    hole.erase(hole.begin() + static_cast<ptrdiff_t>(good.size() / 2), hole.begin() + static_cast<ptrdiff_t>(good.size() / 2 + 9));
    add(name + "-hole", std::move(hole));
  }

  static FileBytes jpeg(const JpegKind& kind = {.name = "x"}, int32_t h = 45, int32_t w = 61) {
    return make_jpeg(picture(h, w, kind.components), kind);
  }
  /// Where marker FF `code` stands first.
  static size_t marker(const FileBytes& file, int code, size_t from = 2) {
    for (size_t i = from; i + 1 < file.size(); ++i) {
      if (file[i] == std::byte{0xFF} && file[i + 1] == static_cast<std::byte>(code)) {
        return i;
      }
    }
    return file.size();
  }
  static size_t frame(const FileBytes& file) { return std::min(marker(file, 0xC0), marker(file, 0xC2)); }

  void jpegs() {
    for (const JpegKind& kind : {JpegKind{.name = "420"}, {.name = "444", .h_factor = 1, .v_factor = 1}, {.name = "422", .v_factor = 1},
                                 {.name = "gray", .components = 1}, {.name = "cmyk", .components = 4}, {.name = "ycck", .components = 4, .ycck = true},
                                 {.name = "progressive", .progressive = true}, {.name = "restarts", .restart = 2}, {.name = "optimized", .optimized = true}}) {
      damage(std::string("jpeg-") + kind.name, jpeg(kind));
    }
  }

  /// A segment behind SOI.
  static FileBytes with_segment(const FileBytes& file, int code, std::string_view payload) {
    std::string segment = {'\xff', static_cast<char>(code), static_cast<char>((payload.size() + 2) >> 8), static_cast<char>(payload.size() + 2)};
    segment += payload;
    FileBytes out(file.begin(), file.begin() + 2);
    const FileBytes added = bytes_of(segment);
    out.insert(out.end(), added.begin(), added.end());
    out.insert(out.end(), file.begin() + 2, file.end());
    return out;
  }
  static std::string exif(int orientation) {
    std::string text("Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0", 24);
    return text + static_cast<char>(orientation) + std::string(7, '\0');
  }

  void jpeg_headers() {
    const FileBytes good = jpeg();
    const FileBytes progressive = jpeg({.name = "p", .progressive = true});
    const auto size = [&](const std::string& name, const FileBytes& from, int h, int w) {
      FileBytes file = from;
      const char text[4] = {static_cast<char>(h >> 8), static_cast<char>(h), static_cast<char>(w >> 8), static_cast<char>(w)};
      put(file, frame(file) + 5, std::string_view(text, 4));
      add(name, std::move(file));
    };
    size("jpeg-65500x65500", good, 65500, 65500);
    size("jpeg-progressive-65500x65500", progressive, 65500, 65500);
    size("jpeg-16384x3900", good, 3900, 16384);
    size("jpeg-progressive-8000x8000", progressive, 8000, 8000);
    size("jpeg-1x16385", good, 1, 16385);
    size("jpeg-0-rows", good, 0, 61);
    size("jpeg-0-columns", good, 45, 0);
    size("jpeg-more-rows-than-data", good, 450, 61);
    const auto frame_byte = [&](const std::string& name, size_t offset, int value) {
      FileBytes file = good;
      file[frame(file) + offset] = static_cast<std::byte>(value);
      add(name, std::move(file));
    };
    frame_byte("jpeg-12-bits", 4, 12);
    frame_byte("jpeg-0-bits", 4, 0);
    frame_byte("jpeg-2-components", 9, 2);
    frame_byte("jpeg-5-components", 9, 5);
    frame_byte("jpeg-255-components", 9, 255);
    frame_byte("jpeg-sampling-0", 11, 0);
    frame_byte("jpeg-sampling-5x5", 11, 0x55);
    frame_byte("jpeg-sampling-4x4", 11, 0x44);
    frame_byte("jpeg-sampling-3x1", 11, 0x31);
    frame_byte("jpeg-quantization-table-9", 12, 9);
    frame_byte("jpeg-frame-length-0", 3, 0);
    frame_byte("jpeg-frame-length-1", 3, 1);
    for (const int code : {0xC1, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCF}) {
      FileBytes file = good;
      file[frame(good) + 1] = static_cast<std::byte>(code);
      add("jpeg-frame-of-kind-" + std::to_string(code), std::move(file));
    }
    for (const auto& [name, code] : {std::pair{"huffman", 0xC4}, {"quantization", 0xDB}, {"frame", 0xC0}, {"scan", 0xDA}}) {
      FileBytes file = good;
      const size_t at = marker(file, code);
      const size_t length = std::to_integer<size_t>(file[at + 2]) << 8 | std::to_integer<size_t>(file[at + 3]);
      file.erase(file.begin() + static_cast<ptrdiff_t>(at), file.begin() + static_cast<ptrdiff_t>(at + 2 + length));
      add(std::string("jpeg-without-") + name, std::move(file));
    }
    {
      // The last scan a thousand times: little to read, much to decode.
      FileBytes file = progressive;
      size_t last = 0;
      for (size_t at = marker(file, 0xDA); at < file.size(); at = marker(file, 0xDA, at + 2)) last = at;
      const FileBytes scan(file.begin() + static_cast<ptrdiff_t>(last), file.end() - 2);
      file.resize(file.size() - 2);
      for (int i = 0; i < 1000; ++i) file.insert(file.end(), scan.begin(), scan.end());
      add("jpeg-1000-scans", std::move(file));
    }
    for (int turn = 0; turn <= 9; ++turn) add("jpeg-exif-turn-" + std::to_string(turn), with_segment(good, 0xE1, exif(turn)));
    add("jpeg-exif-directory-outside", with_segment(good, 0xE1, std::string("Exif\0\0II*\0\xff\xff\xff\x7f", 14)));
    add("jpeg-exif-60000-entries", with_segment(good, 0xE1, std::string("Exif\0\0II*\0\x08\0\0\0\x60\xea", 16)));
    add("jpeg-exif-cut", with_segment(good, 0xE1, std::string("Exif\0\0I", 7)));
    add("jpeg-icc-60000", with_segment(good, 0xE2, "ICC_PROFILE" + std::string(60000, 'x')));
    add("jpeg-comment-65533", with_segment(good, 0xFE, std::string(65533, 'c')));
    FileBytes many = good;
    for (int i = 0; i < 2000; ++i) many = i < 12 ? with_segment(many, 0xFE, std::string(5000, 'c')) : many;
    add("jpeg-comments", std::move(many));
    FileBytes file = good;
    file.resize(file.size() - 2);
    add("jpeg-without-end", file);
    file.insert(file.end(), good.begin(), good.end());
    add("jpeg-twice", file);
    file = good;
    file.insert(file.end(), 5000, std::byte{0});
    add("jpeg-zeros-behind", file);
    file = good;
    for (size_t i = marker(good, 0xDA) + 14; i < file.size(); ++i) file[i] = std::byte{0xFF};
    add("jpeg-scan-of-ff", file);
    for (size_t i = marker(good, 0xDA) + 14; i < file.size(); ++i) file[i] = std::byte{0};
    add("jpeg-scan-of-zeros", file);
    add("jpeg-start-only", bytes_of("\xff\xd8\xff"));
    add("jpeg-start-and-end", bytes_of("\xff\xd8\xff\xd9"));
    FileBytes fill = bytes_of("\xff\xd8");
    fill.insert(fill.end(), 100000, std::byte{0xFF});
    add("jpeg-fill-bytes", std::move(fill));
  }

  static std::string be32(uint32_t v) { return {static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8), static_cast<char>(v)}; }
  static std::string chunk(const std::string& kind, const std::string& data) {
    const std::string body = kind + data;
    return be32(static_cast<uint32_t>(data.size())) + body +
        be32(static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const unsigned char*>(body.data()), body.size())));
  }
  static std::string deflated(const std::string& text) {
    uLongf size = compressBound(static_cast<uLong>(text.size()));
    std::string out(size, '\0');
    compress2(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(text.data()), static_cast<uLong>(text.size()), 9);
    out.resize(size);
    return out;
  }
  static std::string ihdr(uint32_t w, uint32_t h, int depth = 8, int type = 2, int interlace = 0) {
    return chunk("IHDR", be32(w) + be32(h) + static_cast<char>(depth) + static_cast<char>(type) + std::string(2, '\0') + static_cast<char>(interlace));
  }
  static inline const std::string kSignature = "\x89PNG\r\n\x1a\n";

  void pngs() {
    for (const PngKind& kind : {PngKind{"gray", PNG_COLOR_TYPE_GRAY}, {"gray1", PNG_COLOR_TYPE_GRAY, 1}, {"gray16", PNG_COLOR_TYPE_GRAY, 16},
                                {"grayalpha", PNG_COLOR_TYPE_GRAY_ALPHA}, {"palette4", PNG_COLOR_TYPE_PALETTE, 4},
                                {"rgb", PNG_COLOR_TYPE_RGB}, {"rgba16i", PNG_COLOR_TYPE_RGB_ALPHA, 16, true}}) {
      damage(std::string("png-") + kind.name, make_png(17, 23, kind));
    }
  }

  void png_chunks() {
    const std::string rows = [] {
      std::string text;
      for (int y = 0; y < 9; ++y) text += '\0' + std::string(27, static_cast<char>(y * 20));
      return text;
    }();
    const std::string idat = chunk("IDAT", deflated(rows)), end = chunk("IEND", ""), head = ihdr(9, 9);
    const auto png = [&](const std::string& name, const std::string& body) { add("png-" + name, bytes_of(kSignature + body)); };
    png("good", head + idat + end);
    png("65500x65500", ihdr(65500, 65500) + idat + end);
    png("2147483647", ihdr(0x7fffffff, 0x7fffffff) + idat + end);
    png("0x9", ihdr(0, 9) + idat + end);
    png("negative", ihdr(0x80000009, 9) + idat + end);
    png("16384x3900", ihdr(16384, 3900) + idat + end);
    png("depth-3", ihdr(9, 9, 3) + idat + end);
    png("type-5", ihdr(9, 9, 8, 5) + idat + end);
    png("interlace-2", ihdr(9, 9, 8, 2, 2) + idat + end);
    png("no-palette", ihdr(9, 9, 8, 3) + idat + end);
    png("palette-300", ihdr(9, 9, 8, 3) + chunk("PLTE", std::string(900, 'x')) + idat + end);
    png("palette-index-outside", ihdr(9, 9, 8, 3) + chunk("PLTE", "abc") + chunk("IDAT", deflated(rows)) + end);
    png("transparency-of-rgba", ihdr(9, 9, 8, 6) + chunk("tRNS", "abcdef") + idat + end);
    png("no-data", head + end);
    png("no-end", head + idat);
    png("data-bomb", head + chunk("IDAT", deflated(rows + std::string(64 << 20, '\0'))) + end);
    png("text-bomb", head + chunk("zTXt", std::string("k\0\0", 3) + deflated(std::string(64 << 20, 'x'))) + idat + end);
    png("profile-bomb", head + chunk("iCCP", std::string("k\0\0", 3) + deflated(std::string(64 << 20, 'x'))) + idat + end);
    png("empty-data-chunks", head + [&] { std::string t; for (int i = 0; i < 3000; ++i) t += chunk("IDAT", ""); return t; }() + idat + end);
    png("1000-texts", head + [&] { std::string t; for (int i = 0; i < 1000; ++i) t += chunk("tEXt", std::string("k\0v", 3)); return t; }() + idat + end);
    png("unknown-critical", head + chunk("ABCD", "x") + idat + end);
    png("unknown-ancillary", head + chunk("abCd", "x") + idat + end);
    png("two-headers", head + head + idat + end);
    png("header-behind-data", idat + head + end);
    png("animation", head + chunk("acTL", be32(2) + be32(0)) + chunk("fcTL", be32(0) + be32(9) + be32(9) + std::string(14, '\0')) + idat + end);
    png("wrong-filter", head + chunk("IDAT", deflated(std::string(252, '\x09'))) + end);
    png("wrong-sum", head + idat.substr(0, idat.size() - 1) + 'x' + end);
    png("length-2147483647", head + be32(0x7fffffff) + "IDAT" + end);
    png("signature-only", "");
    png("garbage-behind", head + idat + end + std::string(5000, 'g'));
  }

  void webps() {
    for (const bool lossless : {false, true}) {
      for (const int c : {3, 4}) damage(std::string("webp-") + (lossless ? "lossless" : "lossy") + std::to_string(c), make_webp(picture(24, 33, c), lossless));
    }
    const FileBytes good = make_webp(picture(24, 33, 3), true);
    const auto riff = [&](const std::string& name, const std::string& body, uint32_t extra = 0) {
      const auto n = static_cast<uint32_t>(body.size() + 4 + extra);
      add("webp-" + name, bytes_of("RIFF" + std::string{static_cast<char>(n), static_cast<char>(n >> 8), static_cast<char>(n >> 16), static_cast<char>(n >> 24)} + "WEBP" + body));
    };
    const std::string plain(reinterpret_cast<const char*>(good.data()) + 12, good.size() - 12);
    const auto vp8x = [](int flags, const std::string& size) { return std::string("VP8X\x0a\0\0\0", 8) + static_cast<char>(flags) + std::string(3, '\0') + size; };
    riff("animated", vp8x(2, std::string("\x20\0\0\x17\0\0", 6)) + std::string("ANIM\x06\0\0\0\0\0\0\0\0\0", 14) + plain);
    riff("canvas-16777216", vp8x(0, std::string("\xff\xff\xff\xff\xff\xff", 6)) + plain);
    riff("canvas-other", vp8x(0, std::string("\x10\0\0\x10\0\0", 6)) + plain);
    riff("size-too-large", plain, 100000);
    riff("empty", "");
    riff("unknown-chunk", std::string("ABCD\xff\xff\xff\xff", 8) + plain);
  }

  void others() {
    add("empty", {});
    add("one-byte", bytes_of("\xff"));
    add("text", bytes_of("this is no picture\n"));
    add("html", bytes_of("<!doctype html><title>404 Not Found</title>"));
    add("gif", bytes_of("GIF89a\x01\0\x01\0\0\0\0;"));
    add("bmp", bytes_of("BM" + std::string(60, '\0')));
    add("tiff", bytes_of(std::string("II*\0\x08\0\0\0", 8)));
    add("heic", bytes_of(std::string("\0\0\0\x18" "ftypheic\0\0\0\0", 16)));
    add("avif", bytes_of(std::string("\0\0\0\x18" "ftypavif\0\0\0\0", 16)));
    add("svg", bytes_of("<svg xmlns=\"http://www.w3.org/2000/svg\"/>"));
    add("pdf", bytes_of("%PDF-1.4\n"));
    add("zip", bytes_of("PK\x03\x04" + std::string(40, '\0')));
    add("zeros", FileBytes(100000));
    for (int k = 0; k < 8; ++k) {
      FileBytes noise(2000);
      for (std::byte& b : noise) b = static_cast<std::byte>(next());
      static constexpr std::string_view kStarts[] = {"", "\xff\xd8\xff\xe0", "\x89PNG\r\n\x1a\n", "RIFF\xc8\x07\0\0WEBPVP8 "};
      const std::string_view start = kStarts[k % 4];
      std::memcpy(noise.data(), start.data(), start.size());
      add("noise" + std::to_string(k), std::move(noise));
    }
  }
};

}  // namespace ballast::test
