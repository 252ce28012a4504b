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
enum class NormKind {
  none, batch, group, layer, layer_2d, instance, rms, rms_2d, frozen, sync, split, frn, evo_b0, evo_s0
};

/// How the layers of a model compute their weight: as it is, or from other parameters.
enum class WeightForm { plain, weight_norm, spectral_norm, weight_std };


/// A row of the catalog of norms: the values of --norm. Needs no torch.
struct NormRow {
  NormKind kind;
  std::string_view name;
  std::string_view form;  ///< how it is written with its size
  std::string_view summary;
  WeightForm weight = WeightForm::plain;
};

inline constexpr std::array<NormRow, 17> kNorms = {{
    {NormKind::none, "none", "none", "no normalization; convolutions get a bias"},
    {NormKind::batch, "batch", "batch", "batch norm: each channel over the batch; best for batches of 16 and more"},
    {NormKind::group, "group", "group[:GROUPS]", "group norm: groups of channels of one sample; for small batches"},
    {NormKind::layer, "layer", "layer", "layer norm: all channels of one sample (group norm of one group)"},
    {NormKind::layer_2d, "layer_2d", "layer_2d", "layer norm over the channels at each position of a map"},
    {NormKind::instance, "instance", "instance", "instance norm: each channel of one sample; removes contrast"},
    {NormKind::rms, "rms", "rms", "root mean square of one sample, nothing subtracted, no bias"},
    {NormKind::rms_2d, "rms_2d", "rms_2d", "root mean square of the channels at each position of a map, no bias"},
    {NormKind::frozen, "frozen", "frozen", "batch norm with fixed statistics and parameters; for fine-tuning"},
    {NormKind::sync, "sync", "sync", "batch norm over the batches of all processes; of one process: batch norm"},
    {NormKind::split, "split", "split[:PARTS]", "batch norm of 2 or more equal parts of a batch, each with its own statistics"},
    {NormKind::frn, "frn", "frn", "filter response norm: root mean square of each map; its threshold replaces the activation"},
    {NormKind::evo_b0, "evo_b0", "evo_b0", "EvoNorm-B0: batch and instance variance, activation included"},
    {NormKind::evo_s0, "evo_s0", "evo_s0[:GROUPS]", "EvoNorm-S0: group variance of one sample, activation included"},
    {NormKind::none, "weight", "weight", "weight norm: length and direction of each output's weight apart; no norm",
     WeightForm::weight_norm},
    {NormKind::none, "spectral", "spectral", "spectral norm: weights divided by their largest singular value; no norm",
     WeightForm::spectral_norm},
    {NormKind::none, "weight_std", "weight_std", "scaled weight standardization: filters of mean 0, variance 1; no norm",
     WeightForm::weight_std},
}};

/// The first row of the kind.
constexpr std::string_view norm_name(NormKind kind) {
  for (const NormRow& row : kNorms) {
    if (row.kind == kind) return row.name;
  }
  return "";
}

/// A value of --norm taken apart.
struct NormSpec {
  NormKind kind = NormKind::none;
  /// Of group and evo_s0: the number of groups; 0: the largest divisor of the channels up to 32.
  int64_t groups = 0;
  /// Of split: the parts of a batch.
  int64_t splits = 2;
  WeightForm weight = WeightForm::plain;
};

/// Errors: std::invalid_argument naming the nearest row, or the range of GROUPS or PARTS.
inline NormSpec parse_norm(std::string_view text) {
  const size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  for (const NormRow& row : kNorms) {
    if (row.name != name) continue;
    NormSpec spec{.kind = row.kind, .weight = row.weight};
    if (colon == std::string_view::npos) return spec;
    const bool split = row.kind == NormKind::split;
    check(row.kind == NormKind::group || row.kind == NormKind::evo_s0 || split, "norm", name, " takes no size, got \"", text, '"');
    const std::string_view digits = text.substr(colon + 1);
    int64_t& size = split ? spec.splits : spec.groups;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), size);
    check(error == std::errc() && end == digits.data() + digits.size() && size >= (split ? 2 : 1) && size <= 65'536, "norm",
          split ? "parts" : "groups", " must be a whole number from ", split ? 2 : 1, " to 65536, got \"", text, '"');
    return spec;
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
