#pragma once

#include <cstdint>
#include <vector>

#include <ballast/probe/layer_watch.h>

namespace ballast {

/// A recurrent layer at one time step.
struct RecurrentStep {
  int64_t layer = 0;    ///< of a stack
  int64_t step = 0;     ///< 0 is the first
  double across = 0;    ///< across-sample variance of the hidden state
  double gradient = 0;  ///< rms of the gradient of the loss at the state (lstm: at the cell)
  double echo = 0;      ///< without input: rms difference of two states that differed by 1e-6 before the first step
};

/// The signal and the gradient of a watched recurrent layer at each time step. LibTorch runs all steps in one operator:
/// they are computed again here, step by step, with the same weights and inputs, and the gradient that arrived at the
/// operator's results is sent back through them. The echo is what the recurrence does by itself: a plain tanh layer with
/// an orthogonal matrix keeps a small difference for ever, one of gain 1.5 multiplies it by 1.5 a step.
///
/// Takes    lstm, gru, rnn_tanh, rnn_relu in one direction, on padded batches (not packed ones); dropout between layers
///          is left out. Nothing for others, and nothing without a gradient.
/// Cost     a forward and a backward pass of the layer.
std::vector<RecurrentStep> recurrent_steps(const WatchedLayer& layer);

}  // namespace ballast
