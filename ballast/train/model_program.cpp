#include <ballast/train/model_program.h>

#include <algorithm>

#include <ATen/core/ivalue.h>
#include <torch/nn/module.h>

#include <ballast/base/check.h>
#include <ballast/probe/observer.h>

namespace ballast {
namespace {

struct Recorded {
  std::string name;
  std::vector<c10::IValue> inputs;
  std::vector<torch::Tensor> outputs;
};

std::vector<Recorded> record(const std::function<torch::Tensor(const torch::Tensor&)>& forward, const torch::Tensor& x) {
  const torch::NoGradGuard no_grad;
  std::vector<Recorded> ops;
  observe([&] { forward(x); }, [&](const ObservedOp& op) { ops.push_back({op.name, op.inputs, op.outputs}); });
  return ops;
}

/// From two recordings with n1 and n2 samples.
class Translator {
 public:
  Translator(const torch::nn::Module& model, int64_t n1, int64_t n2) : n1_(n1), n2_(n2) {
    for (const auto& p : model.named_parameters()) {
      add_tensor(p.key(), p.value());
    }
    for (const auto& b : model.named_buffers()) {
      add_tensor(b.key(), b.value());
    }
  }

  ModelProgram translate(const std::vector<Recorded>& a, const std::vector<Recorded>& b, const torch::Tensor& x) {
    check(!a.empty() && a.size() == b.size(), "export", "a model must call the same operators for any number of samples, got ",
          a.size(), " and ", b.size());
    known_[x.unsafeGetTensorImpl()] = {};
    for (size_t i = 0; i < a.size(); ++i) {
      const Recorded &p = a[i], &q = b[i];
      check(p.name == q.name && p.inputs.size() == q.inputs.size(), "export", "a model must call the same operators for any number of "
            "samples, got ", p.name, " and ", q.name);
      if (p.outputs.empty()) {
        continue;  // a question, such as whether a tensor is floating point
      }
      ProgramOp op{.name = p.name, .arguments = {}, .shape = p.outputs[0].sizes().vec()};
      for (size_t k = 0; k < p.inputs.size(); ++k) {
        op.arguments.push_back(argument(p.inputs[k], q.inputs[k], p.name));
      }
      lower(std::move(op));
      const bool several = p.outputs.size() > 1 && !p.name.starts_with("ballast::");
      for (size_t k = 0; k < (several ? p.outputs.size() : 1); ++k) {
        ProgramTensor made = last();
        made.part = several ? static_cast<int64_t>(k) : -1;
        known_[p.outputs[k].unsafeGetTensorImpl()] = made;
      }
    }
    program_.input = x.sizes().vec();
    program_.input.erase(program_.input.begin());
    return std::move(program_);
  }

 private:
  void add_tensor(const std::string& name, const torch::Tensor& tensor) {
    if (tensor.defined()) {
      known_[tensor.unsafeGetTensorImpl()] = {.kind = ProgramTensor::Kind::parameter, .name = name};
      all_[name] = tensor;
    }
  }

  ProgramTensor last() const {
    return {.kind = ProgramTensor::Kind::result, .result = static_cast<int64_t>(program_.ops.size()) - 1};
  }

  ProgramTensor tensor(const torch::Tensor& t, const std::string& op) {
    const auto it = known_.find(t.unsafeGetTensorImpl());
    check(it != known_.end(), "export", "operator ", op, " reads a tensor that no operator before it made");
    if (it->second.kind == ProgramTensor::Kind::parameter) {
      program_.tensors[it->second.name] = all_.at(it->second.name);
    }
    return it->second;
  }

  ProgramSize size(int64_t p, int64_t q, const std::string& op) const {
    if (p == q) {
      return p;
    }
    check(p % n1_ == 0 && q % n2_ == 0 && p / n1_ == q / n2_, "export", "operator ", op,
          " has a size that is not a multiple of the number of samples, got ", p, " of ", n1_, " and ", q, " of ", n2_);
    return ProgramBatch{p / n1_};
  }

  ProgramArgument argument(const c10::IValue& p, const c10::IValue& q, const std::string& op) {
    if (p.isNone() || (p.isTensor() && !p.toTensor().defined())) return std::monostate();
    if (p.isTensor()) return tensor(p.toTensor(), op);
    if (p.isBool()) return p.toBool();
    if (p.isInt()) {
      const ProgramSize s = size(p.toInt(), q.toInt(), op);
      return std::holds_alternative<int64_t>(s) ? ProgramArgument(std::get<int64_t>(s)) : ProgramArgument(std::get<ProgramBatch>(s));
    }
    if (p.isDouble()) return p.toDouble();
    if (p.isString()) return p.toStringRef();
    if (p.isIntList()) {
      const std::vector<int64_t> u = p.toIntVector(), v = q.toIntVector();
      check(u.size() == v.size(), "export", "operator ", op, " must have lists of one length for any number of samples");
      std::vector<ProgramSize> list;
      for (size_t i = 0; i < u.size(); ++i) list.push_back(size(u[i], v[i], op));
      return list;
    }
    if (p.isTensorList()) {
      std::vector<ProgramTensor> list;
      for (const torch::Tensor& t : p.toTensorVector()) list.push_back(tensor(t, op));
      return list;
    }
    fail("export", "operator ", op, " has an argument that cannot be written: ", p.tagKind());
  }

  void add(std::string name, std::vector<ProgramArgument> arguments, const std::vector<int64_t>& shape) {
    program_.ops.push_back({.name = std::move(name), .arguments = std::move(arguments), .shape = shape});
  }

  // The activation that a norm of ballast ends with.
  void add_act(const std::string& act, const ProgramArgument& a, const std::vector<int64_t>& shape) {
    if (act == "none") {
      return;
    }
    if (act == "leaky_relu" || act == "elu") {
      add("aten::" + act, act == "elu" ? std::vector<ProgramArgument>{last(), a, 1.0, 1.0} : std::vector<ProgramArgument>{last(), a}, shape);
      return;
    }
    if (act == "gelu" || act == "gelu_tanh") {
      add("aten::gelu", {last(), std::string(act == "gelu" ? "none" : "tanh")}, shape);
      return;
    }
    for (const char* plain : {"relu", "relu6", "selu", "silu", "mish", "hardswish", "tanh", "sigmoid"}) {
      if (act == plain) {
        add("aten::" + act, {last()}, shape);
        return;
      }
    }
    fail("export", "activation ", act, " behind a norm has no counterpart");
  }

  // Operators of ballast by LibTorch's; in-place ones by those that are not.
  void lower(ProgramOp op) {
    auto& a = op.arguments;
    if (op.name == "ballast::batch_norm" || op.name == "ballast::batch_norm_add") {
      const bool adds = op.name == "ballast::batch_norm_add";
      const size_t w = adds ? 2 : 1;
      add("aten::batch_norm", {a[0], a[w], a[w + 1], a[w + 2], a[w + 3], false, 0.0, a[w + 5], false}, op.shape);
      if (adds) {
        add("aten::add", {last(), a[1], int64_t{1}}, op.shape);
      }
      add_act(std::get<std::string>(a[w + 6]), a[w + 7], op.shape);
    } else if (op.name == "ballast::group_norm") {
      add("aten::group_norm", {a[0], a[1], a[2], a[3], a[4], false}, op.shape);
      add_act(std::get<std::string>(a[5]), a[6], op.shape);
    } else if (op.name == "ballast::feature_norm" && std::get<int64_t>(a[1]) > 0 && !std::get<bool>(a[5])) {
      std::vector<ProgramSize> features;
      for (size_t i = op.shape.size() - static_cast<size_t>(std::get<int64_t>(a[1])); i < op.shape.size(); ++i) {
        features.emplace_back(op.shape[i]);
      }
      add("aten::layer_norm", {a[0], features, a[2], a[3], a[4], false}, op.shape);
      add_act(std::get<std::string>(a[6]), a[7], op.shape);
    } else {
      check(!op.name.starts_with("ballast::"), "export", "operator ", op.name, " has no counterpart in LibTorch");
      if (op.name.ends_with("_") && !op.name.ends_with("__")) {
        op.name.pop_back();
      }
      program_.ops.push_back(std::move(op));
    }
  }

  int64_t n1_, n2_;
  std::map<const void*, ProgramTensor> known_;
  std::map<std::string, torch::Tensor> all_;
  ModelProgram program_;
};

}  // namespace

ModelProgram record_program(torch::nn::Module& model, const std::function<torch::Tensor(const torch::Tensor&)>& forward,
                            const std::vector<int64_t>& input) {
  const bool training = model.is_training();
  model.eval();
  std::vector<int64_t> shape = {2};
  shape.insert(shape.end(), input.begin(), input.end());
  const torch::Tensor a = at::zeros(shape);
  shape[0] = 5;
  const torch::Tensor b = at::zeros(shape);
  // The recordings keep every tensor, so no address is used twice.
  const std::vector<Recorded> first = record(forward, a), second = record(forward, b);
  model.train(training);
  return Translator(model, 2, 5).translate(first, second, a);
}

}  // namespace ballast
