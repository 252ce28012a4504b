#include <ballast/train/libtorch.h>

#include <dlfcn.h>

#include <filesystem>

#include <torch/version.h>

namespace ballast {

std::string libtorch_version() { return TORCH_VERSION; }

std::string blas_name() {
  void* const blas = dlopen("libblas.so.3", RTLD_NOLOAD | RTLD_LAZY);
  if (blas == nullptr) return "BLAS of LibTorch";
  std::string name;
  if (void* const config = dlsym(blas, "openblas_get_config")) {
    const std::string text = reinterpret_cast<const char* (*)()>(config)();  // "OpenBLAS 0.3.21 DYNAMIC_ARCH ..."
    name = text.substr(0, text.find(' ', text.find(' ') + 1));
  } else if (void* const version = dlsym(blas, "bli_info_get_version_str")) {
    name = std::string("BLIS ") + reinterpret_cast<const char* (*)()>(version)();
  } else if (Dl_info info{}; dladdr(dlsym(blas, "sgemm_"), &info) != 0) {
    std::error_code error;
    const std::filesystem::path file = std::filesystem::canonical(info.dli_fname, error);
    name = error ? info.dli_fname : file.string();
  }
  dlclose(blas);
  return name;
}

}  // namespace ballast
