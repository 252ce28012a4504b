#include <ballast/image/sample.h>

#include <array>
#include <cmath>

#include <ballast/base/check.h>

namespace ballast {

namespace {

constexpr std::array<std::string_view, 5> kFormats = {"xyxy", "xywh", "cxcywh", "yolo", "voc"};

template <class T>
void keep_rows(std::vector<T>& list, std::span<const int64_t> rows) {
  std::vector<T> out;
  out.reserve(rows.size());
  for (const int64_t i : rows) out.push_back(list[static_cast<size_t>(i)]);
  list = std::move(out);
}

std::string named(const Sample& sample) { return sample.name.empty() ? "" : " (" + sample.name + ")"; }

}  // namespace

BoxFormat parse_box_format(std::string_view text) {
  for (size_t i = 0; i < kFormats.size(); ++i) {
    if (kFormats[i] == text) return static_cast<BoxFormat>(i);
  }
  if (text == "coco") return BoxFormat::xywh;
  fail("boxes", "format must be one of xyxy, xywh, cxcywh, yolo, voc, got \"", text, "\"");
}

void Boxes::add(float left, float top, float right, float bottom, int32_t box_label) {
  source.push_back(static_cast<int32_t>(size()));
  x1.push_back(left);
  y1.push_back(top);
  x2.push_back(right);
  y2.push_back(bottom);
  label.push_back(box_label);
}

void Boxes::keep(std::span<const int64_t> rows) {
  for (auto* list : {&x1, &y1, &x2, &y2}) keep_rows(*list, rows);
  for (auto* list : {&label, &source}) keep_rows(*list, rows);
}

Boxes Boxes::from(std::span<const float> numbers, std::span<const int32_t> labels, BoxFormat format, int32_t h, int32_t w) {
  check(numbers.size() == 4 * labels.size(), "boxes", "needs 4 numbers for each of ", labels.size(), " labels, got ",
        numbers.size());
  check(format != BoxFormat::yolo || (h > 0 && w > 0), "boxes", "yolo needs the picture's size, got ", h, "x", w);
  Boxes out;
  for (size_t i = 0; i < labels.size(); ++i) {
    const float a = numbers[4 * i], b = numbers[4 * i + 1], c = numbers[4 * i + 2], d = numbers[4 * i + 3];
    const float sx = format == BoxFormat::yolo ? static_cast<float>(w) : 1.0F;
    const float sy = format == BoxFormat::yolo ? static_cast<float>(h) : 1.0F;
    switch (format) {
      case BoxFormat::xyxy: out.add(a, b, c, d, labels[i]); break;
      case BoxFormat::xywh: out.add(a, b, a + c, b + d, labels[i]); break;
      case BoxFormat::cxcywh:
      case BoxFormat::yolo:
        out.add((a - c / 2) * sx, (b - d / 2) * sy, (a + c / 2) * sx, (b + d / 2) * sy, labels[i]);
        break;
      case BoxFormat::voc: out.add(a - 1, b - 1, c, d, labels[i]); break;
    }
  }
  return out;
}

std::vector<float> Boxes::to(BoxFormat format, int32_t h, int32_t w) const {
  check(format != BoxFormat::yolo || (h > 0 && w > 0), "boxes", "yolo needs the picture's size, got ", h, "x", w);
  std::vector<float> out;
  for (size_t i = 0; i < x1.size(); ++i) {
    const float width = x2[i] - x1[i], height = y2[i] - y1[i];
    const float sx = format == BoxFormat::yolo ? static_cast<float>(w) : 1.0F;
    const float sy = format == BoxFormat::yolo ? static_cast<float>(h) : 1.0F;
    switch (format) {
      case BoxFormat::xyxy: out.insert(out.end(), {x1[i], y1[i], x2[i], y2[i]}); break;
      case BoxFormat::xywh: out.insert(out.end(), {x1[i], y1[i], width, height}); break;
      case BoxFormat::cxcywh:
      case BoxFormat::yolo:
        out.insert(out.end(), {(x1[i] + x2[i]) / 2 / sx, (y1[i] + y2[i]) / 2 / sy, width / sx, height / sy});
        break;
      case BoxFormat::voc: out.insert(out.end(), {x1[i] + 1, y1[i] + 1, x2[i], y2[i]}); break;
    }
  }
  return out;
}

void Keypoints::add(float px, float py, int32_t point_label, float point_angle, float point_scale) {
  x.push_back(px);
  y.push_back(py);
  angle.push_back(point_angle);
  scale.push_back(point_scale);
  visible.push_back(1);
  label.push_back(point_label);
}

void Keypoints::keep(std::span<const int64_t> rows) {
  for (auto* list : {&x, &y, &angle, &scale}) keep_rows(*list, rows);
  keep_rows(visible, rows);
  keep_rows(label, rows);
}

void check_sample(const Sample& s) {
  for (size_t i = 0; i < s.masks.size(); ++i) {
    const Mask& mask = s.masks[i];
    check(mask.px.h() == s.image.h() && mask.px.w() == s.image.w(), "sample", "mask ", i, " is ", mask.px.h(), "x",
          mask.px.w(), ", image ", s.image.h(), "x", s.image.w(), named(s));
    if (mask.kind == Mask::Kind::heat) {
      check(mask.px.dtype() == DType::u8, "sample", "heat mask ", i, " must be u8, got ", to_string(mask.px.dtype()), named(s));
      continue;
    }
    const bool wide = mask.kind == Mask::Kind::instance_ids && mask.px.dtype() == DType::u16;
    check((mask.px.dtype() == DType::u8 || wide) && mask.px.c() == 1, "sample", "mask ", i, " must be u8", wide ? " or u16" : "",
          " with 1 channel, got ", to_string(mask.px.dtype()), " with ", mask.px.c(), named(s));
    check(mask.ignore >= 0 && mask.ignore <= (wide ? 65'535 : 255), "sample", "mask ", i, ": ignore must be in [0, ",
          wide ? 65'535 : 255, "], got ", mask.ignore, named(s));
  }
  const size_t boxes = s.boxes.x1.size(), points = s.points.x.size();
  check(s.boxes.y1.size() == boxes && s.boxes.x2.size() == boxes && s.boxes.y2.size() == boxes &&
            s.boxes.label.size() == boxes && s.boxes.source.size() == boxes,
        "sample", "the lists of boxes must be equally long", named(s));
  check(s.points.y.size() == points && s.points.angle.size() == points && s.points.scale.size() == points &&
            s.points.visible.size() == points && s.points.label.size() == points,
        "sample", "the lists of points must be equally long", named(s));
  for (size_t i = 0; i < points; ++i) {
    check(std::isfinite(s.points.x[i]) && std::isfinite(s.points.y[i]), "sample", "point ", i, " must be finite, got ",
          s.points.x[i], ", ", s.points.y[i], named(s));
  }
}

}  // namespace ballast
