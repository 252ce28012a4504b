#include "child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include <ballast/base/check.h>
#include <ballast/io/file.h>

namespace ballast::cli {
namespace {

std::vector<std::string> environment_of(const ChildOptions& options) {
  std::vector<std::string> out;
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string_view text = *e;
    const std::string_view name = text.substr(0, text.find('='));
    if (name != "OMP_NUM_THREADS" && std::ranges::count(options.without, name) == 0) {
      out.emplace_back(text);
    }
  }
  out.push_back("OMP_NUM_THREADS=" + std::to_string(options.threads));
  return out;
}

/// By its path, so that lists of processes name it; by the kernel's link if it was replaced meanwhile.
std::string this_program() {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::read_symlink("/proc/self/exe", error);
  return !error && std::filesystem::exists(path, error) ? path.string() : "/proc/self/exe";
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& w : words) out.push_back(w.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace

std::vector<int> allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> out;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return out;
  for (int c = 0; c < CPU_SETSIZE; ++c) {
    if (CPU_ISSET(c, &set)) out.push_back(c);
  }
  return out;
}

ChildEnd run_child(const ChildOptions& options, const std::function<int()>& stop) {
  const auto start = std::chrono::steady_clock::now();
  AppendFile log(options.log);
  std::array<int, 2> ends{};
  check<std::runtime_error>(pipe2(ends.data(), O_CLOEXEC) == 0, "ensemble",
                            "no pipe can be made: ", std::strerror(errno));
  // All memory that the child needs is made before the fork: other threads may hold the
  // allocator's lock.
  std::vector<std::string> words = options.words, environment = environment_of(options);
  words.insert(words.begin(), this_program());
  const std::vector<char*> argv = pointers(words), envp = pointers(environment);
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int c : options.cores) CPU_SET(c, &set);

  const pid_t parent = getpid();
  const pid_t pid = fork();
  check<std::runtime_error>(pid >= 0, "ensemble", "no process can be made: ", std::strerror(errno));
  if (pid == 0) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _Exit(1);
    if (!options.cores.empty()) sched_setaffinity(0, sizeof set, &set);
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    execve(argv[0], argv.data(), envp.data());
    _Exit(127);
  }
  close(ends[1]);
  ChildEnd end;
  std::string line;
  bool asked = false;
  std::array<char, 4096> buffer{};
  while (true) {
    if (!asked && stop() != 0) {
      kill(-pid, SIGTERM);
      asked = true;
    }
    pollfd wait{.fd = ends[0], .events = POLLIN, .revents = 0};
    if (poll(&wait, 1, 200) <= 0) continue;
    const ssize_t got = read(ends[0], buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    const std::string_view text(buffer.data(), static_cast<size_t>(got));
    log.append(text);
    log.flush();
    for (const char c : text) {
      if (c != '\n') {
        line += c;
      } else if (!line.empty()) {
        end.last_line = std::move(line);
        line.clear();
      }
    }
  }
  close(ends[0]);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  log.close();
  end.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  end.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  end.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return end;
}

}  // namespace ballast::cli
