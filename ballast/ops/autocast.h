#pragma once

#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/types.h>

namespace ballast::ops {

/// t as autocast on the CPU would hand it to an operator of its list; t itself where autocast is off.
torch::Tensor autocast_cpu(const torch::Tensor& t);

/// While it lives, autocast leaves the operators of this thread alone.
struct WithoutAutocast {
  c10::impl::ExcludeDispatchKeyGuard guard{c10::DispatchKeySet(c10::DispatchKey::AutocastCPU)};
};

}  // namespace ballast::ops
