#pragma once

#include <span>
#include <vector>

#include <ballast/augment/mix.h>
#include <ballast/augment/targets.h>
#include <ballast/image/sample.h>

namespace ballast {

/// What mixing did to a sample.
struct SampleMix {
  /// row and partner: indices in the list. lambda 1: the sample is as it was, and its partner itself.
  MixDraw draw;
  /// Of each box and point behind the mixing: mixup gives lambda to the sample's own and 1 - lambda to the partner's,
  /// cutmix 1 to all.
  std::vector<float> box_weight, point_weight;
};

/// mixup and cutmix of pictures together with their masks, boxes and points.
///
///   mixup    pictures and heat masks: round(lambda a + (1 - lambda) b), halves to even. Boxes and points of both.
///   cutmix   the box of picture and masks comes from the partner. Own boxes stay if a part of them lies outside of it,
///            of at least min_visibility of their area; the partner's are clipped to it, and stay by all of `boxes`.
///            Points stay outside of the box, the partner's inside. Instance ids of the partner are counted on from
///            the sample's own.
///
/// The partner's boxes stand behind the sample's own; their `source` is counted on from the largest own one.
/// Random   as draw_mix with rows 0 .. n - 1.
/// Errors   std::invalid_argument: those of check_sample and check_targets; `[mixup] class masks cannot be blended; use
///          cutmix or heat masks`; `[mixup] samples must have one size, got 8x8x3 and 9x8x3 (b.png)` (height, width,
///          channels); other masks; instance ids that do not fit their type. The samples are then as they were.
std::vector<SampleMix> mix_samples(std::span<Sample> samples, const MixOptions& options, Key key,
                                   const BoxOptions& boxes = {});

}  // namespace ballast
