#pragma once

// No torch in this header: the program checks a whole configuration and shows a plan without it.

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <ballast/train/pretrained.h>

namespace ballast {

class FileSystem;
struct RunOptions;

/// What a run is going to do; made before the first step is kept. Every choice that was `auto` is resolved here as a
/// function of the data; only the `seconds_*` fields depend on the machine.
struct RunPlan {
  std::filesystem::path folder;  ///< the run's folder; empty in a dry run
  // Data.
  std::string data_name;    ///< "fashion-mnist", or the name of the folder
  std::string data_format;  ///< "idx", "cifar10", "folder", ...
  int64_t train_images = 0, val_images = 0, test_images = 0;
  int64_t channels = 0, source_height = 0, source_width = 0;  ///< of a typical picture as stored
  std::vector<std::string> classes;
  std::string train_pipeline, eval_pipeline;  ///< as `augment` would parse them
  // Model.
  std::string model;
  int64_t height = 0, width = 0;           ///< of the model's input
  int64_t parameters = 0;                  ///< trainable numbers
  int64_t multiply_adds = 0;               ///< of one picture's forward pass
  // Training.
  int64_t epochs = 0, steps_per_epoch = 0, steps = 0, batch_size = 0, micro_batch = 0;
  std::string optimizer, schedule;
  double lr = 0, weight_decay = 0, label_smoothing = 0;
  std::string monitor;                     ///< the metric that decides which weights are best
  std::string device;
  std::string layout;                      ///< "channels_last" or "contiguous"
  std::string precision;                   ///< "fp32" or "bf16"
  int threads = 0, workers = 0;
  uint64_t seed = 0;
  std::string fingerprint;                 ///< 16 hex digits: what decides the bits of the result
  // Time on this machine, measured over a few steps that leave no trace in the result.
  double seconds_per_step = 0, images_per_second = 0;
  double seconds_estimate = 0;             ///< of the whole run, checks included
  /// The start of the weights: "resnet"; "lsuv on 128 pictures: 7 of 9 layers rescaled, by 0.4 to 1.9".
  std::string init;
  /// "runs/ens, 5 members: 0.9 of the loss, at temperature 4"; empty: no teacher.
  std::string teacher;
  /// How to get more or less of what was chosen: "more: --epochs 60, --model resnet34, --image-size 224".
  std::vector<std::string> hints;
  /// Pre-trained weights, frozen parts, groups of parameters.
  StartPlan start;
  /// "batch 128 = 2 x 64"
  std::string batch_text;
  /// The run goes on behind this step, from this checkpoint ("checkpoints/step-000001200"); 0: it begins.
  int64_t resumed_step = 0;
  std::string resumed_from;
  /// What was changed for the rest of the run: "optim.lr 0.1 -> 0.05".
  std::vector<std::string> edits;
};

/// Where training stands; at most one every 50 ms and one at each epoch's end.
struct RunProgress {
  int64_t epoch = 0, epochs = 0;           ///< epoch counts from 1
  int64_t step = 0, steps = 0;             ///< over the whole run, steps done
  int64_t step_in_epoch = 0, steps_per_epoch = 0;
  double images_per_second = 0;            ///< over the last seconds
  double loss = 0;                         ///< smoothed, half-life 50 steps
  double lr = 0;
  double seconds = 0;                      ///< since the first step
  double seconds_left = 0, seconds_left_epoch = 0;
  std::string phase;                       ///< "train", "val", "test"
};

/// One evaluation of the validation split (or the final one of the test split).
struct RunCheck {
  int64_t epoch = 0, epochs = 0, step = 0;
  std::string split;
  std::vector<std::pair<std::string, double>> metrics;  ///< "loss", "top1", ... in the order to print
  double train_loss = 0, lr = 0;
  std::string monitor;                     ///< "val/nll_tempered"
  double value = 0, best = 0, reference = 0;
  int64_t best_epoch = 0;
  bool improved = false;                   ///< these are the best weights up to now
  int64_t wait = 0, patience = 0;          ///< patience 0: off
  double seconds = 0;                      ///< since the first step
};

/// How a run tells what it does. Every function may do nothing; they are called from the thread that trains.
struct RunEvents {
  RunEvents() = default;
  RunEvents(const RunEvents&) = delete;
  RunEvents& operator=(const RunEvents&) = delete;
  virtual ~RunEvents() = default;
  virtual void on_plan(const RunPlan&) {}
  virtual void on_progress(const RunProgress&) {}
  virtual void on_check(const RunCheck&) {}
  /// Something that a user should know and that does not end the run: a broken picture, a choice that costs speed.
  virtual void on_warning(const std::string&) {}
  /// Says what is happening in phases that take time: "reading data", "writing report".
  virtual void on_phase(const std::string&) {}
  /// Polled between batches. true: stop cleanly, keep what was saved.
  virtual bool stop_requested() { return false; }
  /// Polled between steps. true: save now and go on; asked once for each answer.
  virtual bool save_requested() { return false; }
};

/// How a run ended.
struct RunResult {
  std::filesystem::path folder;            ///< empty in a dry run
  std::filesystem::path report;            ///< report.html; empty if none was written
  /// completed patience target_reached diverged non_finite max_time signal (see control/stop_reason.h)
  std::string reason;
  bool interrupted = false;                ///< stop_requested() said so
  bool was_finished = false;               ///< the run had ended before: nothing was done
  int64_t epochs = 0, steps = 0;           ///< done
  int64_t best_epoch = 0, best_step = 0;
  std::vector<std::pair<std::string, double>> val, test;  ///< of the restored weights; empty without that split
  std::vector<std::pair<std::string, double>> teacher;    ///< its own on the test split; empty without either
  double seconds = 0;                      ///< whole run
  double train_seconds = 0;                ///< training and checks
  double images_per_second = 0;
  int64_t bad_samples = 0;
};

/// Trains a model as `options` say and leaves a run folder: config.toml, env.json, metrics.jsonl, timing.jsonl,
/// events.jsonl, metrics.csv, TensorBoard events, split.csv, bad_samples.csv, checkpoints/, model/, predictions/ and
/// report.html.
///
/// The best weights (by `stop.monitor` on the validation split) are in model/, however the run ended; the last ones
/// in checkpoints/step-<n>/. Same options, same data, same `threads`: the same bytes in all .safetensors, state.json and
/// metrics.jsonl, for any number of loader workers, and however often the run was stopped or killed and continued.
///
/// If the folder that run.name or run.out names holds a run of the same configuration, it goes on behind its newest whole
/// checkpoint; if that run has ended, nothing is done. options.resume allows changes of what may change while a run goes on
/// (its length, stop.*, save.*, log.*, schedule.*, eval.every, the rate and the weight decay).
///
/// Errors  std::invalid_argument: a wrong value or a conflict (before anything is written); the run there is another one;
///         DataError: data missing, corrupt, changed or unusable; no checkpoint of the run can be loaded;
///         NonFiniteError: the loss or the gradient is not finite; step, batch and samples are named, and
///         nonfinite/step-<n>/report.json in the run folder says more;
///         StorageError: a result could not be stored; InUseError: another process writes into the run folder.
RunResult run_training(const RunOptions& options, RunEvents& events);
/// The same with the run's files written through `fs`, so that a test can make any call fail.
RunResult run_training(const RunOptions& options, RunEvents& events, FileSystem& fs);

}  // namespace ballast
