#pragma once

// No torch in this header: the program checks a whole configuration before it loads torch.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <ballast/base/options.h>
#include <ballast/control/early_stopping.h>
#include <ballast/control/plateau.h>
#include <ballast/data/data_options.h>

namespace ballast {

// The options of a training run, a struct a section. Keys, flags, ranges and help stand in the describe() functions;
// `Auto` fields are chosen by choose_defaults() (train/defaults.h) from the data.

struct RunSection {
  std::string name;                  ///< run.name; empty: <data>-<model>-<n>, always new
  std::string out;                   ///< run.out, the run's folder itself; empty: runs/<name>
  uint64_t seed = 0;
  /// Draw one kind of numbers in place of seed, so that runs of other seeds share it.
  std::optional<uint64_t> init_seed;  ///< initial values
  std::optional<uint64_t> data_seed;  ///< order of the pictures, augmentation, mixing
  std::optional<uint64_t> drop_seed;  ///< masks of the drops
  std::string device = "auto";       ///< auto, cpu, cuda, cuda:N
  Auto<int64_t> threads;             ///< auto: the cores that this process may use
  Auto<int64_t> workers;             ///< threads that decode; 0: none of their own
  std::optional<Duration> max_time;  ///< of the run; it ends in time with the best weights
  std::optional<Duration> session_time;  ///< of this process; it saves, and the same command goes on
  std::optional<Duration> grace;     ///< between a stop signal and the kill; off: unknown
  bool overwrite = false;            ///< move an existing run folder aside
};

struct ModelSection {
  Auto<std::string> name;  ///< NAME[:SIZE]
  std::string norm = "auto";
  std::string init = "auto";
  std::string act = "auto";
  std::string pretrained;            ///< file of weights, run or model folder to start from; empty: none
  std::string pretrained_head = "auto";  ///< auto: reset where the number of classes differs; reset
  bool pretrained_partial = false;   ///< names that the file or the model lacks are no error
  // The dropout family, values of drop/catalog.h; "0": none.
  std::string drop = "0";
  std::string spatial_dropout = "0";
  std::string alpha_dropout = "0";
  std::string drop_connect = "0";
  std::string drop_block = "0";
  std::string drop_path = "0";
  std::string patch_dropout = "0";
  std::string shake_drop = "0";
  std::string drop_rate = "0";
  std::vector<std::string> drop_schedule;  ///< [STEM=]FORM, see parse_rate_schedule(); empty: constant rates
};

struct DataSection {
  std::string source = "fashion-mnist";  ///< folder, file or known name
  std::string format = "auto";           ///< one of kDataFormats
  std::string cifar_labels = "fine";     ///< fine, coarse
  Auto<int64_t> image_size;              ///< side of the model's input, px
  double split_val = 0.1, split_test = 0.1;  ///< shares of `train` for roles that the source lacks
  std::optional<int64_t> limit;          ///< use only so many training pictures (stratified, keyed)
  std::optional<uint64_t> split_seed;    ///< draws split and limit in place of run.seed: runs that share it share them
  double split_hold = 0;                 ///< share of `train` that the run leaves alone; predictions/hold.safetensors
  std::string bag = "none";              ///< none, bootstrap, subset:S, fold:I/K
  std::string on_bad = "substitute";     ///< an unreadable picture: substitute, stop
};

struct AugmentSection {
  std::string preset = "light";
  Auto<std::string> train;  ///< pipeline text; auto: by preset
  Auto<std::string> eval;
  std::string normalize = "dataset";
  Auto<double> mixup_alpha, cutmix_alpha;  ///< of Beta(alpha, alpha); 0: off; auto: by preset
  std::vector<double> cutmix_minmax;       ///< empty: cutmix_alpha counts
  double mix_prob = 1, mix_switch_prob = 0.5;
  std::string mix_mode = "batch";
  std::string mix_multi_label = "linear";  ///< linear, union
  std::string semantics = "fused";         ///< fused, sequential
  int64_t off_last = 0;                    ///< the last epochs with crop and flip only, nothing mixed
  int64_t mix_off_last = 0;                ///< the last epochs in which nothing is mixed
  int64_t mix_off_epoch = 0;               ///< from this epoch on nothing is mixed; 0: never off
};

struct TrainSection {
  Auto<int64_t> epochs;
  int64_t batch_size = 128;          ///< samples of a step
  int64_t micro_batch = 0;           ///< rows of a forward and backward pass; 0: the whole step
  std::optional<std::string> clip;   ///< off, "norm:C", "value:C" or "agc:L"; see clip_mode(), clip_limit()
  std::string on_nonfinite = "stop"; ///< stop, skip, rollback: a step whose loss or gradient is not finite
  std::optional<double> max_loss;    ///< the smoothed training loss above it: diverged
  std::string precision = "fp32";    ///< fp32, bf16 (autocast around forward and loss)
  std::string layout = "auto";       ///< auto, channels_last, contiguous
  std::vector<std::string> freeze;   ///< globs of parameters that stay as they are

  /// "", "norm", "value" or "agc".
  std::string clip_mode() const { return clip ? clip->substr(0, clip->find(':')) : ""; }
  double clip_limit() const { return clip ? std::stod(clip->substr(clip->find(':') + 1)) : 0; }
};

struct OptimSection {
  std::string name = "sgd";     ///< sgd, adam, adamw
  Auto<double> lr;              ///< lr0; of one_cycle the peak
  Auto<double> weight_decay;    ///< not on norms and biases
  double momentum = 0.9;        ///< sgd
  bool nesterov = true;         ///< sgd
  std::vector<double> betas = {0.9, 0.999};  ///< adam, adamw
  double eps = 1e-8;
  double layer_decay = 1;       ///< factor of the rate per block, from the head back to the stem
  std::vector<std::string> group;  ///< GLOB[:lr_scale=X][:weight_decay=X]; see parse_group_text()
};

/// A text of optim.group, taken apart.
struct GroupText {
  std::string match;
  double lr_scale = 1;
  std::optional<double> weight_decay;
};
/// Errors: std::invalid_argument, "must be GLOB:lr_scale=X:weight_decay=X, got ...".
GroupText parse_group_text(const std::string& text);

struct ScheduleSection {
  Auto<std::string> name;     ///< cosine, one_cycle, constant, step, multistep, poly, plateau
  Auto<Duration> warmup;      ///< auto: 5 % of the run; nothing with one_cycle
  double min_lr = 0;
  int64_t cycles = 1;         ///< cosine
  double cycle_mult = 1;
  double cycle_decay = 1;
  int64_t patience = 10;      ///< plateau: checks without improvement before a cut
  int64_t cooldown = 0;       ///< plateau: checks after a cut that do not count
  double factor = 0.1;        ///< plateau
  double warmup_lr = 0;
  std::string per = "step";   ///< step, epoch
  std::vector<std::string> milestones;  ///< durations (bare: epochs), multistep
  Duration every{30, Duration::Unit::epochs};  ///< step
  double gamma = 0.1;
  double power = 1;           ///< poly
  double pct = 0.3;           ///< one_cycle
  double div = 25;
  double final_div = 1e4;
};

struct LossSection {
  std::string name = "cross_entropy";  ///< cross_entropy, bce, focal; bce by itself for pictures of several labels
  double gamma = 2;                    ///< focal
  Auto<double> label_smoothing;
};

/// Learning from another model beside the labels, loss/distill.h.
struct DistillSection {
  std::string teacher;     ///< run, model folder, file of weights or ensemble; empty: none
  double alpha = 0.9;      ///< share of the teacher in the loss
  double temperature = 4;  ///< softens teacher and student
};

struct AverageSection {
  std::optional<Duration> ema;  ///< half-life of a moving average of the weights; checks and model/ use it
  std::optional<Duration> swa;  ///< from here on the weights at epoch ends are averaged for model/; 75% is usual
  Auto<double> swa_lr;          ///< constant rate from there on; auto: half of optim.lr
  int64_t reestimate = 0;       ///< batches over which the saved model's batch-norm statistics are computed anew; 0: they stay
};

struct EvalSection {
  Duration every{1, Duration::Unit::epochs};
  int64_t batch_size = 256;
};

struct StopSection {
  std::optional<int64_t> patience;
  std::string monitor = "val/nll_tempered";
  std::vector<std::string> also; ///< further metrics of checks, which stop as `combine` says
  std::string combine = "all";   ///< all, any: whose patience must be exhausted
  std::string mode = "auto";     ///< auto: the metric's declared direction; min, max
  double min_delta = 0;
  double rel_delta = 0;
  int64_t warmup_checks = 0;
  int64_t cooldown = 0;
  int64_t min_epochs = 0;
  int64_t min_steps = 0;
  std::optional<double> target;
  std::optional<double> divergence;
  std::optional<double> baseline;
  double smooth = 0;
  std::string on_nan = "count";  ///< count, ignore, stop
  std::string restore = "best";  ///< best, last
};

struct SaveSection {
  Duration every{600, Duration::Unit::seconds};  ///< between saves of the last weights
  int64_t keep_last = 2;                         ///< checkpoints kept; two that are whole always stay
  int64_t keep_best = 1;                         ///< and those of the best values of the monitor
};

struct LogSection {
  Duration every{50, Duration::Unit::steps};  ///< between rows of kind `train`
  bool tensorboard = true;
  std::optional<Duration> watch;              ///< between samples of the layers' statistics; --watch alone: 100st
};

struct MathSection {
  std::string level = "repeatable";  ///< fast, repeatable, portable
};

/// Everything that decides a training run.
struct RunOptions {
  RunSection run;
  ModelSection model;
  DataSection data;
  AugmentSection augment;
  TrainSection train;
  OptimSection optim;
  ScheduleSection schedule;
  LossSection loss;
  DistillSection distill;
  AverageSection average;
  EvalSection eval;
  StopSection stop;
  SaveSection save;
  LogSection log;
  MathSection math;

  /// --dry-run: make everything, train two steps, leave nothing.
  bool dry_run = false;
  /// --resume: the folder (run.name, run.out) must hold a run, and what differs from its configuration is a change of it.
  bool resume = false;
  /// --restart: checkpoints of the run that is there are put aside, it begins anew.
  bool restart = false;
  /// --exact: refuse to go on where the bits would not be those of an unbroken run.
  bool exact = false;
  /// --accept-data-change: go on though the data is not what it was.
  bool accept_data_change = false;
  /// Where values came from, by key ("optim.lr" -> "recipe.toml:12", "flag", "env"); a key that is missing here has its
  /// default. A resolver of `auto` adds "auto".
  std::map<std::string, std::string> origins;
};

/// The options of the machine in control/early_stopping.h. Errors: std::invalid_argument.
EarlyStoppingOptions stopping_options(const StopSection& stop);
/// Of all monitors: stop.monitor, then those of stop.also with the same patience and margins, each in its metric's direction and
/// without target, divergence and baseline, which are the first one's.
std::vector<EarlyStoppingOptions> all_stopping_options(const StopSection& stop);
/// The plateau of schedule.*, which goes by the monitor of stop.*. Errors: std::invalid_argument.
PlateauOptions plateau_options(const RunOptions& options);

/// The options of open_data; its key is Key(run.seed).
DataOptions data_options(const RunOptions& options);

/// A table of all keys, pointing into `options`.
OptionTable option_table(RunOptions& options);

/// config.toml: every key with its value and, as a comment, its origin. A file that --config reads back.
std::string config_text(const RunOptions& options);

/// What is wrong with the combination of values (each value alone was checked when it was set): one text each, empty if
/// all is well.
std::vector<std::string> find_conflicts(const RunOptions& options);

}  // namespace ballast
