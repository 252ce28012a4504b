#pragma once

// What a run takes from the machine, and how it names it. No torch in this header.

#include <cstdint>
#include <string>

#include <ballast/io/json.h>

namespace ballast {

struct RunPlan;

/// Sets the threads of LibTorch's operators; 0: the cores that this process may use. Operators of one thread each run one
/// after the other.
/// Errors: std::invalid_argument if n < 0.
void set_threads(int64_t n);

/// `repeatable`: deterministic algorithms; `portable`: these, with kernels for AVX2 only; `fast`: whatever is fastest, and numbers below
/// 1e-38 count as 0.
/// Errors: std::invalid_argument for portable, unless the variables of base/portable_math.h are set.
void set_math(const std::string& level);

/// 16 hex digits over everything that decides the bits of a result beside options and data: level, instruction sets, versions of LibTorch, oneDNN, BLAS, ballast and compiler, layout, device, precision.
std::string fingerprint(const std::string& math, const std::string& layout, const std::string& device,
                        const std::string& precision);

/// For env.json: versions, machine, threads, the command, the fingerprint.
JsonValue environment_json(const RunPlan& plan);

/// Bytes of memory that this process holds.
int64_t resident_bytes();

}  // namespace ballast
