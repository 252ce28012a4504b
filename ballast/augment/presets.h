#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ballast {

/// What a preset looks at.
struct PresetFacts {
  /// The model's input.
  int32_t height = 0, width = 0;
  int32_t channels = 3;
  /// Typical size of the pictures in the data.
  int32_t source_height = 0, source_width = 0;
  /// Gray pictures may be mirrored (clothes, not digits or letters). Colour pictures always are.
  bool gray_flips = false;
};

/// Names of the presets: none, light, standard, strong.
std::vector<std::string_view> preset_names();

/// Pipeline text for training.
///
///   none      the steps of eval_preset
///   light     pictures with sides up to 64: random_crop(size, padding=size/8, padding_mode=reflect), gray ones size/28;
///             larger ones: random_resized_crop(size); then horizontal_flip, except for gray pictures (digits, letters)
///   standard  light, then color_jitter(0.4, 0.4, 0.4) and random_erasing(0.25)
///   strong    light, then rand-m9-mstd0.5-inc1 and random_erasing(0.25); the run mixes pictures too (mixup, cutmix)
///
/// Errors: std::invalid_argument that names the presets, or if a size is < 1.
std::string train_preset(std::string_view name, const PresetFacts& facts);

/// Pipeline text for evaluation: small pictures as they are (resized if their size is not the model's), photos
/// resize(round(size / 0.875)) and center_crop(size).
std::string eval_preset(const PresetFacts& facts);

}  // namespace ballast
