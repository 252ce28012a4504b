#pragma once

#include <iosfwd>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "signals.h"

namespace ballast::cli {

/// How a command talks: what it reports goes to stdout, everything else to stderr; with --json stdout has one JSON
/// document and nothing else.
struct Session {
  bool json = false;
  bool quiet = false;
  bool verbose = false;
  /// Nothing on stdout: a command that runs as a part of another one.
  bool silent = false;
  /// Colour on stderr and stdout.
  bool color_err = false;
  bool color_out = false;
  /// Set by the handlers; null: none are installed.
  const SignalFlags* signals = nullptr;

  /// The number of the first stop signal that came, or 0.
  int stop_signal() const { return signals == nullptr ? 0 : signals->stop; }
  /// How often a save was asked for.
  int save_signals() const { return signals == nullptr ? 0 : signals->save; }
  /// A text of the report: to stdout, unless --json.
  void print(std::string_view text) const;
  /// The report as JSON: to stdout, if --json.
  void document(const nlohmann::ordered_json& value) const;
  /// A line for people on stderr, unless --quiet.
  void note(std::string_view line) const;
  /// "ballast: warning: ..." on stderr.
  void warn(std::string_view line) const;
};

/// Exit codes, TRAINING.md 5.
enum ExitCode {
  kDone = 0,
  kUnexpected = 1,
  kUsage = 2,
  kData = 3,
  kNonFinite = 4,
  kDamage = 5,
  kStorage = 6,
  kInUse = 7,
  kInterrupted = 75,
  kSigint = 130,
};

/// The exit code of a run ended by this signal: 130 for SIGINT, else 75.
int exit_code_of_signal(int signal);

/// Prints "ballast: MESSAGE" (a line each for an OptionError's problems) on stderr and returns the exit code of the
/// exception that is being handled. Call inside a catch block.
int report_exception(const Session& session);

}  // namespace ballast::cli
