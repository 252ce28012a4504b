#pragma once

#include <ATen/core/ivalue.h>
#include <ATen/record_function.h>
#include <torch/types.h>

#include <type_traits>
#include <vector>

namespace ballast::ops {

/// Runs `run` as the operator `name` with these arguments: observers (room probe, LibTorch's profiler) see that one, not
/// the pieces that it is computed in. `arguments` makes its list of values; without an observer it is not called. `run` gives a tensor
/// or a list of them.
template <class Arguments, class Run>
auto shown(const char* name, const Arguments& arguments, const Run& run) {
  at::RecordFunction record(at::RecordScope::FUNCTION);
  if (!record.isActive()) return run();
  const std::vector<c10::IValue> inputs = arguments();
  record.before(name, c10::ArrayRef<const c10::IValue>(inputs.data(), inputs.size()));
  auto y = run();
  if constexpr (std::is_same_v<decltype(y), torch::Tensor>) {
    record.setOutputs(std::vector<c10::IValue>{y});
  } else {
    record.setOutputs(std::vector<c10::IValue>(y.begin(), y.end()));
  }
  return y;
}

}  // namespace ballast::ops
