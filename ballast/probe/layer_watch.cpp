#include <ballast/probe/layer_watch.h>

#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_map>

#include <ballast/ops/l2_norm.h>

namespace ballast {
namespace {

std::string base_name(const std::string& op) {
  std::string name = op.substr(op.rfind(':') == std::string::npos ? 0 : op.rfind(':') + 1);
  if (name.ends_with("_")) name.pop_back();  // in place
  return name;
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

// Operators that only combine a parameter with a signal, as x + pos_embed does.
bool combines(const std::string& name) {
  static const std::set<std::string> kNames = {"add", "sub", "mul", "div", "cat", "stack", "where", "copy", "expand", "index_put"};
  return kNames.contains(name);
}

// A fused norm applies its activation itself and says which.
std::string fused_act(const ObservedOp& op) {
  if (!op.name.starts_with("ballast::")) return "";
  for (const c10::IValue& value : op.inputs) {
    if (value.isString() && act_op(value.toStringRef()).is_act) return value.toStringRef();
  }
  return "";
}

bool is_recurrent(const std::string& name) { return name == "lstm" || name == "gru" || name == "rnn_tanh" || name == "rnn_relu"; }

int64_t channel_dim_of(const std::string& name) { return contains(name, "conv") ? 1 : -1; }

double rms(const torch::Tensor& g) {
  return g.numel() == 0 ? 0 : ops::l2_norm(g.to(torch::kCPU)) / std::sqrt(static_cast<double>(g.numel()));
}

}  // namespace

ActOp act_op(const std::string& op) {
  const float inf = std::numeric_limits<float>::infinity();
  // Where |phi'| = 1e-3, as a value of phi.
  static const std::unordered_map<std::string, ActOp> kActs = {
      {"relu", {true, -inf, inf}},      {"leaky_relu", {true, -inf, inf}}, {"gelu", {true, -inf, inf}},       {"gelu_tanh", {true, -inf, inf}},
      {"silu", {true, -inf, inf}},      {"mish", {true, -inf, inf}},       {"hardswish", {true, -inf, inf}},
      {"prelu", {true, -inf, inf}},     {"clamp_min", {true, -inf, inf}},  {"threshold", {true, -inf, inf}},
      {"tanh", {true, -0.999499875F, 0.999499875F}},
      {"sigmoid", {true, 0.001001002F, 0.998998998F}},
      {"softsign", {true, -0.968377223F, 0.968377223F}},
      {"softplus", {true, 0.0010005003F, inf}},
      {"elu", {true, -0.999F, inf}},    {"selu", {true, -1.757099341F, inf}},
      {"relu6", {true, 0.0F, 6.0F}},    {"hardtanh", {true, -1.0F, 1.0F}}, {"hardsigmoid", {true, 0.0F, 1.0F}},
  };
  const auto found = kActs.find(base_name(op));
  return found == kActs.end() ? ActOp{} : found->second;
}

const void* storage_of(const torch::Tensor& t) {
  if (!t.defined() || !t.has_storage()) return nullptr;
  return t.unsafeGetTensorImpl()->storage().unsafeGetStorageImpl();
}

struct LayerWatch::State {
  struct Owner {
    const ViewedTensor* tensor = nullptr;
    bool norm = false;
    bool computed = false;
  };
  // What the last operator that wrote a storage was: a later one overwrites it, so an address that was given back and
  // taken again is never mistaken.
  struct Made {
    size_t layer = 0;
    bool direct = true;  // the layer's output itself, seen through nothing but views
  };

  LayerWatchOptions options;
  int64_t samples = 0, section = 0;
  std::unordered_map<const void*, Owner> owners;
  std::unordered_map<const void*, Made> made;
  std::set<const void*> used;
  std::vector<WatchedLayer> layers;
  std::vector<torch::Tensor> kept;  // computed weights: their storages must not be given to others while it runs

  void see(const ObservedOp& op, const std::weak_ptr<State>& self);
  void weighted(const ObservedOp& op, const std::string& name, const Owner& owner, const std::vector<torch::Tensor>& inputs,
                const std::weak_ptr<State>& self);
  Signal measure(const torch::Tensor& y, const SignalOptions& o) const;
};

Signal LayerWatch::State::measure(const torch::Tensor& y, const SignalOptions& o) const {
  if (!options.signals || y.dim() < 2 || !y.is_floating_point() || samples == 0 || y.size(0) == 0 || y.size(0) % samples != 0) return {};
  return measure_signal(y, o);
}

void LayerWatch::State::see(const ObservedOp& op, const std::weak_ptr<State>& self) {
  if (op.outputs.empty()) return;
  const std::string name = base_name(op.name);
  const std::vector<torch::Tensor> inputs = input_tensors(op);
  Owner owner;
  bool signal = false, any_norm = false;
  const Made* from = nullptr;
  for (const torch::Tensor& t : inputs) {
    const void* storage = storage_of(t);
    const auto own = owners.find(storage);
    if (own != owners.end()) {
      any_norm = any_norm || own->second.norm;
      // The weight is the parameter with the most dimensions.
      if (owner.tensor == nullptr || own->second.tensor->value.dim() > owner.tensor->value.dim()) owner = own->second;
    } else if (t.is_floating_point()) {
      signal = true;
      const auto source = made.find(storage);
      if (source != made.end() && from == nullptr) from = &source->second;
    } else {
      signal = true;  // indices of an embedding
    }
  }
  const torch::Tensor& y = op.outputs.front();
  const void* out = storage_of(y);
  if (!signal) {
    if (owner.tensor == nullptr) {
      for (const torch::Tensor& t : op.outputs) made.erase(storage_of(t));
    }
    // Made of parameters alone: still a weight. Views keep the parameter's storage and need no entry.
    if (owner.tensor != nullptr && !owners.contains(out)) {
      owner.computed = true;
      for (const torch::Tensor& t : op.outputs) owners[storage_of(t)] = owner;
      kept.insert(kept.end(), op.outputs.begin(), op.outputs.end());
    }
    return;
  }
  const bool norm = any_norm || contains(name, "norm");
  if (owner.tensor != nullptr && !norm && owner.tensor->value.dim() >= 2 && !combines(name) && !owners.contains(out)) {
    weighted(op, name, owner, inputs, self);
    return;
  }
  if (owners.contains(out)) return;  // an update of a buffer in place
  const bool view = from != nullptr && std::any_of(inputs.begin(), inputs.end(), [&](const torch::Tensor& t) { return storage_of(t) == out; });
  if (norm) ++section;
  if (from == nullptr) {
    for (const torch::Tensor& t : op.outputs) made.erase(storage_of(t));
    return;
  }
  Made next = *from;
  WatchedLayer& layer = layers[next.layer];
  const std::string applied = fused_act(op);
  const ActOp act = act_op(applied.empty() ? name : applied);
  if (norm && next.direct) layer.before_norm = true;
  const bool reads = !view || act.is_act || norm || combines(name);
  if (reads) next.direct = false;
  if (act.is_act && layer.act.empty() && y.is_floating_point()) {
    layer.act = applied.empty() ? op.name : applied;
    layer.activated = measure(y, {.channel_dim = channel_dim_of(layer.op), .low = act.low, .high = act.high, .correlations = false});
  }
  // Sums start anew: which of the branches an activation behind them belongs to cannot be said.
  for (const torch::Tensor& t : op.outputs) made[storage_of(t)] = next;
}

void LayerWatch::State::weighted(const ObservedOp& op, const std::string& name, const Owner& owner,
                                 const std::vector<torch::Tensor>& inputs, const std::weak_ptr<State>& self) {
  WatchedLayer layer;
  layer.parameter = owner.tensor->name;
  layer.name = owner.tensor->layer.empty() ? owner.tensor->name : owner.tensor->layer;
  layer.op = op.name;
  layer.weight = owner.tensor->value;
  layer.computed = owner.computed;
  layer.recurrent = is_recurrent(name);
  layer.section = section;
  layer.tied = !used.insert(storage_of(owner.tensor->value)).second;
  if (contains(name, "conv")) {
    layer.transposed = contains(name, "transpose") || (name == "convolution" && op.inputs.size() > 6 && op.inputs[6].isBool() && op.inputs[6].toBool());
    const int64_t in_channels = inputs.front().dim() > 1 ? inputs.front().size(1) : 1;
    const int64_t per_group = layer.transposed ? layer.weight.size(0) : layer.weight.size(1);
    if (!layer.transposed && per_group > 0 && in_channels % per_group == 0) layer.groups = in_channels / per_group;
  }
  const torch::Tensor& y = op.outputs.front();
  layer.output = measure(y, {.channel_dim = channel_dim_of(name), .correlations = options.correlations});
  const size_t index = layers.size();
  const bool recurrent = layer.recurrent;
  if (recurrent) {
    layer.recurrent_arguments = op.inputs;
    layer.recurrent_gradients.resize(op.outputs.size());
  }
  layers.push_back(std::move(layer));
  for (size_t i = 0; i < op.outputs.size(); ++i) {
    made[storage_of(op.outputs[i])] = {index, true};
    if (!op.outputs[i].requires_grad() || (i > 0 && !recurrent)) continue;
    op.outputs[i].register_hook([self, index, recurrent, i](const torch::Tensor& g) {
      const auto state = self.lock();
      if (!state || !g.defined()) return;
      torch::NoGradGuard no_grad;
      WatchedLayer& to = state->layers[index];
      to.output_gradient = rms(g);
      if (recurrent) to.recurrent_gradients[i] = g.detach().clone();
    });
  }
}

LayerWatch::LayerWatch(const ModuleView& view, LayerWatchOptions options) : state_(std::make_shared<State>()) {
  state_->options = options;
  for (const auto* list : {&view.parameters(), &view.buffers()}) {
    for (const ViewedTensor& t : *list) {
      if (const void* storage = storage_of(t.value)) {
        state_->owners[storage] = {&t, view.role(t.layer) == LayerRole::norm, false};
      }
    }
  }
}

LayerWatch::~LayerWatch() = default;

torch::Tensor LayerWatch::forward(const std::function<torch::Tensor()>& run, int64_t samples) {
  state_->samples = samples;
  const std::weak_ptr<State> self = state_;
  torch::Tensor y;
  observe([&] { y = run(); }, [this, &self](const ObservedOp& op) { state_->see(op, self); });
  return y;
}

const std::vector<WatchedLayer>& LayerWatch::layers() const { return state_->layers; }

}  // namespace ballast
