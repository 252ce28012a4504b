// A program that uses ballast::torch beside LibTorch itself.
#include <torch/torch.h>

#include <ballast/train/libtorch.h>

#include <cstdio>

int main() {
  const auto x = torch::ones({2, 3});
  std::printf("LibTorch %s, sum %g\n", ballast::libtorch_version().c_str(), x.sum().item<double>());
  return x.sum().item<double>() == 6 && ballast::libtorch_version() == TORCH_VERSION ? 0 : 1;
}
