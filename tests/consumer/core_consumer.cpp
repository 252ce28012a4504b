// A program that uses ballast::core: a weights file written, read and refused.
#include <ballast/base/check.h>
#include <ballast/base/version.h>
#include <ballast/control/lr_schedule.h>
#include <ballast/io/safetensors.h>

#include <cstdio>
#include <vector>

#ifdef TORCH_API
#error "ballast::core must not need LibTorch"
#endif

int main() {
  const std::vector<float> weight = {1, 2, 3, 4, 5, 6};
  const ballast::SafetensorsTensor tensor{
      "weight", ballast::SafetensorsDType::f32, {2, 3}, std::as_bytes(std::span(weight))};
  auto bytes = ballast::encode_safetensors(std::span(&tensor, 1));
  const auto file = ballast::SafetensorsFile::from_bytes(bytes, "memory");
  bool refused = false;
  try {
    bytes.pop_back();
    ballast::SafetensorsFile::from_bytes(bytes, "memory");
  } catch (const ballast::DataError& e) {
    refused = true;
    std::printf("%s\n", e.what());
  }
  const double lr = ballast::lr_at({.lr = 0.1}, 5, 10);
  std::printf("ballast %s, %zu tensor, lr %g\n", ballast::version(), file.entries().size(), lr);
  return refused && file.entries().size() == 1 && lr > 0.049 && lr < 0.051 ? 0 : 1;
}
