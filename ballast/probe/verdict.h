#pragma once

#include <string>
#include <vector>

#include <ballast/probe/init_report.h>

// Private to the room: from measurements to findings and a verdict (the table in init_report.h). Free of tensors.

namespace ballast {

/// The gradient of one trainable parameter.
struct NamedGradient {
  std::string name, layer;
  double norm = 0, weight_norm = 0;
  bool defined = false;
  bool weight = false;  ///< of at least 2 dimensions
  bool opened = false;
  double count = 1;     ///< numbers in it
};

/// Fills findings, verdict, level, layer, cure and text. `finite`: whether the loss is.
void judge(InitReport& report, const std::vector<NamedGradient>& gradients, bool finite);

}  // namespace ballast
