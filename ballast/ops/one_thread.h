#pragma once

namespace ballast::ops {

/// While it lives, operators that this thread calls use one thread. Inside of a parallel region they would anyway, but
/// oneDNN plans its sums for as many threads as OpenMP could start, then waits for those that the region does not give.
class OneThread {
 public:
  OneThread();
  ~OneThread();
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_ = 1;
};

}  // namespace ballast::ops
