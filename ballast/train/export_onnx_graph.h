#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include <torch/types.h>

namespace ballast {

/// An attribute of a node.
struct OnnxAttribute {
  std::string name;
  std::variant<int64_t, double, std::vector<int64_t>, std::vector<std::string>> value;
};

/// An ONNX graph in the making: nodes in the order in which they run, and constants. Values are called by their names.
class OnnxGraph {
 public:
  /// Keeps a constant, float32 or int64, once for each name. Result: the name.
  std::string constant(const std::string& name, const torch::Tensor& t);
  /// Constants of names of their own.
  std::string constant(const torch::Tensor& t) { return constant(fresh(), t); }
  std::string ints(const std::vector<int64_t>& v);
  std::string number(double v);

  /// Adds a node. Result: the name of its output, a fresh one unless it is given.
  std::string node(const char* type, const std::vector<std::string>& inputs, const std::vector<OnnxAttribute>& attributes = {},
                   std::string output = "");
  /// A node of several outputs.
  void node(const char* type, const std::vector<std::string>& inputs, const std::vector<OnnxAttribute>& attributes,
            const std::vector<std::string>& outputs);

  /// The bytes of a model: opset 17, IR version 8, input "x" of shape (N, `input`), output "logits" of `output`, whose first size is N.
  std::string model(const std::string& name, const std::vector<int64_t>& input, const std::vector<int64_t>& output) const;

 private:
  std::string fresh() { return "t" + std::to_string(fresh_++); }

  std::vector<std::string> nodes_, constants_;
  std::set<std::string> names_;
  int64_t fresh_ = 0;
};

}  // namespace ballast
