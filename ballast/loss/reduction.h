#pragma once

namespace ballast {

/// What becomes of the losses of single rows.
enum class Reduction { none, mean, sum };

}  // namespace ballast
