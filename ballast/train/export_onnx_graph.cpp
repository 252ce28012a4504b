#include <ballast/train/export_onnx_graph.h>

#include <protozero/pbf_writer.hpp>

#include <ballast/base/check.h>
#include <ballast/base/version.h>

namespace ballast {
namespace {

// Field numbers and types of onnx.proto.
constexpr int32_t kFloat = 1, kInt64 = 7;
enum class AttributeType : int32_t { f = 1, i = 2, ints = 7, strings = 8 };

std::string tensor_proto(const std::string& name, const torch::Tensor& value) {
  const torch::Tensor t = value.detach().to(torch::kCPU).contiguous();
  const bool whole = t.scalar_type() == torch::kLong;
  check(whole || t.scalar_type() == torch::kFloat, "export", "tensors must be float32 or int64, got ", name, " of ", t.scalar_type());
  std::string out;
  protozero::pbf_writer w(out);
  for (const int64_t d : t.sizes()) w.add_int64(1, d);
  w.add_int32(2, whole ? kInt64 : kFloat);
  w.add_string(8, name);
  w.add_bytes(9, static_cast<const char*>(t.data_ptr()), t.nbytes());
  return out;
}

// The first size is N, any number.
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

std::string attribute_proto(const OnnxAttribute& a) {
  std::string out;
  protozero::pbf_writer w(out);
  w.add_string(1, a.name);
  const auto type = [&](AttributeType t) { w.add_int32(20, static_cast<int32_t>(t)); };
  if (const auto* i = std::get_if<int64_t>(&a.value)) {
    w.add_int64(3, *i);
    type(AttributeType::i);
  } else if (const auto* f = std::get_if<double>(&a.value)) {
    w.add_float(2, static_cast<float>(*f));
    type(AttributeType::f);
  } else if (const auto* texts = std::get_if<std::vector<std::string>>(&a.value)) {
    for (const std::string& s : *texts) w.add_string(9, s);
    type(AttributeType::strings);
  } else {
    for (const int64_t v : std::get<std::vector<int64_t>>(a.value)) w.add_int64(8, v);
    type(AttributeType::ints);
  }
  return out;
}

}  // namespace

std::string OnnxGraph::constant(const std::string& name, const torch::Tensor& t) {
  if (names_.insert(name).second) constants_.push_back(tensor_proto(name, t));
  return name;
}

std::string OnnxGraph::ints(const std::vector<int64_t>& v) { return constant(torch::tensor(v, torch::kLong)); }

std::string OnnxGraph::number(double v) { return constant(torch::scalar_tensor(v, torch::kFloat)); }

std::string OnnxGraph::node(const char* type, const std::vector<std::string>& inputs, const std::vector<OnnxAttribute>& attributes,
                            std::string output) {
  if (output.empty()) output = fresh();
  node(type, inputs, attributes, std::vector<std::string>{output});
  return output;
}

void OnnxGraph::node(const char* type, const std::vector<std::string>& inputs, const std::vector<OnnxAttribute>& attributes,
                     const std::vector<std::string>& outputs) {
  std::string out;
  protozero::pbf_writer w(out);
  for (const std::string& in : inputs) w.add_string(1, in);
  for (const std::string& name : outputs) w.add_string(2, name);
  w.add_string(3, outputs.at(0) + "_" + type);
  w.add_string(4, type);
  for (const OnnxAttribute& a : attributes) w.add_message(5, attribute_proto(a));
  nodes_.push_back(out);
}

std::string OnnxGraph::model(const std::string& name, const std::vector<int64_t>& input, const std::vector<int64_t>& output) const {
  std::string graph, opset, model;
  protozero::pbf_writer g(graph);
  for (const std::string& n : nodes_) g.add_message(1, n);
  g.add_string(2, name);
  for (const std::string& t : constants_) g.add_message(5, t);
  std::vector<int64_t> x = {0};
  x.insert(x.end(), input.begin(), input.end());
  g.add_message(11, value_info("x", x));
  g.add_message(12, value_info("logits", output));
  protozero::pbf_writer o(opset);
  o.add_string(1, "");
  o.add_int64(2, 17);
  protozero::pbf_writer m(model);
  m.add_int64(1, 8);
  m.add_string(2, "ballast");
  m.add_string(3, std::string(version()));
  m.add_message(7, graph);
  m.add_message(8, opset);
  return model;
}

}  // namespace ballast
