#pragma once

#include <torch/nn/module.h>

#include <string>
#include <vector>

#include <ballast/base/key.h>

namespace ballast {

/// A model that names its own recipe (what --init auto means) and its classifier.
struct HasRecipe {
  virtual ~HasRecipe() = default;
  /// A name of init/catalog.h, such as resnet.
  virtual std::string recipe() const = 0;
  /// The dotted name of the last linear layer, such as fc.
  virtual std::string head() const = 0;
};

}  // namespace ballast
