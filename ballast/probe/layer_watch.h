#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <ballast/probe/module_view.h>
#include <ballast/probe/observer.h>
#include <ballast/probe/signal.h>

namespace ballast {

/// A layer with a weight of at least 2 dimensions, as it ran.
struct WatchedLayer {
  std::string name;       ///< of the layer, "layer1.0.conv1"; of a weight that stands alone its own name
  std::string parameter;  ///< "layer1.0.conv1.weight"
  std::string op;         ///< "aten::conv2d"
  torch::Tensor weight;   ///< the parameter
  int64_t groups = 1;     ///< of a convolution
  bool transposed = false;
  bool recurrent = false;
  bool computed = false;     ///< the operator reads something computed from the parameter, not the parameter
  bool tied = false;         ///< the parameter was used before in this pass
  bool before_norm = false;  ///< the next operator that reads the output is a norm
  /// Number of norms that ran before this layer: layers with an equal number follow each other without a norm.
  int64_t section = 0;
  Signal output;             ///< of what the layer gives: the pre-activations
  std::string act;           ///< the activation behind it, "aten::relu"; empty if none was seen
  Signal activated;          ///< of what the activation gives; its samples are 0 without an activation
  double output_gradient = std::numeric_limits<double>::quiet_NaN();  ///< rms; NaN: none arrived
  std::vector<c10::IValue> recurrent_arguments;    ///< of a recurrent layer: the operator's arguments
  std::vector<torch::Tensor> recurrent_gradients;  ///< and the gradients of its results, undefined where none arrived
};

struct LayerWatchOptions {
  bool signals = true;
  bool correlations = true;
};

/// Watches one forward pass and the backward pass after it: each layer with a weight in the order of execution, what it
/// gives, and the gradient that comes back to its output. The model is not changed; operators are seen by observe(), so
/// TorchScript modules are watched too.
///
///   LayerWatch watch(view);
///   Tensor y = watch.forward([&] { return model->forward(x); }, x.size(0));
///   loss(y).backward();
///   watch.layers();
///
/// Layers    an operator belongs to the parameter whose storage one of its inputs has; what is computed from parameters
///           alone (spectral norm, weight standardization) counts as its parameter.
/// Norms     operators that read a tensor of a layer of role norm, and those with "norm" in their name.
/// Gradients of a layer that runs several times: its last use that gets one.
/// Not       for layers whose first dimension is not a multiple of `samples`: they get no signal.
class LayerWatch {
 public:
  explicit LayerWatch(const ModuleView& view, LayerWatchOptions options = {});
  ~LayerWatch();
  LayerWatch(const LayerWatch&) = delete;
  LayerWatch& operator=(const LayerWatch&) = delete;

  torch::Tensor forward(const std::function<torch::Tensor()>& run, int64_t samples);
  const std::vector<WatchedLayer>& layers() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

/// Whether an operator is an activation, and beyond which output values its slope is below 1e-3.
struct ActOp {
  bool is_act = false;
  float low = -std::numeric_limits<float>::infinity(), high = std::numeric_limits<float>::infinity();
};
ActOp act_op(const std::string& name);

/// Storage of a tensor as an identity; null if it has none.
const void* storage_of(const torch::Tensor& t);

}  // namespace ballast
