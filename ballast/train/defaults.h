#pragma once

// No torch in this header.

#include <cstdint>
#include <string>

namespace ballast {

/// What the choice of defaults may depend on: the data, never the clock or the machine.
struct DataFacts {
  int64_t train_images = 0;        ///< pictures that are trained on
  int64_t classes = 0;
  int64_t channels = 3;            ///< 1 or 3
  int64_t height = 0, width = 0;   ///< of a typical picture
};

/// Choices that the user has made already; 0 or empty: none. The others are chosen to fit them.
struct FixedChoices {
  std::string model = {};    ///< NAME[:SIZE]; empty: choose
  int64_t image_size = 0;    ///< side of the model's input
  int64_t batch_size = 128;
  std::string optimizer = "sgd";
  std::string schedule = {}; ///< empty: choose
};

/// What `auto` stands for.
struct Defaults {
  std::string model;
  int64_t height = 0, width = 0;  ///< of the model's input
  int64_t epochs = 0;
  std::string schedule;
  double warmup_share = 0;        ///< of the run
  double lr = 0;                  ///< for this batch size, optimizer and schedule
  double weight_decay = 0;
  double label_smoothing = 0;
};

/// Resolves every `auto` of a run as a pure function of the data and of what is fixed already.
///
///   pictures, shorter side    model          input                                  epochs
///   <= 64 px                  resnet8_wide   as they are                            15 * 57,000 * 28 * 28 / (n h w)
///   larger                    resnet18       128 px, or the side below, in 32s      25 * 3,068 * 128 * 128 / (n h w)
///
/// with n the number of pictures, h and w the input's size, rounded, in [5, 100]: a fixed amount of work, so that a run
/// on two ordinary cores takes minutes on small pictures and stays below half an hour on some thousand photos.
///
///   sgd     one_cycle, peak 0.2 at batch 128 (0.05 without norms: mlp, lenet, plain_cnn, rnn; vit_tiny likewise),
///           proportional to the batch; other schedules half of it; weight decay 5e-4
///   adam    cosine, warm-up of 5 %, 1e-3 at batch 128, by the square root of the batch; weight decay 0
///   adamw   the same; weight decay 0.05
///   label smoothing 0.1
///
/// Errors  std::invalid_argument if there is no picture, a size is < 1, or there are fewer than 2 classes.
Defaults choose_defaults(const DataFacts& facts, const FixedChoices& fixed = {});

}  // namespace ballast
