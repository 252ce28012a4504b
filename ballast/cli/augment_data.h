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
  uint64_t seed = 0;
};

/// From the run's config.toml. Errors: DataError if there is none, or its data is gone.
RunAugmentation run_augmentation(const std::filesystem::path& run);

}  // namespace ballast::cli
