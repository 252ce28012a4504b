#pragma once

#include <array>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

#include <ballast/base/check.h>
#include <ballast/base/nearest_name.h>

namespace ballast {

/// What a Norm (norm.h) normalizes over.
enum class NormKind { none, batch, group, layer, layer_2d, instance, rms, rms_2d };

/// A row of the catalog of norms: the values of --norm. Needs no torch.
struct NormRow {
  NormKind kind;
  std::string_view name;
  std::string_view form;  ///< how it is written with its size
  std::string_view summary;
};

inline constexpr std::array<NormRow, 8> kNorms = {{
    {NormKind::none, "none", "none", "no normalization; convolutions get a bias"},
    {NormKind::batch, "batch", "batch", "batch norm: each channel over the batch; best for batches of 16 and more"},
    {NormKind::group, "group", "group[:GROUPS]", "group norm: groups of channels of one sample; for small batches"},
    {NormKind::layer, "layer", "layer", "layer norm: all channels of one sample (group norm of one group)"},
    {NormKind::layer_2d, "layer_2d", "layer_2d", "layer norm over the channels at each position of a map"},
    {NormKind::instance, "instance", "instance", "instance norm: each channel of one sample; removes contrast"},
    {NormKind::rms, "rms", "rms", "root mean square of one sample, nothing subtracted, no bias"},
    {NormKind::rms_2d, "rms_2d", "rms_2d", "root mean square of the channels at each position of a map, no bias"},
}};

/// A value of --norm taken apart.
struct NormSpec {
  NormKind kind = NormKind::none;
  /// Of group: the number of groups; 0: the largest divisor of the channels up to 32.
  int64_t groups = 0;
};

/// Errors: std::invalid_argument naming the nearest row, or the range of GROUPS.
inline NormSpec parse_norm(std::string_view text) {
  const size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  for (const NormRow& row : kNorms) {
    if (row.name != name) continue;
    if (colon == std::string_view::npos) return {row.kind, 0};
    check(row.kind == NormKind::group, "norm", name, " takes no size, got \"", text, '"');
    const std::string_view digits = text.substr(colon + 1);
    int64_t groups = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), groups);
    check(error == std::errc() && end == digits.data() + digits.size() && groups >= 1 && groups <= 65'536, "norm",
          "groups must be a whole number from 1 to 65536, got \"", text, '"');
    return {row.kind, groups};
  }
  std::array<std::string_view, kNorms.size()> names;
  for (size_t i = 0; i < names.size(); ++i) names[i] = kNorms[i].name;
  std::string forms;
  for (size_t i = 0; i < kNorms.size(); ++i) {
    forms += i == 0 ? "" : i + 1 == kNorms.size() ? " or " : ", ";
    forms += kNorms[i].form;
  }
  fail("norm", "norm must be ", forms, ", got \"", text, '"', did_you_mean(name, names));
}

}  // namespace ballast
