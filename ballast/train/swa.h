#pragma once

#include <cstdint>
#include <string>

#include <ballast/weights/state_dict.h>

namespace torch::nn {
class Module;
}

namespace ballast {

/// Stochastic weight averaging: the plain mean of a module's weights at several moments of a run.
///
///   avg += (w - avg) / (n + 1),   n = 0, 1, ... updates done
///
/// Tensors  floating parameters are averaged; buffers are those of the last update: running statistics fit no averaged weights and are
///          to be re-estimated (norm/reestimate.h).
/// Source   Izmailov et al. 2018, arXiv:1803.05407.
class Swa {
 public:
  explicit Swa(const torch::nn::Module& module);

  /// Takes in the weights as they are now.
  void update();
  /// Updates done; with 0 the averages are the weights of the start.
  int64_t n() const { return n_; }
  const StateDict& averages() const { return averages_; }
  /// Errors: DataError as copy_into.
  void restore(int64_t n, const StateDict& averages, const std::string& label);

 private:
  int64_t n_ = 0;
  StateDict live_;  // shares the module's memory
  StateDict averages_;
  StateDict parameters_;  // those of live_ that are averaged
};

}  // namespace ballast
