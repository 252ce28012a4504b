#include "child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include <ballast/base/check.h>
#include <ballast/io/file.h>

namespace ballast::cli {

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
  std::array<int, 2> pipe_ends{};
  check<std::runtime_error>(pipe2(pipe_ends.data(), O_CLOEXEC) == 0, "ensemble", "no pipe can be made: ", std::strerror(errno));

  // All memory that the child needs is made before the fork.
  std::vector<std::string> words = options.words;
  words.insert(words.begin(), "/proc/self/exe");
  std::vector<char*> argv;
  for (std::string& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  std::vector<std::string> environment;
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string_view text = *e;
    if (!text.starts_with("OMP_NUM_THREADS=") && !text.starts_with("BALLAST_RUN_")) environment.emplace_back(text);
  }
  environment.push_back("OMP_NUM_THREADS=" + std::to_string(options.threads));
  std::vector<char*> envp;
  for (std::string& e : environment) envp.push_back(e.data());
  envp.push_back(nullptr);
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
    dup2(pipe_ends[1], STDOUT_FILENO);
    dup2(pipe_ends[1], STDERR_FILENO);
    execve(argv[0], argv.data(), envp.data());
    _Exit(127);
  }
  close(pipe_ends[1]);
  ChildEnd end;
  std::string line;
  bool passed_on = false;
  std::array<char, 4096> buffer{};
  while (true) {
    if (const int signal = stop(); signal != 0 && !passed_on) {
      kill(-pid, SIGTERM);
      passed_on = true;
    }
    pollfd wait{.fd = pipe_ends[0], .events = POLLIN, .revents = 0};
    if (poll(&wait, 1, 200) <= 0) continue;
    const ssize_t got = read(pipe_ends[0], buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    const std::string_view text(buffer.data(), static_cast<size_t>(got));
    log.append(text);
    log.flush();
    for (const char c : text) {
      if (c == '\n') {
        if (!line.empty()) end.last_line = line;
        line.clear();
      } else {
        line += c;
      }
    }
  }
  close(pipe_ends[0]);
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
