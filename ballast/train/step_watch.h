#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <ballast/io/json.h>
#include <ballast/probe/layer_watch.h>
#include <ballast/probe/module_view.h>

namespace ballast {

/// The layers of a model during chosen steps of training (--watch): activations, gradients, and how far the step moved
/// each weight. Steps between the chosen ones pay nothing.
///
///   watch.begin();                              // before a chosen step
///   ... forward(run, samples) as the model's forward pass, backward, the optimizer's step ...
///   record(watch.end());                        // an array, an object a layer
///
/// Of a step of several micro-batches the first is watched; the gradient of a weight is that of the whole step.
class StepWatch {
 public:
  explicit StepWatch(torch::nn::Module& module) : view_(module) {}

  void begin();
  bool active() const { return watch_ != nullptr; }
  torch::Tensor forward(const std::function<torch::Tensor()>& run, int64_t samples);
  /// [{"name", "mean", "std", "across", "zeros", "saturated", "gradient", "weight_gradient", "update"}, ...]: values that
  /// a rerun repeats; what was not measured is left out.
  JsonValue end();
  /// Gives up a step that was begun.
  void abandon();

 private:
  ModuleView view_;
  std::unique_ptr<LayerWatch> watch_;
  bool seen_ = false;
  std::vector<torch::Tensor> before_;                    // of each parameter of at least 2 dimensions, else undefined
  std::shared_ptr<std::vector<torch::Tensor>> gradients_;
  std::vector<unsigned> hooks_;
};

}  // namespace ballast
