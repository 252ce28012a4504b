#include <ballast/image/decode.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <sstream>

#include <ballast/image/codec.h>

namespace ballast {

std::string_view to_string(BadReason reason) {
  constexpr std::string_view names[] = {"missing",        "unreadable", "empty",   "not_an_image",
                                        "too_large",      "too_many_scans", "truncated", "corrupt",
                                        "unsupported",    "animated",   "directory", "bad_label"};
  return names[static_cast<int>(reason)];
}

DecodeError::DecodeError(BadReason reason, const std::string& detail)
    : DataError(detail::message("decode", to_string(reason), ": ", detail)),
      reason_(reason),
      detail_(detail) {}

namespace {

bool starts_with(detail::Bytes file, std::string_view magic, size_t offset = 0) {
  return file.size() >= offset + magic.size() &&
         std::memcmp(file.data() + offset, magic.data(), magic.size()) == 0;
}

/// Name of a picture format that is recognized in order to be refused; empty if it is none of them.
std::string_view foreign_format(detail::Bytes file) {
  using namespace std::string_view_literals;
  if (starts_with(file, "GIF87a") || starts_with(file, "GIF89a")) return "GIF";
  if (starts_with(file, "II*\0"sv) || starts_with(file, "MM\0*"sv)) return "TIFF";
  if (starts_with(file, "BM")) return "BMP";
  if (starts_with(file, "\xff\x0a") || starts_with(file, "\0\0\0\x0cJXL "sv)) return "JPEG XL";
  if (starts_with(file, "\0\0\0\x0cjP  "sv) || starts_with(file, "\xff\x4f\xff\x51")) return "JPEG 2000";
  if (starts_with(file, "8BPS")) return "Photoshop";
  if (starts_with(file, "\0\0\x01\0"sv)) return "ICO";
  if (starts_with(file, "qoif")) return "QOI";
  if (starts_with(file, "ftyp", 4)) {
    for (auto brand : {"avif"sv, "avis"sv}) {
      if (starts_with(file, brand, 8)) return "AVIF";
    }
    for (auto brand : {"heic"sv, "heix"sv, "heim"sv, "heis"sv, "hevc"sv, "hevx"sv, "mif1"sv, "msf1"sv}) {
      if (starts_with(file, brand, 8)) return "HEIC";
    }
  }
  return {};
}

Codec require_codec(detail::Bytes file) {
  if (file.empty()) throw DecodeError(BadReason::empty, "the file has 0 bytes");
  const Codec codec = codec_of(file);
  if (codec != Codec::unknown) return codec;
  if (const auto name = foreign_format(file); !name.empty()) {
    throw DecodeError(BadReason::unsupported,
                      "this is a " + std::string(name) + " file; convert it to JPEG or PNG");
  }
  std::ostringstream text;
  text << "not a JPEG, PNG or WebP file, starts with" << std::hex;
  for (size_t i = 0; i < std::min<size_t>(file.size(), 8); ++i) {
    const int b = std::to_integer<int>(file[i]);
    text << (b < 16 ? " 0" : " ") << b;
  }
  throw DecodeError(BadReason::not_an_image, text.str());
}

}  // namespace

Codec codec_of(std::span<const std::byte> file) {
  if (starts_with(file, "\xff\xd8\xff")) return Codec::jpeg;
  if (starts_with(file, "\x89PNG\r\n\x1a\n")) return Codec::png;
  if (starts_with(file, "RIFF") && starts_with(file, "WEBP", 8)) return Codec::webp;
  return Codec::unknown;
}

namespace detail {

void check_limits(int64_t w, int64_t h, const DecodeLimits& limits) {
  if (w > limits.max_side || h > limits.max_side) {
    throw DecodeError(BadReason::too_large, std::to_string(w) + "x" + std::to_string(h) +
                                                " pixels, the limit is " +
                                                std::to_string(limits.max_side) + " a side");
  }
  if (w * h > limits.max_pixels) {
    throw DecodeError(BadReason::too_large, std::to_string(w) + "x" + std::to_string(h) +
                                                " pixels, the limit is " +
                                                std::to_string(limits.max_pixels) + " in all");
  }
}

void convert_row(uint8_t* row, int32_t w, int32_t from, int32_t to) {
  if (from == to) return;
  const auto pixel = [&](int64_t x) {
    uint8_t* in = row + x * from;
    const bool gray = from <= 2;
    const std::array<uint8_t, 3> rgb = {in[0], gray ? in[0] : in[1], gray ? in[0] : in[2]};
    const uint8_t alpha = from == 2 ? in[1] : from == 4 ? in[3] : uint8_t{255};
    uint8_t* out = row + x * to;
    if (to == 1) {
      out[0] = gray ? rgb[0] : luma(rgb.data());
    } else {
      std::copy(rgb.begin(), rgb.end(), out);
      if (to == 4) out[3] = alpha;
    }
  };
  if (to < from) {
    for (int64_t x = 0; x < w; ++x) pixel(x);
  } else {
    for (int64_t x = w; x-- > 0;) pixel(x);
  }
}

}  // namespace detail

struct Decoder::Impl {
  detail::Jpeg jpeg;
  detail::Bytes file;
  DecodeLimits limits;
  ImageInfo info;
};

Decoder::Decoder() : impl_(std::make_unique<Impl>()) {}
Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;
Decoder& Decoder::operator=(Decoder&&) noexcept = default;

ImageInfo Decoder::open(std::span<const std::byte> file, const DecodeLimits& limits) {
  impl_->file = {};
  const Codec codec = require_codec(file);
  switch (codec) {
    case Codec::jpeg: impl_->info = impl_->jpeg.open(file, limits); break;
    case Codec::png: impl_->info = detail::png_info(file, limits); break;
    default: impl_->info = detail::webp_info(file, limits); break;
  }
  impl_->info.codec = codec;
  impl_->file = file;
  impl_->limits = limits;
  return impl_->info;
}

ImageView Decoder::read(const DecodeOptions& options, Image& storage, DecodeReport* report) {
  check(!impl_->file.empty(), "decode", "open() must succeed before read(), once for each");
  check(options.channels == 0 || options.channels == 1 || options.channels == 3 || options.channels == 4,
        "decode", "channels must be 0, 1, 3 or 4, got ", options.channels);
  const ImageInfo& info = impl_->info;
  const Roi roi = options.roi.value_or(Roi{0, 0, info.w, info.h});
  check(roi.x0 >= 0 && roi.y0 >= 0 && roi.x0 < roi.x1 && roi.y0 < roi.y1 && roi.x1 <= info.w &&
            roi.y1 <= info.h,
        "decode", "roi must be a region of the ", info.w, "x", info.h, " picture, got columns ", roi.x0,
        "..", roi.x1, ", rows ", roi.y0, "..", roi.y1);
  DecodeReport local;
  DecodeReport& out = report != nullptr ? *report : local;
  out.info = info;
  out.warnings = 0;
  out.first_warning.clear();
  const detail::Bytes file = impl_->file;
  impl_->file = {};
  switch (info.codec) {
    case Codec::jpeg: return impl_->jpeg.read(options, roi, storage, out);
    case Codec::png: return detail::png_read(file, options, impl_->limits, roi, storage, out);
    default: return detail::webp_read(file, options, roi, storage, out);
  }
}

namespace {
Decoder& thread_decoder() {
  thread_local Decoder decoder;
  return decoder;
}
}  // namespace

ImageInfo read_info(std::span<const std::byte> file, const DecodeLimits& limits) {
  return thread_decoder().open(file, limits);
}

ImageView decode_into(std::span<const std::byte> file, const DecodeOptions& options, Image& storage,
                      DecodeReport* report) {
  Decoder& decoder = thread_decoder();
  decoder.open(file, options.limits);
  return decoder.read(options, storage, report);
}

Image decode(std::span<const std::byte> file, const DecodeOptions& options, DecodeReport* report) {
  Image storage;
  const ImageView view = decode_into(file, options, storage, report);
  if (view.data == storage.view().data && view.h == storage.h() && view.w == storage.w() &&
      view.c == storage.c()) {
    return storage;
  }
  return copy_image(view);
}

}  // namespace ballast
