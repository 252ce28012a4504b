#pragma once

#include <array>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <ballast/base/check.h>
#include <ballast/base/nearest_name.h>

namespace ballast {

/// How the :SIZE of a model's name is written.
enum class SizeForm {
  none,          ///< no size: resnet18
  depth_width,   ///< plain_cnn:30, plain_cnn:30x32, mlp:2x256, resnet:26
  cell_width,    ///< rnn:gru, rnn:gru:256
};

/// A row of the catalog of models. Needs no torch, so that commands can list and check names without loading it.
struct ModelRow {
  std::string_view name;
  SizeForm size_form;
  std::string_view size;          ///< the size taken when the name gives none; "" where none is taken, x16 where a depth must be given
  std::string_view norm;          ///< what auto means
  std::string_view act;           ///< what auto means
  std::string_view init;          ///< the recipe that auto means
  bool channels_last;             ///< a convolutional model: fastest in channels_last
  std::array<int64_t, 3> input;   ///< channels, height, width that the two counts below are for
  int64_t num_classes;            ///< and outputs
  int64_t params;                 ///< parameters
  int64_t multiply_adds;          ///< of one sample's forward pass: convolutions, linear layers, matrix products
  std::string_view summary;
};

// clang-format off
inline constexpr std::array<ModelRow, 16> kModels = {{
  {"mlp", SizeForm::depth_width, "2x256", "none", "relu", "mlp", false, {1, 28, 28}, 10, 269'322, 268'800,
   "multilayer perceptron: 2 hidden layers of 256; mlp:DEPTHxWIDTH"},
  {"lenet", SizeForm::none, "", "none", "relu", "lenet", true, {1, 28, 28}, 10, 61'706, 416'520,
   "LeNet-5: two 5x5 convolutions with pooling, three linear layers"},
  {"plain_cnn", SizeForm::depth_width, "8x16", "none", "relu", "plain_cnn", true, {3, 32, 32}, 10, 75'050, 12'239'488,
   "plain stack of 3x3 convolutions, no shortcut, no norm unless asked for; plain_cnn:DEPTH[xWIDTH]"},
  {"resnet8", SizeForm::none, "", "batch", "relu", "wide_resnet", true, {3, 32, 32}, 10, 78'042, 12'501'632,
   "CIFAR ResNet of 8 layers, widths 16-32-64"},
  {"resnet20", SizeForm::none, "", "batch", "relu", "wide_resnet", true, {3, 32, 32}, 10, 272'474, 40'813'184,
   "CIFAR ResNet of 20 layers, widths 16-32-64"},
  {"resnet32", SizeForm::none, "", "batch", "relu", "resnet", true, {3, 32, 32}, 10, 466'906, 69'124'736,
   "CIFAR ResNet of 32 layers, widths 16-32-64"},
  {"resnet56", SizeForm::none, "", "batch", "relu", "resnet", true, {3, 32, 32}, 10, 855'770, 125'747'840,
   "CIFAR ResNet of 56 layers, widths 16-32-64"},
  {"resnet110", SizeForm::none, "", "batch", "relu", "resnet", true, {3, 32, 32}, 10, 1'730'714, 253'149'824,
   "CIFAR ResNet of 110 layers, widths 16-32-64"},
  {"resnet8_wide", SizeForm::none, "", "batch", "relu", "wide_resnet", true, {3, 32, 32}, 10, 308'650, 12'281'088,
   "CIFAR ResNet of 8 layers, widths 32-64-128, stem of stride 2 from 24 px: the default for small pictures"},
  {"resnet", SizeForm::depth_width, "x16", "batch", "relu", "resnet", true, {3, 32, 32}, 10, 175'258, 26'657'408,
   "CIFAR ResNet of any depth, widths W, 2W and 4W: resnet:DEPTH[xW], DEPTH = 6n + 2 (counts: resnet:14)"},
  {"resnet18", SizeForm::none, "", "batch", "relu", "wide_resnet", true, {3, 224, 224}, 1000, 11'689'512, 1'814'073'344,
   "ResNet-18 as in torchvision and timm"},
  {"resnet34", SizeForm::none, "", "batch", "relu", "resnet", true, {3, 224, 224}, 1000, 21'797'672, 3'663'761'408,
   "ResNet-34 as in torchvision and timm"},
  {"resnet50", SizeForm::none, "", "batch", "relu", "resnet", true, {3, 224, 224}, 1000, 25'557'032, 4'089'184'256,
   "ResNet-50 as in torchvision and timm (stride in the 3x3 convolution)"},
  {"wide_resnet", SizeForm::depth_width, "16x4", "batch", "relu", "wide_resnet", true, {3, 32, 32}, 10, 2'748'890, 392'612'352,
   "Wide ResNet, pre-activation; wide_resnet:DEPTHxWIDEN, DEPTH = 6n + 4 (28x10 is the paper's)"},
  {"vit_tiny", SizeForm::none, "", "layer", "gelu", "vit", false, {3, 224, 224}, 1000, 5'717'416, 1'253'683'200,
   "vision transformer as timm's vit_tiny: 12 blocks of width 192, 3 heads; patch 16, smaller for small pictures"},
  {"rnn", SizeForm::cell_width, "lstm:128", "none", "tanh", "rnn", false, {1, 28, 28}, 10, 82'186, 2'237'696,
   "recurrent net over the rows of the picture; rnn:CELL[:WIDTH], CELL = plain, lstm or gru"},
}};
// clang-format on

/// A model's name taken apart.
struct ModelName {
  const ModelRow* row = nullptr;
  int64_t depth = 0;   ///< layers, where the row takes a depth
  int64_t width = 0;   ///< width (wide_resnet: widening factor), where the row takes one
  std::string cell;    ///< plain, lstm or gru
};

namespace detail {

inline int64_t parse_size_number(std::string_view whole, std::string_view text, int64_t most) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  check(error == std::errc() && end == text.data() + text.size() && value >= 1 && value <= most, "models",
        "a size in the model's name must be a whole number from 1 to ", most, ", got \"", text, "\" in \"", whole, '"');
  return value;
}

inline std::string model_name_hint(std::string_view name) {
  std::vector<std::string_view> names;
  for (const ModelRow& row : kModels) names.push_back(row.name);
  // resnet44 is a depth of the CIFAR family that has no row of its own.
  int64_t depth = 0;
  if (name.starts_with("resnet")) {
    const std::string_view digits = name.substr(6);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), depth);
    if (error == std::errc() && end == digits.data() + digits.size() && depth >= 8 && (depth - 2) % 6 == 0) {
      return "; did you mean \"resnet:" + std::to_string(depth) + "\"?";
    }
  }
  return did_you_mean(name, names);
}

}  // namespace detail

/// Takes NAME[:SIZE] apart and checks it. Needs no torch.
/// Errors: std::invalid_argument naming the nearest row, the form a size must have, or its range.
inline ModelName parse_model_name(std::string_view text) {
  const size_t colon = text.find(':');
  const std::string_view base = text.substr(0, colon);
  ModelName result;
  for (const ModelRow& row : kModels) {
    if (row.name == base) result.row = &row;
  }
  check(result.row != nullptr, "models", "name must be a model that `list models` shows, got \"", base, '"',
        detail::model_name_hint(base));
  const ModelRow& row = *result.row;
  std::string_view size = row.size;
  if (colon != std::string_view::npos) {
    size = text.substr(colon + 1);
    check(row.size_form != SizeForm::none, "models", base, " takes no size, got \"", text, '"');
  }
  const int64_t most_depth = row.name == "mlp" ? 1000 : 10'000, most_width = 65'536;
  switch (row.size_form) {
    case SizeForm::none:
      break;
    case SizeForm::depth_width: {
      const size_t x = size.find('x');
      check(x != 0 && !size.empty(), "models", base, " must be given a depth, as ", base, ':',
            row.size.starts_with('x') ? "14" : row.size, ", got \"", text, '"');
      result.depth = detail::parse_size_number(text, size.substr(0, x), most_depth);
      const std::string_view own = row.size.substr(row.size.find('x') + 1);
      result.width = detail::parse_size_number(text, x == std::string_view::npos ? own : size.substr(x + 1), most_width);
      break;
    }
    case SizeForm::cell_width: {
      const size_t second = size.find(':');
      result.cell = size.substr(0, second);
      check(result.cell == "plain" || result.cell == "lstm" || result.cell == "gru", "models", base,
            " must be followed by plain, lstm or gru, got \"", text, '"');
      const std::string_view own = row.size.substr(row.size.find(':') + 1);
      result.width =
          detail::parse_size_number(text, second == std::string_view::npos ? own : size.substr(second + 1), most_width);
      break;
    }
  }
  if (row.name == "resnet") {
    check(result.depth >= 8 && (result.depth - 2) % 6 == 0, "models",
          "resnet's depth must be 6n + 2 (8, 14, 20, ...), got ", result.depth);
  }
  if (row.name == "wide_resnet") {
    check(result.depth >= 10 && (result.depth - 4) % 6 == 0, "models",
          "wide_resnet's depth must be 6n + 4 (10, 16, 22, 28, ...), got ", result.depth);
  }
  if (row.name == "plain_cnn") {
    check(result.depth >= 2, "models", "plain_cnn's depth must be at least 2, got ", result.depth);
  }
  return result;
}

}  // namespace ballast
