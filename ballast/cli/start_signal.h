#pragma once

#include <csignal>

namespace ballast::cli {

/// While this is not 0 a stop signal ends the process at once: nothing has been written that would be lost.
volatile std::sig_atomic_t& starting_flag();

}  // namespace ballast::cli
