#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace ballast {

/// Threads that share out loops. The calling thread works too, so a pool of 1 has no thread of its
/// own.
///
///   ThreadPool pool(usable_cores());
///   pool.run(files.size(), [&](int64_t i, int thread) { check(files[i], scratch[thread]); });
///
/// Threads  run() is for one caller at a time, and not from inside a body.
class ThreadPool {
 public:
  /// Errors: std::invalid_argument unless threads >= 1; std::system_error if the system has no more
  /// threads.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;

  /// Calls body(i, thread) once for each i in [0, n), thread in [0, size()); indices are claimed
  /// one by one in rising order. Returns when all calls are done. If bodies throw, the exception of
  /// the lowest i is thrown; later indices may then be left out.
  void run(int64_t n, const std::function<void(int64_t i, int thread)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ballast
