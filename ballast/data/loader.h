#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ballast/augment/batch_slot.h>
#include <ballast/augment/mix.h>
#include <ballast/augment/pipeline.h>
#include <ballast/data/data_set.h>
#include <ballast/image/decode.h>

namespace ballast {

/// What happens to a picture that cannot be read.
enum class OnBad : uint8_t {
  /// Its row takes image and label of another picture of the role, chosen by key: the first
  /// readable one of 8.
  substitute,
  /// Its row is zeros with weight 0: to be left out of loss and metrics.
  skip,
  /// next() throws.
  error,
};
std::string_view to_string(OnBad on_bad);
/// substitute, skip, error (or stop). Errors: std::invalid_argument.
OnBad parse_on_bad(std::string_view text);

/// Options of Loader.
struct LoaderOptions {
  // These decide what is loaded.
  int64_t batch_size = 128;
  uint64_t seed = 0;
  /// Channels (1, 3), height and width of the result. 0: of the pipeline's output, else of the
  /// first readable picture.
  int32_t channels = 0, height = 0, width = 0;
  Layout layout = Layout::chw;
  /// Training: a new keyed order in each epoch. Evaluation: in the order of ids.
  bool shuffle = true;
  /// Evaluation uses skip.
  OnBad on_bad = OnBad::substitute;
  /// Share of the role's pictures that may be bad before next() throws, in [0, 1].
  double max_bad = 0.01;
  /// mixup and cutmix, once a batch is complete; off by default.
  MixOptions mix = {};
  /// From this epoch on (counted from 0) pictures get Pipeline::plain (crop and flip) and nothing is mixed; -1: never.
  int64_t plain_from = -1;
  /// Leave out a last batch of one picture, which batch statistics cannot use. Off in evaluation.
  bool drop_single = true;

  // These decide how fast. The result is the same for all values.
  /// Threads that read and decode. 0: next() does the work itself; -1: starts with one, adds more
  /// up to the usable cores less one while the consumer has to wait.
  int workers = -1;
  /// Batches in the ring, at least 1 (2 with threads).
  int prefetch = 4;
};

/// A row of bad_samples.csv.
struct BadSample {
  uint64_t id = 0;
  std::string path;
  Role role = Role::train;
  BadReason reason = BadReason::corrupt;
  std::string detail;
  int64_t bytes = 0;
  /// "substitute", "skip" or "error".
  std::string action;
  std::optional<uint64_t> substitute_id;
};
/// "id,path,role,reason,detail,bytes,action,substitute_id" and a line each (RFC 4180).
std::string bad_samples_csv(const std::vector<BadSample>& rows);

/// Reads, decodes and augments the pictures of a role into batches.
///
///   Loader loader(data.role(Role::train), pipeline, {.batch_size = 128, .seed = 1});
///   loader.start_epoch(0);
///   while (BatchSlot* batch = loader.next()) { train(*batch); }
///
/// Order    batch g holds positions [g B, (g + 1) B) of a keyed permutation
/// (Key(seed).fold_in("order").fold_in(epoch))
///          or of the ids; the last one is smaller. Nothing is stored: start_epoch(e, g) is O(1).
///          Where a shuffled role's pictures have unequal weights, they hold permuted places of WeightedPlaces (data/order.h):
///          an epoch is as long as before, and a picture stands in it in proportion to its weight, or not at all.
/// Random   a sample's key is Key(seed).fold_in("augment").fold_in(epoch).fold_in(id), with .fold_in(k) where it stands in the
///          epoch for the k-th time more. Order and
/// pixels are the same
///          for any number of workers, prefetch depth and start.
/// Threads  claim samples, not batches, and write rows of a ring of reused slots. One consumer
/// thread. Errors   next() throws what went wrong in a batch when it comes to it: DataError where
/// `on_bad` or `max_bad` say so
///          (`[data] 212 of 10,000 files of role "train" cannot be used (first: ...), limit is 1
///          %`), or std::runtime_error `[loader] cats/x.jpg (id 712, epoch 3): ...` for anything
///          else.
class Loader {
 public:
  /// Errors: std::invalid_argument: an option out of range; DataError: no picture, or none readable
  /// where the size has to be looked up.
  Loader(RoleView role, Pipeline pipeline, LoaderOptions options);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// Batches of an epoch, and pictures in them.
  int64_t batches() const;
  int64_t samples() const;
  /// Starts (again) at batch `first_batch` of `epoch`; work in flight is given up.
  void start_epoch(int64_t epoch, int64_t first_batch = 0);
  /// The next batch, valid until the next call; null at the end of the epoch, or after cancel().
  BatchSlot* next();
  /// From any thread: next() returns null from now on; workers stop within one sample. start_epoch
  /// goes on.
  void cancel();

  /// Pictures that could not be read so far, each once, in the order of batches.
  const std::vector<BadSample>& bad_samples() const;
  /// Threads now at work.
  int workers() const;
  /// Seconds that next() has waited for workers in all.
  double waited_seconds() const;
  /// Of the result.
  int32_t channels() const;
  int32_t height() const;
  int32_t width() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ballast
