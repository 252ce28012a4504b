#include <ballast/train/machine.h>

#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <vector>

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>

#include <ballast/base/check.h>
#include <ballast/base/cpu.h>
#include <ballast/base/portable_math.h>
#include <ballast/base/sha256.h>
#include <ballast/base/version.h>
#include <ballast/train/allocator.h>
#include <ballast/train/libtorch.h>
#include <ballast/train/run.h>
#include <ballast/train/run_folder.h>

namespace ballast {
namespace {

// The arguments this process was started with, quoted where a shell needs it.
std::string command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::string text, word;
  while (std::getline(file, word, '\0')) {
    const bool plain = !word.empty() && word.find_first_not_of(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./:=,+@%") == std::string::npos;
    std::string quoted;
    for (const char c : word) {
      quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    }
    text += (text.empty() ? "" : " ") + (plain ? word : "'" + quoted + "'");
  }
  return text;
}

std::string compiler() {
#if defined(__clang__)
  return std::string("clang ") + __clang_version__;
#elif defined(__GNUC__)
  return std::string("gcc ") + __VERSION__;
#else
  return "unknown";
#endif
}

// The lines of LibTorch's description that name BLAS and instruction sets.
std::string torch_config() { return at::show_config(); }

}  // namespace

namespace {

// Kernels that every processor with AVX2 has, in LibTorch and in ballast; LibTorch reads its part while it is loaded.
void check_portable() {
  for (const auto& [name, value] : kPortableMath) {
    const char* set = std::getenv(name);
    check(set != nullptr && std::string_view(set) == value, "run", "math.level portable needs ", name, "=", value,
          " in the environment before LibTorch is loaded, got ", set == nullptr ? "nothing" : set);
  }
}

}  // namespace

void set_threads(int64_t n) {
  check(n >= 0, "run", "threads must be >= 0, got ", n);
  at::set_num_threads(n == 0 ? usable_cores() : static_cast<int>(n));
  static const bool once = [] {
    try {
      at::set_num_interop_threads(1);
    } catch (const std::exception&) {
      // Only possible before the first use of that pool; one that is in use already stays.
    }
    return true;
  }();
  static_cast<void>(once);
}

void set_math(const std::string& level) {
  check(level == "fast" || level == "repeatable" || level == "portable", "run",
        "math.level must be fast, repeatable or portable, got \"", level, "\"");
  const bool repeatable = level != "fast";
  static bool forced = false;
  if (level == "portable") {
    check_portable();
    force_simd_target("avx2");
    forced = true;
  } else if (forced) {
    force_simd_target("");
    forced = false;
  }
  // Numbers below 1e-38 cost a hundred times as much as others and decide nothing; they are bits, though.
  at::globalContext().setFlushDenormal(!repeatable);
  at::globalContext().setDeterministicCuDNN(repeatable);
  at::globalContext().setBenchmarkCuDNN(!repeatable);
  // Warns instead of throwing where LibTorch has no deterministic kernel; none of our models meets one on a CPU.
  at::globalContext().setDeterministicAlgorithms(repeatable, /*warn_only=*/true);
}

std::string fingerprint(const std::string& math, const std::string& layout, const std::string& device,
                        const std::string& precision) {
  std::ostringstream all;
  all << math << "|1|" << simd_target() << '|' << torch_config() << '|' << libtorch_version() << '|' << blas_name()
      << '|' << version() << '|' << compiler() << "|" << precision << "|" << layout << '|' << device;
  return sha256_hex(all.str()).substr(0, 16);
}

int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

JsonValue environment_json(const RunPlan& plan) {
  JsonValue env = JsonValue::object();
  env["command"] = command_line();
  env["started"] = utc_now();
  env["ballast"] = version();
  env["libtorch"] = libtorch_version();
  env["compiler"] = compiler();
  env["fingerprint"] = plan.fingerprint;
  env["device"] = plan.device;
  env["cpu"] = cpu_name();
  env["simd"] = simd_target();
  env["cores"] = usable_cores();
  env["threads"] = plan.threads;
  env["workers"] = plan.workers;
  env["caching_allocator"] = allocator_stats().installed;
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  env["host"] = host.data();
  env["process"] = static_cast<int64_t>(getpid());
  env["folder"] = std::filesystem::absolute(plan.folder).string();
  env["blas"] = blas_name();
  env["libtorch_config"] = torch_config();
  return env;
}

}  // namespace ballast
