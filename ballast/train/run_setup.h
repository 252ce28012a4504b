#pragma once

#include <memory>
#include <string>
#include <vector>

#include <ballast/augment/pipeline.h>
#include <ballast/control/early_stopping.h>
#include <ballast/control/lr_schedule.h>
#include <ballast/data/data_set.h>
#include <ballast/data/loader.h>
#include <ballast/models/model_options.h>
#include <ballast/train/run_options.h>

namespace ballast {

/// Everything that a run is made from, with every `auto` resolved. A function of the options and the data.
struct RunSetup {
  /// As given, with `auto` replaced and origins "auto: why".
  RunOptions options;
  DataSet data;
  std::string data_name;
  Pipeline train, eval;
  ModelOptions model;
  int64_t epochs = 0;
  /// Without the last batch of one picture, which is dropped.
  int64_t steps_per_epoch = 0;
  bool drops_single = false;
  int64_t total_steps = 0;
  LrScheduleOptions schedule;
  EarlyStoppingOptions stopping;
  /// Of all monitors, the first being `stopping`; and the metrics of the others.
  std::vector<EarlyStoppingOptions> all_stopping;
  std::vector<std::string> also;
  /// average.swa begins behind this step; below 0: off.
  int64_t swa_from = -1;
  /// Of schedule.name plateau.
  std::optional<PlateauOptions> plateau;
  /// "nll_tempered"
  std::string monitor;
  std::vector<std::string> hints;

  Key key() const { return Key(options.run.seed); }
  /// Of the initial values.
  Key init_key() const { return Key(options.run.init_seed.value_or(options.run.seed)); }
};

/// Opens the data and resolves the options.
/// Errors  those of open_data and Pipeline::parse; std::invalid_argument for conflicts, all in one text.
RunSetup set_up_run(const RunOptions& options);

/// A loader for training, or for one evaluation pass over a role.
std::unique_ptr<Loader> training_loader(const RunSetup& setup, Layout layout);
/// Training pictures with draws of their own, unmixed: for a second look at batch statistics.
std::unique_ptr<Loader> reestimation_loader(const RunSetup& setup, Layout layout);
std::unique_ptr<Loader> evaluation_loader(const RoleView& role, const Pipeline& pipeline, const ModelOptions& model,
                                          int64_t batch_size, int workers, Layout layout);

/// Mean and std by name: dataset, imagenet, none.
Normalize named_normalize(const std::string& name, const DataSet& data);

}  // namespace ballast
