#include "signals.h"

#include <unistd.h>

#include <initializer_list>

#include "start_signal.h"

namespace ballast::cli {
namespace {
SignalFlags g_flags;
volatile std::sig_atomic_t g_starting = 0;
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
  if (g_starting != 0) {
    constexpr char text[] = "\nballast: stopped; nothing was written\n";
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    _exit(number == SIGINT ? 130 : 75);
  }
  if (g_flags.stop == 0) {
    g_flags.stop = number;
  }
}

extern "C" void on_save_signal(int) { g_flags.save = g_flags.save + 1; }
}  // namespace

volatile std::sig_atomic_t& starting_flag() { return g_starting; }

const SignalFlags* install_signal_handlers() {
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
  struct sigaction save {};
  save.sa_handler = on_save_signal;
  sigemptyset(&save.sa_mask);
  save.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &save, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return &g_flags;
}

}  // namespace ballast::cli
