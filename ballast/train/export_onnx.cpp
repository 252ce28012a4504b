#include <ballast/train/export_onnx.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <numeric>

#include <ATen/Functions.h>

#include <ballast/base/check.h>
#include <ballast/train/export_onnx_graph.h>

namespace ballast {
namespace {

/// Writes a program operator by operator.
class Writer {
 public:
  explicit Writer(const ModelProgram& program) : program_(program) {}

  std::string model(const std::string& name) {
    const torch::NoGradGuard no_grad;
    for (size_t i = 0; i < program_.ops.size(); ++i) {
      if (!program_.ops[i].values.empty()) continue;  // a constant, kept where it is read
      result_ = result_name({.result = static_cast<int64_t>(i)});
      op(program_.ops[i]);
    }
    graph_.node("Identity", {value({.kind = ProgramTensor::Kind::result, .result = static_cast<int64_t>(program_.ops.size()) - 1})}, {}, "logits");
    return graph_.model(name, program_.input, program_.ops.back().shape);
  }

 private:
  using Inputs = std::vector<std::string>;

  std::string node(const char* type, const Inputs& inputs, const std::vector<OnnxAttribute>& attributes = {}) {
    return graph_.node(type, inputs, attributes);
  }
  void finish(const char* type, const Inputs& inputs, const std::vector<OnnxAttribute>& attributes = {}) {
    graph_.node(type, inputs, attributes, result_);
  }
  std::string ints(const std::vector<int64_t>& v) { return graph_.ints(v); }
  std::string number(double v) { return graph_.number(v); }

  [[noreturn]] static void refuse(const ProgramOp& o) { fail("export", "operator ", o.name, " cannot be written as ONNX"); }
  static void require(bool ok, const ProgramOp& o) {
    if (!ok) refuse(o);
  }

  // A result is v3, one of several v3.0, v3.1, ...
  static std::string result_name(const ProgramTensor& t) {
    return "v" + std::to_string(t.result) + (t.part < 0 ? "" : "." + std::to_string(t.part));
  }
  // The tensor, if it does not depend on the input; else one that is not defined.
  torch::Tensor known(const ProgramTensor& t) const {
    if (t.kind == ProgramTensor::Kind::parameter) return program_.tensors.at(t.name);
    if (t.kind == ProgramTensor::Kind::input) return {};
    const std::vector<torch::Tensor>& values = program_.ops.at(static_cast<size_t>(t.result)).values;
    return values.empty() ? torch::Tensor() : values.at(static_cast<size_t>(std::max<int64_t>(t.part, 0)));
  }
  std::string value(const ProgramTensor& t) {
    if (t.kind == ProgramTensor::Kind::input) return "x";
    const std::string name = t.kind == ProgramTensor::Kind::parameter ? t.name : result_name(t);
    const torch::Tensor constant = known(t);
    return constant.defined() ? graph_.constant(name, constant) : name;
  }

  // Arguments of an operator; one of another type than asked for is refused.
  template <class T>
  static const T& get(const ProgramOp& o, size_t i) {
    const T* v = std::get_if<T>(&o.arguments.at(i));
    require(v != nullptr, o);
    return *v;
  }
  static bool none(const ProgramOp& o, size_t i) { return i >= o.arguments.size() || std::holds_alternative<std::monostate>(o.arguments[i]); }
  std::string in(const ProgramOp& o, size_t i) {
    const ProgramArgument& a = o.arguments.at(i);
    if (std::holds_alternative<int64_t>(a) || std::holds_alternative<double>(a)) return number(real(o, i));
    return value(get<ProgramTensor>(o, i));
  }
  torch::Tensor weight(const ProgramOp& o, const ProgramTensor& t) const {
    const torch::Tensor w = known(t);
    require(w.defined(), o);
    return w;
  }
  torch::Tensor weight(const ProgramOp& o, size_t i) const { return weight(o, get<ProgramTensor>(o, i)); }
  static int64_t whole(const ProgramOp& o, size_t i) { return get<int64_t>(o, i); }
  static double real(const ProgramOp& o, size_t i) {
    const auto* v = std::get_if<int64_t>(&o.arguments.at(i));
    return v != nullptr ? static_cast<double>(*v) : get<double>(o, i);
  }
  static int64_t flag(const ProgramOp& o, size_t i) { return int64_t{get<bool>(o, i)}; }
  // Numbers that do not depend on that of the samples.
  static std::vector<int64_t> fixed(const ProgramOp& o, size_t i) {
    std::vector<int64_t> out;
    for (const ProgramSize& s : get<std::vector<ProgramSize>>(o, i)) {
      require(std::holds_alternative<int64_t>(s), o);
      out.push_back(std::get<int64_t>(s));
    }
    return out;
  }
  /// Of height and width; one number counts for both.
  static std::vector<int64_t> pair(const ProgramOp& o, size_t i) {
    std::vector<int64_t> out = fixed(o, i);
    if (out.size() == 1) out.push_back(out[0]);
    return out;
  }
  static std::vector<int64_t> pads(const std::vector<int64_t>& p) { return {p.at(0), p.at(1), p.at(0), p.at(1)}; }

  // The shape that argument i asks for; -1 stays where it is.
  std::string shape(const ProgramOp& o, size_t i) {
    Inputs parts;
    for (const ProgramSize& s : get<std::vector<ProgramSize>>(o, i)) {
      if (const auto* v = std::get_if<int64_t>(&s)) {
        parts.push_back(ints({*v}));
        continue;
      }
      if (samples_.empty()) samples_ = node("Shape", {"x"}, {{"start", int64_t{0}}, {"end", int64_t{1}}});
      const int64_t k = std::get<ProgramBatch>(s).k;
      parts.push_back(k == 1 ? samples_ : node("Mul", {samples_, ints({k})}));
    }
    return node("Concat", parts, {{"axis", int64_t{0}}});
  }
  // The same for Reshape, which finds one number that is left out.
  std::string new_shape(const ProgramOp& o, size_t i) {
    std::vector<int64_t> out;
    for (const ProgramSize& s : get<std::vector<ProgramSize>>(o, i)) out.push_back(std::holds_alternative<int64_t>(s) ? std::get<int64_t>(s) : -1);
    return std::count(out.begin(), out.end(), -1) > 1 ? shape(o, i) : ints(out);
  }

  void op(const ProgramOp& o) {
    const std::string name = o.name.substr(o.name.find("::") + 2);
    if (!plain(o, name) && !activation(o, name) && !arrangement(o, name) && !layer(o, name) && !norm(o, name)) refuse(o);
  }

  // Arithmetic.
  bool plain(const ProgramOp& o, const std::string& name) {
    static const std::map<std::string, const char*> kUnary = {{"abs", "Abs"}, {"sqrt", "Sqrt"}, {"exp", "Exp"}, {"reciprocal", "Reciprocal"},
                                                              {"neg", "Neg"}};
    static const std::map<std::string, const char*> kBinary = {{"add", "Add"}, {"sub", "Sub"}, {"mul", "Mul"}, {"div", "Div"}, {"matmul", "MatMul"},
                                                               {"maximum", "Max"}, {"minimum", "Min"}, {"clamp_min", "Max"}, {"gt", "Greater"}};
    if (const auto it = kUnary.find(name); it != kUnary.end()) {
      finish(it->second, {in(o, 0)});
    } else if (const auto two = kBinary.find(name); two != kBinary.end()) {
      const bool scaled = o.arguments.size() > 2 && real(o, 2) != 1;
      require(!scaled || name == "add" || name == "sub", o);
      finish(two->second, {in(o, 0), scaled ? node("Mul", {in(o, 1), in(o, 2)}) : in(o, 1)});
    } else if (name == "square") {
      finish("Mul", {in(o, 0), in(o, 0)});
    } else if (name == "rsqrt") {
      finish("Reciprocal", {node("Sqrt", {in(o, 0)})});
    } else if (name == "where") {
      finish("Where", {in(o, 0), in(o, 1), in(o, 2)});
    } else if (name == "addcmul" || name == "addcdiv") {
      require(o.arguments.size() < 4 || real(o, 3) == 1, o);
      finish("Add", {in(o, 0), node(name == "addcmul" ? "Mul" : "Div", {in(o, 1), in(o, 2)})});
    } else if (name == "mean" && o.arguments.size() >= 3) {
      finish("ReduceMean", {in(o, 0)}, {{"axes", fixed(o, 1)}, {"keepdims", flag(o, 2)}});
    } else if (name == "linalg_vector_norm") {
      require(real(o, 1) == 2, o);
      finish("ReduceL2", {in(o, 0)}, {{"axes", fixed(o, 2)}, {"keepdims", flag(o, 3)}});
    } else if (name == "var_mean") {
      require(flag(o, 2) == 0 && flag(o, 3) == 1, o);  // not corrected, dimensions kept
      const OnnxAttribute axes{"axes", fixed(o, 1)};
      graph_.node("ReduceMean", {in(o, 0)}, {axes}, result_ + ".1");
      const std::string d = node("Sub", {in(o, 0), result_ + ".1"});
      graph_.node("ReduceMean", {node("Mul", {d, d})}, {axes}, result_ + ".0");
    } else {
      return false;
    }
    return true;
  }

  bool activation(const ProgramOp& o, const std::string& name) {
    static const std::map<std::string, const char*> kNames = {{"relu", "Relu"}, {"tanh", "Tanh"}, {"sigmoid", "Sigmoid"}, {"selu", "Selu"},
                                                              {"hardswish", "HardSwish"}};
    if (const auto it = kNames.find(name); it != kNames.end()) {
      finish(it->second, {in(o, 0)});
    } else if (name == "softplus") {
      require(o.arguments.size() < 2 || real(o, 1) == 1, o);
      finish("Softplus", {in(o, 0)});
    } else if (name == "relu6" || name == "hardtanh") {
      finish("Clip", {in(o, 0), name == "relu6" ? number(0) : in(o, 1), name == "relu6" ? number(6) : in(o, 2)});
    } else if (name == "elu") {
      require(o.arguments.size() < 3 || (real(o, 2) == 1 && real(o, 3) == 1), o);
      finish("Elu", {in(o, 0)}, {{"alpha", real(o, 1)}});
    } else if (name == "leaky_relu") {
      finish("LeakyRelu", {in(o, 0)}, {{"alpha", real(o, 1)}});
    } else if (name == "silu") {
      finish("Mul", {in(o, 0), node("Sigmoid", {in(o, 0)})});
    } else if (name == "mish") {
      finish("Mul", {in(o, 0), node("Tanh", {node("Softplus", {in(o, 0)})})});
    } else if (name == "gelu") {
      const bool exact = o.arguments.size() < 2 || get<std::string>(o, 1) == "none";
      const std::string half = node("Mul", {in(o, 0), number(0.5)});
      std::string bend;
      if (exact) {
        bend = node("Erf", {node("Mul", {in(o, 0), number(std::sqrt(0.5))})});
      } else {
        const std::string cube = node("Mul", {node("Mul", {in(o, 0), in(o, 0)}), in(o, 0)});
        const std::string sum = node("Add", {in(o, 0), node("Mul", {cube, number(0.044715)})});
        bend = node("Tanh", {node("Mul", {sum, number(std::sqrt(2 / std::numbers::pi))})});
      }
      finish("Mul", {half, node("Add", {bend, number(1)})});
    } else {
      return false;
    }
    return true;
  }

  // Operators that only move values.
  bool arrangement(const ProgramOp& o, const std::string& name) {
    const auto rank = static_cast<int64_t>(o.shape.size());
    const auto place = [&](int64_t d) { return d < 0 ? d + rank : d; };
    if (name == "contiguous" || name == "clone" || name == "detach" || name == "alias") {
      finish("Identity", {in(o, 0)});
    } else if (name == "to") {
      require(whole(o, 1) == static_cast<int64_t>(torch::kFloat), o);
      finish("Identity", {in(o, 0)});
    } else if (name == "reshape" || name == "view") {
      finish("Reshape", {in(o, 0), new_shape(o, 1)});
    } else if (name == "flatten" && whole(o, 1) == 1 && rank == 2) {
      finish("Flatten", {in(o, 0)}, {{"axis", int64_t{1}}});
    } else if (name == "flatten" && whole(o, 1) > 0) {
      std::vector<int64_t> to = o.shape;
      to[0] = 0;  // as it is
      finish("Reshape", {in(o, 0), ints(to)});
    } else if (name == "transpose") {
      std::vector<int64_t> order(o.shape.size());
      std::iota(order.begin(), order.end(), 0);
      std::swap(order.at(static_cast<size_t>(place(whole(o, 1)))), order.at(static_cast<size_t>(place(whole(o, 2)))));
      finish("Transpose", {in(o, 0)}, {{"perm", order}});
    } else if (name == "permute") {
      std::vector<int64_t> order = fixed(o, 1);
      std::transform(order.begin(), order.end(), order.begin(), place);
      finish("Transpose", {in(o, 0)}, {{"perm", order}});
    } else if (name == "select") {
      finish("Gather", {in(o, 0), graph_.constant(torch::scalar_tensor(whole(o, 2), torch::kLong))}, {{"axis", whole(o, 1)}});
    } else if (name == "cat") {
      Inputs parts;
      for (const ProgramTensor& t : get<std::vector<ProgramTensor>>(o, 0)) parts.push_back(value(t));
      finish("Concat", parts, {{"axis", whole(o, 1)}});
    } else if (name == "expand") {
      // ONNX says 1 where LibTorch says -1: as it is.
      finish("Expand", {in(o, 0), node("Max", {shape(o, 1), ints({1})})});
    } else if (name == "new_zeros") {
      finish("ConstantOfShape", {shape(o, 1)});
    } else if (name == "zeros_like") {
      finish("ConstantOfShape", {node("Shape", {in(o, 0)})});
    } else {
      return false;
    }
    return true;
  }

  bool layer(const ProgramOp& o, const std::string& name) {
    if (name == "conv2d") {
      Inputs inputs = {in(o, 0), in(o, 1)};
      if (!none(o, 2)) inputs.push_back(in(o, 2));
      finish("Conv", inputs, {{"strides", pair(o, 3)}, {"pads", pads(pair(o, 4))}, {"dilations", pair(o, 5)}, {"group", whole(o, 6)}});
    } else if (name == "linear") {
      linear(o);
    } else if (name == "max_pool2d") {
      const std::vector<int64_t> kernel = pair(o, 1), stride = pair(o, 2);
      finish("MaxPool", {in(o, 0)}, {{"kernel_shape", kernel}, {"strides", stride.empty() ? kernel : stride}, {"pads", pads(pair(o, 3))},
                                     {"dilations", pair(o, 4)}, {"ceil_mode", flag(o, 5)}});
    } else if (name == "adaptive_avg_pool2d") {
      require(fixed(o, 1) == std::vector<int64_t>{1, 1}, o);
      finish("GlobalAveragePool", {in(o, 0)});
    } else if (name == "softmax") {
      finish("Softmax", {in(o, 0)}, {{"axis", whole(o, 1)}});
    } else if (name == "lstm" || name == "gru" || name == "rnn_tanh" || name == "rnn_relu") {
      recurrent(o, name);
    } else {
      return false;
    }
    return true;
  }

  void linear(const ProgramOp& o) {
    if (o.shape.size() == 2) {
      Inputs inputs = {in(o, 0), in(o, 1)};
      if (!none(o, 2)) inputs.push_back(in(o, 2));
      finish("Gemm", inputs, {{"transB", int64_t{1}}});
      return;
    }
    const std::string product_name = none(o, 2) ? result_ : "";
    const std::string product = graph_.node("MatMul", {in(o, 0), node("Transpose", {in(o, 1)}, {{"perm", std::vector<int64_t>{1, 0}}})}, {}, product_name);
    if (!none(o, 2)) finish("Add", {product, in(o, 2)});
  }

  // LibTorch's gates are i f g o and r z n, ONNX's i o f g and z r n; ONNX wants (steps, N, in) and weights with a dimension for directions.
  void recurrent(const ProgramOp& o, const std::string& name) {
    const bool lstm = name == "lstm", gru = name == "gru";
    const auto& w = get<std::vector<ProgramTensor>>(o, 2);
    check(w.size() == 4 && get<bool>(o, 3) && whole(o, 4) == 1 && !get<bool>(o, 7), "export", "operator ", o.name,
          " must have biases, one layer and one direction in ONNX, got ", whole(o, 4), " layers with ", w.size(), " weights");
    const std::vector<size_t> order = lstm ? std::vector<size_t>{0, 3, 1, 2} : gru ? std::vector<size_t>{1, 0, 2} : std::vector<size_t>{0};
    const auto gates = [&](size_t i) {
      const std::vector<torch::Tensor> own = weight(o, w[i]).chunk(static_cast<int64_t>(order.size()));
      std::vector<torch::Tensor> out;
      for (const size_t g : order) out.push_back(own[g]);
      return at::cat(out).unsqueeze(0);
    };
    const OnnxAttribute swap{"perm", std::vector<int64_t>{1, 0, 2}};
    const bool batch_first = get<bool>(o, 8);
    Inputs inputs = {batch_first ? node("Transpose", {in(o, 0)}, {swap}) : in(o, 0), graph_.constant(gates(0)), graph_.constant(gates(1)),
                     graph_.constant(at::cat({gates(2), gates(3)}, 1)), ""};
    if (lstm) {
      for (const ProgramTensor& start : get<std::vector<ProgramTensor>>(o, 1)) inputs.push_back(value(start));
    } else {
      inputs.push_back(in(o, 1));
    }
    std::vector<OnnxAttribute> attributes = {{"hidden_size", weight(o, w[1]).size(1)}};
    if (gru) attributes.push_back({"linear_before_reset", int64_t{1}});
    if (name == "rnn_relu") attributes.push_back({"activations", std::vector<std::string>{"Relu"}});
    const std::string all = result_ + ".all";
    Inputs outputs = {all, result_ + ".1"};
    if (lstm) outputs.push_back(result_ + ".2");
    graph_.node(lstm ? "LSTM" : gru ? "GRU" : "RNN", inputs, attributes, outputs);
    const std::string steps = node("Squeeze", {all, ints({1})});
    graph_.node(batch_first ? "Transpose" : "Identity", {steps}, batch_first ? std::vector<OnnxAttribute>{swap} : std::vector<OnnxAttribute>{}, result_ + ".0");
  }

  bool norm(const ProgramOp& o, const std::string& name) {
    if (name == "batch_norm") {
      const torch::Tensor ones = at::ones_like(weight(o, 3));
      const std::string w = none(o, 1) ? graph_.constant(ones) : in(o, 1);
      const std::string b = none(o, 2) ? graph_.constant(at::zeros_like(ones)) : in(o, 2);
      finish("BatchNormalization", {in(o, 0), w, b, in(o, 3), in(o, 4)}, {{"epsilon", real(o, 7)}});
    } else if (name == "group_norm") {
      group_norm(o);
    } else if (name == "layer_norm") {
      Inputs inputs = {in(o, 0), none(o, 2) ? graph_.constant(at::ones(fixed(o, 1))) : in(o, 2)};
      if (!none(o, 3)) inputs.push_back(in(o, 3));
      finish("LayerNormalization", inputs, {{"axis", -static_cast<int64_t>(fixed(o, 1).size())}, {"epsilon", real(o, 4)}});
    } else {
      return false;
    }
    return true;
  }

  // Opset 17 has no group norm: each group is an instance.
  void group_norm(const ProgramOp& o) {
    const int64_t groups = whole(o, 1), channels = o.shape.at(1);
    std::vector<int64_t> back = o.shape, per_channel(o.shape.size() - 1, 1);
    back[0] = 0;
    per_channel[0] = channels;
    const std::string parts = node("Reshape", {in(o, 0), ints({0, groups, -1})});
    const std::string normed = node("InstanceNormalization", {parts, graph_.constant(at::ones({groups})), graph_.constant(at::zeros({groups}))},
                                    {{"epsilon", real(o, 4)}});
    std::string y = node("Reshape", {normed, ints(back)});
    if (!none(o, 2)) y = node("Mul", {y, graph_.constant(weight(o, 2).reshape(per_channel))});
    if (!none(o, 3)) y = node("Add", {y, graph_.constant(weight(o, 3).reshape(per_channel))});
    finish("Identity", {y});
  }

  const ModelProgram& program_;
  OnnxGraph graph_;
  std::string result_, samples_;
};

}  // namespace

void write_onnx(FileSystem& fs, const std::filesystem::path& path, const ModelProgram& program, const std::string& name) {
  const std::string model = Writer(program).model(name);
  write_file_atomic(fs, path, std::as_bytes(std::span(model)));
}

}  // namespace ballast
