#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <ballast/base/check.h>
#include <ballast/base/nearest_name.h>

namespace ballast {

/// A row of the catalog of drops. Needs no torch, so that commands can list and check values without loading it.
struct DropRow {
  std::string_view stem;
  std::string_view flag;     ///< of `ballast train`
  std::string_view form;     ///< of its value
  std::string_view summary;
  std::string_view where;    ///< in which models, and where in them
};

inline constexpr std::array<DropRow, 8> kDrops = {{
    {"dropout", "--drop", "P", "single values; the usual form, for linear layers",
     "mlp, lenet: behind hidden linear layers; vit: behind linear layers and positions; wide_resnet: between the "
     "convolutions of a block; others: before the classifier"},
    {"spatial_dropout", "--spatial-dropout", "P", "whole channels of convolutional maps",
     "lenet, plain_cnn, resnets: behind the last convolution"},
    {"alpha_dropout", "--alpha-dropout", "P", "keeps mean 0 and variance 1; for SELU nets", "mlp: behind hidden layers"},
    {"drop_connect", "--drop-connect", "P[:shared][:gaussian]", "single weights, a mask per sample or one for all",
     "mlp: hidden linear layers; lenet: the first linear layer; others: the classifier"},
    {"drop_block", "--drop-block", "P[:SIZE][:shared]", "contiguous blocks of convolutional maps",
     "plain_cnn, resnets: the last two stages, behind activations; lenet: behind the second convolution"},
    {"drop_path", "--drop-path", "P[:row|:batch]", "residual branches (stochastic depth); batch saves their time",
     "resnets, vit: residual branches, P growing linearly with depth"},
    {"patch_dropout", "--patch-dropout", "P", "patches of the input of a transformer; saves their time",
     "vit: behind the positions"},
    {"shake_drop", "--shake-drop", "P", "residual branches times random factors, their gradients times others",
     "resnets: the end of residual branches, P growing linearly with depth"},
}};

/// A value of a drop's flag taken apart. p = 0: the technique is off.
struct DropSpec {
  double p = 0;
  int64_t block_size = 7;    ///< drop_block
  bool shared = false;       ///< drop_block: all channels alike; drop_connect: one mask for the batch
  bool gaussian = false;     ///< drop_connect: the paper's inference
  bool batch = false;        ///< drop_path: one decision for the batch
};

/// Takes P[:WORD...] apart for a technique. Needs no torch.
/// Errors: std::invalid_argument, as `[drop_path] P must be in [0, 1), got "1.5"`; a word that the technique lacks.
inline DropSpec parse_drop(std::string_view stem, std::string_view text) {
  const auto number = [](std::string_view part, auto& value) {
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    return error == std::errc() && end == part.data() + part.size();
  };
  const DropRow* row = nullptr;
  for (const DropRow& candidate : kDrops) {
    if (candidate.stem == stem) row = &candidate;
  }
  check<std::logic_error>(row != nullptr, "drop", "stem must be one of the catalog, got ", stem);
  const bool closed = stem == "dropout" || stem == "spatial_dropout" || stem == "alpha_dropout";
  DropSpec spec;
  size_t colon = text.find(':');
  const std::string_view rate = text.substr(0, colon);
  check(number(rate, spec.p) && spec.p >= 0 && (closed ? spec.p <= 1 : spec.p < 1), stem, "P must be in [0, 1",
        closed ? "]" : ")", ", got \"", rate, '"');
  while (colon != std::string_view::npos) {
    text = text.substr(colon + 1);
    colon = text.find(':');
    const std::string_view word = text.substr(0, colon);
    if (stem == "drop_block" && number(word, spec.block_size)) {
      check(spec.block_size >= 1 && spec.block_size <= 65'536, stem, "SIZE must be a whole number from 1 to 65536, got \"",
            word, '"');
    } else if ((stem == "drop_block" || stem == "drop_connect") && word == "shared") {
      spec.shared = true;
    } else if (stem == "drop_connect" && word == "gaussian") {
      spec.gaussian = true;
    } else if (stem == "drop_path" && (word == "row" || word == "batch")) {
      spec.batch = word == "batch";
    } else {
      fail(stem, "the value must have the form ", row->form, ", got \"", word, '"');
    }
  }
  return spec;
}

/// A rate for the layers whose names match a pattern.
struct DropRateRule {
  std::string glob;
  double p = 0;
};

/// Takes "GLOB=P,GLOB=P" apart; "0": no rules. Needs no torch.
/// Errors: std::invalid_argument `[drop_rate] a rule must have the form GLOB=P with P in [0, 1], got "layer3"`.
inline std::vector<DropRateRule> parse_drop_rates(std::string_view text) {
  std::vector<DropRateRule> rules;
  for (bool more = text != "0"; more;) {
    const size_t comma = text.find(',');
    const std::string_view rule = text.substr(0, comma);
    const size_t equals = rule.rfind('=');
    const std::string_view number = equals == std::string_view::npos ? std::string_view() : rule.substr(equals + 1);
    double p = -1;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), p);
    check(equals != 0 && error == std::errc() && end == number.data() + number.size() && p >= 0 && p <= 1, "drop_rate",
          "a rule must have the form GLOB=P with P in [0, 1], got \"", rule, '"');
    rules.push_back({std::string(rule.substr(0, equals)), p});
    more = comma != std::string_view::npos;
    if (more) text = text.substr(comma + 1);
  }
  return rules;
}

}  // namespace ballast
