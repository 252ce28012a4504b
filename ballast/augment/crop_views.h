#pragma once

#include <string_view>
#include <vector>

#include <ballast/augment/pipeline.h>

namespace ballast {

/// What five_crop and ten_crop make of a picture: a pipeline for each view, in torchvision's order (top left, top right,
/// bottom left, bottom right, middle; ten: the same of the mirrored picture). Without such a step: the pipeline itself.
/// Evaluation averages the predictions of all views.
std::vector<Pipeline> crop_views(const Pipeline& pipeline);

/// The pipeline with `name` (five_crop, ten_crop) in place of its center_crop, of the same size.
/// Errors   std::invalid_argument: `[five_crop] needs a center_crop, whose place it takes, got "resize([28, 28])"`.
Pipeline with_crops(const Pipeline& pipeline, std::string_view name);

}  // namespace ballast
