#pragma once

namespace ballast {

/// What a layer is, for rooms that switch modes of norms and drops without including them.
enum class LayerRole { norm, drop };

/// Implemented by ballast's norms and drops; LibTorch's own modules are told by their type.
struct HasLayerRole {
  virtual ~HasLayerRole() = default;
  virtual LayerRole layer_role() const = 0;
};

}  // namespace ballast
