#pragma once

// Pictures and files that tests make; not part of the library.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <jpeglib.h>
#include <png.h>
#include <webp/encode.h>

#include <ballast/image/image.h>

namespace ballast::test {

/// A smooth picture with edges and some noise: gradients, a disc, stripes.
inline Image picture(int32_t h, int32_t w, int32_t c, uint32_t seed = 1) {
  Image image(h, w, c);
  uint32_t state = seed * 2654435761U + 12345U;
  for (int32_t y = 0; y < h; ++y) {
    for (int32_t x = 0; x < w; ++x) {
      for (int32_t j = 0; j < c; ++j) {
        state = state * 1664525U + 1013904223U;
        int v = (x * (3 + j) + y * (5 - j)) % 256;
        const int dx = 2 * x - w, dy = 2 * y - h;
        if (dx * dx + dy * dy < h * w / 3) v = 255 - v / (j + 1);
        if ((x / 7 + y / 5) % 4 == 0) v = (v + 90 * j) % 256;
        v += static_cast<int>(state >> 28) - 8;
        image.row_u8(y)[x * c + j] = static_cast<uint8_t>(v < 0 ? 0 : v > 255 ? 255 : v);
      }
    }
  }
  return image;
}

struct JpegKind {
  const char* name;
  int h_factor = 2, v_factor = 2;
  bool progressive = false, optimized = false;
  int restart = 0;
  int components = 3;    // 1: gray, 4: CMYK or YCCK
  bool ycck = false;
  int quality = 80;
};

/// A JPEG of `kind`; image has kind.components channels.
inline std::vector<std::byte> make_jpeg(ImageView image, const JpegKind& kind) {
  jpeg_compress_struct c;
  jpeg_error_mgr errors;
  c.err = jpeg_std_error(&errors);
  jpeg_create_compress(&c);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&c, &memory, &size);
  c.image_width = static_cast<JDIMENSION>(image.w);
  c.image_height = static_cast<JDIMENSION>(image.h);
  c.input_components = kind.components;
  c.in_color_space = kind.components == 1 ? JCS_GRAYSCALE : kind.components == 4 ? JCS_CMYK : JCS_RGB;
  jpeg_set_defaults(&c);
  if (kind.components == 4) jpeg_set_colorspace(&c, kind.ycck ? JCS_YCCK : JCS_CMYK);
  jpeg_set_quality(&c, kind.quality, TRUE);
  if (kind.components == 3) {
    c.comp_info[0].h_samp_factor = kind.h_factor;
    c.comp_info[0].v_samp_factor = kind.v_factor;
  }
  c.optimize_coding = kind.optimized ? TRUE : FALSE;
  c.restart_interval = static_cast<unsigned>(kind.restart);
  if (kind.progressive) jpeg_simple_progression(&c);
  jpeg_start_compress(&c, TRUE);
  while (c.next_scanline < c.image_height) {
    JSAMPROW row = image.row_u8(c.next_scanline);
    jpeg_write_scanlines(&c, &row, 1);
  }
  jpeg_finish_compress(&c);
  jpeg_destroy_compress(&c);
  const auto* p = reinterpret_cast<const std::byte*>(memory);
  std::vector<std::byte> out(p, p + size);
  std::free(memory);
  return out;
}

/// libjpeg's own full decode, the plain way. components: 1, 3, or 4 (raw CMYK).
inline Image plain_jpeg(const std::vector<std::byte>& file, J_COLOR_SPACE space) {
  jpeg_decompress_struct c;
  jpeg_error_mgr errors;
  c.err = jpeg_std_error(&errors);
  jpeg_create_decompress(&c);
  jpeg_mem_src(&c, reinterpret_cast<const unsigned char*>(file.data()), file.size());
  jpeg_read_header(&c, TRUE);
  c.out_color_space = space;
  jpeg_start_decompress(&c);
  Image image(static_cast<int32_t>(c.output_height), static_cast<int32_t>(c.output_width), c.output_components);
  while (c.output_scanline < c.output_height) {
    JSAMPROW row = image.row_u8(c.output_scanline);
    jpeg_read_scanlines(&c, &row, 1);
  }
  jpeg_finish_decompress(&c);
  jpeg_destroy_decompress(&c);
  return image;
}

struct PngKind {
  const char* name;
  int type;        // PNG_COLOR_TYPE_*
  int depth = 8;
  bool interlaced = false;
};

/// A PNG of any type from rows of raw samples.
inline std::vector<std::byte> make_png(int32_t h, int32_t w, const PngKind& kind, uint32_t seed = 1) {
  std::vector<std::byte> out;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(
      png, &out,
      [](png_structp p, png_bytep data, size_t n) {
        auto* o = static_cast<std::vector<std::byte>*>(png_get_io_ptr(p));
        const auto* b = reinterpret_cast<const std::byte*>(data);
        o->insert(o->end(), b, b + n);
      },
      nullptr);
  png_set_IHDR(png, info, static_cast<png_uint_32>(w), static_cast<png_uint_32>(h), kind.depth, kind.type,
               kind.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  png_color palette[16];
  for (int i = 0; i < 16; ++i) {
    palette[i] = {static_cast<png_byte>(i * 16), static_cast<png_byte>(255 - i * 11), static_cast<png_byte>(i * 7)};
  }
  if (kind.type == PNG_COLOR_TYPE_PALETTE) png_set_PLTE(png, info, palette, kind.depth < 4 ? 1 << kind.depth : 16);
  png_write_info(png, info);
  const size_t bytes = png_get_rowbytes(png, info);
  std::vector<std::vector<png_byte>> rows(static_cast<size_t>(h), std::vector<png_byte>(bytes));
  uint32_t state = seed;
  for (auto& row : rows) {
    for (auto& b : row) {
      state = state * 1664525U + 1013904223U;
      b = static_cast<png_byte>(state >> 24);
      if (kind.type == PNG_COLOR_TYPE_PALETTE && kind.depth == 8) b = b % 16;
    }
  }
  std::vector<png_bytep> pointers;
  for (auto& row : rows) pointers.push_back(row.data());
  png_write_image(png, pointers.data());
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return out;
}

inline std::vector<std::byte> make_webp(ImageView image, bool lossless) {
  uint8_t* memory = nullptr;
  size_t n = 0;
  const int stride = static_cast<int>(image.stride);
  if (image.c == 3) {
    n = lossless ? WebPEncodeLosslessRGB(image.row_u8(0), image.w, image.h, stride, &memory)
                 : WebPEncodeRGB(image.row_u8(0), image.w, image.h, stride, 80, &memory);
  } else {
    n = lossless ? WebPEncodeLosslessRGBA(image.row_u8(0), image.w, image.h, stride, &memory)
                 : WebPEncodeRGBA(image.row_u8(0), image.w, image.h, stride, 80, &memory);
  }
  const auto* p = reinterpret_cast<const std::byte*>(memory);
  std::vector<std::byte> out(p, p + n);
  WebPFree(memory);
  return out;
}

}  // namespace ballast::test
