#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <ballast/io/file.h>

namespace ballast::cli {

struct ChildOptions {
  /// Arguments, without the program.
  std::vector<std::string> words;
  /// Output is added to this file; empty: it is kept in memory.
  std::filesystem::path log = {};
  /// OMP_NUM_THREADS; 0: as it is.
  int threads = 0;
  /// The cores that it may use; none: all.
  std::vector<int> cores = {};
  /// Whether a variable of the environment is handed on; none: all are.
  std::function<bool(std::string_view name)> passes = {};
  /// How often wait() looks up, at least.
  std::chrono::milliseconds tick{200};
};

/// How a child ended.
struct ChildEnd {
  int code = 0;    ///< exit code, or -1
  int signal = 0;  ///< the signal that ended it, or 0
  double seconds = 0;
  std::string last_line;  ///< of its output

  /// "exit code 3" or "signal 9".
  std::string text() const;
};

/// This program once more, as a process of its own: nothing on its stdin, its own process group. It is asked to stop
/// (SIGTERM) when the thread that made it ends, however that ends, and killed with this object.
class ChildProcess {
 public:
  /// Errors   std::runtime_error if no process can be made; StorageError for the log.
  explicit ChildProcess(ChildOptions options);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// Waits until it has ended, or until interrupt(), asked at each tick, says so: then nothing.
  std::optional<ChildEnd> wait(const std::function<bool()>& interrupt);
  /// Asks it and its children to stop (SIGTERM).
  void stop();
  /// kill -9, and waits for the end. False if it had ended by itself.
  bool kill();
  /// What it said so far on stdout and stderr, if there is no log.
  const std::string& output() const { return output_; }

 private:
  void read_output();
  bool ended(int how);

  ChildOptions options_;
  std::chrono::steady_clock::time_point start_;
  std::optional<AppendFile> log_;
  pid_t pid_ = -1;
  int out_ = -1;
  std::optional<int> status_;
  std::string output_, line_;
  ChildEnd end_;
};

/// The cores that this process may use, by number.
std::vector<int> allowed_cores();

}  // namespace ballast::cli
