#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include <torch/types.h>

namespace torch::nn {
class Module;
}

namespace ballast {

/// A tensor of a ModelProgram: the input "x", a parameter or buffer by its dotted name, or the result of operator n: "n".
struct ProgramTensor {
  enum class Kind { input, parameter, result } kind = Kind::input;
  std::string name = {};
  int64_t result = 0;
  int64_t part = -1;  ///< of an operator with several results: which; else -1
  bool operator==(const ProgramTensor&) const = default;
};
/// A whole number that is k times the number of samples, whatever that is.
struct ProgramBatch {
  int64_t k = 1;
  bool operator==(const ProgramBatch&) const = default;
};
/// A number of a list: fixed, or in samples.
using ProgramSize = std::variant<int64_t, ProgramBatch>;
using ProgramArgument = std::variant<std::monostate, ProgramTensor, int64_t, ProgramBatch, double, bool, std::string,
                                     std::vector<ProgramSize>, std::vector<ProgramTensor>>;

struct ProgramOp {
  std::string name;                        ///< "aten::conv2d"
  std::vector<ProgramArgument> arguments;  ///< in the order of its schema
  std::vector<int64_t> shape;              ///< of its result; the first number may be that of the samples
  std::vector<torch::Tensor> values = {};  ///< its results where they do not depend on the input; else none
};

/// A model as a straight line of operators: what its forward pass in evaluation calls.
struct ModelProgram {
  std::vector<ProgramOp> ops;  ///< the last one's result is the model's
  std::map<std::string, torch::Tensor> tensors;  ///< parameters and buffers that it reads
  std::vector<int64_t> input;                    ///< channels, height, width
};

/// Records a model's forward pass, twice with different numbers of samples, so that sizes that count samples are told from others.
/// Operators of ballast are replaced by LibTorch's (lowered), in-place ones by those that are not.
///
/// x        (C, H, W) of the input.
/// Errors   std::invalid_argument `[export] MODEL cannot be written: operator NAME ...` where an operator reads a tensor that none has made,
///          or has no counterpart; the model is in evaluation mode afterwards as before.
ModelProgram record_program(torch::nn::Module& model, const std::function<torch::Tensor(const torch::Tensor&)>& forward,
                            const std::vector<int64_t>& input);

}  // namespace ballast
