#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ballast/report/run_record.h>

namespace ballast {

/// A layer with a weight, as a probe saw it; in the order of execution.
struct ProbeLayer {
  std::string name, kind;         ///< "layer1.0.conv1", "conv2d, relu"
  std::string note = {};          ///< "before a norm", "zero on purpose, opened"
  double fan_in = kNone;
  double he_ratio = kNone;        ///< weight std over He's
  double mean = kNone;            ///< of the pre-activations
  double signal = kNone;          ///< sqrt of their across-sample variance
  double std = kNone;             ///< over all values
  double zeros = kNone, saturated = kNone;  ///< shares behind the activation
  double output_gradient = kNone, weight_gradient = kNone;  ///< rms
  double update = kNone;          ///< lr norm(g) / norm(w)
  double channel_correlation = kNone, sample_correlation = kNone;
};

/// A time step of a recurrent layer.
struct ProbeStep {
  int64_t step = 0;
  double signal = kNone, gradient = kNone, echo = kNone;
};

struct ProbeFinding {
  std::string level, name, layer, text;  ///< level: certain, warning, info
};

/// What one start does to the model.
struct ProbeRun {
  std::string init;                ///< "he"
  std::string verdict, level, layer, cure, text;
  double loss = kNone, expected_loss = kNone;
  std::vector<ProbeFinding> findings = {};
  std::vector<ProbeLayer> layers = {};
  std::vector<ProbeStep> steps = {};    ///< of the first recurrent layer
};

struct ProbePage {
  std::string model;               ///< "plain_cnn:30"
  std::string lead;                ///< what was probed, in a sentence
  std::vector<ProbeRun> runs = {};      ///< at least one; several are laid over each other
  std::vector<std::string> warnings = {};
};

/// One HTML file without network or script: verdicts, signal and gradient against depth, all layers as tables.
/// Throws std::invalid_argument without a run.
std::string probe_page(const ProbePage& page);

}  // namespace ballast
