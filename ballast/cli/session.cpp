#include "session.h"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <new>

#include <ballast/base/check.h>
#include <ballast/base/options.h>

namespace ballast::cli {
namespace {
void write_all(int fd, std::string_view text) {
  std::FILE* file = fd == STDOUT_FILENO ? stdout : stderr;
  std::fwrite(text.data(), 1, text.size(), file);
  std::fflush(file);
}
void line(std::string_view text) { write_all(STDERR_FILENO, std::string(text) + "\n"); }

/// The first line of a message: LibTorch's go on with a stack trace.
std::string first_line(std::string text, bool all) {
  if (!all) {
    text = text.substr(0, text.find('\n'));
  }
  return text;
}
}  // namespace

void Session::print(std::string_view text) const {
  if (!json && !silent) {
    write_all(STDOUT_FILENO, text);
  }
}
void Session::document(const nlohmann::ordered_json& value) const {
  if (json && !silent) {
    // Names of files may be of any bytes; JSON is UTF-8.
    write_all(STDOUT_FILENO, value.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  }
}
void Session::note(std::string_view text) const {
  if (!quiet) {
    line(text);
  }
}
void Session::warn(std::string_view text) const { line("ballast: warning: " + std::string(text)); }

int exit_code_of_signal(int signal) { return signal == SIGINT ? kSigint : kInterrupted; }

int report_exception(const Session& session) {
  const auto say = [&](const std::exception& error, int code) {
    line("ballast: " + first_line(error.what(), session.verbose));
    return code;
  };
  try {
    throw;
  } catch (const OptionError& error) {
    for (const OptionProblem& problem : error.problems) {
      line("ballast: " + problem.place + (problem.place.empty() ? "" : ": ") + problem.text);
    }
    return kUsage;
  } catch (const DataError& error) {
    return say(error, kData);
  } catch (const NonFiniteError& error) {
    return say(error, kNonFinite);
  } catch (const StorageError& error) {
    return say(error, kStorage);
  } catch (const InUseError& error) {
    return say(error, kInUse);
  } catch (const std::invalid_argument& error) {
    return say(error, kUsage);
  } catch (const std::bad_alloc&) {
    line("ballast: out of memory");
    return kUnexpected;
  } catch (const std::exception& error) {
    return say(error, kUnexpected);
  } catch (...) {
    line("ballast: unexpected failure");
    return kUnexpected;
  }
}

}  // namespace ballast::cli
