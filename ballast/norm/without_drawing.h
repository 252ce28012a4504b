#pragma once

#include <ATen/CPUGeneratorImpl.h>

#include <mutex>

namespace ballast::detail {

/// make(), with the global generator as it was: LibTorch's layers draw a start from it.
template <class Make>
auto without_drawing(const Make& make) {
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  at::Tensor state;
  {
    const std::lock_guard<std::mutex> lock(generator.mutex());
    state = generator.get_state();
  }
  auto made = make();
  const std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_state(state);
  return made;
}

}  // namespace ballast::detail
