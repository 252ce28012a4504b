#include <ballast/init/layer_use.h>

#include <set>
#include <string_view>

namespace ballast::detail {
namespace {

std::string_view bare(std::string_view op) {
  const size_t colon = op.rfind(':');
  return colon == std::string_view::npos ? op : op.substr(colon + 1);
}

torch::Tensor tensor_at(const ObservedOp& op, size_t i) {
  return i < op.inputs.size() && op.inputs[i].isTensor() ? op.inputs[i].toTensor() : torch::Tensor();
}

int64_t int_at(const ObservedOp& op, size_t i) {
  return i < op.inputs.size() && op.inputs[i].isInt() ? op.inputs[i].toInt() : 1;
}

const Owner* owner_of(const torch::Tensor& t, const Owners& owners) {
  const auto found = owners.find(storage_of(t));
  return found == owners.end() ? nullptr : &found->second;
}

}  // namespace

const c10::StorageImpl* storage_of(const torch::Tensor& t) {
  return t.defined() && t.has_storage() ? t.unsafeGetTensorImpl()->storage().unsafeGetStorageImpl() : nullptr;
}

Owners owners_of(const torch::nn::Module& model) {
  Owners owners;
  const auto parameters = model.named_parameters();
  for (const auto& p : parameters) {
    if (p.value().dim() < 2 || storage_of(p.value()) == nullptr) continue;
    const size_t dot = p.key().rfind('.');
    const std::string prefix = dot == std::string::npos ? "" : p.key().substr(0, dot + 1);
    const torch::Tensor* bias = parameters.find(prefix + "bias");
    owners.emplace(storage_of(p.value()), Owner{dot == std::string::npos ? p.key() : p.key().substr(0, dot), p.key(), p.value(),
                                                bias == nullptr ? torch::Tensor() : *bias});
  }
  return owners;
}

std::optional<LayerUse> layer_use(const ObservedOp& op, const Owners& owners) {
  if (op.outputs.size() != 1) return std::nullopt;
  const std::string_view name = bare(op.name);
  static const std::set<std::string_view> kConvs = {"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
                                                    "conv_transpose3d", "convolution", "_convolution"};
  LayerUse use;
  if (kConvs.contains(name) || name == "linear") {
    const torch::Tensor weight = tensor_at(op, 1);
    use.owner = owner_of(weight, owners);
    use.bias = tensor_at(op, 2);
    if (name != "linear") {
      use.channel_dim = op.outputs[0].dim() - weight.dim() + 1;  // a sample without a batch has one dimension less
      use.groups = int_at(op, name.ends_with("convolution") ? 8 : 6);
    }
    return use;
  }
  if (name == "addmm") {
    use.owner = owner_of(tensor_at(op, 2), owners);
    use.bias = tensor_at(op, 0);
  } else if (name == "matmul" || name == "mm" || name == "bmm" || name == "einsum") {
    for (const torch::Tensor& t : input_tensors(op)) {
      if (use.owner == nullptr) use.owner = owner_of(t, owners);
    }
  }
  return use.owner == nullptr ? std::nullopt : std::optional<LayerUse>(use);
}

bool passes_on(const std::string& op) {
  static const std::set<std::string_view> kNames = {
      "view", "reshape", "flatten", "unflatten", "transpose", "t", "permute", "movedim", "squeeze", "unsqueeze", "select",
      "slice", "narrow", "chunk", "split", "unbind", "expand", "contiguous", "clone", "alias", "detach", "_unsafe_view", "dropout",
      "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "to"};
  return kNames.contains(bare(op));
}

bool is_norm_op(const std::string& op) {
  const std::string_view name = bare(op);
  return name.find("_norm") != std::string_view::npos && name.find("weight_norm") == std::string_view::npos &&
         name.find("linalg") == std::string_view::npos;
}

}  // namespace ballast::detail
