#pragma once

#include <filesystem>
#include <string>

#include <ballast/augment/pipeline.h>
#include <ballast/data/data_set.h>

namespace ballast::cli {

/// What decided the training pictures of a run.
struct RunAugmentation {
  DataSet data;
  Pipeline train;
  /// Of its last epochs, and the first of them; -1: none.
  Pipeline plain;
  int64_t plain_from = -1;
  uint64_t seed = 0;
};

/// augment.train of a configuration file. Errors: OptionError; DataError if it has none.
std::string configured_pipeline(const std::string& file);

/// From the run's config.toml. Errors: DataError if there is none, or its data is gone.
RunAugmentation run_augmentation(const std::filesystem::path& run);

}  // namespace ballast::cli
