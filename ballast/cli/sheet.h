#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <ballast/image/image.h>
#include <ballast/image/sample.h>

namespace ballast::cli {

/// A picture of a contact sheet with the lines under it.
struct SheetCell {
  Image image;
  std::vector<std::string> lines;
};

/// Rows of cells, each picture enlarged or shrunk to fit `side` pixels, small letters under it. Letters that the font
/// lacks are drawn as a box.
Image contact_sheet(const std::vector<std::vector<SheetCell>>& rows, int32_t side);

/// `image` in a square of `side`: whole multiples where it is smaller, so that its pixels can be seen.
Image fitted(ImageView image, int32_t side);

/// Frames of boxes, a colour for each class, as wide as can be seen where the picture is shown in a square of `side`. Three channels.
void draw_boxes(Image& image, const Boxes& boxes, int32_t side);

}  // namespace ballast::cli
