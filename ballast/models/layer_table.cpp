#include <ballast/models/layer_table.h>

#include <map>
#include <utility>

#include <ballast/probe/observer.h>

namespace ballast {
namespace {

std::string parent_of(const std::string& name) {
  const size_t dot = name.rfind('.');
  return dot == std::string::npos ? "" : name.substr(0, dot);
}

// The layer that a parameter belongs to; those of a computed weight stand below it.
std::string layer_of(const std::string& parameter) {
  const size_t computed = parameter.find(".parametrizations.");
  return computed == std::string::npos ? parent_of(parameter) : parameter.substr(0, computed);
}

// What an operator is called in the table; "" for those that get no row of their own.
std::string type_of(const ObservedOp& op) {
  static const std::map<std::string, std::string> kTypes = {
      {"aten::linear", "linear"},         {"aten::batch_norm", "batch norm"}, {"aten::group_norm", "group norm"},
      {"aten::layer_norm", "layer norm"}, {"aten::max_pool2d", "max pool"},   {"aten::adaptive_avg_pool2d", "average pool"},
      {"aten::lstm", "lstm"},             {"aten::gru", "gru"},               {"aten::rnn_tanh", "rnn"},
      {"aten::rnn_relu", "rnn"},          {"aten::matmul", "attention"},
      {"ballast::batch_norm", "batch norm"}, {"ballast::batch_norm_add", "batch norm"},
      {"ballast::group_norm", "group norm"},
  };
  if (op.name == "aten::conv2d") {
    const torch::Tensor weight = op.inputs.at(1).toTensor();
    const int64_t stride = op.inputs.at(3).toIntVector().at(0);
    return "conv " + std::to_string(weight.size(2)) + "x" + std::to_string(weight.size(3)) +
           (stride > 1 ? " /" + std::to_string(stride) : "");
  }
  if (op.name == "ballast::feature_norm") return op.inputs.at(5).toBool() ? "rms norm" : "layer norm";
  const auto found = kTypes.find(op.name);
  return found == kTypes.end() ? "" : found->second;
}

// Of a batch of one.
int64_t multiply_adds_of(const ObservedOp& op, const std::string& type) {
  const torch::Tensor& y = op.outputs.at(0);
  if (op.name == "aten::conv2d" || type == "linear") {
    const torch::Tensor weight = op.inputs.at(1).toTensor();
    return y.numel() * (weight.numel() / weight.size(0));
  }
  if (type == "attention") return y.numel() * op.inputs.at(0).toTensor().size(-1);
  if (type == "lstm" || type == "gru" || type == "rnn") {
    int64_t per_step = 0;
    for (const torch::Tensor& w : input_tensors(op)) per_step += w.dim() == 2 ? w.numel() : 0;
    return per_step * y.size(1);
  }
  return 0;
}

class Table {
 public:
  explicit Table(const Model& model) {
    for (const auto& p : model.named_parameters()) {
      owners_[p.value().unsafeGetTensorImpl()->storage().unsafeGetStorageImpl()] = p.key();
      sizes_[layer_of(p.key())] += p.value().numel();
      own_sizes_[p.key()] = p.value().numel();
    }
  }

  void add(const ObservedOp& op) {
    if (op.outputs.empty()) return;
    const std::string type = type_of(op);
    std::string parameter;
    for (const torch::Tensor& t : input_tensors(op)) {
      if (!t.has_storage() || !parameter.empty()) continue;
      const auto found = owners_.find(t.unsafeGetTensorImpl()->storage().unsafeGetStorageImpl());
      if (found != owners_.end()) parameter = found->second;
    }
    // A computed weight is no parameter: its layer is the one whose parameters were read last.
    const bool computes = type == "linear" || op.name == "aten::conv2d";
    if (computes && parameter.empty()) parameter = std::exchange(weight_read_, "");
    if (type.empty() && parameter.empty()) return;
    LayerRow row;
    if (type.empty()) {
      weight_read_ = parameter;
      // A parameter that stands alone, such as pos_embed; views of weights belong to the layer that uses them.
      if (!parent_of(parameter).empty()) return;
      row.name = parameter;
      row.type = "parameter";
    } else if (!parameter.empty()) {
      last_ = row.name = layer_of(parameter);
      row.type = type;
    } else {
      row.type = type;
      row.name = type == "attention" ? parent_of(last_) : pool_name(type);
    }
    const torch::Tensor& y = op.outputs.at(0);
    row.output = y.sizes().slice(std::min<int64_t>(1, y.dim())).vec();
    row.multiply_adds = multiply_adds_of(op, type);
    for (LayerRow& known : rows_) {
      if (known.name == row.name && known.type == row.type) {
        known.multiply_adds += row.multiply_adds;
        known.output = row.output;
        return;
      }
    }
    if (row.type == "parameter") {
      row.params = own_sizes_.at(parameter);
    } else if (!parameter.empty()) {
      row.params = sizes_.at(row.name);
    }
    rows_.push_back(std::move(row));
  }

  std::vector<LayerRow> take() { return std::move(rows_); }

 private:
  // Named as in torchvision; further ones get a number.
  std::string pool_name(const std::string& type) {
    const std::string name = type == "max pool" ? "maxpool" : "avgpool";
    const int number = ++pools_[name];
    return number == 1 ? name : name + std::to_string(number);
  }

  std::map<const c10::StorageImpl*, std::string> owners_;
  std::map<std::string, int64_t> sizes_;      // by layer
  std::map<std::string, int64_t> own_sizes_;  // by parameter
  std::map<std::string, int> pools_;
  std::vector<LayerRow> rows_;
  std::string last_;
  std::string weight_read_;
};

}  // namespace

std::vector<LayerRow> layer_table(Model& model) {
  return layer_table(model, model.options().height, model.options().width);
}

std::vector<LayerRow> layer_table(Model& model, int64_t height, int64_t width) {
  Table table(model);
  std::vector<std::pair<torch::nn::Module*, bool>> modes;
  for (const auto& module : model.modules()) modes.emplace_back(module.get(), module->is_training());
  model.eval();
  const auto restore = [&] {
    for (const auto& [module, training] : modes) module->train(training);
  };
  try {
    torch::NoGradGuard no_grad;
    const torch::Tensor first = model.parameters().at(0);
    const torch::Tensor x = torch::zeros({1, model.options().in_channels, height, width}, first.options().requires_grad(false));
    observe([&] { model.forward(x); }, [&](const ObservedOp& op) { table.add(op); });
  } catch (...) {
    restore();
    throw;
  }
  restore();
  return table.take();
}

LayerTotals totals(const std::vector<LayerRow>& rows) {
  LayerTotals sum;
  for (const LayerRow& row : rows) {
    sum.params += row.params;
    sum.multiply_adds += row.multiply_adds;
  }
  return sum;
}

}  // namespace ballast
