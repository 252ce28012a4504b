#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace ballast::cli {

/// This program once more, as a process of its own. Killed with its parent's object.
class ChildRun {
 public:
  /// Arguments without the program. Variables BALLAST_* of the environment are not handed on: the arguments say all.
  /// Errors  std::runtime_error: the process could not be started.
  explicit ChildRun(const std::vector<std::string>& arguments);
  ~ChildRun();
  ChildRun(const ChildRun&) = delete;
  ChildRun& operator=(const ChildRun&) = delete;

  /// Waits until it ends, or until `interrupt`, asked every millisecond, says so. The exit code (128 + a signal's number), or
  /// nothing.
  std::optional<int> wait(const std::function<bool()>& interrupt);
  /// kill -9, and waits for the end. False if it had ended by itself; its code is then what wait() gives.
  bool kill();
  /// What it said so far, on stdout and stderr.
  const std::string& output() const { return output_; }

 private:
  void read_output();
  std::optional<int> poll();
  pid_t pid_ = -1;
  int out_ = -1;
  std::optional<int> code_;
  std::string output_;
};

}  // namespace ballast::cli
