#pragma once

#include <ATen/core/ivalue.h>
#include <torch/types.h>

#include <functional>
#include <string>
#include <vector>

namespace ballast {

/// One operator of a running model, as its caller wrote it (operators that it is made of are not seen).
struct ObservedOp {
  std::string name;                    ///< such as aten::conv2d
  std::vector<c10::IValue> inputs;     ///< its arguments, in the order of its schema
  std::vector<torch::Tensor> outputs;  ///< tensors it returned
};

/// Runs `run` and hands each of its operators, in order, to `on_op` once it has finished: any model, with no change
/// to it, TorchScript included. While `on_op` runs nothing is observed and no gradients are recorded.
///
/// Sees     operators called in this thread; nested calls only from outside.
/// Cost     nothing outside of this call.
/// Errors   what `run` and `on_op` throw; after `on_op` has thrown it is not called again.
void observe(const std::function<void()>& run, const std::function<void(const ObservedOp&)>& on_op);

/// The tensors among an operator's inputs, those in lists included.
std::vector<torch::Tensor> input_tensors(const ObservedOp& op);

}  // namespace ballast
