#include <ballast/train/export_onnx.h>

#include <cmath>
#include <numeric>

#include <protozero/pbf_writer.hpp>

#include <ATen/Functions.h>

#include <ballast/base/check.h>
#include <ballast/base/version.h>

namespace ballast {
namespace {

// Field numbers and types of onnx.proto.
constexpr int32_t kFloat = 1, kInt64 = 7;
enum class AttributeType : int32_t { f = 1, i = 2, s = 3, floats = 6, ints = 7 };

std::string tensor_proto(const std::string& name, const torch::Tensor& value) {
  const torch::Tensor t = value.detach().to(torch::kCPU).contiguous();
  const bool whole = t.scalar_type() == torch::kLong;
  check(whole || t.scalar_type() == torch::kFloat, "export", "tensors must be float32 or int64, got ", name);
  std::string out;
  protozero::pbf_writer w(out);
  for (const int64_t d : t.sizes()) w.add_int64(1, d);
  w.add_int32(2, whole ? kInt64 : kFloat);
  w.add_string(8, name);
  w.add_bytes(9, static_cast<const char*>(t.data_ptr()), t.nbytes());
  return out;
}

std::string value_info(const std::string& name, const std::vector<int64_t>& shape) {
  std::string dims;
  protozero::pbf_writer dims_writer(dims);
  for (size_t i = 0; i < shape.size(); ++i) {
    std::string dim;
    protozero::pbf_writer d(dim);
    if (i == 0) {
      d.add_string(2, "N");
    } else {
      d.add_int64(1, shape[i]);
    }
    dims_writer.add_message(1, dim);
  }
  std::string tensor, type, out;
  protozero::pbf_writer t(tensor);
  t.add_int32(1, kFloat);
  t.add_message(2, dims);
  protozero::pbf_writer(type).add_message(1, tensor);
  protozero::pbf_writer o(out);
  o.add_string(1, name);
  o.add_message(2, type);
  return out;
}

struct Attribute {
  std::string name;
  std::variant<int64_t, double, std::vector<int64_t>> value;
};

std::string attribute_proto(const Attribute& a) {
  std::string out;
  protozero::pbf_writer w(out);
  w.add_string(1, a.name);
  if (const auto* i = std::get_if<int64_t>(&a.value)) {
    w.add_int64(3, *i);
    w.add_int32(20, static_cast<int32_t>(AttributeType::i));
  } else if (const auto* f = std::get_if<double>(&a.value)) {
    w.add_float(2, static_cast<float>(*f));
    w.add_int32(20, static_cast<int32_t>(AttributeType::f));
  } else {
    for (const int64_t v : std::get<std::vector<int64_t>>(a.value)) w.add_int64(8, v);
    w.add_int32(20, static_cast<int32_t>(AttributeType::ints));
  }
  return out;
}

/// A graph in the making.
class Graph {
 public:
  explicit Graph(const ModelProgram& program) : program_(program) {}

  std::string make(const std::string& name) {
    for (const auto& [key, tensor] : program_.tensors) {
      if (tensor.is_floating_point()) constant(key, tensor);
    }
    for (size_t i = 0; i < program_.ops.size(); ++i) {
      result_ = "v" + std::to_string(i);
      op(program_.ops[i]);
    }
    node("Identity", {result_}, {}, "logits");
    std::string graph;
    protozero::pbf_writer g(graph);
    for (const std::string& n : nodes_) g.add_message(1, n);
    g.add_string(2, name);
    for (const std::string& t : constants_) g.add_message(5, t);
    std::vector<int64_t> input = {0};
    input.insert(input.end(), program_.input.begin(), program_.input.end());
    g.add_message(11, value_info("x", input));
    g.add_message(12, value_info("logits", program_.ops.back().shape));
    return graph;
  }

 private:
  std::string constant(const std::string& name, const torch::Tensor& t) {
    constants_.push_back(tensor_proto(name, t));
    return name;
  }
  std::string fresh() { return "t" + std::to_string(fresh_++); }
  std::string ints(const std::vector<int64_t>& v) { return constant(fresh(), torch::tensor(v, torch::kLong)); }
  std::string number(double v) { return constant(fresh(), torch::scalar_tensor(v, torch::kFloat)); }

  std::string node(const char* type, const std::vector<std::string>& inputs, const std::vector<Attribute>& attributes = {},
                   std::string output = "") {
    if (output.empty()) output = fresh();
    std::string out;
    protozero::pbf_writer w(out);
    for (const std::string& in : inputs) w.add_string(1, in);
    w.add_string(2, output);
    w.add_string(3, output + "_" + type);
    w.add_string(4, type);
    for (const Attribute& a : attributes) w.add_message(5, attribute_proto(a));
    nodes_.push_back(out);
    return output;
  }
  void finish(const char* type, const std::vector<std::string>& inputs, const std::vector<Attribute>& attributes = {}) {
    node(type, inputs, attributes, result_);
  }

  [[noreturn]] static void refuse(const ProgramOp& o) { fail("export", "operator ", o.name, " cannot be written as ONNX"); }

  static bool none(const ProgramArgument& a) { return std::holds_alternative<std::monostate>(a); }
  std::string in(const ProgramOp& o, size_t i) {
    const ProgramArgument& a = o.arguments.at(i);
    if (const auto* v = std::get_if<double>(&a)) return number(*v);
    if (const auto* v = std::get_if<int64_t>(&a)) return number(static_cast<double>(*v));
    const auto* t = std::get_if<ProgramTensor>(&a);
    if (t == nullptr || t->part >= 0) refuse(o);
    return t->kind == ProgramTensor::Kind::input ? "x" : t->kind == ProgramTensor::Kind::parameter ? t->name : "v" + std::to_string(t->result);
  }
  const torch::Tensor& weight(const ProgramOp& o, size_t i) const {
    const auto* t = std::get_if<ProgramTensor>(&o.arguments.at(i));
    if (t == nullptr || t->kind != ProgramTensor::Kind::parameter) refuse(o);
    return program_.tensors.at(t->name);
  }
  static int64_t whole(const ProgramOp& o, size_t i) {
    const auto* v = std::get_if<int64_t>(&o.arguments.at(i));
    if (v == nullptr) refuse(o);
    return *v;
  }
  static double real(const ProgramOp& o, size_t i) {
    const ProgramArgument& a = o.arguments.at(i);
    if (const auto* v = std::get_if<int64_t>(&a)) return static_cast<double>(*v);
    const auto* v = std::get_if<double>(&a);
    if (v == nullptr) refuse(o);
    return *v;
  }
  /// Sizes; one in samples becomes -1.
  static std::vector<int64_t> sizes(const ProgramOp& o, size_t i) {
    const auto* list = std::get_if<std::vector<ProgramSize>>(&o.arguments.at(i));
    if (list == nullptr) refuse(o);
    std::vector<int64_t> out;
    for (const ProgramSize& s : *list) out.push_back(std::holds_alternative<int64_t>(s) ? std::get<int64_t>(s) : -1);
    return out;
  }
  /// Of height and width; one number counts for both.
  static std::vector<int64_t> pair(const ProgramOp& o, size_t i) {
    std::vector<int64_t> out = sizes(o, i);
    if (out.size() == 1) out.push_back(out[0]);
    return out;
  }
  static std::vector<int64_t> pads(const std::vector<int64_t>& p) { return {p.at(0), p.at(1), p.at(0), p.at(1)}; }

  void op(const ProgramOp& o) {
    const std::string name = o.name.substr(o.name.find("::") + 2);
    if (simple(o, name)) {
      return;
    }
    if (name == "conv2d") {
      std::vector<std::string> inputs = {in(o, 0), in(o, 1)};
      if (!none(o.arguments.at(2))) inputs.push_back(in(o, 2));
      finish("Conv", inputs, {{"strides", pair(o, 3)}, {"pads", pads(pair(o, 4))}, {"dilations", pair(o, 5)}, {"group", whole(o, 6)}});
    } else if (name == "batch_norm") {
      const torch::Tensor ones = at::ones_like(weight(o, 3));
      const std::string w = none(o.arguments.at(1)) ? constant(fresh(), ones) : in(o, 1);
      const std::string b = none(o.arguments.at(2)) ? constant(fresh(), at::zeros_like(ones)) : in(o, 2);
      finish("BatchNormalization", {in(o, 0), w, b, in(o, 3), in(o, 4)}, {{"epsilon", real(o, 7)}});
    } else if (name == "linear") {
      linear(o);
    } else if (name == "max_pool2d") {
      const std::vector<int64_t> kernel = pair(o, 1), stride = pair(o, 2);
      finish("MaxPool", {in(o, 0)}, {{"kernel_shape", kernel}, {"strides", stride.empty() ? kernel : stride}, {"pads", pads(pair(o, 3))},
                                     {"dilations", pair(o, 4)}, {"ceil_mode", int64_t{std::get<bool>(o.arguments.at(5))}}});
    } else if (name == "adaptive_avg_pool2d" && sizes(o, 1) == std::vector<int64_t>{1, 1}) {
      finish("GlobalAveragePool", {in(o, 0)});
    } else if (name == "flatten" && whole(o, 1) == 1 && o.shape.size() == 2) {
      finish("Flatten", {in(o, 0)}, {{"axis", int64_t{1}}});
    } else if (name == "reshape" || name == "view") {
      finish("Reshape", {in(o, 0), ints(sizes(o, 1))});
    } else if (name == "softmax") {
      finish("Softmax", {in(o, 0)}, {{"axis", whole(o, 1)}});
    } else if (name == "transpose") {
      const auto rank = static_cast<int64_t>(o.shape.size());
      std::vector<int64_t> order(o.shape.size());
      std::iota(order.begin(), order.end(), 0);
      std::swap(order.at(static_cast<size_t>((whole(o, 1) + rank) % rank)), order.at(static_cast<size_t>((whole(o, 2) + rank) % rank)));
      finish("Transpose", {in(o, 0)}, {{"perm", order}});
    } else if (name == "group_norm") {
      group_norm(o);
    } else if (name == "layer_norm") {
      std::vector<std::string> inputs = {in(o, 0), none(o.arguments.at(2)) ? constant(fresh(), at::ones(sizes(o, 1))) : in(o, 2)};
      if (!none(o.arguments.at(3))) inputs.push_back(in(o, 3));
      finish("LayerNormalization", inputs, {{"axis", -static_cast<int64_t>(sizes(o, 1).size())}, {"epsilon", real(o, 4)}});
    } else if (name == "mean" && o.arguments.size() >= 3) {
      finish("ReduceMean", {in(o, 0)}, {{"axes", sizes(o, 1)}, {"keepdims", int64_t{std::get<bool>(o.arguments.at(2))}}});
    } else {
      refuse(o);
    }
  }

  // Operators of one node, and activations.
  bool simple(const ProgramOp& o, const std::string& name) {
    static const std::map<std::string, const char*> kUnary = {{"relu", "Relu"}, {"tanh", "Tanh"}, {"sigmoid", "Sigmoid"}, {"selu", "Selu"},
                                                              {"hardswish", "HardSwish"}, {"softplus", "Softplus"}};
    static const std::map<std::string, const char*> kBinary = {{"add", "Add"}, {"sub", "Sub"}, {"mul", "Mul"}, {"div", "Div"}, {"matmul", "MatMul"}};
    if (const auto it = kUnary.find(name); it != kUnary.end()) {
      finish(it->second, {in(o, 0)});
    } else if (const auto two = kBinary.find(name); two != kBinary.end()) {
      if ((name == "add" || name == "sub") && o.arguments.size() > 2 && real(o, 2) != 1) refuse(o);
      finish(two->second, {in(o, 0), in(o, 1)});
    } else if (name == "relu6") {
      finish("Clip", {in(o, 0), number(0), number(6)});
    } else if (name == "elu" || name == "leaky_relu") {
      finish(name == "elu" ? "Elu" : "LeakyRelu", {in(o, 0)}, {{"alpha", real(o, 1)}});
    } else if (name == "silu") {
      finish("Mul", {in(o, 0), node("Sigmoid", {in(o, 0)})});
    } else if (name == "mish") {
      finish("Mul", {in(o, 0), node("Tanh", {node("Softplus", {in(o, 0)})})});
    } else if (name == "gelu" && (o.arguments.size() < 2 || std::get<std::string>(o.arguments.at(1)) == "none")) {
      const std::string erf = node("Erf", {node("Mul", {in(o, 0), number(std::sqrt(0.5))})});
      finish("Mul", {node("Mul", {in(o, 0), number(0.5)}), node("Add", {erf, number(1)})});
    } else {
      return false;
    }
    return true;
  }

  void linear(const ProgramOp& o) {
    const bool biased = o.arguments.size() > 2 && !none(o.arguments.at(2));
    if (o.shape.size() == 2) {
      std::vector<std::string> inputs = {in(o, 0), in(o, 1)};
      if (biased) inputs.push_back(in(o, 2));
      finish("Gemm", inputs, {{"transB", int64_t{1}}});
      return;
    }
    const std::string product = node("MatMul", {in(o, 0), constant(fresh(), weight(o, 1).t())}, {}, biased ? "" : result_);
    if (biased) finish("Add", {product, in(o, 2)});
  }

  // Opset 17 has no group norm: each group is an instance.
  void group_norm(const ProgramOp& o) {
    const int64_t groups = whole(o, 1), channels = o.shape.at(1);
    std::vector<int64_t> back = o.shape, per_channel(o.shape.size() - 1, 1);
    back[0] = 0;
    per_channel[0] = channels;
    const std::string parts = node("Reshape", {in(o, 0), ints({0, groups, -1})});
    const std::string normed = node("InstanceNormalization", {parts, constant(fresh(), at::ones({groups})), constant(fresh(), at::zeros({groups}))},
                                    {{"epsilon", real(o, 4)}});
    std::string y = node("Reshape", {normed, ints(back)});
    if (!none(o.arguments.at(2))) y = node("Mul", {y, constant(fresh(), weight(o, 2).reshape(per_channel))});
    if (!none(o.arguments.at(3))) y = node("Add", {y, constant(fresh(), weight(o, 3).reshape(per_channel))});
    finish("Identity", {y});
  }

  const ModelProgram& program_;
  std::vector<std::string> nodes_, constants_;
  std::string result_;
  int64_t fresh_ = 0;
};

}  // namespace

void write_onnx(FileSystem& fs, const std::filesystem::path& path, const ModelProgram& program, const std::string& name) {
  std::string opset, model;
  protozero::pbf_writer o(opset);
  o.add_string(1, "");
  o.add_int64(2, 17);
  protozero::pbf_writer m(model);
  m.add_int64(1, 8);
  m.add_string(2, "ballast");
  m.add_string(3, std::string(version()));
  m.add_message(7, Graph(program).make(name));
  m.add_message(8, opset);
  write_file_atomic(fs, path, std::as_bytes(std::span(model)));
}

}  // namespace ballast
