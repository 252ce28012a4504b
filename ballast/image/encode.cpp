#include <ballast/image/encode.h>

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <jpeglib.h>
#include <png.h>

#include <ballast/base/check.h>

namespace ballast {
namespace {

void check_image(const char* stem, ImageView image) {
  check(!image.empty(), stem, "the image must not be empty");
  check(image.dtype == DType::u8, stem, "pixels must be u8, got ", to_string(image.dtype));
}

struct PngWriter {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::vector<std::byte>* out = nullptr;
  bool no_memory = false;
  ~PngWriter() {
    if (png != nullptr) png_destroy_write_struct(&png, &info);
  }
};

void png_failed(png_structp png, png_const_charp) { png_longjmp(png, 1); }
void png_warned(png_structp, png_const_charp) {}

bool append(std::vector<std::byte>& out, const void* data, size_t n) noexcept {
  try {
    const auto* p = static_cast<const std::byte*>(data);
    out.insert(out.end(), p, p + n);
    return true;
  } catch (...) {
    return false;
  }
}

void png_write_bytes(png_structp png, png_bytep data, size_t n) {
  auto& writer = *static_cast<PngWriter*>(png_get_io_ptr(png));
  if (!append(*writer.out, data, n)) {
    writer.no_memory = true;
    png_error(png, "no memory");
  }
}
void png_flush_bytes(png_structp) {}

bool write_png(PngWriter& writer, const ImageView& image) {
  writer.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, png_failed, png_warned);
  if (writer.png == nullptr) return false;
  if (setjmp(png_jmpbuf(writer.png)) != 0) return false;
  writer.info = png_create_info_struct(writer.png);
  png_set_write_fn(writer.png, &writer, png_write_bytes, png_flush_bytes);
  const int type = image.c == 1   ? PNG_COLOR_TYPE_GRAY
                   : image.c == 3 ? PNG_COLOR_TYPE_RGB
                                  : PNG_COLOR_TYPE_RGB_ALPHA;
  png_set_IHDR(writer.png, writer.info, static_cast<png_uint_32>(image.w),
               static_cast<png_uint_32>(image.h), 8, type, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_set_compression_level(writer.png, 6);
  png_write_info(writer.png, writer.info);
  for (int32_t y = 0; y < image.h; ++y) png_write_row(writer.png, image.row_u8(y));
  png_write_end(writer.png, nullptr);
  return true;
}

struct JpegWriter {
  jpeg_compress_struct cinfo;
  jpeg_error_mgr errors;
  jmp_buf jump;
  unsigned char* memory;
  unsigned long size;
  char message[JMSG_LENGTH_MAX];
};

void jpeg_failed(j_common_ptr c) {
  auto& writer = *static_cast<JpegWriter*>(c->client_data);
  c->err->format_message(c, writer.message);
  longjmp(writer.jump, 1);
}
void jpeg_silent(j_common_ptr) {}

bool write_jpeg(JpegWriter& writer, const ImageView& image, int quality) {
  if (setjmp(writer.jump) != 0) return false;
  jpeg_compress_struct& c = writer.cinfo;
  jpeg_create_compress(&c);
  c.client_data = &writer;
  jpeg_mem_dest(&c, &writer.memory, &writer.size);
  c.image_width = static_cast<JDIMENSION>(image.w);
  c.image_height = static_cast<JDIMENSION>(image.h);
  c.input_components = image.c;
  c.in_color_space = image.c == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_set_defaults(&c);
  c.dct_method = JDCT_ISLOW;
  jpeg_set_quality(&c, quality, TRUE);
  jpeg_start_compress(&c, TRUE);
  while (c.next_scanline < c.image_height) {
    JSAMPROW row = image.row_u8(c.next_scanline);
    jpeg_write_scanlines(&c, &row, 1);
  }
  jpeg_finish_compress(&c);
  return true;
}

}  // namespace

std::vector<std::byte> encode_png(ImageView image) {
  check_image("encode_png", image);
  check(image.c == 1 || image.c == 3 || image.c == 4, "encode_png", "channels must be 1, 3 or 4, got ",
        image.c);
  std::vector<std::byte> out;
  PngWriter writer;
  writer.out = &out;
  if (!write_png(writer, image)) throw std::bad_alloc();
  return out;
}

std::vector<std::byte> encode_jpeg(ImageView image, int quality) {
  check_image("encode_jpeg", image);
  check(image.c == 1 || image.c == 3, "encode_jpeg", "channels must be 1 or 3, got ", image.c);
  check(quality >= 1 && quality <= 100, "encode_jpeg", "quality must be in [1, 100], got ", quality);
  JpegWriter writer{};
  writer.cinfo.err = jpeg_std_error(&writer.errors);
  writer.errors.error_exit = jpeg_failed;
  writer.errors.output_message = jpeg_silent;
  writer.cinfo.client_data = &writer;
  const bool ok = write_jpeg(writer, image, quality);
  jpeg_destroy_compress(&writer.cinfo);
  const std::unique_ptr<unsigned char, decltype(&std::free)> memory(writer.memory, std::free);
  check<std::runtime_error>(ok, "encode_jpeg", writer.message);
  const auto* p = reinterpret_cast<const std::byte*>(writer.memory);
  return {p, p + writer.size};
}

}  // namespace ballast
