#include <ballast/augment/presets.h>

#include <algorithm>
#include <cmath>
#include <string>

#include <ballast/base/check.h>
#include <ballast/base/nearest_name.h>

namespace ballast {

namespace {

std::string size_text(int32_t h, int32_t w) {
  return h == w ? std::to_string(h) : "[" + std::to_string(h) + ", " + std::to_string(w) + "]";
}

void check_facts(const PresetFacts& f) {
  check(f.height >= 1 && f.width >= 1, "presets", "the model's input must be at least 1x1, got ", f.height,
        "x", f.width);
}

/// Pictures that are cropped with padding, not resampled from a region.
bool small(const PresetFacts& f) {
  return std::max(f.height, f.width) <= 64 && std::max(f.source_height, f.source_width) <= 64;
}

std::string exact_resize(const PresetFacts& f) {
  if (f.source_height == f.height && f.source_width == f.width) return {};
  return "resize([" + std::to_string(f.height) + ", " + std::to_string(f.width) + "])";
}

}  // namespace

std::vector<std::string_view> preset_names() { return {"none", "light", "standard", "strong"}; }

std::string train_preset(std::string_view name, const PresetFacts& facts) {
  check_facts(facts);
  if (name == "none") return eval_preset(facts);
  const auto names = preset_names();
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    fail("presets", "the preset must be one of none, light, standard, strong; got \"", name, "\"", did_you_mean(name, names));
  }
  std::string text;
  const std::string size = size_text(facts.height, facts.width);
  if (small(facts)) {
    text = exact_resize(facts);
    if (!text.empty()) text += " | ";
    // Gray pictures are mostly drawn or cut out, and centred: they need less.
    const int32_t part = facts.channels == 1 ? 28 : 8;
    const int32_t y = facts.height / part, x = facts.width / part;
    const std::string padding =
        y == x ? std::to_string(y) : "[" + std::to_string(x) + ", " + std::to_string(y) + "]";
    text += "random_crop(" + size + ", padding=" + padding + ", padding_mode=reflect)";
  } else {
    text = "random_resized_crop(" + size + ")";
  }
  if (facts.channels != 1 || facts.gray_flips) text += " | horizontal_flip";
  if (name == "standard") text += " | color_jitter(brightness=0.4, contrast=0.4, saturation=0.4)";
  if (name == "strong") text += " | rand-m9-mstd0.5-inc1";
  if (name != "light") text += " | random_erasing(p=0.25)";
  return text;
}

std::string eval_preset(const PresetFacts& facts) {
  check_facts(facts);
  if (small(facts)) return exact_resize(facts);
  if (facts.height != facts.width) {
    return "resize([" + std::to_string(facts.height) + ", " + std::to_string(facts.width) + "])";
  }
  const auto side = static_cast<int32_t>(std::lround(facts.height / 0.875));
  return "resize(" + std::to_string(side) + ") | center_crop(" + std::to_string(facts.height) + ")";
}

}  // namespace ballast
