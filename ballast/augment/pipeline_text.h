#pragma once

// Text of a pipeline to operations and back; not public.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <ballast/augment/pipeline.h>
#include <ballast/image/resize.h>

namespace ballast::detail {

struct Size {
  int32_t h = 0, w = 0;  // 0: not given
  bool both = false;     // [h, w] was given
};

enum class PaddingMode : uint8_t { constant, edge, reflect, symmetric, wrap };

struct HorizontalFlip {
  double p = 0.5;
};
struct ResizeStep {
  Size size;
  int32_t max_size = 0;
  enum class Mode : uint8_t { shorter, longer, exact } mode = Mode::shorter;
  Interpolation interpolation = Interpolation::bilinear;
  bool antialias = true;
};
struct RandomResizedCrop {
  Size size;
  std::array<double, 2> scale = {0.08, 1};
  std::array<double, 2> ratio = {3.0 / 4, 4.0 / 3};
  Interpolation interpolation = Interpolation::bilinear;
  bool random_interpolation = false;
  bool antialias = true;
};
struct RandomCrop {
  Size size;
  std::array<int32_t, 4> padding = {};  // left, top, right, bottom
  bool pad_if_needed = false;
  PaddingMode padding_mode = PaddingMode::constant;
  std::array<uint8_t, 3> fill = {};
};
struct CenterCrop {
  Size size;
};
struct NormalizeStep {
  enum class Kind : uint8_t { dataset, imagenet, none, given } kind = Kind::dataset;
  Normalize values;
};

using Operation =
    std::variant<HorizontalFlip, ResizeStep, RandomResizedCrop, RandomCrop, CenterCrop, NormalizeStep>;

struct Step {
  Operation operation;
  /// Of catalog.h, and which one of its kind this is: together the index of its draws.
  uint32_t number = 0, occurrence = 0;
};

std::vector<Step> parse_steps(std::string_view text);
std::string print_steps(const std::vector<Step>& steps);

}  // namespace ballast::detail
