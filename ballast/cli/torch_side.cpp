#include "torch_side.h"

#include <dlfcn.h>

#include <cstdlib>

#include <ballast/base/cpu.h>
#include <ballast/base/portable_math.h>

namespace ballast::cli {
namespace {

std::filesystem::path program_folder() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? std::filesystem::path(".") : program.parent_path();
}

void set_unless_set(const char* name, const std::string& value) { setenv(name, value.c_str(), 0); }

}  // namespace

int usable_threads(int64_t asked) { return asked > 0 ? static_cast<int>(asked) : usable_cores(); }

TorchSide& load_torch_side(int64_t asked, const std::string& math) {
  const std::string threads = std::to_string(usable_threads(asked));
  // Threads that spin for long are ruinous on contended cores; a wake-up by the kernel between two short kernels costs a
  // third of a small model's speed. docs/decisions/0004-threads-spin-briefly.md
  set_unless_set("OMP_WAIT_POLICY", "PASSIVE");
  set_unless_set("GOMP_SPINCOUNT", "10000");
  set_unless_set("OMP_NUM_THREADS", threads);
  set_unless_set("OPENBLAS_NUM_THREADS", threads);
  set_unless_set("MKL_NUM_THREADS", threads);

  if (math == "portable") {
    for (const auto& [name, value] : kPortableMath) {
      setenv(name, value, 1);
    }
  }

  const std::filesystem::path here = program_folder();
  const std::filesystem::path places[] = {here / "libballast_cli.so", here / ".." / BALLAST_LIBDIR / "ballast" / "libballast_cli.so",
                                          here / ".." / "lib" / "ballast" / "libballast_cli.so"};
  std::string looked;
  for (const std::filesystem::path& place : places) {
    looked += (looked.empty() ? "" : ", ") + place.lexically_normal().string();
    std::error_code error;
    if (!std::filesystem::exists(place, error)) {
      continue;
    }
    void* module = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (module == nullptr) {
      throw std::runtime_error("[cli] " + place.lexically_normal().string() + " could not be loaded: " + dlerror());
    }
    using Entry = TorchSide& (*)();
    const auto entry = reinterpret_cast<Entry>(dlsym(module, kTorchSideSymbol));
    if (entry == nullptr) {
      throw std::runtime_error("[cli] " + place.lexically_normal().string() + " is of another version of ballast");
    }
    return entry();
  }
  throw std::runtime_error("[cli] this command runs models and needs libballast_cli.so, which is not in " + looked +
                           "; build it with LibTorch (cmake --preset release)");
}

}  // namespace ballast::cli
