#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <torch/types.h>

#include <ballast/drop/scheduled_drops.h>
#include <ballast/train/ema.h>
#include <ballast/train/ensemble_model.h>
#include <ballast/train/evaluate_loader.h>
#include <ballast/train/run.h>
#include <ballast/train/run_folder.h>
#include <ballast/train/run_setup.h>
#include <ballast/train/step_watch.h>
#include <ballast/train/swa.h>
#include <ballast/train/trainer.h>
#include <ballast/weights/freeze.h>
#include <ballast/weights/param_groups.h>

namespace ballast {

class Model;

/// Seconds of a clock that only rises.
double seconds_now();

namespace detail {
/// For tests: changes the pictures of a batch before its step; given step and attempt. Null: nothing.
std::function<void(torch::Tensor& x, int64_t step, int64_t attempt)>& spoil_batch();
}  // namespace detail

/// What the parts of a run share: the loop (run.cpp), the plan (run_plan.h), the log of steps (step_log.h), checks
/// (run_check.h), the end (run_end.h). Made from options: data, model, trainer and loader.
class RunContext {
 public:
  /// Reads the data and makes everything that trains; nothing is written. `resumed`: the weights come from a checkpoint, so
  /// neither pre-trained ones nor a start from data are needed.
  RunContext(const RunOptions& options, RunEvents& run_events, bool resumed = false);

  /// Says it to the user, and in events.jsonl once that is open.
  void warn(const std::string& text);
  /// model->train(), frozen parts left as they are.
  void training_mode();
  /// The model's forward pass, watched where this step is.
  torch::Tensor forward(const torch::Tensor& x);
  /// A loader for one pass over a role; null if the role has no pictures.
  std::unique_ptr<Loader> evaluation(Role role) const;
  EvaluateOptions evaluate_options() const;
  TrainerOptions trainer_options() const;
  /// The epoch, from 1, in which step t ends.
  int64_t epoch_of(int64_t t) const { return (t + setup.steps_per_epoch - 1) / setup.steps_per_epoch; }
  /// The rate is the schedule's times this: `scale` of plateau, halved by each rollback.
  void set_lr_scale(double scale) {
    trainer->set_lr_scale(std::ldexp(scale, -static_cast<int>(rollbacks)));
    trainer->set_attempt(static_cast<uint64_t>(rollbacks));
  }
  double epoch_share(int64_t t) const { return static_cast<double>(t) / static_cast<double>(setup.steps_per_epoch); }

  /// Runs `save`. A failed save does not end training at once, the next one may find room: a warning. Three in a row do.
  template <class Fn>
  void try_to_save(const Fn& save) {
    const double begin = seconds_now();
    try {
      save();
      failed_saves_ = 0;
    } catch (const StorageError& e) {
      if (++failed_saves_ >= 3) {
        throw;
      }
      events.on_warning(std::string(e.what()) + "; training goes on, the next save tries again");
    }
    save_time = std::max(save_time, seconds_now() - begin);
    save_seconds_since += seconds_now() - begin;
  }

  /// When the run began; the time between two sessions is left out.
  double start;
  RunEvents& events;
  torch::Device device = torch::kCPU;
  RunSetup setup;
  std::shared_ptr<Model> model;
  Layout layout = Layout::chw;
  FreezeReport frozen;
  std::vector<ParamGroup> groups;
  std::unique_ptr<Ensemble> teacher;      ///< null: none
  std::unique_ptr<Trainer> trainer;
  std::unique_ptr<Loader> loader;
  std::unique_ptr<StepWatch> watch;  ///< null: off
  std::unique_ptr<ScheduledDrops> drops;  ///< null: constant rates
  std::unique_ptr<Ema> ema;          ///< null: off
  std::unique_ptr<Swa> swa;          ///< null: off
  int64_t rollbacks = 0;             ///< so far; each halves the rate and draws other masks
  int64_t skips = 0;                 ///< skipped steps in a row
  RunPlan plan;
  std::unique_ptr<RunFolder> folder;  ///< null in a dry run
  std::unique_ptr<RunRecord> record;
  std::vector<std::string> early_warnings;

  /// The longest save so far, and seconds of saves and checks since the last row of timing.jsonl.
  double save_time = 0, save_seconds_since = 0, check_time = 0, check_seconds_since = 0;

  /// What the teacher says of normalized pictures (n, C, H, W): log-probabilities (n, K).
  torch::Tensor teach(const torch::Tensor& x, const Normalize& normalized) const;

 private:
  void load_teacher();
  void start_from_data();
  int failed_saves_ = 0;
};

}  // namespace ballast
