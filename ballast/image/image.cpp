#include <ballast/image/image.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include <ballast/base/check.h>

namespace ballast {

std::string_view to_string(DType dtype) {
  constexpr std::string_view names[] = {"u8", "u16", "f32", "bf16"};
  return names[static_cast<int>(dtype)];
}

std::string_view to_string(Codec codec) {
  constexpr std::string_view names[] = {"unknown", "jpeg", "png", "webp"};
  return names[static_cast<int>(codec)];
}

std::string_view to_string(Subsampling sub) {
  constexpr std::string_view names[] = {"none",  "4:4:4", "4:2:2", "4:2:0", "4:4:0",
                                        "4:1:1", "4:1:0", "gray",  "other"};
  return names[static_cast<int>(sub)];
}

Image::~Image() { std::free(view_.data); }

void Image::swap(Image& other) noexcept {
  std::swap(view_, other.view_);
  std::swap(capacity_, other.capacity_);
}

void Image::reset(int32_t h, int32_t w, int32_t c, DType dtype) {
  check(h >= 1 && h <= 65'535 && w >= 1 && w <= 65'535, "image",
        "sides must be in [1, 65535], got ", h, "x", w);
  check(c >= 1 && c <= 4, "image", "channels must be in [1, 4], got ", c);
  check(int64_t{h} * w * c < int64_t{1} << 31, "image", "h * w * c must be below 2^31, got ", h,
        "x", w, "x", c);
  const int64_t stride = (int64_t{w} * c * item_size(dtype) + 63) / 64 * 64;
  const auto bytes = static_cast<size_t>(stride * h + 64);
  if (bytes > capacity_) {
    auto* data = static_cast<std::byte*>(std::aligned_alloc(64, bytes));
    if (data == nullptr) throw std::bad_alloc();
    std::free(view_.data);
    view_.data = data;
    capacity_ = bytes;
  }
  view_ = {view_.data, h, w, c, stride, dtype};
}

Image Image::clone() const { return copy_image(view_); }

Image copy_image(ImageView view) {
  Image copy;
  if (view.empty()) return copy;
  copy.reset(view.h, view.w, view.c, view.dtype);
  const auto bytes = static_cast<size_t>(view.w * view.c * item_size(view.dtype));
  for (int32_t y = 0; y < view.h; ++y) std::memcpy(copy.view().row(y), view.row(y), bytes);
  return copy;
}

bool equal_pixels(ImageView a, ImageView b) {
  if (a.h != b.h || a.w != b.w || a.dtype != b.dtype) return false;
  if (a.empty()) return true;
  if (a.c != b.c) return false;
  const auto bytes = static_cast<size_t>(a.w * a.c * item_size(a.dtype));
  for (int32_t y = 0; y < a.h; ++y) {
    if (std::memcmp(a.row(y), b.row(y), bytes) != 0) return false;
  }
  return true;
}

}  // namespace ballast
