#include <csetjmp>
#include <cstring>

#include <png.h>

#include <algorithm>
#include <vector>

#include <ballast/image/codec.h>

// As with libjpeg: errors longjmp to frames with trivial locals only.

namespace ballast::detail {
namespace {

struct PngState {
  png_structp png = nullptr;
  png_infop info = nullptr;
  const std::byte* next = nullptr;
  size_t left = 0;
  bool hit_end = false;
  int64_t warnings = 0;
  char message[128] = {};
  char first_warning[128] = {};
  /// Rows that were decoded.
  int64_t rows = 0;

  ~PngState() {
    if (png != nullptr) png_destroy_read_struct(&png, &info, nullptr);
  }
};

void copy_text(char (&out)[128], const char* text) {
  std::strncpy(out, text, sizeof out - 1);
  out[sizeof out - 1] = '\0';
}

[[noreturn]] void on_error(png_structp png, png_const_charp text) {
  copy_text(static_cast<PngState*>(png_get_error_ptr(png))->message, text);
  png_longjmp(png, 1);
}

void on_warning(png_structp png, png_const_charp text) {
  auto& s = *static_cast<PngState*>(png_get_error_ptr(png));
  if (s.warnings++ == 0) copy_text(s.first_warning, text);
}

void read_bytes(png_structp png, png_bytep out, size_t n) {
  auto& s = *static_cast<PngState*>(png_get_io_ptr(png));
  if (n > s.left) {
    s.hit_end = true;
    png_error(png, "the file ends early");
  }
  std::memcpy(out, s.next, n);
  s.next += n;
  s.left -= n;
}

bool open(PngState& s, const DecodeLimits& limits) {
  s.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &s, on_error, on_warning);
  if (s.png == nullptr) return false;
  if (setjmp(png_jmpbuf(s.png)) != 0) return false;
  s.info = png_create_info_struct(s.png);
  png_set_read_fn(s.png, &s, read_bytes);
  // The header's own size check is ours, which names the limit.
  png_set_user_limits(s.png, 0x7fffffff, 0x7fffffff);
  png_set_chunk_cache_max(s.png, 128);
  png_set_chunk_malloc_max(
      s.png, static_cast<png_alloc_size_t>(std::min<int64_t>(limits.max_memory, 8 << 20)));
  png_read_info(s.png, s.info);
  return true;
}

/// Expands to 8 bits; with alpha only if wanted. False with a message.
bool set_transforms(PngState& s, bool alpha, int* passes) {
  if (setjmp(png_jmpbuf(s.png)) != 0) return false;
  png_set_scale_16(s.png);
  png_set_expand(s.png);
  if (!alpha) png_set_strip_alpha(s.png);
  *passes = png_set_interlace_handling(s.png);
  png_read_update_info(s.png, s.info);
  return true;
}

bool read_rows(PngState& s, uint8_t* out, ptrdiff_t stride, int64_t skip, int64_t rows) {
  if (setjmp(png_jmpbuf(s.png)) != 0) return false;
  for (int64_t y = 0; y < skip; ++y) png_read_row(s.png, out, nullptr);
  for (s.rows = 0; s.rows < rows; ++s.rows) png_read_row(s.png, out + s.rows * stride, nullptr);
  return true;
}

bool read_interlaced(PngState& s, uint8_t* out, ptrdiff_t stride, int64_t rows, int passes) {
  if (setjmp(png_jmpbuf(s.png)) != 0) return false;
  for (int p = 0; p < passes; ++p) {
    for (int64_t y = 0; y < rows; ++y) png_read_row(s.png, out + y * stride, nullptr);
  }
  return true;
}

[[noreturn]] void fail(const PngState& s) {
  throw DecodeError(s.hit_end ? BadReason::truncated : BadReason::corrupt,
                    s.message[0] != '\0' ? s.message : "the decoder stopped");
}

}  // namespace

ImageInfo png_info(Bytes file, const DecodeLimits& limits) {
  // Signature, length and type of the first chunk, then its 13 bytes.
  const auto* p = reinterpret_cast<const uint8_t*>(file.data());
  if (file.size() < 33) throw DecodeError(BadReason::truncated, "ends in the header");
  const auto u32 = [&](size_t i) {
    return uint32_t{p[i]} << 24 | uint32_t{p[i + 1]} << 16 | uint32_t{p[i + 2]} << 8 | p[i + 3];
  };
  if (u32(8) != 13 || std::memcmp(p + 12, "IHDR", 4) != 0) {
    throw DecodeError(BadReason::corrupt, "the first chunk is not IHDR");
  }
  const uint32_t w = u32(16), h = u32(20);
  if (w == 0 || h == 0) throw DecodeError(BadReason::corrupt, "the header states 0 pixels");
  check_limits(w, h, limits);
  ImageInfo info;
  info.w = static_cast<int32_t>(w);
  info.h = static_cast<int32_t>(h);
  const int type = p[25];
  info.c = type == 0 ? 1 : type == 4 || type == 6 ? 4 : 3;
  return info;
}

ImageView png_read(Bytes file, const DecodeOptions& options, const DecodeLimits& limits,
                   const Roi& roi, Image& storage, DecodeReport& report) {
  PngState s;
  s.next = file.data();
  s.left = file.size();
  if (!open(s, limits)) fail(s);
  const int32_t channels = options.channels == 0 ? report.info.c : options.channels;
  int passes = 1;
  if (!set_transforms(s, channels == 4, &passes)) fail(s);
  const auto native = static_cast<int32_t>(png_get_channels(s.png, s.info));
  const int32_t room = std::max(native, channels);
  const Roi part = passes == 1 ? Roi{0, roi.y0, report.info.w, roi.y1}
                               : Roi{0, 0, report.info.w, report.info.h};
  storage.reset(part.h(), part.w(), room);
  ImageView all = storage.view();
  if (options.truncated == Truncated::accept || passes > 1) {
    std::memset(all.data, 128, static_cast<size_t>(all.stride * all.h));
  }
  const bool done = passes == 1 ? read_rows(s, all.row_u8(0), all.stride, part.y0, part.h())
                                : read_interlaced(s, all.row_u8(0), all.stride, part.h(), passes);
  if (!done && !(s.hit_end && options.truncated == Truncated::accept)) fail(s);
  report.warnings = s.warnings;
  if (s.warnings > 0) report.first_warning = s.first_warning;
  if (native != channels) {
    for (int32_t y = 0; y < all.h; ++y) convert_row(all.row_u8(y), all.w, native, channels);
  }
  all.c = channels;
  return all.crop(roi.y0 - part.y0, roi.x0, roi.h(), roi.w());
}

}  // namespace ballast::detail
