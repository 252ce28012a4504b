#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <ballast/base/check.h>
#include <ballast/image/image.h>

namespace ballast {

/// Why a file cannot be used: the closed list that bad_samples.csv and `data check` speak.
enum class BadReason : uint8_t {
  missing,         // no such file
  unreadable,      // the system refuses to read it
  empty,           // 0 bytes
  not_an_image,    // no known magic bytes
  too_large,       // beyond DecodeLimits
  too_many_scans,  // a progressive JPEG made to cost time
  truncated,       // ends before its picture does
  corrupt,         // breaks its format's rules
  unsupported,     // a format or variant that is not read: HEIC, AVIF, GIF, TIFF, BMP, ...
  animated,        // animated WebP
  directory,       // a folder where a file is expected
  bad_label,       // the label is out of range
};
std::string_view to_string(BadReason reason);

/// A file that cannot be decoded. what() is "[decode] REASON: DETAIL".
class DecodeError : public DataError {
 public:
  DecodeError(BadReason reason, const std::string& detail);
  BadReason reason() const { return reason_; }
  /// Without stem and reason: "ends in row 311 of 480".
  const std::string& detail() const { return detail_; }

 private:
  BadReason reason_;
  std::string detail_;
};

/// Checked against the header, before memory for pixels is taken. None is a clock: a verdict must not depend on
/// the machine.
struct DecodeLimits {
  int64_t max_pixels = 64'000'000;
  int32_t max_side = 16'384;
  /// Bytes that a decoder may take for itself.
  int64_t max_memory = int64_t{256} << 20;
  int32_t max_scans = 100;
  /// Scans times pixels of a progressive JPEG.
  int64_t max_scan_pixels = int64_t{1} << 29;
};

/// Rows [y0, y1), columns [x0, x1) of a picture.
struct Roi {
  int32_t x0 = 0, y0 = 0, x1 = 0, y1 = 0;
  int32_t w() const { return x1 - x0; }
  int32_t h() const { return y1 - y0; }
  friend bool operator==(const Roi&, const Roi&) = default;
};

enum class Truncated : uint8_t { reject, accept };

struct DecodeOptions {
  /// 1, 3 or 4; 0: as the file.
  ///   gray -> 3    three equal channels
  ///   RGB -> 1     (19595 R + 38470 G + 7471 B + 32768) >> 16
  ///   alpha        dropped for 1 and 3; 255 where 4 are asked and the file has none
  ///   CMYK, YCCK   as Pillow: n = 255 - K, R = n - md(C, n), md(a, b): t = ab + 128, (t + (t >> 8)) >> 8
  int32_t channels = 0;
  /// Nothing: the whole picture.
  std::optional<Roi> roi = std::nullopt;
  DecodeLimits limits = {};
  /// A JPEG without an end marker whose data end early: reject it (a property of the file, not of the region), or
  /// accept what is there.
  Truncated truncated = Truncated::reject;
};

struct DecodeReport {
  ImageInfo info;
  /// Corrections that the decoder made silently, and the first of them in words.
  int64_t warnings = 0;
  std::string first_warning;
};

/// Codec by magic bytes; a file's name plays no part.
Codec codec_of(std::span<const std::byte> file);

/// Reads the header only. Takes no memory for pixels.
/// Errors: DecodeError (empty, not_an_image, unsupported with the format's name and the remedy, too_large,
/// truncated, corrupt, animated).
ImageInfo read_info(std::span<const std::byte> file, const DecodeLimits& limits = {});

/// Decodes to 8-bit pixels. Equal, bit for bit, to libjpeg-turbo's own full decode (accurate integer DCT, smooth
/// upsampling), also for a region of interest. ICC profiles, gamma and EXIF orientation are ignored, as Pillow does.
///
/// PNG      palette and tRNS expanded, 16 bits scaled to 8, interlaced, the first picture of an APNG.
/// Errors   DecodeError; std::invalid_argument if the options are wrong (a region outside the picture).
Image decode(std::span<const std::byte> file, const DecodeOptions& options = {},
             DecodeReport* report = nullptr);

/// Decoding in two steps: the header first, then a region chosen by it. Reused from file to file, it keeps the
/// codec's state and memory. One per thread.
///
///   ImageInfo info = decoder.open(file);
///   ImageView part = decoder.read({.channels = 3, .roi = choose(info)}, storage);
class Decoder {
 public:
  Decoder();
  ~Decoder();
  Decoder(Decoder&&) noexcept;
  Decoder& operator=(Decoder&&) noexcept;

  /// As read_info. `file` must stay until read() is done.
  ImageInfo open(std::span<const std::byte> file, const DecodeLimits& limits = {});
  /// As decode_into, of the file that was opened last; once per open(). options.limits plays no part.
  ImageView read(const DecodeOptions& options, Image& storage, DecodeReport* report = nullptr);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// As decode, into `storage`, which keeps its memory from call to call. The result is a part of `storage`
/// (a JPEG's region is decoded on its block grid).
ImageView decode_into(std::span<const std::byte> file, const DecodeOptions& options, Image& storage,
                      DecodeReport* report = nullptr);

}  // namespace ballast
