#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <optional>

#include <ballast/base/check.h>
#include <ballast/io/safetensors.h>
#include <ballast/models/catalog.h>
#include <ballast/report/table.h>

#include "command.h"
#include "requests.h"
#include "torch_side.h"

namespace ballast::cli {
namespace {

struct InspectFlags {
  std::string input;
  Auto<int64_t> classes;
  std::string norm = "auto";
  std::string init = "auto";
  std::string act = "auto";
  uint64_t seed = 0;
};
/// "3x224x224" as numbers; empty if it is not of that form.
std::vector<int64_t> parse_input(std::string_view text) {
  std::vector<int64_t> out;
  while (true) {
    int64_t x = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), x);
    if (error != std::errc() || x < 1 || x > 65536) {
      return {};
    }
    out.push_back(x);
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    if (text.empty()) {
      return out.size() == 3 ? out : std::vector<int64_t>{};
    }
    if (text[0] != 'x') {
      return {};
    }
    text.remove_prefix(1);
  }
}
template <class Visitor>
void describe(Visitor& visit, InspectFlags& o) {
  visit("input", o.input, {.help = "channels, height and width of the model's input", .flags = "--input",
                           .value_name = "3x224x224", .check = [](const std::string& s) {
                             return parse_input(s).empty() ? "must be CHANNELSxHEIGHTxWIDTH such as 3x224x224, got \"" + s + "\""
                                                           : std::string();
                           }});
  visit("classes", o.classes, {.help = "number of outputs of a model by name", .flags = "--classes", .range = between(1, 1e6)});
  visit("norm", o.norm, {.help = "normalization of a model by name", .flags = "--norm", .value_name = "NAME"});
  visit("init", o.init, {.help = "initial values of a model by name", .flags = "--init", .value_name = "NAME"});
  visit("act", o.act, {.help = "activation of a model by name", .flags = "--act", .value_name = "NAME"});
  visit("seed", o.seed, {.help = "decides the initial values", .flags = "--seed"});
}

/// The weights file of a run, of a model folder, or the file itself.
std::filesystem::path weights_of(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) {
    return path;
  }
  for (const std::filesystem::path& file : {path / "model.safetensors", path / "model" / "model.safetensors"}) {
    if (std::filesystem::exists(file, error)) {
      return file;
    }
  }
  throw DataError(path.string() + ": neither a run nor a model folder: there is no model.safetensors in it");
}

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

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string out = "(";
  for (const int64_t size : shape) {
    out += (out.size() > 1 ? ", " : "") + std::to_string(size);
  }
  return out + ")";
}

int inspect_weights(const Session& session, const std::filesystem::path& path) {
  using nlohmann::ordered_json;
  const SafetensorsFile file = SafetensorsFile::open(path);
  Table table({{"tensor", Table::Align::left}, {"type", Table::Align::left}, {"shape", Table::Align::left},
               {"numbers", Table::Align::right}, {"mean", Table::Align::right}, {"std", Table::Align::right},
               {"min", Table::Align::right}, {"max", Table::Align::right}, {"not finite", Table::Align::right}});
  std::vector<SafetensorsEntry> entries = file.entries();
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  ordered_json tensors = ordered_json::array();
  int64_t total = 0, nonfinite = 0;
  for (const SafetensorsEntry& entry : entries) {
    int64_t numbers = 1;
    for (const int64_t size : entry.shape) {
      numbers *= size;
    }
    total += numbers;
    const std::string type(safetensors_dtype_name(entry.dtype));
    const std::optional<Statistics> s = statistics(entry.dtype, file.bytes(entry));
    std::vector<std::string> cells = {entry.name, type, shape_text(entry.shape), format_count(numbers)};
    ordered_json one = {{"name", entry.name}, {"dtype", type}, {"shape", entry.shape}, {"numbers", numbers}};
    if (s) {
      nonfinite += s->nonfinite;
      cells.insert(cells.end(), {format_significant(s->mean, 4), format_significant(s->deviation, 4),
                                 format_significant(s->min, 4), format_significant(s->max, 4), format_count(s->nonfinite)});
      one.update({{"mean", s->mean}, {"std", s->deviation}, {"min", s->min}, {"max", s->max}, {"nonfinite", s->nonfinite}});
    }
    table.row(cells);
    tensors.push_back(one);
  }
  std::string text = path.string() + ": " + format_count(static_cast<int64_t>(entries.size())) + " tensors, " +
      format_count(total) + " numbers" + (nonfinite > 0 ? ", " + format_count(nonfinite) + " not finite" : "") + "\n";
  for (const auto& [key, value] : file.metadata()) {
    text += "  " + printable(key) + " = " + printable(value) + "\n";
  }
  session.print(text + "\n" + table.text());
  session.document({{"file", path.string()}, {"tensors", tensors}, {"numbers", total}, {"nonfinite", nonfinite},
                    {"metadata", file.metadata()}});
  return kDone;
}

class InspectCommand : public Command {
 public:
  InspectCommand() { own_.add("inspect", flags_); }
  CommandText text() const override {
    return {
        .name = "inspect",
        .summary = "layers of a model; tensors and statistics of a weights file",
        .operands = "MODEL|PATH",
        .about = "A model's name gives its layers with output shapes, parameters and multiply-adds. A run, a model "
                 "folder or a .safetensors file gives its tensors with shape and statistics, without running anything.",
        .examples =
            {
                {"a layer table", "ballast inspect resnet18 --input 3x224x224"},
                {"a deep plain net with a norm", "ballast inspect plain_cnn:30 --norm batch"},
                {"a trained model", "ballast inspect runs/photos-resnet18-1"},
                {"any safetensors file", "ballast inspect model.safetensors --json"},
            },
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 1}; }
  int run(const Session& session, const Arguments& arguments) override {
    InspectRequest request{.target = arguments.operands[0],
                           .input = flags_.input.empty() ? std::vector<int64_t>{} : parse_input(flags_.input),
                           .classes = flags_.classes.value_or(0),
                           .norm = flags_.norm,
                           .init = flags_.init,
                           .act = flags_.act,
                           .seed = flags_.seed};
    std::error_code error;
    const std::filesystem::path path(request.target);
    if (std::filesystem::exists(path, error)) {
      return inspect_weights(session, weights_of(path));
    }
    if (request.target.find('/') != std::string::npos || path.extension() == ".safetensors") {
      throw DataError(request.target + ": no such run, model folder or weights file");
    }
    parse_model_name(request.target);
    return load_torch_side(0).inspect(session, request);
  }

 private:
  InspectFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_inspect_command() { return std::make_unique<InspectCommand>(); }

}  // namespace ballast::cli
