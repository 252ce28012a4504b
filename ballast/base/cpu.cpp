#include <ballast/base/check.h>
#include <ballast/base/cpu.h>

#include <hwy/highway.h>
#include <hwy/targets.h>
#include <sched.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>

namespace ballast {
namespace {

struct Family {
  std::string_view name;
  /// Best target of the family; kernels may use it and every worse one.
  int64_t target;
};
constexpr Family kFamilies[] = {
    {"avx512_dl", HWY_AVX3_DL}, {"avx512", HWY_AVX3}, {"avx2", HWY_AVX2},    {"sse4", HWY_SSE4},
    {"ssse3", HWY_SSSE3},       {"sve2", HWY_SVE2},   {"sve", HWY_SVE},      {"neon", HWY_NEON},
    {"rvv", HWY_RVV},           {"ppc8", HWY_PPC8},   {"scalar", HWY_EMU128}};

/// What the processor has, whatever is forced.
int64_t available() {
  static const int64_t targets = hwy::SupportedTargets();
  return targets | HWY_EMU128;
}

/// The best target in a set is its lowest bit.
int64_t best_of(int64_t targets) { return targets & -targets; }

std::string target_name(int64_t target) {
  if (target == HWY_SCALAR) {
    return "scalar";
  }
  for (const Family& family : kFamilies) {
    if (family.target == target) {
      return std::string(family.name);
    }
  }
  std::string name = hwy::TargetName(target);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

void use(int64_t targets) {
  hwy::SetSupportedTargetsForTest(targets);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

/// The set that `name` stands for; 0 if this processor has no such target.
int64_t targets_up_to(std::string_view name) {
  for (const Family& family : kFamilies) {
    if (family.name == name) {
      return (available() & family.target) != 0 ? available() & ~(family.target - 1) : 0;
    }
  }
  return 0;
}

std::string_view forced_by_environment() {
  const char* text = std::getenv("BALLAST_FORCE_TARGET");
  return text == nullptr ? "" : text;
}

// Before the first kernel, also where nobody asks for simd_target(). A wrong name is reported
// there.
const bool forced_at_start = [] {
  available();
  const int64_t targets = targets_up_to(forced_by_environment());
  if (targets != 0) {
    use(targets);
  }
  return true;
}();

[[noreturn]] void fail_unknown(std::string_view name) {
  std::ostringstream list;
  for (const std::string& target : simd_targets()) {
    list << (list.tellp() > 0 ? ", " : "") << target;
  }
  fail("cpu", "BALLAST_FORCE_TARGET must be one of ", list.str(), ", got \"", name, '"');
}

std::string read_text(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

double number(std::string_view text) {
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() ? value : 0.0;
}

/// Smallest limit of a cgroup and those above it, 0 if none.
template <class Limit>
double limit_along(std::string path, Limit limit) {
  double cores = 0.0;
  for (;;) {
    const double here = limit(path);
    if (here > 0.0 && (cores == 0.0 || here < cores)) {
      cores = here;
    }
    const size_t slash = path.rfind('/');
    if (path.size() <= 1 || slash == std::string::npos) {
      return cores;
    }
    path.resize(slash);
  }
}

double cgroup_cores() {
  std::istringstream groups(read_text("/proc/self/cgroup"));
  double cores = 0.0;
  const auto take = [&](double here) {
    if (here > 0.0 && (cores == 0.0 || here < cores)) {
      cores = here;
    }
  };
  const std::string root = "/sys/fs/cgroup";
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) {
      continue;
    }
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) {
      take(limit_along(path, [&](const std::string& p) {
        return detail::parse_cpu_max(read_text(root + p + "/cpu.max"));
      }));
    } else if ((',' + controllers + ',').find(",cpu,") != std::string::npos) {
      take(limit_along(path, [&](const std::string& p) {
        const std::string folder = root + "/" + controllers + p;
        return detail::parse_cpu_quota(read_text(folder + "/cpu.cfs_quota_us"),
                                       read_text(folder + "/cpu.cfs_period_us"));
      }));
    }
  }
  return cores;
}

}  // namespace

std::vector<std::string> simd_targets() {
  std::vector<std::string> names;
  for (int64_t rest = available(); rest != 0; rest &= rest - 1) {
    std::string name = target_name(best_of(rest));
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(std::move(name));
    }
  }
  return names;
}

std::string simd_target() {
  static const bool valid = [] {
    const std::string_view name = forced_by_environment();
    if (!name.empty() && targets_up_to(name) == 0) {
      fail_unknown(name);
    }
    return true;
  }();
  static_cast<void>(valid);
  return target_name(best_of(hwy::SupportedTargets()));
}

void force_simd_target(std::string_view name) {
  if (name.empty()) {
    use(targets_up_to(forced_by_environment()));
    return;
  }
  const int64_t targets = targets_up_to(name);
  if (targets == 0) {
    fail_unknown(name);
  }
  use(targets);
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cores = sched_getaffinity(0, sizeof set, &set) == 0
                  ? CPU_COUNT(&set)
                  : static_cast<int>(std::thread::hardware_concurrency());
  const double share = cgroup_cores();
  if (share > 0.0) {
    cores = std::min(cores, static_cast<int>(std::ceil(share)));
  }
  return std::max(1, cores);
}

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) {
      const size_t start = line.find_first_not_of(": \t", 10);
      return start == std::string::npos ? "" : line.substr(start);
    }
  }
  return "";
}

namespace detail {

double parse_cpu_max(std::string_view text) {
  const size_t blank = text.find(' ');
  if (blank == std::string_view::npos) {
    return 0.0;
  }
  return parse_cpu_quota(text.substr(0, blank), text.substr(blank + 1));
}

double parse_cpu_quota(std::string_view quota, std::string_view period) {
  const double q = number(quota);
  const double p = number(period);
  return q > 0.0 && p > 0.0 ? q / p : 0.0;
}

}  // namespace detail
}  // namespace ballast
