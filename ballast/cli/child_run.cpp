#include "child_run.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <stdexcept>
#include <string_view>
#include <thread>

namespace ballast::cli {

ChildRun::ChildRun(const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {"ballast"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv, envp;
  for (std::string& word : words) {
    argv.push_back(word.data());
  }
  argv.push_back(nullptr);
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (!std::string_view(*variable).starts_with("BALLAST_") || std::string_view(*variable).starts_with("BALLAST_FORCE_")) {
      envp.push_back(*variable);
    }
  }
  envp.push_back(nullptr);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    throw std::runtime_error(std::string("[verify] a pipe could not be made: ") + std::strerror(errno));
  }
  out_ = ends[0];
  fcntl(out_, F_SETFL, O_NONBLOCK);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  const int error = posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error != 0) {
    close(out_);
    throw std::runtime_error(std::string("[verify] a process could not be started: ") + std::strerror(error));
  }
}

ChildRun::~ChildRun() {
  kill();
  close(out_);
}

void ChildRun::read_output() {
  std::array<char, 4096> part;
  for (ssize_t n = 0; (n = read(out_, part.data(), part.size())) > 0;) {
    output_.append(part.data(), static_cast<size_t>(n));
  }
}

std::optional<int> ChildRun::poll() {
  int status = 0;
  read_output();
  if (!code_ && waitpid(pid_, &status, WNOHANG) == pid_) {
    code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    read_output();
  }
  return code_;
}

std::optional<int> ChildRun::wait(const std::function<bool()>& interrupt) {
  while (!poll()) {
    if (interrupt()) {
      return {};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return code_;
}

bool ChildRun::kill() {
  if (poll()) {
    return false;
  }
  ::kill(pid_, SIGKILL);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return WIFSIGNALED(status);
}

}  // namespace ballast::cli
