#include <ballast/base/check.h>
#include <ballast/base/thread_pool.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace ballast {

struct ThreadPool::State {
  std::mutex mutex;
  std::condition_variable start, done;
  uint64_t generation = 0;
  int busy = 0;
  bool stop = false;

  // Of the current loop.
  const std::function<void(int64_t, int)>* body = nullptr;
  int64_t n = 0;
  std::atomic<int64_t> next{0};
  std::exception_ptr error;
  int64_t error_at = 0;

  std::vector<std::thread> threads;

  void work(int thread) {
    for (;;) {
      const int64_t i = next.fetch_add(1, std::memory_order_relaxed);
      if (i >= n) {
        return;
      }
      try {
        (*body)(i, thread);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!error || i < error_at) {
          error = std::current_exception();
          error_at = i;
        }
        // Indices below i are all claimed, so the lowest failing one is still found.
        next.store(n, std::memory_order_relaxed);
      }
    }
  }

  void serve(int thread) {
    uint64_t seen = 0;
    for (;;) {
      {
        std::unique_lock lock(mutex);
        start.wait(lock, [&] { return stop || generation != seen; });
        if (stop) {
          return;
        }
        seen = generation;
      }
      work(thread);
      const std::lock_guard lock(mutex);
      if (--busy == 0) {
        done.notify_one();
      }
    }
  }

  void join() {
    {
      const std::lock_guard lock(mutex);
      stop = true;
    }
    start.notify_all();
    for (std::thread& thread : threads) {
      thread.join();
    }
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  check(threads >= 1, "thread_pool", "threads must be >= 1, got ", threads);
  try {
    for (int i = 1; i < threads; ++i) {
      state_->threads.emplace_back([state = state_.get(), i] { state->serve(i); });
    }
  } catch (...) {
    state_->join();
    throw;
  }
}

ThreadPool::~ThreadPool() { state_->join(); }

int ThreadPool::size() const { return static_cast<int>(state_->threads.size()) + 1; }

void ThreadPool::run(int64_t n, const std::function<void(int64_t, int)>& body) {
  State& s = *state_;
  {
    const std::lock_guard lock(s.mutex);
    s.body = &body;
    s.n = n;
    s.next = 0;
    s.error = nullptr;
    s.busy = static_cast<int>(s.threads.size());
    ++s.generation;
  }
  s.start.notify_all();
  s.work(0);
  std::unique_lock lock(s.mutex);
  s.done.wait(lock, [&] { return s.busy == 0; });
  if (s.error) {
    std::rethrow_exception(s.error);
  }
}

}  // namespace ballast
