#pragma once

#include <string>

namespace ballast {

/// The version of the LibTorch that this library was built with: "1.13.1", "2.13.0".
std::string libtorch_version();

}  // namespace ballast
