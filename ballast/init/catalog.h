#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include <ballast/base/check.h>
#include <ballast/base/nearest_name.h>

namespace ballast {

/// A row of the catalog of starts: the values of --init. Needs no torch.
struct InitRow {
  std::string_view name;
  bool number;  ///< written NAME:NUMBER
  std::string_view summary;
};

inline constexpr std::array<InitRow, 19> kInits = {{
    {"resnet", false, "convolutions He normal by fan_out, head U(+-1/sqrt fan_in), last norm of each branch 0"},
    {"wide_resnet", false, "convolutions He normal by fan_out, head U(+-1/sqrt fan_in)"},
    {"plain_cnn", false, "normal, keeping the second moment through the activation; tanh, sigmoid: Xavier"},
    {"mlp", false, "as plain_cnn"},
    {"lenet", false, "as plain_cnn"},
    {"vit", false, "patches LeCun normal, linear layers truncated normal 0.02, head 0"},
    {"rnn", false, "per gate: input Xavier uniform, recurrent orthogonal; LSTM forget bias 1"},
    {"efficientnet", false, "convolutions He normal by fan_out per group, linear layers U(+-1/sqrt fan_out)"},
    {"torch", false, "LibTorch's own start: U(+-1/sqrt fan_in) for weights and biases"},
    {"he", false, "He normal by fan_in with the activation's gain, biases 0"},
    {"xavier", false, "Glorot normal (gain 1; tanh 5/3), biases 0: vanishes in deep ReLU nets"},
    {"lecun", false, "LeCun normal (truncated), biases 0"},
    {"orthogonal", false, "orthogonal with the activation's gain, biases 0"},
    {"delta_orthogonal", false, "convolutions 0 but for an orthogonal centre tap, linear layers orthogonal"},
    {"lsuv", false, "auto, head 0, then orthogonal and rescaled to variance 1 on the first training pictures"},
    {"fixup", false, "for residual nets without norms: branches scaled down by depth, their ends and the head 0"},
    {"zeros", false, "every weight 0: for probes, does not train"},
    {"constant", true, "every weight the same, constant:0.05: for probes, does not train"},
    {"normal", true, "N(0, s), normal:0.01, biases 0"},
}};

/// A value of --init taken apart.
struct InitSpec {
  std::string name;
  double number = 0;
};

/// Errors: std::invalid_argument naming the nearest row, or what the number must be.
inline InitSpec parse_init(std::string_view text) {
  const size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  for (const InitRow& row : kInits) {
    if (row.name != name) continue;
    check(row.number == (colon != std::string_view::npos), "init", name,
          row.number ? " must be given a number, as " : " takes no number, got ",
          row.number ? std::string(name) + ":0.01" : std::string(text));
    InitSpec spec{std::string(name), 0};
    if (row.number) {
      const std::string_view digits = text.substr(colon + 1);
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), spec.number);
      check(error == std::errc() && end == digits.data() + digits.size() && std::isfinite(spec.number), "init", name,
            " must be given a number, as ", name, ":0.01, got \"", text, '"');
      check(name != "normal" || spec.number >= 0, "normal", "std must be >= 0, got ", spec.number);
    }
    return spec;
  }
  std::array<std::string_view, kInits.size()> names;
  for (size_t i = 0; i < names.size(); ++i) names[i] = kInits[i].name;
  fail("init", "init must be auto or a start that `list init` shows, got \"", text, '"', did_you_mean(name, names));
}

}  // namespace ballast
