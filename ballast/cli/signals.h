#pragma once

#include <csignal>

namespace ballast::cli {

/// Flags that handlers set.
struct SignalFlags {
  volatile std::sig_atomic_t stop = 0;  ///< number of the first signal that asks to stop, or 0
  volatile std::sig_atomic_t save = 0;  ///< how often SIGUSR1 came
};

/// Installs the handlers: SIGINT, SIGTERM, SIGHUP, SIGXCPU set a flag that commands poll; a second SIGINT ends the
/// process at once with 130; SIGUSR1 counts; SIGPIPE is ignored. A signal that the parent ignores (nohup) stays ignored.
const SignalFlags* install_signal_handlers();

}  // namespace ballast::cli
