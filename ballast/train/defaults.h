#pragma once

// No torch in this header.

#include <cstdint>
#include <string>

namespace ballast {

/// What the choice of defaults may depend on: the data, never the clock or the machine.
struct DataFacts {
  int64_t train_images = 0;
  int64_t classes = 0;
  int64_t channels = 3;            ///< 1 or 3
  int64_t height = 0, width = 0;   ///< of a typical (median) picture
  bool one_size = true;            ///< all pictures have that size
};

/// Choices that the user has made already; 0 or empty: none. The others are chosen to fit them.
struct FixedChoices {
  std::string model;      ///< name, with size text; empty or "auto": choose
  int64_t image_size = 0; ///< side of the model's input
  int64_t epochs = 0;
  int64_t batch_size = 0;
  std::string optimizer;  ///< empty: sgd
  double lr = -1;         ///< < 0: choose
};

/// What `auto` stands for.
struct Defaults {
  std::string model;
  int64_t height = 0, width = 0;  ///< of the model's input
  int64_t epochs = 0;
  int64_t batch_size = 0;
  std::string schedule;
  double lr = 0;                  ///< peak learning rate, for this batch size and optimizer
  double weight_decay = 0;
  double label_smoothing = 0;
  std::string augment;            ///< preset: none, light
  /// Share of `train` that becomes the validation split where the source has none.
  double val_share = 0.1;
};

/// Resolves every `auto` of a run as a pure function of the data.
///
///   pictures            model          input                        epochs
///   sides <= 64 px      resnet8_wide   as they are                  by number of images, 5 to 100
///   larger              resnet18       128 px (64 to 128 by count)  by number of images and size, 5 to 100
///
/// The epochs are those that a fixed amount of work (pictures times pixels) allows, so that a run on two ordinary
/// cores takes minutes on small pictures and stays below half an hour on some thousand photos.
///
/// Errors  std::invalid_argument if there are no images, or fewer than 2 classes.
Defaults choose_defaults(const DataFacts& facts, const FixedChoices& fixed = {});

}  // namespace ballast
