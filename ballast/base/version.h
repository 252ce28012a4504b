#pragma once

namespace ballast {

/// The project's version, as in CMakeLists.txt: "0.1.0".
const char* version();

}  // namespace ballast
