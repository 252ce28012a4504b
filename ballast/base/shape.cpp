#include <ballast/base/check.h>
#include <ballast/base/shape.h>

#include <charconv>

namespace ballast {
namespace {

std::string join(std::span<const int64_t> sizes, std::string_view separator) {
  std::string text;
  for (const int64_t size : sizes) {
    if (!text.empty()) {
      text += separator;
    }
    text += std::to_string(size);
  }
  return text;
}

}  // namespace

std::string shape_text(std::span<const int64_t> sizes) { return '(' + join(sizes, ", ") + ')'; }

std::string size_text(std::span<const int64_t> sizes) { return join(sizes, "x"); }

std::vector<int64_t> parse_size(std::string_view text) {
  std::vector<int64_t> sizes;
  const char* at = text.data();
  const char* const end = at + text.size();
  for (;;) {
    int64_t size = 0;
    const auto [next, error] = std::from_chars(at, end, size);
    check(error == std::errc() && size >= 1, "shape",
          "a size must be numbers >= 1 such as 3x224x224, got \"", text, '"');
    sizes.push_back(size);
    if (next == end) {
      return sizes;
    }
    check(*next == 'x' || *next == ',', "shape",
          "a size must be numbers >= 1 such as 3x224x224, got \"", text, '"');
    at = next + 1;
  }
}

int64_t numel(std::span<const int64_t> sizes) {
  int64_t product = 1;
  bool fits = true;
  bool empty = false;
  for (const int64_t size : sizes) {
    check(size >= 0, "shape", "sizes must be >= 0, got ", shape_text(sizes));
    empty = empty || size == 0;
    fits = !__builtin_mul_overflow(product, size, &product) && fits;
  }
  if (empty) {
    return 0;
  }
  check(fits, "shape", "the product of sizes must fit 63 bits, got ", shape_text(sizes));
  return product;
}

}  // namespace ballast
