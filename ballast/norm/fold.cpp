#include <ballast/norm/fold.h>

#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include <map>
#include <set>

#include <ballast/base/check.h>
#include <ballast/norm/moment_observer.h>
#include <ballast/norm/without_drawing.h>
#include <ballast/probe/observer.h>

namespace ballast {
namespace {

struct Folded {
  torch::Tensor weight, bias;
};

// s and shift of y = s x + shift, in double.
std::pair<torch::Tensor, torch::Tensor> line_of(const NormImpl& norm) {
  const auto exact = [](const torch::Tensor& t) { return t.detach().to(torch::kDouble); };
  torch::Tensor s = (exact(norm.running_var) + norm.options.eps).rsqrt();
  if (norm.weight.defined()) s = s * exact(norm.weight);
  torch::Tensor shift = -exact(norm.running_mean) * s;
  if (norm.bias.defined()) shift = shift + exact(norm.bias);
  return {s, shift};
}

Folded fold_values(const torch::Tensor& w, const torch::Tensor& b, const NormImpl& norm, bool transposed, int64_t groups) {
  const int64_t channels = transposed ? w.size(1) * groups : w.size(0);
  check(channels == norm.options.channels, "fold", "channels must match, got ", channels, " and ", norm.options.channels);
  const auto [s, shift] = line_of(norm);
  const torch::Tensor exact = w.detach().to(torch::kDouble);
  torch::Tensor scaled;
  if (transposed) {
    // (in, out / groups, ...): the outputs of each group stand in dimension 1.
    const torch::Tensor by_group = exact.reshape({groups, w.size(0) / groups, w.size(1), -1});
    scaled = (by_group * s.view({groups, 1, w.size(1), 1})).reshape(w.sizes());
  } else {
    scaled = (exact.flatten(1) * s.view({-1, 1})).view(w.sizes());
  }
  torch::Tensor bias = shift;
  if (b.defined()) bias = bias + b.detach().to(torch::kDouble) * s;
  return {scaled.to(w.scalar_type()).contiguous(w.suggest_memory_format()), bias.to(w.scalar_type())};
}

void put(torch::Tensor& to, const torch::Tensor& value) {
  to.set_data(value);
}

template <class Impl>
bool fold_into(torch::nn::Module& module, const NormImpl& norm, bool transposed) {
  auto* layer = dynamic_cast<Impl*>(&module);
  if (layer == nullptr) return false;
  int64_t groups = 1;
  if constexpr (!std::is_same_v<Impl, torch::nn::LinearImpl>) groups = layer->options.groups();
  const Folded folded = fold_values(layer->weight, layer->bias, norm, transposed, groups);
  if (!layer->bias.defined()) {
    // The place of a bias that is not there cannot be filled: the layer becomes a clone that was made with one.
    layer->options.bias(true);
    *layer = *std::dynamic_pointer_cast<Impl>(detail::without_drawing([&] { return layer->clone(); }));
  }
  put(layer->weight, folded.weight);
  put(layer->bias, folded.bias);
  return true;
}

bool is_foldable(const torch::nn::Module& module) {
  return dynamic_cast<const FoldableLayer*>(&module) || module.as<torch::nn::Conv1d>() || module.as<torch::nn::Conv2d>() ||
         module.as<torch::nn::Conv3d>() || module.as<torch::nn::ConvTranspose1d>() ||
         module.as<torch::nn::ConvTranspose2d>() || module.as<torch::nn::ConvTranspose3d>() ||
         module.as<torch::nn::Linear>();
}

bool is_batch_norm(const NormImpl& norm) {
  switch (norm.options.kind) {
    case NormKind::batch:
    case NormKind::sync:
    case NormKind::split:
    case NormKind::frozen: return true;
    default: return false;
  }
}

}  // namespace

void fold_(torch::nn::Module& layer, NormImpl& norm) {
  check(is_batch_norm(norm), "fold", "norm must be a batch norm, got ", norm_name(norm.options.kind));
  check(norm.options.kind == NormKind::frozen || !norm.is_training(), "fold", "norm must be in eval mode, got training");
  torch::NoGradGuard no_grad;
  if (auto* own = dynamic_cast<FoldableLayer*>(&layer)) {
    const auto [w, b] = own->weight_and_bias();
    const Folded folded = fold_values(w, b, norm, false, 1);
    own->set_weight_and_bias(folded.weight, folded.bias);
  } else {
    const bool done = fold_into<torch::nn::Conv1dImpl>(layer, norm, false) ||
                      fold_into<torch::nn::Conv2dImpl>(layer, norm, false) ||
                      fold_into<torch::nn::Conv3dImpl>(layer, norm, false) ||
                      fold_into<torch::nn::ConvTranspose1dImpl>(layer, norm, true) ||
                      fold_into<torch::nn::ConvTranspose2dImpl>(layer, norm, true) ||
                      fold_into<torch::nn::ConvTranspose3dImpl>(layer, norm, true) ||
                      fold_into<torch::nn::LinearImpl>(layer, norm, false);
    check(done, "fold", "layer must be a convolution or linear, got ", layer.name());
  }
  NormOptions none = norm.options;
  none.kind = NormKind::none;
  norm.become(none);
}

int64_t fold_model_(torch::nn::Module& model, const std::function<torch::Tensor(const torch::Tensor&)>& forward,
                    const torch::Tensor& x) {
  check(!model.is_training(), "fold", "norm must be in eval mode, got training");
  const auto storage_of = [](const torch::Tensor& t) -> const void* {
    return t.defined() && t.has_storage() ? t.unsafeGetTensorImpl()->storage().unsafeGetStorageImpl() : nullptr;
  };
  std::map<const void*, torch::nn::Module*> layers;  // by the storage of their weight
  const std::function<void(torch::nn::Module&)> find = [&](torch::nn::Module& module) {
    if (is_foldable(module)) {
      for (const auto& p : module.named_parameters(/*recurse=*/false)) {
        if (p.key() == "weight") layers.emplace(storage_of(p.value()), &module);
      }
    }
    for (const auto& child : module.children()) find(*child);
  };
  find(model);

  struct Made {
    torch::nn::Module* layer = nullptr;
    NormImpl* norm = nullptr;  // the one that it is the input of
    int64_t readers = 0;       // norms, and operators outside of norms
  };
  std::map<const void*, Made> made;
  std::map<const void*, int64_t> runs;  // of layers and norms
  std::vector<torch::Tensor> alive;     // no storage is used again
  torch::Tensor result;
  int64_t inside = 0;
  torch::NoGradGuard no_grad;
  const detail::NormCallObserver calls([&](const void* norm, const torch::Tensor* input) {
    inside += input != nullptr ? 1 : -1;
    if (input == nullptr) return;
    ++runs[norm];
    if (const auto found = made.find(storage_of(*input)); found != made.end()) {
      ++found->second.readers;
      found->second.norm = static_cast<NormImpl*>(const_cast<void*>(norm));
    }
  });
  observe([&] { result = forward(x); },
          [&](const ObservedOp& op) {
            for (const torch::Tensor& t : op.outputs) alive.push_back(t);
            if (inside > 0) return;
            torch::nn::Module* layer = nullptr;
            std::set<const void*> read;
            for (const torch::Tensor& t : input_tensors(op)) {
              read.insert(storage_of(t));
              if (const auto found = layers.find(storage_of(t)); found != layers.end()) layer = found->second;
            }
            for (const void* storage : read) {
              if (const auto found = made.find(storage); found != made.end()) ++found->second.readers;
            }
            const bool makes = op.name.find("conv") != std::string::npos || op.name == "aten::linear";
            if (layer != nullptr && makes && op.outputs.size() == 1) {
              ++runs[layer];
              made[storage_of(op.outputs[0])].layer = layer;
            }
          });
  int64_t folded = 0;
  for (const auto& [storage, m] : made) {
    if (m.norm == nullptr || m.readers != 1 || runs[m.layer] != 1 || runs[m.norm] != 1) continue;
    if (storage == storage_of(result) || !is_batch_norm(*m.norm)) continue;
    fold_(*m.layer, *m.norm);
    ++folded;
  }
  return folded;
}

}  // namespace ballast
