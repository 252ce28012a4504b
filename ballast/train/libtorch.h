#pragma once

#include <string>

namespace ballast {

/// The version of the LibTorch that this library was built with: "1.13.1", "2.13.0".
std::string libtorch_version();

/// What multiplies LibTorch's matrices: "OpenBLAS 0.3.21" or the like; "BLAS of LibTorch" where it is linked in (the wheel's MKL);
/// otherwise the file, which for Debian's reference BLAS ends with "/blas/libblas.so.3..." and is many times slower.
std::string blas_name();

}  // namespace ballast
