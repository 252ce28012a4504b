#include <ballast/train/page_picture.h>

#include <algorithm>
#include <cmath>

#include <ballast/base/check.h>
#include <ballast/data/source.h>
#include <ballast/image/decode.h>
#include <ballast/image/encode.h>
#include <ballast/image/resize.h>

namespace ballast {
namespace {

constexpr int32_t kPhotoSide = 128;
constexpr int32_t kSmallSide = 64;  // up to here pictures are shown as they are, without loss

}  // namespace

PagePicture page_picture(ImageView view, std::string name) {
  PagePicture picture;
  picture.name = std::move(name);
  Image resized;
  const int32_t side = std::max(view.h, view.w);
  if (side > kPhotoSide) {
    auto fit = [&](int32_t v) {
      return std::max(
          1, static_cast<int32_t>(std::lround(static_cast<double>(v) * kPhotoSide / side)));
    };
    resized = resize(view, fit(view.h), fit(view.w));
    view = resized;
  }
  const bool small = side <= kSmallSide;
  std::vector<std::byte> bytes = small || view.c == 4 ? encode_png(view) : encode_jpeg(view, 82);
  picture.type = small || view.c == 4 ? "image/png" : "image/jpeg";
  picture.bytes.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  picture.width = view.w;
  picture.height = view.h;
  return picture;
}

std::optional<PagePicture> stored_picture(const Source& source, int64_t id, int32_t channels,
                                          std::vector<std::byte>& buffer) {
  if (id < 0 || id >= source.size()) return {};
  try {
    const Stored stored = source.read(id, buffer);
    const std::string name = source.name(id);
    if (!stored.encoded()) return page_picture(stored.pixels, name);
    return page_picture(decode(stored.file, {.channels = channels, .roi = {}, .limits = {}}), name);
  } catch (const DataError&) {
    return {};
  }
}

}  // namespace ballast
