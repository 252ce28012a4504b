#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ballast {

/// Values of DataOptions::format.
inline constexpr std::string_view kDataFormats = "auto folder csv tar zip packed idx cifar";

/// Options of open_data.
struct DataOptions {
  /// A folder of pictures; a CSV list of them; a tar or zip archive or a folder of tar shards; a packed cache; a file of a
  /// set (IDX, CIFAR); or a known name: fashion-mnist.
  std::string source = "fashion-mnist";
  /// How to read it, one of kDataFormats; auto: by content.
  std::string format = "auto";
  /// Shares of `train`, in [0, 1), that become `val` and `test` where the source has no such part;
  /// 0: none.
  double split_val = 0.1;
  double split_test = 0.1;
  /// Use only so many training pictures, at least one of each class; classes keep their shares.
  std::optional<int64_t> limit = std::nullopt;
  /// Labels of CIFAR-100: fine (100 classes) or coarse (20).
  std::string cifar_labels = "fine";
  /// Draws the split and the limit in place of the run's seed, so that several runs share them.
  std::optional<uint64_t> split_seed = std::nullopt;
  /// Share of `train`, behind val and test and before the limit, that becomes role `hold`: nothing in the run reads it.
  double split_hold = 0;
  /// Which training pictures are used, as parse_bag() takes it (data/bag.h).
  std::string bag = "none";
};

}  // namespace ballast
