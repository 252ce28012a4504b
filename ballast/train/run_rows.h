#pragma once

// Rows of a run's record (metrics.jsonl and metrics.csv). No torch.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <ballast/io/json.h>
#include <ballast/train/metrics.h>

namespace ballast {

/// A sum of keyed hashes over samples: equal for equal multisets of samples, whatever their order.
class SampleDigest {
 public:
  explicit SampleDigest(uint64_t seed);
  void add(uint64_t id);
  /// {"n": ..., "digest": "16 hex digits"}
  JsonValue json() const;
  /// What json() gave. Errors: DataError.
  void restore(const JsonValue& value);
  void clear() { n_ = 0, sum_ = 0; }

 private:
  uint64_t key_ = 0;
  int64_t n_ = 0;
  uint64_t sum_ = 0;
};

/// Adds loss, loss.se, ... and per_class [[support, predicted, correct], ...] to a row of kind `check`.
void add_metrics(JsonValue& row, const Metrics& metrics);

/// The metrics of a table by name, in the order of metric_names(metrics.several_labels).
std::vector<std::pair<std::string, double>> named_metrics(const Metrics& metrics);

/// metrics.csv, from the rows of metrics.jsonl: "epoch,step,lr,train_loss,val_loss,..." and a line for each check of the
/// validation part.
std::string metrics_csv(const std::vector<JsonValue>& record);

}  // namespace ballast
