#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <ballast/base/key.h>
#include <ballast/weights/state_dict.h>

namespace ballast {

/// What load_weights does where the classifier of the file has another shape, or is missing in it.
enum class HeadPolicy {
  error,
  reset,  ///< the model's recipe draws it, by LoadOptions::key
  zero,
};

/// What load_weights does where the first convolution of the file is for another number of channels.
enum class InputPolicy {
  error,
  adapt,  ///< to 1 channel: the sum over the file's F; to C: repeated in turn, times F / C
};

/// Options of load_weights.
struct LoadOptions {
  /// The file's name of a tensor (prefix taken off) -> the model's.
  std::map<std::string, std::string> rename = {};
  /// Names that the model or the file lacks are left as they are and reported.
  bool partial = false;
  HeadPolicy head = HeadPolicy::error;
  InputPolicy input = InputPolicy::error;
  /// Prefixes that other programs put before every name. The one of {none, each of these, pairs of them} with most
  /// names of the model is taken off; ties: the shortest.
  std::vector<std::string> strip = {"module.", "_orig_mod.", "model.", "backbone."};
  /// Of the run (Key(seed)): what make_model drew from, so that a reset head starts as it does in a new model.
  Key key = {};
};

enum class LoadAction {
  loaded,
  converted,   ///< to the model's type
  adapted,     ///< first convolution: another number of channels
  reset,       ///< head: drawn anew
  zeroed,      ///< head: set to 0
  missing,     ///< not in the file: as it was
  unexpected,  ///< not in the model: not used
};
/// "loaded", "converted", ...
std::string_view load_action_name(LoadAction action);

/// What happened to one tensor.
struct LoadRow {
  std::string name = {};             ///< in the model; of an unexpected one, in the file
  std::string file_name = {};        ///< "" where the file lacks it
  std::vector<int64_t> file_shape = {}, model_shape = {};
  LoadAction action = LoadAction::loaded;
  std::string why = {};              ///< of all but loaded: "the file has 1000 outputs, the model 10"
};

/// What load_weights did.
struct LoadReport {
  std::string prefix;                ///< taken off every name
  int64_t loaded = 0;                ///< tensors copied: loaded, converted or adapted
  std::vector<LoadRow> rows;         ///< by name; the unexpected ones last
  /// Names of the rows with that action.
  std::vector<std::string> names(LoadAction action) const;
};

/// Copies weights into a module: a plan for every tensor first, then the copy, so that a refused file changes nothing.
/// Every tensor of the module must be there with its shape, and no other, but for what the options allow.
/// num_batches_tracked may be missing. Floating point types are converted. The names that PyTorch gave weight and
/// spectral norm before version 1.9 (weight_g, weight_v; weight_orig, weight_u, weight_v) are those of today.
///
/// Head     Model::classifier(); first convolution: Model::first_conv(). Of other modules neither is known, and any other
///          shape is an error.
/// Errors   DataError  `[weights] fc.weight must be (10, 512), got (1000, 512); head reset replaces it`;
///          `[weights] conv1.weight must be (64, 1, 7, 7), got (64, 3, 7, 7); input adapt converts it`;
///          `[weights] 3 names are missing: layer1.0.bn1.weight, ... (nearest in file: layer1.0.norm1.weight)`;
///          `[weights] 2 names are not in the model: head.weight, head.bias (nearest in model: fc.weight)`;
///          `[weights] the file must hold tensors of this model, got none of its 122 names` (partial).
///          std::invalid_argument  a rename of a name that the file lacks.
LoadReport load_weights(torch::nn::Module& module, const StateDict& weights, const LoadOptions& options = {});

/// (out, F, ...) as weights for `channels` channels that see the same picture: the sum over F for 1; else repeated in
/// turn, times F / channels. A gray picture x then gives what (x, x, x) gave.
torch::Tensor adapt_channels(const torch::Tensor& weight, int64_t channels);

}  // namespace ballast
