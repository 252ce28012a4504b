#include "child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include <ballast/base/check.h>

namespace ballast::cli {
namespace {

std::vector<std::string> environment_of(const ChildOptions& options) {
  std::vector<std::string> out;
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string_view text = *e;
    const std::string_view name = text.substr(0, text.find('='));
    if (options.threads > 0 && name == "OMP_NUM_THREADS") continue;
    if (!options.passes || options.passes(name)) out.emplace_back(text);
  }
  if (options.threads > 0) out.push_back("OMP_NUM_THREADS=" + std::to_string(options.threads));
  return out;
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

std::string ChildEnd::text() const {
  return signal != 0 ? "signal " + std::to_string(signal) : "exit code " + std::to_string(code);
}

ChildProcess::ChildProcess(ChildOptions options)
    : options_(std::move(options)), start_(std::chrono::steady_clock::now()) {
  if (!options_.log.empty()) log_.emplace(options_.log);
  std::array<int, 2> ends{};
  check<std::runtime_error>(pipe2(ends.data(), O_CLOEXEC) == 0, "child_process", "a pipe can not be made: ",
                            std::strerror(errno));
  out_ = ends[0];
  fcntl(out_, F_SETFL, O_NONBLOCK);
  // All memory that the child needs is made before the fork: other threads may hold the allocator's lock.
  std::vector<std::string> words = options_.words, environment = environment_of(options_);
  words.insert(words.begin(), "/proc/self/exe");
  const std::vector<char*> argv = pointers(words), envp = pointers(environment);
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int c : options_.cores) CPU_SET(c, &set);
  const bool pinned = !options_.cores.empty();

  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _Exit(1);
    if (pinned) sched_setaffinity(0, sizeof set, &set);
    const int nothing = open("/dev/null", O_RDONLY);
    if (nothing >= 0) dup2(nothing, STDIN_FILENO);
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    execve(argv[0], argv.data(), envp.data());
    _Exit(127);
  }
  const int error = errno;
  close(ends[1]);
  if (pid_ > 0) {
    setpgid(pid_, pid_);  // here too: whichever comes first
    return;
  }
  close(out_);
  fail<std::runtime_error>("child_process", "a process can not be made: ", std::strerror(error));
}

ChildProcess::~ChildProcess() {
  kill();
  close(out_);
}

void ChildProcess::read_output() {
  std::array<char, 4096> buffer;
  while (true) {
    const ssize_t got = read(out_, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    const std::string_view text(buffer.data(), static_cast<size_t>(got));
    if (log_) {
      log_->append(text);
      log_->flush();
    } else {
      output_ += text;
    }
    for (const char c : text) {
      if (c != '\n') {
        line_ += c;
      } else if (!line_.empty()) {
        end_.last_line = std::exchange(line_, {});
      }
    }
  }
}

// Whether it has ended; `how` is of waitpid: WNOHANG, or 0 to await it.
bool ChildProcess::ended(int how) {
  if (status_) return true;
  int status = 0;
  pid_t got = 0;
  while ((got = waitpid(pid_, &status, how)) < 0 && errno == EINTR) {
  }
  if (got != pid_) return false;
  status_ = status;
  end_.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  end_.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  end_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  return true;
}

std::optional<ChildEnd> ChildProcess::wait(const std::function<bool()>& interrupt) {
  while (!ended(WNOHANG)) {
    if (interrupt()) return std::nullopt;
    pollfd output{.fd = out_, .events = POLLIN, .revents = 0};
    if (::poll(&output, 1, static_cast<int>(options_.tick.count())) <= 0) continue;
    read_output();
    // Its end of the pipe is closed: it is about to end, and poll() would not wait any more.
    if ((output.revents & POLLHUP) != 0 && (output.revents & POLLIN) == 0) ended(0);
  }
  read_output();
  if (!line_.empty()) end_.last_line = std::exchange(line_, {});
  return end_;
}

void ChildProcess::stop() {
  if (!status_) ::kill(-pid_, SIGTERM);
}

bool ChildProcess::kill() {
  if (ended(WNOHANG)) return false;
  ::kill(-pid_, SIGKILL);
  ended(0);
  return end_.signal != 0;
}

}  // namespace ballast::cli
