#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <ballast/base/layer_role.h>

namespace torch::jit {
struct Module;
}

namespace ballast {

/// A named parameter or buffer.
struct ViewedTensor {
  std::string name;   ///< dotted, "layer1.0.conv1.weight"
  std::string layer;  ///< the module it belongs to, "layer1.0.conv1"
  torch::Tensor value;
};

/// What probing needs to know of a module, native or TorchScript: its tensors and which of its layers are norms or drops
/// (HasLayerRole, LibTorch's own types, or a TorchScript class named ...Norm... or ...Dropout...).
class ModuleView {
 public:
  explicit ModuleView(torch::nn::Module& module);
  explicit ModuleView(const torch::jit::Module& module);

  const std::vector<ViewedTensor>& parameters() const { return parameters_; }
  const std::vector<ViewedTensor>& buffers() const { return buffers_; }
  /// Of a layer by its dotted name; nothing for an ordinary one.
  std::optional<LayerRole> role(const std::string& layer) const;
  /// Names of the layers of a role whose class name holds `type`, in the order of registration.
  std::vector<std::string> layers(LayerRole role, const std::string& type = "") const;

  /// One flag a layer: whether it is in training mode.
  std::vector<bool> modes() const;
  void set_modes(const std::vector<bool>& modes) const;
  /// Norms in training mode (batch statistics), drops in training mode or not, all other layers in training mode.
  void set_training(bool drops) const;

 private:
  struct Layer {
    std::string name;
    std::optional<LayerRole> role;
    std::string type;
    std::function<bool()> training;
    std::function<void(bool)> set_training;
  };
  std::vector<ViewedTensor> parameters_, buffers_;
  std::vector<Layer> layers_;
};

/// Keeps what probing changes, and puts it back when it ends, however it ends: bits of buffers, training flags, the
/// state of LibTorch's CPU generator.
class ProbeGuard {
 public:
  explicit ProbeGuard(const ModuleView& view);
  ~ProbeGuard();
  ProbeGuard(const ProbeGuard&) = delete;
  ProbeGuard& operator=(const ProbeGuard&) = delete;

 private:
  const ModuleView& view_;
  std::vector<torch::Tensor> buffers_;
  std::vector<bool> modes_;
  torch::Tensor generator_;
  bool optimized_;
};

}  // namespace ballast
