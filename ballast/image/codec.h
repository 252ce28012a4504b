#pragma once

// What the codecs share; not public.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <ballast/image/decode.h>

namespace ballast::detail {

using Bytes = std::span<const std::byte>;

/// Throws DecodeError(too_large) if the size is beyond the limits.
void check_limits(int64_t w, int64_t h, const DecodeLimits& limits);

/// Turns rows of `from` channels into `to` channels in place, by the rules of DecodeOptions::channels; from 2 (gray
/// with alpha). The row must have room for both.
void convert_row(uint8_t* row, int32_t w, int32_t from, int32_t to);

/// (19595 R + 38470 G + 7471 B + 32768) >> 16.
inline uint8_t luma(const uint8_t* rgb) {
  return static_cast<uint8_t>((19595U * rgb[0] + 38470U * rgb[1] + 7471U * rgb[2] + 32768U) >> 16);
}

/// Decoder of one JPEG after the other.
class Jpeg {
 public:
  Jpeg();
  ~Jpeg();
  ImageInfo open(Bytes file, const DecodeLimits& limits);
  ImageView read(const DecodeOptions& options, const Roi& roi, Image& storage, DecodeReport& report);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

ImageInfo png_info(Bytes file, const DecodeLimits& limits);
ImageView png_read(Bytes file, const DecodeOptions& options, const DecodeLimits& limits, const Roi& roi,
                   Image& storage, DecodeReport& report);

ImageInfo webp_info(Bytes file, const DecodeLimits& limits);
ImageView webp_read(Bytes file, const DecodeOptions& options, const Roi& roi, Image& storage,
                    DecodeReport& report);

}  // namespace ballast::detail
