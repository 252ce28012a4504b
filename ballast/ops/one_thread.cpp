#include <ballast/ops/one_thread.h>

#include <ATen/Parallel.h>
#include <omp.h>

namespace ballast::ops {

OneThread::OneThread() {
  // A new thread's first call of LibTorch sets its number of threads: it is this one, not one while we live. oneDNN would
  // else plan for threads that never come: wrong sums, or waiting for ever.
  before_ = at::get_num_threads();
  if (before_ != 1) omp_set_num_threads(1);
}

OneThread::~OneThread() {
  if (before_ != 1) omp_set_num_threads(before_);
}

}  // namespace ballast::ops
