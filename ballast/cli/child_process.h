#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace ballast::cli {

/// A child that runs this program with other words. Its output goes to the end of `log`; it has
/// its own process group, and is
/// asked to stop (SIGTERM) when this process ends, however that ends.
struct ChildOptions {
  std::vector<std::string> words;
  std::filesystem::path log;
  /// Threads of its computing (OMP_NUM_THREADS).
  int threads = 1;
  /// The cores that it may use; none: all.
  std::vector<int> cores = {};
  /// Variables of the environment that it does not get.
  std::vector<std::string> without = {};
};

/// How a child ended.
struct ChildEnd {
  int code = 0;    ///< exit code, or -1
  int signal = 0;  ///< the signal that ended it, or 0
  double seconds = 0;
  std::string last_line;  ///< of its output
};

/// Runs it to its end. Where stop() is not 0, the child is asked to stop, once, and its end
/// awaited.
/// Errors   std::runtime_error if no process can be made; StorageError for the log.
ChildEnd run_child(const ChildOptions& options, const std::function<int()>& stop);

/// The cores that this process may use, by number.
std::vector<int> allowed_cores();

}  // namespace ballast::cli
