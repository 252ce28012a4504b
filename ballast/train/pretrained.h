#pragma once

// No torch in this header: a run's plan holds what it says.

#include <cstdint>
#include <string>
#include <vector>

#include <ballast/base/key.h>
#include <ballast/io/json.h>

namespace ballast {

class Model;
struct RunOptions;
struct FreezeReport;
struct ParamGroup;

/// What a run starts from: pre-trained weights, frozen parts, groups of parameters.
struct StartPlan {
  struct Tensor {
    std::string name, action, why;
    std::vector<int64_t> file_shape, model_shape;
  };
  struct Group {
    std::string name;
    double lr_scale = 1, weight_decay = 0;
    int64_t tensors = 0, numbers = 0;
  };
  std::string path;                    ///< of the weights; empty: none
  std::string kind, wrapper, prefix;   ///< safetensors, pt, torchscript; what was opened and taken off
  int64_t loaded = 0, tensors = 0;     ///< of the model's tensors
  std::vector<Tensor> rows;            ///< every tensor
  std::vector<std::string> skipped;    ///< in the file beside the weights
  int64_t frozen_tensors = 0, frozen_numbers = 0, frozen_layers = 0;
  std::vector<Group> groups;
};

/// Loads model.pretrained into a new model: the head is drawn anew where the number of classes differs, the first
/// convolution adapted where the number of channels does. Nothing without model.pretrained.
/// Errors   DataError that names the file, the first thing that does not fit and the remedy; the model is unchanged.
void load_pretrained(Model& model, const RunOptions& options, Key key, StartPlan& plan);

/// Groups of a run: layer_decay, optim.group, no weight decay where the model or the shape says so.
/// Errors   std::invalid_argument: a glob that matches nothing.
std::vector<ParamGroup> run_groups(const Model& model, const RunOptions& options);

void note_frozen(const FreezeReport& report, StartPlan& plan);
void note_groups(const std::vector<ParamGroup>& groups, StartPlan& plan);

/// Lines for people: what matched, what did not and why. Empty if the run starts from nothing but its seed.
std::vector<std::string> start_lines(const StartPlan& plan);
JsonValue start_json(const StartPlan& plan);

}  // namespace ballast
