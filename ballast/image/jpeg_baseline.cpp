#include <csetjmp>
#include <cstdio>
#include <cstdlib>

#include <jpeglib.h>

#include <ballast/image/jpeg_baseline.h>

namespace ballast {
namespace {

// libjpeg's errors longjmp to a frame that holds trivial locals only; all state stands here.
struct Transcoder {
  jpeg_decompress_struct in;
  jpeg_compress_struct out;
  jpeg_error_mgr errors;
  jmp_buf jump;
  unsigned char* memory;
  unsigned long size;
  bool in_made, out_made;

  static void error_exit(j_common_ptr c) { longjmp(static_cast<Transcoder*>(c->client_data)->jump, 1); }
  static void emit_message(j_common_ptr c, int level) {
    if (level < 0) ++c->err->num_warnings;
  }
  static void output_message(j_common_ptr) {}

  bool run(const unsigned char* file, unsigned long bytes) {
    if (setjmp(jump) != 0) return false;
    in.err = out.err = jpeg_std_error(&errors);
    errors.error_exit = error_exit;
    errors.emit_message = emit_message;
    errors.output_message = output_message;
    in.client_data = out.client_data = this;
    jpeg_create_decompress(&in);
    in_made = true;
    jpeg_create_compress(&out);
    out_made = true;
    jpeg_mem_src(&in, file, bytes);
    jpeg_save_markers(&in, JPEG_APP0 + 1, 0xFFFF);
    jpeg_read_header(&in, TRUE);
    if (!in.progressive_mode) return false;
    jvirt_barray_ptr* coefficients = jpeg_read_coefficients(&in);
    jpeg_mem_dest(&out, &memory, &size);
    jpeg_copy_critical_parameters(&in, &out);
    out.optimize_coding = TRUE;
    jpeg_write_coefficients(&out, coefficients);
    for (jpeg_saved_marker_ptr m = in.marker_list; m != nullptr; m = m->next) {
      jpeg_write_marker(&out, m->marker, m->data, m->data_length);
    }
    jpeg_finish_compress(&out);
    jpeg_finish_decompress(&in);
    return errors.num_warnings == 0;
  }

  void release() {
    if (in_made) jpeg_destroy_decompress(&in);
    if (out_made) jpeg_destroy_compress(&out);
    std::free(memory);
  }
};

}  // namespace

std::vector<std::byte> jpeg_to_baseline(std::span<const std::byte> file) {
  Transcoder t{};
  std::vector<std::byte> result;
  if (t.run(reinterpret_cast<const unsigned char*>(file.data()), file.size())) {
    const auto* first = reinterpret_cast<const std::byte*>(t.memory);
    result.assign(first, first + t.size);
  }
  t.release();
  return result;
}

}  // namespace ballast
