#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ballast {

// What a run folder (TRAINING.md 6.1) says, as plain values. Reading never fails because of what the files hold:
// a missing or damaged part stays empty and is named in `missing` or `problems`.

inline constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// One row of config.toml: `lr = 0.1  # flag`.
struct ConfigValue {
  std::string key;    ///< "optim.lr"
  std::string value;  ///< as written: 0.1, "sgd", [1, 2]
  std::string
      origin;  ///< "default", "flag", "env", "base.toml:12", "auto: ..."; empty if none was written
  bool changed() const {
    return !origin.empty() && origin != "default" && !origin.starts_with("auto");
  }
};

/// kind = "run": the first row of metrics.jsonl.
struct RunFacts {
  std::string version, fingerprint, config_digest;
  std::optional<uint64_t> seed;
  int64_t steps_per_epoch = 0;
  int64_t total_steps = 0;           ///< "T"
  std::vector<std::string> classes;  ///< names, in label order
};

/// kind = "train".
struct TrainRow {
  int64_t step = 0;
  double epoch = 0;
  double loss = kNone, lr = kNone, momentum = kNone, grad_norm = kNone;
  int64_t clipped = 0, skipped = 0;
};

/// One class in a check's `per_class`.
struct ClassRow {
  int64_t support = 0;    ///< samples whose target is this class
  int64_t predicted = 0;  ///< samples that were given this class
  int64_t correct = 0;
};

/// A layer in a row of kind "watch"; NaN where nothing was measured.
struct WatchedLayerRow {
  std::string name;
  double mean = kNone, std = kNone, across = kNone;  ///< of the pre-activations
  double zeros = kNone, saturated = kNone;           ///< shares behind the activation
  double gradient = kNone, weight_gradient = kNone;  ///< rms
  double update = kNone;                             ///< |step| / |weight|
};

/// kind = "watch": a sampled step.
struct WatchRow {
  int64_t step = 0;
  std::vector<WatchedLayerRow> layers;
};

/// A layer of kind = "norm_drift": its running statistics against those of training pictures (norm/reestimate.h).
struct NormDriftRow {
  std::string name;
  double shift = kNone;  ///< of the means, in standard deviations
  double scale = kNone;  ///< factor between the standard deviations, >= 1
};

/// kind = "check".
struct CheckRow {
  int64_t step = 0;
  double epoch = 0;
  std::string split;
  std::map<std::string, double> metrics;  ///< "loss", "top1", "top1.se", ... in the row's own names
  std::vector<ClassRow> per_class;
  int64_t samples = 0;  ///< "n"
  int64_t wait = -1;    ///< -1: not recorded
  double reference = kNone, best = kNone;
  bool improved = false;
  /// NaN if the row does not have it.
  double metric(const std::string& name) const;
};

/// kind = "decision".
struct DecisionRow {
  int64_t step = 0;
  std::string what, reason, values;  ///< values: the rest of the row, as text
};

/// A row of timing.jsonl; seconds since the row before.
struct TimingRow {
  int64_t step = 0;
  double data = kNone, forward = kNone, backward = kNone, optimizer = kNone, reduce = kNone,
         check = kNone, save = kNone;
  double images_per_second = kNone;
  double rss = kNone;  ///< bytes
};

/// A row of events.jsonl.
struct EventRow {
  std::string kind;  ///< start, resume, edit, save, warning, signal, stop, ...
  std::string time;  ///< as written
  int64_t step = -1;
  std::string text;  ///< the message, or the rest of the row
};

/// A row of the layer table in model/config.json, `ballast.layers`: each layer once, in the order of execution; the
/// numbers of a layer are its own, so the sum over the rows is the model's.
struct ModelLayer {
  std::string name;   ///< dotted, "layer1.0.conv1"
  std::string type;   ///< "conv 3x3"
  std::string shape;  ///< output, "(64, 32, 32)"
  int64_t params = 0;
  int64_t macs = 0;  ///< multiply-adds of one image
};

/// A sample of predictions/<split>.safetensors.
struct PredictionRow {
  int64_t index = 0;  ///< the sample's id in the data set
  int64_t target = 0, pred = 0;
  int64_t rank = 0;  ///< of the target: 0 is right; -1: a logit was not finite
  bool right() const { return rank == 0; }
  double loss = 0;
  double confidence = 0;  ///< probability of pred
};

/// A row of split.csv (id, path, role); `path` is empty where samples have no names.
struct SplitRow {
  int64_t index = 0;
  std::string split;
  int64_t label = -1;  ///< the file does not have it: room train fills it in from the data
  std::vector<int32_t> labels = {};  ///< in its place, of several labels a picture
  std::string path;
};

/// A row of bad_samples.csv.
struct UnreadableSample {
  std::string path, reason;
};

struct RecordedRun {
  std::filesystem::path folder;
  std::string name;  ///< the folder's last part

  std::vector<ConfigValue> config;
  /// The value of `key` without quotes; empty if it is not there.
  std::string config_text(std::string_view key) const;

  RunFacts facts;
  std::vector<TrainRow> train;
  std::vector<CheckRow> checks;
  std::vector<DecisionRow> decisions;
  std::vector<WatchRow> watch;
  std::vector<NormDriftRow> norm_drift;  ///< of the weights that were saved; the last measurement
  std::vector<TimingRow> timing;
  std::vector<EventRow> events;
  /// env.json, flattened: "libtorch" -> "1.13.1", "cpu.model" -> "..."; in the file's order.
  std::vector<std::pair<std::string, std::string>> env;
  std::string command;  ///< to repeat the run; from env.json ("command"), or empty

  std::string architecture;  ///< model/config.json
  std::vector<ModelLayer> layers;
  int64_t params() const;
  int64_t macs() const;

  std::map<std::string, std::vector<PredictionRow>> predictions;  ///< by split
  /// A picture has several labels: there are files of predictions, whose rows are none of these.
  bool several_labels = false;
  std::map<std::string, int64_t> split_sizes;
  std::vector<SplitRow> split_rows;
  std::vector<UnreadableSample> bad_samples;

  std::vector<std::string> missing;   ///< files that are not there
  std::vector<std::string> problems;  ///< "metrics.jsonl:17: not JSON; the row is left out"

  /// Checks of a split, in order of steps.
  std::vector<const CheckRow*> checks_of(std::string_view split) const;
  /// The metric that chose the best weights (stop.monitor without its split), and whether larger is better.
  std::string monitor() const;
  bool monitor_is_maximized() const;
  /// Best and last check of `val` (of the first split there is, without val); null if there is none.
  const CheckRow* best_check() const;
  const CheckRow* last_check() const;
  /// The last check of `test`; null if the test part was not used.
  const CheckRow* test_check() const;
  /// The name of a class, or its number.
  std::string class_name(int64_t label) const;
  int64_t num_classes() const;
  /// The path of a sample, or "#index".
  std::string sample_name(int64_t index) const;
  /// Why the run ended ("completed", "patience", ...); empty if it did not.
  std::string reason() const;
};

/// Reads a run folder. Throws DataError only if `folder` is not a folder.
RecordedRun read_run_record(const std::filesystem::path& folder);

/// Rows of a config.toml as the program writes it, with the comment behind each value as its origin.
std::vector<ConfigValue> parse_config_with_origins(std::string_view text,
                                                   std::vector<std::string>* problems = nullptr);

/// Rows of a CSV file (RFC 4180: quotes, doubled quotes, new lines in quotes); never fails.
std::vector<std::vector<std::string>> parse_csv(std::string_view text);

}  // namespace ballast
