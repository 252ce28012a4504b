#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace ballast::cli {

/// A child that runs this program with other words. Its output goes, line by line, to `log`; it has its own process group, and
/// ends when this process does, however that ends.
struct ChildOptions {
  std::vector<std::string> words;
  std::filesystem::path log;
  /// Threads of its computing (OMP_NUM_THREADS) and the cores it may use; none: all.
  int threads = 1;
  std::vector<int> cores = {};
};

/// How a child ended.
struct ChildEnd {
  int code = 0;      ///< exit code, or -1
  int signal = 0;    ///< the signal that ended it, or 0
  double seconds = 0;
  std::string last_line;  ///< of its output
};

/// Runs it to its end. Where stop() is not 0, that signal is passed on once, and the child's end is awaited.
/// Errors   std::runtime_error if no process can be made; StorageError for the log.
ChildEnd run_child(const ChildOptions& options, const std::function<int()>& stop);

/// The cores that this process may use, by number.
std::vector<int> allowed_cores();

}  // namespace ballast::cli
