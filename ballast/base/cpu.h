#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ballast {

/// Names of the instruction sets for which the library holds kernels and that this processor has,
/// best first: "avx512_dl", "avx512", "avx2", "sse4", "ssse3", "neon", ..., "scalar".
std::vector<std::string> simd_targets();

/// The one that kernels use: the best, unless the environment variable BALLAST_FORCE_TARGET named
/// another one of simd_targets() when the process started; then kernels use that one and nothing
/// better. Errors: std::invalid_argument if BALLAST_FORCE_TARGET names something that this
/// processor lacks.
std::string simd_target();

/// Lets kernels use `name` and nothing better from now on, "" what they used at the start. For
/// tests and comparisons; not while kernels run. Errors: std::invalid_argument as above.
void force_simd_target(std::string_view name);

/// Cores that this process may use: the affinity mask, limited by the CPU share of its cgroups (v1
/// and v2; rounded up). At least 1.
int usable_cores();

/// The processor's name as the system gives it; empty if it gives none.
std::string cpu_name();

namespace detail {
/// The share of a cgroup v2 `cpu.max` ("max 100000", "150000 100000") in cores; 0: no limit or not
/// understood.
double parse_cpu_max(std::string_view text);
/// The same of v1's quota and period.
double parse_cpu_quota(std::string_view quota, std::string_view period);
}  // namespace detail

}  // namespace ballast
