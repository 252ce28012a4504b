#pragma once

#include <csignal>

namespace ballast::cli {

/// Installs the handlers: SIGINT, SIGTERM, SIGHUP, SIGXCPU set a flag that commands poll; a second SIGINT ends the
/// process at once with 130; SIGPIPE is ignored. A signal that the parent ignores (nohup) stays ignored.
/// Returns the flag: the number of the first signal, or 0.
const volatile std::sig_atomic_t* install_signal_handlers();

}  // namespace ballast::cli
