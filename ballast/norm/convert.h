#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <ballast/norm/norm.h>

namespace ballast {

/// What became of one norm.
struct ConvertRow {
  std::string name;  ///< such as layer1.0.bn1
  NormOptions from, to;
  /// Whether the model computes the same: batch to frozen in evaluation mode, batch to sync, and back.
  bool same_function = false;
  /// `same function` or `needs training`.
  std::string note;
  /// What `to` lacks: running statistics, bias, ... (the very tensors), and the mode.
  std::map<std::string, torch::Tensor> waiting;
  bool training = true;
};

/// One row for each norm that was converted, in the order of registration. Keep it to go back.
struct ConvertReport {
  std::vector<ConvertRow> rows;
};

/// Converts the ballast norms (Norm) of a model to another kind, in place: owners, names and parameters stay. weight and
/// bias keep their values and are the same tensors, so that an optimizer made before goes on; what the new kind lacks
/// waits in the report. to.channels, act, act_a, channel_dim and overwrite_input are taken from each norm; groups 0 means
/// the largest divisor up to 32. Norms of kind none are left alone. To split: the first part keeps the state, the others
/// start as copies.
///
/// filter   of dotted names; none: all
/// Source   the practice of freezing (arXiv:1506.01497) and of swapping batch for group norm before fine-tuning
/// Not      a conversion that keeps the function, where a row says `needs training`.
/// Errors   std::invalid_argument `[convert] model must hold ballast norms, got torch::nn::BatchNorm2d at bn1`; those of
///          Norm's options; nothing is changed then.
ConvertReport convert_norm_(torch::nn::Module& model, const NormOptions& to,
                            const std::function<bool(const std::string& name)>& filter = nullptr);

/// Undoes convert_norm_: kinds, options, modes and all that waited come back; weight and bias stay as they now are.
///
/// Errors   std::invalid_argument `[convert] report must belong to this model, got 21 rows for 20 norms`;
///          `[convert] report must belong to this model, got no norm layer1.0.bn1`.
void restore_norm_(torch::nn::Module& model, const ConvertReport& report);

}  // namespace ballast
