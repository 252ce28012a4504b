#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <string>
#include <vector>

#include <ballast/drop/drop_layer.h>

namespace ballast {

/// A norm or a drop that freeze() stopped.
struct FrozenLayer {
  std::string name;
  bool was_training = true;
  DropMode mode = DropMode::train_only;  ///< of a ballast drop, before it was set to never
};

/// What freeze did, so that unfreeze can take it back.
struct FreezeReport {
  std::vector<std::string> parameters = {};  ///< that required a gradient before
  std::vector<FrozenLayer> layers = {};      ///< norms and drops
  int64_t numbers = 0;                  ///< of those parameters
};

/// Keeps a part of a model as it is: parameters whose dotted names match one of the globs no longer require a gradient
/// (optimizers leave them out), the norms among them use and keep their running statistics, the drops among them are the
/// identity. A norm belongs to the frozen part if a glob matches its own name or all its parameters; a drop, if one
/// matches its name.
///
/// Mode     frozen norms and LibTorch's drops are put in eval mode; module.train() would wake them: call keep_frozen() after
///          it. ballast's drops get DropMode::never.
/// Not      a speed-up by itself: the backward pass ends where nothing before needs a gradient, so freeze from the input on.
/// Errors   std::invalid_argument: `[weights] layer9.* must match a parameter, got none`
FreezeReport freeze(torch::nn::Module& module, const std::vector<std::string>& globs);

/// Puts the frozen norms and drops in eval mode again, after module.train().
void keep_frozen(torch::nn::Module& module, const FreezeReport& report);

/// Takes a freeze back: gradients and modes are as they were before it.
void unfreeze(torch::nn::Module& module, const FreezeReport& report);

}  // namespace ballast
