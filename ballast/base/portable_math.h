#pragma once

#include <array>
#include <utility>

namespace ballast {

/// Variables of the environment that make LibTorch, oneDNN and the BLAS use the same kernels on every x86-64 processor with AVX2:
/// for math.level portable. They are read while LibTorch is loaded.
inline constexpr std::array<std::pair<const char*, const char*>, 4> kPortableMath = {{
    {"ATEN_CPU_CAPABILITY", "avx2"},
    {"DNNL_MAX_CPU_ISA", "AVX2"},
    {"OPENBLAS_CORETYPE", "Haswell"},
    {"MKL_CBWR", "COMPATIBLE"},
}};

}  // namespace ballast
