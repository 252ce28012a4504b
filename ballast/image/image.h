#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ballast {

/// Type of one channel value. u16 holds instance ids only, bf16 stands in batch slots only.
enum class DType : uint8_t { u8, u16, f32, bf16 };
/// Bytes of one value: 1, 2, 4, 2.
constexpr int64_t item_size(DType dtype) {
  return dtype == DType::u8 ? 1 : dtype == DType::f32 ? 4 : 2;
}
std::string_view to_string(DType dtype);

/// Pixels that somebody else owns: HWC interleaved, `stride` bytes from row to row.
/// c is 1 (gray), 3 (RGB) or 4 (RGB and alpha, not premultiplied). u8 is 0..255, f32 nominally 0..1.
struct ImageView {
  std::byte* data = nullptr;
  int32_t h = 0, w = 0, c = 0;
  ptrdiff_t stride = 0;
  DType dtype = DType::u8;

  bool empty() const { return h == 0 || w == 0; }
  std::byte* row(int64_t y) const { return data + y * stride; }
  uint8_t* row_u8(int64_t y) const { return reinterpret_cast<uint8_t*>(row(y)); }
  float* row_f32(int64_t y) const { return reinterpret_cast<float*>(row(y)); }
  /// Rows [y, y + height), columns [x, x + width) of this view, which must hold them.
  ImageView crop(int32_t y, int32_t x, int32_t height, int32_t width) const {
    return {data + y * stride + x * c * item_size(dtype), height, width, c, stride, dtype};
  }
};

/// A picture that owns its pixels. Move-only; copies are explicit. The default is 0x0.
///
/// Memory   64-byte aligned, rows padded to 64 bytes, 64 readable bytes behind the last row (kernels over-read,
///          never over-write).
/// Range    1..65,535 a side, 1 to 4 channels, h * w * c < 2^31.
/// Errors   std::invalid_argument outside that range; std::bad_alloc.
class Image {
 public:
  Image() = default;
  Image(int32_t h, int32_t w, int32_t c, DType dtype = DType::u8) { reset(h, w, c, dtype); }
  Image(Image&& other) noexcept { swap(other); }
  Image& operator=(Image&& other) noexcept {
    swap(other);
    return *this;
  }
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;
  ~Image();

  /// Becomes h x w x c; pixel values are unspecified. Keeps its memory where that suffices.
  void reset(int32_t h, int32_t w, int32_t c, DType dtype = DType::u8);
  Image clone() const;
  void swap(Image& other) noexcept;

  ImageView view() const { return view_; }
  operator ImageView() const { return view_; }
  int32_t h() const { return view_.h; }
  int32_t w() const { return view_.w; }
  int32_t c() const { return view_.c; }
  DType dtype() const { return view_.dtype; }
  bool empty() const { return view_.empty(); }
  uint8_t* row_u8(int64_t y) const { return view_.row_u8(y); }
  float* row_f32(int64_t y) const { return view_.row_f32(y); }

 private:
  ImageView view_;
  size_t capacity_ = 0;
};

/// Same size, channels, type and pixel values.
bool equal_pixels(ImageView a, ImageView b);
/// A copy of what `view` shows.
Image copy_image(ImageView view);

enum class Codec : uint8_t { unknown, jpeg, png, webp };
std::string_view to_string(Codec codec);

/// Chroma subsampling of a JPEG.
enum class Subsampling : uint8_t { none, s444, s422, s420, s440, s411, s410, gray, other };
std::string_view to_string(Subsampling sub);

/// What a file's header says: all that drawing parameters for it may see.
struct ImageInfo {
  int32_t w = 0, h = 0;
  /// Channels in the file: 1, 3 or 4 (a CMYK JPEG counts as 3, gray with alpha as 4).
  int32_t c = 0;
  Codec codec = Codec::unknown;
  /// EXIF orientation 1..8; 1 where the file states none. Ignored when decoding, as Pillow and torchvision do.
  uint8_t exif = 1;
  bool progressive = false, cmyk = false;
  Subsampling sub = Subsampling::none;
};

}  // namespace ballast
