#include <webp/decode.h>

#include <algorithm>

#include <ballast/image/codec.h>

namespace ballast::detail {
namespace {

const uint8_t* bytes(Bytes file) { return reinterpret_cast<const uint8_t*>(file.data()); }

[[noreturn]] void fail(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY: throw std::bad_alloc();
    case VP8_STATUS_NOT_ENOUGH_DATA: throw DecodeError(BadReason::truncated, "the file ends early");
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      throw DecodeError(BadReason::unsupported, "a WebP feature that libwebp does not read");
    default: throw DecodeError(BadReason::corrupt, "the WebP bit stream breaks its format");
  }
}

}  // namespace

ImageInfo webp_info(Bytes file, const DecodeLimits& limits) {
  WebPBitstreamFeatures features;
  const VP8StatusCode status = WebPGetFeatures(bytes(file), file.size(), &features);
  if (status != VP8_STATUS_OK) fail(status);
  if (features.has_animation != 0) {
    throw DecodeError(BadReason::animated, "an animated WebP; convert one of its pictures to JPEG or PNG");
  }
  check_limits(features.width, features.height, limits);
  if (features.width < 1 || features.height < 1) {
    throw DecodeError(BadReason::corrupt, "the header states 0 pixels");
  }
  if (int64_t{features.width} * features.height * 4 > limits.max_memory) {
    throw DecodeError(BadReason::too_large, std::to_string(features.width) + "x" +
                                                std::to_string(features.height) +
                                                " pixels need more than " +
                                                std::to_string(limits.max_memory >> 20) + " MiB to decode");
  }
  ImageInfo info;
  info.w = features.width;
  info.h = features.height;
  info.c = features.has_alpha != 0 ? 4 : 3;
  return info;
}

ImageView webp_read(Bytes file, const DecodeOptions& options, const Roi& roi, Image& storage,
                    DecodeReport& report) {
  const ImageInfo& info = report.info;
  const int32_t channels = options.channels == 0 ? info.c : options.channels;
  const int32_t native = channels == 4 ? 4 : 3;
  storage.reset(info.h, info.w, native);
  ImageView all = storage.view();
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) throw std::runtime_error("[decode] libwebp's version differs");
  config.output.colorspace = native == 4 ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = all.row_u8(0);
  config.output.u.RGBA.stride = static_cast<int>(all.stride);
  config.output.u.RGBA.size = static_cast<size_t>(all.stride * all.h);
  const VP8StatusCode status = WebPDecode(bytes(file), file.size(), &config);
  WebPFreeDecBuffer(&config.output);
  if (status == VP8_STATUS_SUSPENDED) fail(VP8_STATUS_NOT_ENOUGH_DATA);
  if (status != VP8_STATUS_OK) fail(status);
  if (native != channels) {
    for (int32_t y = 0; y < all.h; ++y) convert_row(all.row_u8(y), all.w, native, channels);
  }
  all.c = channels;
  return all.crop(roi.y0, roi.x0, roi.h(), roi.w());
}

}  // namespace ballast::detail
