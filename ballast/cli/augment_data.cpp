#include "augment_data.h"

#include <ballast/augment/presets.h>
#include <ballast/base/check.h>
#include <ballast/base/config_file.h>
#include <ballast/train/run_options.h>

#include "run_config.h"

namespace ballast::cli {

RunAugmentation run_augmentation(const std::filesystem::path& run) {
  RunOptions o;
  OptionTable table = option_table(o);
  const std::string file = (run / "config.toml").string();
  if (auto problems = apply_toml(table, read_config_file(file), file); !problems.empty()) throw OptionError(problems);
  check<DataError>(!o.augment.train.is_auto(), "augment", file, " names no training pipeline (augment.train)");
  RunAugmentation out{open_data(data_options(o), Key(o.run.seed)), Pipeline::parse(*o.augment.train), {}, -1,
                      o.run.data_seed.value_or(o.run.seed)};
  if (o.augment.normalize == "imagenet") {
    out.train.set_normalize(imagenet_normalize());
  } else if (o.augment.normalize == "dataset") {
    out.train.set_normalize(out.data.normalize);
  }
  out.train.set_semantics(o.augment.semantics == "sequential" ? Semantics::sequential : Semantics::fused);
  out.plain = out.train.plain();
  if (o.augment.off_last > 0 && !o.train.epochs.is_auto()) {
    out.plain_from = std::max<int64_t>(0, *o.train.epochs - o.augment.off_last);
  }
  return out;
}

std::string configured_pipeline(const std::string& file) {
  RunOptions o;
  OptionTable table = option_table(o);
  if (auto problems = apply_toml(table, read_config_file(file), file); !problems.empty()) throw OptionError(problems);
  check<DataError>(!o.augment.train.is_auto(), "augment", file, " names no training pipeline (augment.train)");
  return *o.augment.train;
}

}  // namespace ballast::cli
