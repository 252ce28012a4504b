#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ballast {

/// Parameters that share their options.
struct ParamGroup {
  std::string name;        ///< "decay", "no_decay", "block 3, no_decay", "match fc.*"
  double lr = 0;           ///< GroupOptions::lr * lr_scale
  double lr_scale = 1;
  double weight_decay = 0;
  std::vector<std::string> parameters;
  int64_t numbers = 0;
};

/// A group of its own for the parameters that a glob matches.
struct GroupRule {
  std::string match = {};               ///< as in freeze(): `fc.*`
  double lr_scale = 1;                  ///< >= 0, on top of layer_decay
  std::optional<double> weight_decay = std::nullopt;  ///< >= 0; else as without the rule
};

/// Options of param_groups.
struct GroupOptions {
  double lr = 1;
  /// d of layer-wise decay, in (0, 1]; 1: none.
  double layer_decay = 1;
  double weight_decay = 0;
  /// No weight decay for tensors of at most one dimension and those that the model declares (Model::no_weight_decay).
  bool no_decay_1d = true;
  /// The first that matches counts.
  std::vector<GroupRule> rules = {};
};

/// Groups of the parameters that require a gradient, for Optimizer.
///
///   lr of depth i = lr * layer_decay^(L + 1 - i) * lr_scale;   stem 0, blocks 1..L, head L + 1
///
/// lr_scale is the rule's times the model's own (Model::lr_scale: a tenth for the scalars of Fixup).
///
/// Depth    block: a numbered child, the outermost one (layer1.0, blocks.11, layers.3); in a model without such children
///          each layer with a weight of more than one dimension, with the norm behind it. What comes before the first block
///          is the stem (if nothing does, the first block is); what comes after the last one, as the classifier, the head.
/// Source   Clark et al. 2020, arXiv:2003.10555 (ELECTRA); 0.75 is usual for fine-tuning, 0.65 for BEiT.
/// Errors   std::invalid_argument: `[weights] layer_decay must be in (0, 1], got 0`; `[weights] fc9.* must match a
///          parameter, got none`; values out of range.
std::vector<ParamGroup> param_groups(const torch::nn::Module& module, const GroupOptions& options);

/// The depth of every parameter of a module, in order of registration, and L + 1.
struct ParamDepths {
  std::vector<std::pair<std::string, int64_t>> depth;
  int64_t head = 0;
};
ParamDepths param_depths(const torch::nn::Module& module);

}  // namespace ballast
