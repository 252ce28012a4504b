#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ballast/image/image.h>

namespace ballast {

/// A label per pixel.
struct Mask {
  enum class Kind : uint8_t {
    class_ids,     ///< u8
    instance_ids,  ///< u8 or u16; 0: nothing, else the `source` of its box + 1
    heat,          ///< u8 levels, 1, 3 or 4 channels
  };
  /// The size of the picture.
  Image px;
  Kind kind = Kind::class_ids;
  /// What pixels get that come from outside of the picture (ids only; heat gets 0).
  int32_t ignore = 255;
};

/// How corners are written in files; inside everything is xyxy in pixels.
enum class BoxFormat : uint8_t {
  xyxy,    ///< x1 y1 x2 y2
  xywh,    ///< COCO: x1 y1 width height
  cxcywh,  ///< centre, width, height
  yolo,    ///< cxcywh as shares of the picture's width and height
  voc,     ///< xmin ymin xmax ymax, 1-based and inclusive: x1 = xmin - 1, x2 = xmax
};
/// Errors: std::invalid_argument that names the formats.
BoxFormat parse_box_format(std::string_view text);

/// Rectangles in pixels, continuous coordinates: pixel (i, j) covers [j, j + 1) x [i, i + 1).
struct Boxes {
  std::vector<float> x1, y1, x2, y2;
  std::vector<int32_t> label;
  /// Row in the annotation, kept while boxes are dropped.
  std::vector<int32_t> source;

  int64_t size() const { return static_cast<int64_t>(x1.size()); }
  void add(float left, float top, float right, float bottom, int32_t box_label = 0);
  /// Keeps those listed, in this order.
  void keep(std::span<const int64_t> rows);

  /// From four numbers a box; `h` x `w` is the picture's size, which yolo needs.
  /// Errors   std::invalid_argument unless there are four numbers for each label.
  static Boxes from(std::span<const float> numbers, std::span<const int32_t> labels, BoxFormat format = BoxFormat::xyxy,
                    int32_t h = 0, int32_t w = 0);
  std::vector<float> to(BoxFormat format, int32_t h = 0, int32_t w = 0) const;
};

/// Points with a direction and a size.
struct Keypoints {
  std::vector<float> x, y;
  /// Radians, from the x axis towards the y axis (clockwise as seen).
  std::vector<float> angle;
  std::vector<float> scale;
  /// 0: hidden.
  std::vector<uint8_t> visible;
  std::vector<int32_t> label;

  int64_t size() const { return static_cast<int64_t>(x.size()); }
  void add(float px, float py, int32_t point_label = 0, float point_angle = 0, float point_scale = 1);
  void keep(std::span<const int64_t> rows);
};

/// A picture with what belongs to its pixels. Pipeline::apply changes all of it together.
struct Sample {
  Image image = {};
  std::vector<Mask> masks = {};
  Boxes boxes = {};
  Keypoints points = {};
  /// Named in errors.
  std::string name = {};
};

/// Errors   std::invalid_argument: `[sample] mask 0 is 100x80, image 100x100 (a.png)` (height x width), a mask's type, lists of unequal
///          length, a keypoint that is not finite.
void check_sample(const Sample& sample);

}  // namespace ballast
