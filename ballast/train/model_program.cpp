#include <ballast/train/model_program.h>

#include <algorithm>
#include <set>

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
  std::vector<torch::Tensor> values;  // copies of outputs that do not come from x
};

std::vector<Recorded> record(const std::function<torch::Tensor(const torch::Tensor&)>& forward, const torch::Tensor& x) {
  const torch::NoGradGuard no_grad;
  std::vector<Recorded> ops;
  // Memory, not tensors: a view of what comes from x does so too.
  const auto memory = [](const torch::Tensor& t) { return static_cast<const void*>(t.storage().unsafeGetStorageImpl()); };
  std::set<const void*> of_x = {memory(x)};
  observe([&] { forward(x); }, [&](const ObservedOp& op) {
    Recorded& recorded = ops.emplace_back(Recorded{op.name, op.inputs, op.outputs, {}});
    const std::vector<torch::Tensor> inputs = input_tensors(op);
    const bool from_x = std::any_of(inputs.begin(), inputs.end(), [&](const torch::Tensor& t) { return of_x.contains(memory(t)); });
    for (const torch::Tensor& t : op.outputs) {
      // A later operator may overwrite it.
      if (!from_x) recorded.values.push_back(t.clone());
      if (from_x) of_x.insert(memory(t));
    }
  });
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
    know(x, {});
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
      if (std::equal(p.values.begin(), p.values.end(), q.values.begin(), q.values.end(),
                     [](const torch::Tensor& u, const torch::Tensor& v) { return u.equal(v); })) {
        program_.ops.back().values = p.values;
      }
      const bool several = p.outputs.size() > 1 && !p.name.starts_with("ballast::");
      for (size_t k = 0; k < (several ? p.outputs.size() : 1); ++k) {
        ProgramTensor made = last();
        made.part = several ? static_cast<int64_t>(k) : -1;
        know(p.outputs[k], made);
      }
    }
    program_.input = x.sizes().vec();
    program_.input.erase(program_.input.begin());
    return std::move(program_);
  }

 private:
  void add_tensor(const std::string& name, const torch::Tensor& tensor) {
    if (tensor.defined()) {
      know(tensor, {.kind = ProgramTensor::Kind::parameter, .name = name});
      all_[name] = tensor;
    }
  }

  ProgramTensor last() const {
    return {.kind = ProgramTensor::Kind::result, .result = static_cast<int64_t>(program_.ops.size()) - 1};
  }

  void know(const torch::Tensor& t, const ProgramTensor& as) {
    known_[t.unsafeGetTensorImpl()] = as;
    by_memory_[t.data_ptr()] = {t, as};
  }

  ProgramTensor tensor(const torch::Tensor& t, const std::string& op) {
    auto it = known_.find(t.unsafeGetTensorImpl());
    if (it == known_.end()) {
      // torch::zeros and its like hand on what the operator made as another tensor of the same memory.
      const auto same = by_memory_.find(t.data_ptr());
      const bool found = same != by_memory_.end() && same->second.first.sizes() == t.sizes() && same->second.first.strides() == t.strides();
      check(found, "export", "operator ", op, " reads a tensor that no operator before it made");
      it = known_.emplace(t.unsafeGetTensorImpl(), same->second.second).first;
    }
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
    if (p.isDevice()) return std::monostate();  // that of the input, see lower
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

  static bool made_of_nothing(const std::string& name) {
    return name == "aten::zeros" || name == "aten::ones" || name == "aten::full";
  }

  // Norms of the last dimensions, or with 0 of the channels at each position, that LibTorch has no operator for.
  void add_feature_norm(const ProgramOp& op) {
    const auto& a = op.arguments;
    const auto rank = static_cast<int64_t>(op.shape.size()), dims = std::get<int64_t>(a[1]);
    std::vector<ProgramSize> over, of_parameters;
    std::vector<int64_t> reduced = op.shape, parameter(op.shape.size(), 1);
    for (int64_t d = 0; d < rank; ++d) {
      const auto at = static_cast<size_t>(d);
      const bool normed = dims == 0 ? d == 1 : d >= rank - dims;
      if (normed) {
        over.emplace_back(d);
        reduced[at] = 1;
        parameter[at] = op.shape[at];
      }
      of_parameters.emplace_back(parameter[at]);
    }
    const auto mean = [&](const ProgramArgument& t) { add("aten::mean", {t, over, true, std::monostate()}, reduced); };
    ProgramArgument centered = a[0];
    if (!std::get<bool>(a[5])) {
      mean(a[0]);
      add("aten::sub", {a[0], last(), int64_t{1}}, op.shape);
      centered = last();
    }
    add("aten::square", {centered}, op.shape);
    mean(last());
    add("aten::add", {last(), a[4], int64_t{1}}, reduced);
    add("aten::rsqrt", {last()}, reduced);
    add("aten::mul", {centered, last()}, op.shape);
    for (const size_t k : {size_t{2}, size_t{3}}) {
      if (std::holds_alternative<std::monostate>(a[k])) continue;
      const ProgramArgument y = last();
      add("aten::reshape", {a[k], of_parameters}, parameter);
      if (k == 2) add("aten::mul", {y, last()}, op.shape);
      if (k == 3) add("aten::add", {y, last(), int64_t{1}}, op.shape);
    }
  }

  // Operators of ballast by LibTorch's; in-place ones by those that are not.
  void lower(ProgramOp op) {
    auto& a = op.arguments;
    if (made_of_nothing(op.name)) {
      // On the device of the input, wherever that will be.
      a.insert(a.begin(), ProgramTensor{});
      op.name.insert(std::string("aten::").size(), "new_");
      program_.ops.push_back(std::move(op));
    } else if (op.name == "ballast::batch_norm" || op.name == "ballast::batch_norm_add") {
      const bool adds = op.name == "ballast::batch_norm_add";
      const size_t w = adds ? 2 : 1;
      add("aten::batch_norm", {a[0], a[w], a[w + 1], a[w + 2], a[w + 3], false, 0.0, a[w + 5], false}, op.shape);
      if (adds) {
        add("aten::add", {last(), a[1], int64_t{1}}, op.shape);
      }
      add_act(std::get<std::string>(a[w + 6]), a[w + 7], op.shape);
    } else if (op.name == "ballast::group_norm") {
      // 0 groups are those of instance norm: each channel is one.
      const ProgramArgument groups = a[1] == ProgramArgument(int64_t{0}) ? ProgramArgument(op.shape.at(1)) : a[1];
      add("aten::group_norm", {a[0], groups, a[2], a[3], a[4], false}, op.shape);
      add_act(std::get<std::string>(a[5]), a[6], op.shape);
    } else if (op.name == "ballast::feature_norm" && std::get<int64_t>(a[1]) > 0 && !std::get<bool>(a[5])) {
      std::vector<ProgramSize> features;
      for (size_t i = op.shape.size() - static_cast<size_t>(std::get<int64_t>(a[1])); i < op.shape.size(); ++i) {
        features.emplace_back(op.shape[i]);
      }
      add("aten::layer_norm", {a[0], features, a[2], a[3], a[4], false}, op.shape);
      add_act(std::get<std::string>(a[6]), a[7], op.shape);
    } else if (op.name == "ballast::feature_norm") {
      add_feature_norm(op);
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
  std::map<const void*, std::pair<torch::Tensor, ProgramTensor>> by_memory_;
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
