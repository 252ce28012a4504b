#include "weights_table.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>

#include <ballast/base/shape.h>
#include <ballast/report/table.h>

namespace ballast::cli {
namespace {

/// Smallest, largest, mean and standard deviation of a tensor's values; the number that are not finite.
struct Statistics {
  double min = 0, max = 0, mean = 0, deviation = 0;
  int64_t nonfinite = 0;
};

double half_to_double(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const double fraction = bits & 1023;
  const double value = exponent == 0 ? std::ldexp(fraction, -24)
      : exponent < 31                ? std::ldexp(1024 + fraction, exponent - 25)
      : fraction == 0                ? HUGE_VAL
                                     : std::nan("");
  return (bits & 0x8000) != 0 ? -value : value;
}

/// Nothing for types without an ordinary value.
std::optional<Statistics> statistics(SafetensorsDType type, std::span<const std::byte> bytes) {
  const auto over = [&](auto sample, const auto& convert) {
    using T = decltype(sample);
    Statistics s;
    s.min = HUGE_VAL;
    s.max = -HUGE_VAL;
    const size_t n = bytes.size() / sizeof(T);
    double sum = 0, squares = 0;
    for (int pass = 0; pass < 2; ++pass) {
      for (size_t i = 0; i < n; ++i) {
        T raw;
        std::memcpy(&raw, bytes.data() + i * sizeof(T), sizeof(T));
        const double x = convert(raw);
        if (!std::isfinite(x)) {
          s.nonfinite += pass == 0;
        } else if (pass == 0) {
          sum += x;
          s.min = std::min(s.min, x);
          s.max = std::max(s.max, x);
        } else {
          squares += (x - s.mean) * (x - s.mean);
        }
      }
      const double finite = static_cast<double>(n) - static_cast<double>(s.nonfinite);
      s.mean = finite > 0 ? sum / finite : 0;
      s.deviation = finite > 0 ? std::sqrt(squares / finite) : 0;
    }
    if (s.min > s.max) {
      s.min = s.max = 0;
    }
    return s;
  };
  const auto plain = [](auto x) { return static_cast<double>(x); };
  switch (type) {
    case SafetensorsDType::f32: return over(float{}, plain);
    case SafetensorsDType::f64: return over(double{}, plain);
    case SafetensorsDType::f16: return over(uint16_t{}, half_to_double);
    case SafetensorsDType::bf16:
      return over(uint16_t{}, [](uint16_t x) { return static_cast<double>(std::bit_cast<float>(uint32_t{x} << 16)); });
    case SafetensorsDType::i64: return over(int64_t{}, plain);
    case SafetensorsDType::i32: return over(int32_t{}, plain);
    case SafetensorsDType::i16: return over(int16_t{}, plain);
    case SafetensorsDType::i8: return over(int8_t{}, plain);
    case SafetensorsDType::u8:
    case SafetensorsDType::boolean: return over(uint8_t{}, plain);
    default: return std::nullopt;
  }
}

}  // namespace

int show_weights(const Session& session, const ShownFile& file, std::vector<ShownTensor> shown) {
  using nlohmann::ordered_json;
  Table table({{"tensor", Table::Align::left}, {"type", Table::Align::left}, {"shape", Table::Align::left},
               {"numbers", Table::Align::right}, {"mean", Table::Align::right}, {"std", Table::Align::right},
               {"min", Table::Align::right}, {"max", Table::Align::right}, {"not finite", Table::Align::right}});
  std::sort(shown.begin(), shown.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  ordered_json tensors = ordered_json::array();
  int64_t total = 0, nonfinite = 0;
  for (const ShownTensor& tensor : shown) {
    const int64_t numbers = numel(tensor.shape);
    total += numbers;
    const std::string type(safetensors_dtype_name(tensor.dtype));
    const std::optional<Statistics> s = statistics(tensor.dtype, tensor.bytes());
    std::vector<std::string> cells = {printable(tensor.name), type, shape_text(tensor.shape), format_count(numbers)};
    ordered_json one = {{"name", tensor.name}, {"dtype", type}, {"shape", tensor.shape}, {"numbers", numbers}};
    if (s) {
      nonfinite += s->nonfinite;
      cells.insert(cells.end(), {format_significant(s->mean, 4), format_significant(s->deviation, 4),
                                 format_significant(s->min, 4), format_significant(s->max, 4), format_count(s->nonfinite)});
      one.update({{"mean", s->mean}, {"std", s->deviation}, {"min", s->min}, {"max", s->max}, {"nonfinite", s->nonfinite}});
    }
    table.row(cells);
    tensors.push_back(one);
  }
  std::string text = file.path.string() + " (" + file.kind + (file.wrapper.empty() ? "" : ", " + printable(file.wrapper)) +
      "): " + format_count(static_cast<int64_t>(shown.size())) + " tensors, " + format_count(total) + " numbers" +
      (nonfinite > 0 ? ", " + format_count(nonfinite) + " not finite" : "") + "\n";
  for (const auto& [key, value] : file.metadata) {
    text += "  " + printable(key) + " = " + printable(value) + "\n";
  }
  if (!file.skipped.empty()) {
    text += "  not tensors, not shown:";
    for (const std::string& name : file.skipped) {
      text += " " + printable(name);
    }
    text += "\n";
  }
  session.print(text + "\n" + table.text());
  session.document({{"file", file.path.string()}, {"kind", file.kind}, {"wrapper", file.wrapper}, {"tensors", tensors},
                    {"numbers", total}, {"nonfinite", nonfinite}, {"metadata", file.metadata}, {"skipped", file.skipped}});
  return kDone;
}

}  // namespace ballast::cli
