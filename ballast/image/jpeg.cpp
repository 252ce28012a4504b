#include <csetjmp>
#include <cstdio>
#include <cstring>

#include <jpeglib.h>
// After jpeglib.h, which it needs.
#include <jerror.h>

#include <algorithm>
#include <iterator>

#include <ballast/image/codec.h>

// libjpeg reports errors through error_exit, which must not return: it longjmps to a frame that holds trivial locals
// only, so no C++ exception crosses C code. All state stands in Jpeg::State, none in locals changed after setjmp.

namespace ballast::detail {

struct Jpeg::State {
  jpeg_decompress_struct cinfo;
  jpeg_error_mgr errors;
  jpeg_source_mgr source;
  jpeg_progress_mgr progress;
  jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
  char first_warning[JMSG_LENGTH_MAX];
  bool created, too_many_scans;
  /// The source ran dry; a picture's data ended before the picture did.
  bool hit_end, hit_marker;
  DecodeLimits limits;
  const JOCTET* file;
  size_t size;
  size_t header_size;
  /// Row in which the data ended.
  int64_t end_row;

  static State& of(j_common_ptr c) { return *static_cast<State*>(c->client_data); }
  static State& of(j_decompress_ptr c) { return *static_cast<State*>(c->client_data); }

  static void error_exit(j_common_ptr c) {
    c->err->format_message(c, of(c).message);
    longjmp(of(c).jump, 1);
  }
  static void emit_message(j_common_ptr c, int level) {
    if (level >= 0) return;
    State& s = of(c);
    if (c->err->num_warnings++ == 0) c->err->format_message(c, s.first_warning);
    if (c->err->msg_code == JWRN_HIT_MARKER) {
      if (!s.hit_marker) s.end_row = s.cinfo.output_scanline;
      s.hit_marker = true;
    }
  }
  static void output_message(j_common_ptr) {}
  static void init_source(j_decompress_ptr) {}
  static void term_source(j_decompress_ptr) {}
  static boolean fill_input_buffer(j_decompress_ptr c) {
    static constexpr JOCTET kEndOfImage[2] = {0xFF, JPEG_EOI};
    State& s = of(c);
    if (!s.hit_end) s.end_row = c->output_scanline;
    s.hit_end = true;
    c->src->next_input_byte = kEndOfImage;
    c->src->bytes_in_buffer = 2;
    return TRUE;
  }
  static void skip_input_data(j_decompress_ptr c, long bytes) {
    if (bytes <= 0) return;
    const auto n = static_cast<size_t>(bytes);
    if (n > c->src->bytes_in_buffer) {
      fill_input_buffer(c);
      return;
    }
    c->src->next_input_byte += n;
    c->src->bytes_in_buffer -= n;
  }
  static void progress_monitor(j_common_ptr c) {
    State& s = of(c);
    const int64_t scans = s.cinfo.input_scan_number;
    const int64_t pixels = int64_t{s.cinfo.image_width} * s.cinfo.image_height;
    if (scans > s.limits.max_scans ||
        (s.cinfo.progressive_mode && scans * pixels > s.limits.max_scan_pixels)) {
      s.too_many_scans = true;
      std::snprintf(s.message, sizeof s.message, "more than %d scans of %u x %u pixels",
                    static_cast<int>(scans - 1), s.cinfo.image_width, s.cinfo.image_height);
      longjmp(s.jump, 1);
    }
  }

  void create() {
    cinfo.err = jpeg_std_error(&errors);
    errors.error_exit = error_exit;
    errors.emit_message = emit_message;
    errors.output_message = output_message;
    cinfo.client_data = this;
    if (setjmp(jump) != 0) {
      created = false;
      return;
    }
    jpeg_create_decompress(&cinfo);
    created = true;
    cinfo.client_data = this;
    source.init_source = init_source;
    source.fill_input_buffer = fill_input_buffer;
    source.skip_input_data = skip_input_data;
    source.resync_to_restart = jpeg_resync_to_restart;
    source.term_source = term_source;
    progress.progress_monitor = progress_monitor;
  }

  void rewind() {
    source.next_input_byte = file;
    source.bytes_in_buffer = size;
    hit_end = hit_marker = too_many_scans = false;
    end_row = 0;
    errors.num_warnings = 0;
    first_warning[0] = '\0';
    message[0] = '\0';
  }

  // Tables stay in a decompressor from file to file, for streams that leave them out. A picture must not depend on the one
  // before it, so tables are marked, and where a file's header leaves a mark the decompressor is made anew.
  static constexpr UINT16 kMarkedValue = 0xFFFF;
  static constexpr UINT8 kMarkedBits = 0xFF;

  template <class Table>
  void for_each_huffman_table(Table table) {
    for (int i = 0; i < NUM_HUFF_TBLS; ++i) {
      if (cinfo.dc_huff_tbl_ptrs[i] != nullptr) table(*cinfo.dc_huff_tbl_ptrs[i]);
      if (cinfo.ac_huff_tbl_ptrs[i] != nullptr) table(*cinfo.ac_huff_tbl_ptrs[i]);
    }
  }
  void mark_tables() {
    for (JQUANT_TBL* table : cinfo.quant_tbl_ptrs) {
      if (table != nullptr) std::fill(std::begin(table->quantval), std::end(table->quantval), kMarkedValue);
    }
    // The first of a table's counts is 0 in every file.
    for_each_huffman_table([](JHUFF_TBL& table) { table.bits[0] = kMarkedBits; });
  }
  bool has_marked_table() {
    bool marked = false;
    for (const JQUANT_TBL* table : cinfo.quant_tbl_ptrs) {
      marked = marked || (table != nullptr && std::all_of(std::begin(table->quantval), std::end(table->quantval),
                                                          [](UINT16 v) { return v == kMarkedValue; }));
    }
    for_each_huffman_table([&](const JHUFF_TBL& table) { marked = marked || table.bits[0] == kMarkedBits; });
    return marked;
  }

  /// False with `message` set.
  bool read_header() {
    if (setjmp(jump) != 0) return false;
    jpeg_abort_decompress(&cinfo);
    rewind();
    cinfo.src = &source;
    cinfo.progress = &progress;
    cinfo.mem->max_memory_to_use = static_cast<long>(limits.max_memory);
    jpeg_read_header(&cinfo, TRUE);
    header_size = size - source.bytes_in_buffer;
    return true;
  }

  /// Starts decoding; columns [x0, x1) are made available from *first on, *width in all.
  bool start(J_COLOR_SPACE space, bool crop, unsigned x0, unsigned x1, unsigned y0, unsigned* first,
             unsigned* width) {
    if (setjmp(jump) != 0) return false;
    cinfo.out_color_space = space;
    cinfo.dct_method = JDCT_ISLOW;
    cinfo.do_fancy_upsampling = TRUE;
    jpeg_start_decompress(&cinfo);
    *first = 0;
    *width = cinfo.output_width;
    if (crop && x1 - x0 < cinfo.output_width) {
      // Two pixels more at each side: with fewer, smooth upsampling at the region's edge would lack its neighbours.
      JDIMENSION from = x0 < 2 ? 0 : x0 - 2;
      JDIMENSION count = std::min(cinfo.output_width, x1 + 2) - from;
      jpeg_crop_scanline(&cinfo, &from, &count);
      *first = from;
      *width = count;
    }
    if (y0 > 0) jpeg_skip_scanlines(&cinfo, y0);
    return true;
  }

  /// Reads `rows` rows to `out`, a row each `stride` bytes.
  bool read_rows(uint8_t* out, ptrdiff_t stride, unsigned rows) {
    if (setjmp(jump) != 0) return false;
    const JDIMENSION end = cinfo.output_scanline + rows;
    const JDIMENSION begin = cinfo.output_scanline;
    JSAMPROW pointers[8];
    while (cinfo.output_scanline < end) {
      const JDIMENSION n = std::min<JDIMENSION>(8, end - cinfo.output_scanline);
      for (JDIMENSION i = 0; i < n; ++i) {
        pointers[i] = out + static_cast<ptrdiff_t>(cinfo.output_scanline - begin + i) * stride;
      }
      if (jpeg_read_scanlines(&cinfo, pointers, n) == 0) return false;
    }
    return true;
  }

  void give_up() {
    if (setjmp(jump) != 0) return;
    jpeg_abort_decompress(&cinfo);
  }

  [[noreturn]] void fail() {
    std::string text = message[0] != '\0' ? message : "the decoder stopped";
    BadReason reason = BadReason::corrupt;
    switch (errors.msg_code) {
      case JERR_SOF_UNSUPPORTED:
      case JERR_BAD_PRECISION:
      case JERR_ARITH_NOTIMPL:
      case JERR_CCIR601_NOTIMPL:
      case JERR_CONVERSION_NOTIMPL:
      case JERR_NOT_COMPILED:
      case JERR_FRACT_SAMPLE_NOTIMPL: reason = BadReason::unsupported; break;
      case JERR_OUT_OF_MEMORY:
      case JERR_NO_BACKING_STORE:
      case JERR_IMAGE_TOO_BIG:
      case JERR_WIDTH_OVERFLOW: reason = BadReason::too_large; break;
      default: break;
    }
    if (hit_end) reason = BadReason::truncated;
    if (too_many_scans) reason = BadReason::too_many_scans;
    give_up();
    throw DecodeError(reason, text);
  }
};

namespace {

Subsampling subsampling_of(const jpeg_decompress_struct& c) {
  if (c.num_components == 1) return Subsampling::gray;
  if (c.num_components < 3) return Subsampling::other;
  const auto* comp = c.comp_info;
  if (comp[1].h_samp_factor != comp[2].h_samp_factor || comp[1].v_samp_factor != comp[2].v_samp_factor) {
    return Subsampling::other;
  }
  if (comp[0].h_samp_factor % comp[1].h_samp_factor != 0 ||
      comp[0].v_samp_factor % comp[1].v_samp_factor != 0) {
    return Subsampling::other;
  }
  const int h = comp[0].h_samp_factor / comp[1].h_samp_factor;
  const int v = comp[0].v_samp_factor / comp[1].v_samp_factor;
  switch (h * 10 + v) {
    case 11: return Subsampling::s444;
    case 21: return Subsampling::s422;
    case 22: return Subsampling::s420;
    case 12: return Subsampling::s440;
    case 41: return Subsampling::s411;
    case 42: return Subsampling::s410;
    default: return Subsampling::other;
  }
}

/// EXIF orientation of the header's bytes; 1 if there is none.
uint8_t exif_orientation(const JOCTET* file, size_t size) {
  size_t at = 2;
  while (at + 4 <= size && file[at] == 0xFF) {
    const int marker = file[at + 1];
    const size_t length = static_cast<size_t>(file[at + 2]) << 8 | file[at + 3];
    if (marker == 0xDA || length < 2 || at + 2 + length > size) return 1;
    const JOCTET* p = file + at + 4;
    const size_t n = length - 2;
    at += 2 + length;
    if (marker != 0xE1 || n < 14 || std::memcmp(p, "Exif\0\0", 6) != 0) continue;
    const JOCTET* tiff = p + 6;
    const size_t tiff_size = n - 6;
    const bool little = tiff[0] == 'I';
    const auto u16 = [&](size_t i) -> uint32_t {
      return little ? uint32_t{tiff[i]} | uint32_t{tiff[i + 1]} << 8
                    : uint32_t{tiff[i + 1]} | uint32_t{tiff[i]} << 8;
    };
    const auto u32 = [&](size_t i) -> uint32_t {
      return little ? u16(i) | u16(i + 2) << 16 : u16(i + 2) | u16(i) << 16;
    };
    const size_t directory = u32(4);
    if (directory + 2 > tiff_size) return 1;
    const size_t entries = u16(directory);
    for (size_t e = 0; e < entries; ++e) {
      const size_t entry = directory + 2 + 12 * e;
      if (entry + 12 > tiff_size) return 1;
      if (u16(entry) == 0x0112) {
        const uint32_t value = u16(entry + 8);
        return value >= 1 && value <= 8 ? static_cast<uint8_t>(value) : uint8_t{1};
      }
    }
    return 1;
  }
  return 1;
}

/// True if the marker that ends a picture stands in the last 64 KiB, behind the header.
bool has_end_marker(const JOCTET* file, size_t size, size_t header_size) {
  const size_t first = std::max(header_size, size > 65'536 ? size - 65'536 : 0);
  for (size_t i = size; i-- > first + 1;) {
    if (file[i] == JPEG_EOI && file[i - 1] == 0xFF) return true;
  }
  return false;
}

uint8_t multiply(uint32_t a, uint32_t b) {
  const uint32_t t = a * b + 128;
  return static_cast<uint8_t>((t + (t >> 8)) >> 8);
}

/// CMYK as JPEG files hold it (inverted, after Adobe) to RGB, in place.
void cmyk_to_rgb(uint8_t* row, int64_t w) {
  for (int64_t x = 0; x < w; ++x) {
    const uint8_t* in = row + 4 * x;
    const uint32_t n = in[3];
    const auto channel = [&](uint32_t inverted) {
      return static_cast<uint8_t>(n - multiply(255 - inverted, n));
    };
    const uint8_t r = channel(in[0]), g = channel(in[1]), b = channel(in[2]);
    row[3 * x] = r;
    row[3 * x + 1] = g;
    row[3 * x + 2] = b;
  }
}

}  // namespace

Jpeg::Jpeg() : state_(std::make_unique<State>()) {
  std::memset(static_cast<void*>(&state_->cinfo), 0, sizeof state_->cinfo);
  state_->created = false;
}

Jpeg::~Jpeg() {
  if (state_ && state_->created) jpeg_destroy_decompress(&state_->cinfo);
}

ImageInfo Jpeg::open(Bytes file, const DecodeLimits& limits) {
  State& s = *state_;
  if (!s.created) {
    s.create();
    if (!s.created) throw std::bad_alloc();
  }
  s.limits = limits;
  s.file = reinterpret_cast<const JOCTET*>(file.data());
  s.size = file.size();
  s.mark_tables();
  if (!s.read_header()) s.fail();
  if (s.has_marked_table()) {
    jpeg_destroy_decompress(&s.cinfo);
    s.create();
    if (!s.created) throw std::bad_alloc();
    if (!s.read_header()) s.fail();
  }
  const jpeg_decompress_struct& c = s.cinfo;
  ImageInfo info;
  info.w = static_cast<int32_t>(c.image_width);
  info.h = static_cast<int32_t>(c.image_height);
  info.c = c.num_components == 1 ? 1 : 3;
  info.exif = exif_orientation(s.file, s.header_size);
  info.progressive = c.progressive_mode != 0;
  info.cmyk = c.num_components == 4;
  info.sub = subsampling_of(c);
  check_limits(info.w, info.h, limits);
  if (c.num_components == 2 || c.num_components > 4) {
    s.give_up();
    throw DecodeError(BadReason::unsupported,
                      "a JPEG with " + std::to_string(c.num_components) + " components");
  }
  if (info.progressive) {
    // All coefficients are held, two bytes each, the picture filled up to whole blocks.
    int64_t bytes = 0;
    for (int i = 0; i < c.num_components; ++i) {
      bytes += (int64_t{info.w} * c.comp_info[i].h_samp_factor / c.max_h_samp_factor + 31) *
               (int64_t{info.h} * c.comp_info[i].v_samp_factor / c.max_v_samp_factor + 31) * 2;
    }
    if (bytes > limits.max_memory) {
      s.give_up();
      throw DecodeError(BadReason::too_large, "a progressive JPEG that needs " +
                                                  std::to_string(bytes >> 20) +
                                                  " MiB to decode, the limit is " +
                                                  std::to_string(limits.max_memory >> 20));
    }
  }
  return info;
}

ImageView Jpeg::read(const DecodeOptions& options, const Roi& roi, Image& storage,
                     DecodeReport& report) {
  State& s = *state_;
  const ImageInfo& info = report.info;
  const int32_t channels = options.channels == 0 ? info.c : options.channels;
  // Libjpeg makes gray or three equal channels from gray, RGB or CMYK from the rest.
  const bool gray_file = info.c == 1;
  const J_COLOR_SPACE space = info.cmyk ? JCS_CMYK
                              : gray_file && channels == 1 ? JCS_GRAYSCALE
                                                           : JCS_RGB;
  const int32_t native = space == JCS_CMYK ? 4 : space == JCS_RGB ? 3 : 1;
  const bool ended = has_end_marker(s.file, s.size, s.header_size);
  // Whether a file is truncated is a property of the file, not of the region.
  const Roi part = ended ? roi : Roi{0, 0, info.w, info.h};
  unsigned first = 0, width = 0;
  if (!s.start(space, true, static_cast<unsigned>(part.x0), static_cast<unsigned>(part.x1),
               static_cast<unsigned>(part.y0), &first, &width)) {
    s.fail();
  }
  const int32_t room = std::max(native, channels);
  storage.reset(part.h(), static_cast<int32_t>(width), room);
  ImageView all = storage.view();
  if (!s.read_rows(all.row_u8(0), all.stride, static_cast<unsigned>(part.h()))) {
    if (s.hit_end && options.truncated == Truncated::accept) {
      // Rows that were not reached stay gray.
      for (auto y = static_cast<int32_t>(s.cinfo.output_scanline) - part.y0; y < part.h(); ++y) {
        std::memset(all.row_u8(y), 128, static_cast<size_t>(all.w) * static_cast<size_t>(all.c));
      }
    } else {
      s.fail();
    }
  }
  if (!ended && s.hit_end && options.truncated == Truncated::reject) {
    bool incomplete = s.hit_marker;
    if (s.cinfo.progressive_mode && s.cinfo.coef_bits != nullptr) {
      for (int i = 0; i < s.cinfo.num_components; ++i) {
        for (int k = 0; k < DCTSIZE2; ++k) incomplete = incomplete || s.cinfo.coef_bits[i][k] != 0;
      }
    }
    if (incomplete) {
      const std::string detail = info.progressive
                                     ? "ends before its last scan"
                                     : "ends in row " + std::to_string(s.end_row) + " of " +
                                           std::to_string(info.h);
      s.give_up();
      throw DecodeError(BadReason::truncated, detail);
    }
  }
  report.warnings = s.errors.num_warnings;
  if (report.warnings > 0) report.first_warning = s.first_warning;
  s.give_up();

  if (space == JCS_CMYK || native != channels) {
    for (int32_t y = 0; y < all.h; ++y) {
      uint8_t* row = all.row_u8(y);
      if (space == JCS_CMYK) cmyk_to_rgb(row, all.w);
      convert_row(row, all.w, space == JCS_CMYK ? 3 : native, channels);
    }
  }
  all.c = channels;
  return all.crop(roi.y0 - part.y0, roi.x0 - static_cast<int32_t>(first), roi.h(), roi.w());
}

}  // namespace ballast::detail
