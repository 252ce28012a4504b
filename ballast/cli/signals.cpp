#include "signals.h"

#include <unistd.h>

#include <initializer_list>

namespace ballast::cli {
namespace {
volatile std::sig_atomic_t g_signal = 0;
volatile std::sig_atomic_t g_interrupts = 0;

extern "C" void on_stop_signal(int number) {
  if (number == SIGINT) {
    g_interrupts = g_interrupts + 1;
    if (g_interrupts > 1) {
      constexpr char text[] = "\nballast: stopped at once\n";
      [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
      _exit(130);
    }
  }
  if (g_signal == 0) {
    g_signal = number;
  }
}
}  // namespace

const volatile std::sig_atomic_t* install_signal_handlers() {
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGXCPU}) {
    struct sigaction old {};
    if (sigaction(number, nullptr, &old) == 0 && old.sa_handler == SIG_IGN) {
      continue;
    }
    struct sigaction action {};
    action.sa_handler = on_stop_signal;
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART;
    sigaction(number, &action, nullptr);
  }
  std::signal(SIGPIPE, SIG_IGN);
  return &g_signal;
}

}  // namespace ballast::cli
