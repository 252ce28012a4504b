#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ballast {

/// A labelled rectangle in pixels, continuous coordinates: pixel (i, j) covers [j, j + 1) x [i, i + 1).
struct AnnotatedBox {
  double x1 = 0, y1 = 0, x2 = 0, y2 = 0;
  int32_t label = 0;
};

struct AnnotatedPicture {
  /// Of the file, as it can be opened.
  std::string path;
  /// As the annotation says; 0: it does not.
  int32_t w = 0, h = 0;
  std::vector<AnnotatedBox> boxes;
};

/// Pictures with boxes, from the annotation formats that detection data come in.
struct BoxSet {
  std::string format;  ///< voc, coco or yolo
  std::vector<std::string> classes;
  std::vector<AnnotatedPicture> pictures;  ///< sorted by path
  std::vector<std::string> notes;
};

/// Options of open_boxes.
struct BoxSetOptions {
  /// voc: a folder with Annotations/*.xml and JPEGImages; coco: an instances JSON file, pictures beside it, in a folder images, or in `images`;
  /// yolo: a folder with labels/ and images/ of equal structure; auto: by content.
  std::string format = "auto";
  /// Where the pictures of a COCO file are; empty: look.
  std::string images;
  /// First pixel of VOC coordinates: 1 (as the format has it, xmin - 1 .. xmax), 0, or -1: 0 if the set holds a coordinate 0.
  int voc_base = -1;
};

/// Reads annotations; pictures are not opened, except that YOLO's relative coordinates need their headers.
///
/// VOC      objects with name and bndbox; XML without DTD or entities of its own.
/// COCO     bbox [x, y, width, height]; crowds are left out and counted; labels in ascending order of category ids.
/// YOLO     CLASS CX CY W H relative to the picture, or CLASS X1 Y1 X2 Y2 ... (a polygon: its hull); names from a .yaml beside
///          labels or above it, or classes.txt.
/// Errors   DataError `[boxes] FILE: ...` with line or byte: malformed files, a class out of range, no annotation at all.
BoxSet open_boxes(const std::string& path, const BoxSetOptions& options = {});
/// Whether a folder or file holds such annotations, and which: voc, coco, yolo or "".
std::string looks_like_boxes(const std::string& path);

/// A box that harms training, or a picture that does.
struct BoxProblem {
  std::string path;
  int64_t box = -1;  ///< in its picture; -1: the picture itself
  /// not_finite, empty (no width or height), one_pixel (at most one pixel wide or high), outside (more than half a pixel beyond the picture),
  /// other_size (the picture is not as the annotation says), or a BadReason of the picture
  std::string reason;
  std::string detail;
};

struct BoxCheckReport {
  BoxSet set;
  std::vector<int64_t> counts;  ///< boxes of each class
  int64_t boxes = 0, without_boxes = 0;
  std::vector<BoxProblem> problems;
  bool ok() const { return problems.empty(); }
  std::string text() const;
  std::string json() const;
};

/// Opens every picture and looks at every box.
BoxCheckReport check_boxes(BoxSet set, int threads = 0);

/// An element of an XML file; attributes, comments and instructions are passed over.
struct XmlElement {
  std::string name, text;
  std::vector<XmlElement> children;
  const XmlElement* child(std::string_view name) const;
};
/// Reads XML without DTD: a document type or an entity other than lt gt amp quot apos and numbers is refused, as is nesting
/// deeper than 64.
/// Errors   DataError `[xml] LABEL: ... at byte N`.
XmlElement parse_xml(std::string_view text, std::string_view label);

}  // namespace ballast
