#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ballast/augment/batch_slot.h>
#include <ballast/augment/targets.h>
#include <ballast/base/key.h>
#include <ballast/image/decode.h>
#include <ballast/image/image.h>
#include <ballast/image/sample.h>

namespace ballast {

/// Per channel: y = (x / 255 - mean) / std, computed as x * a + b in float with a = 1 / (255 std), b = -mean / std.
struct Normalize {
  std::vector<float> mean, std;
  friend bool operator==(const Normalize&, const Normalize&) = default;
};
/// ImageNet's: mean 0.485 0.456 0.406, std 0.229 0.224 0.225.
Normalize imagenet_normalize();

/// What a step drew: "rotate -12.3", "erase 40 31 60 52".
struct DrawNote {
  std::string name;
  std::vector<double> values;
  /// Values with three significant digits.
  std::string text() const;
};

enum class Semantics : uint8_t { fused, sequential };

/// Buffers, decoder state and weight tables of one thread. Grows to the largest need, then stays.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(Scratch&&) noexcept;
  Scratch& operator=(Scratch&&) noexcept;
  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

/// A chain of image operations, from the bytes of a file to normalized floats in a batch.
///
///   Pipeline p = Pipeline::parse("random_crop(32, padding=4) | hflip | normalize(dataset)");
///   p.set_normalize({mean, std});
///   p.run_encoded(bytes, key, slot, row, scratch);
///
/// Grammar  pipeline = step {"|" step} ;  step = name ["(" [arg {("," | ";") arg}] ")"] ;
///          arg = value | name "=" value (positional before named) ;
///          value = number ["%"] | number ".." number | string | "true" | "false" | "[" [value {"," value}] "]"
///          An argument of one_of, some_of, any_order and maybe is a pipeline: one_of(rotate(15), hflip | invert(1)).
///          A timm string is a step: rrc(224) | rand-m9-mstd0.5-inc1 | erase(0.25).
/// Steps    catalog.h lists them. Without a normalize step the one of set_normalize is applied at the end. Erasing at
///          the end paints normalized values.
/// Random   sample_key = Key(seed).fold_in("augment").fold_in(epoch).fold_in(sample id); a step adds
///          fold_in(256 * catalog number + occurrence), so leaving a step out changes no other step's draws.
///          The result depends on file, pipeline and key only: not on threads, order or SIMD target.
/// One pass All parameters are drawn from the header, only the region needed is decoded, crops, resizes and flips
///          are one resampling per axis, and the normalized values go straight into the slot.
/// Threads  const calls may run at once, each with its own Scratch.
class Pipeline {
 public:
  /// Errors: std::invalid_argument with the column: `[pipeline] column 20: "jiter" is not an operation, did you
  /// mean "jitter"?`.
  static Pipeline parse(std::string_view text);
  Pipeline();
  ~Pipeline();
  Pipeline(const Pipeline&);
  Pipeline& operator=(const Pipeline&);
  Pipeline(Pipeline&&) noexcept;
  Pipeline& operator=(Pipeline&&) noexcept;

  /// Canonical text; parse(text()).text() == text().
  std::string text() const;
  /// The same as TOML, a table for each step: [[augment.train]] op = "rotate", degrees = [-15.0, 15.0]. The pipelines that one_of
  /// and its like take are texts: pipelines = ["rotate(15)", "hflip | invert(1)"].
  std::string toml(std::string_view key = "augment.train") const;
  /// Crops, resizes, pads and flips only: what is left of a training pipeline in its last epochs (augment.off_last). The
  /// steps that stay draw what they drew.
  Pipeline plain() const;
  /// The first step that can give two results of one picture, as text; none: the pipeline may evaluate. hflip(1) and
  /// brightness(1.2) leave nothing to draw.
  std::optional<std::string> random_step() const;
  /// Height and width of every result, if the steps fix them (the last crop or exact resize does); without such a
  /// step pictures keep their size, and all must have the slot's.
  std::optional<std::pair<int32_t, int32_t>> output_size() const;

  /// Mean and std of the data, used where the text says normalize(dataset) or has no normalize step; an explicit
  /// step keeps its own. One value per channel, or one for all. Until set: mean 0, std 1.
  /// Errors: std::invalid_argument unless 1 or 3 finite values each, std > 0.
  void set_normalize(const Normalize& normalize);
  /// What is applied.
  const Normalize& normalize() const;
  /// fused (default): all geometry between two other steps is one resampling. sequential: every step makes a picture.
  void set_semantics(Semantics semantics);
  void set_limits(const DecodeLimits& limits);

  /// Decodes `file`, applies all steps and writes row `row` of `slot`, which sets channels, size and layout.
  /// Labels and ids of the slot are the caller's. The row is unspecified after an error.
  /// Errors: DecodeError (a bad file); std::invalid_argument if the result does not have the slot's size.
  void run_encoded(std::span<const std::byte> file, Key sample_key, BatchSlot& slot, int64_t row,
                   Scratch& scratch) const;
  /// As run_encoded, from 8-bit pixels of 1, 3 or 4 channels.
  void run_image(ImageView image, Key sample_key, BatchSlot& slot, int64_t row,
                 Scratch& scratch) const;
  /// The 8-bit picture that run_encoded normalizes, as `channels` (1 or 3) channels: for previews and reports.
  /// Erased parts show the values they have after normalization. `notes`: what each step drew, in words.
  Image preview(std::span<const std::byte> file, Key sample_key, int32_t channels = 3,
                std::vector<DrawNote>* notes = nullptr) const;
  Image preview(ImageView image, Key sample_key, int32_t channels = 3, std::vector<DrawNote>* notes = nullptr) const;

  /// Changes a picture together with its masks, boxes and points; the picture becomes what preview gives, with the
  /// channels that it has (1 or 3).
  ///
  ///   Sample s{.image = decode(bytes), .name = "a.jpg"};
  ///   s.boxes.add(10, 20, 110, 90, 3);
  ///   Pipeline::parse("hflip | rotate(15) | iou_crop").apply(s, Key(7));
  ///
  /// Random   as run_encoded; for require_box attempt a > 0 has key sample_key.fold_in("require_box").fold_in(a).
  /// Errors   std::invalid_argument of check_sample and check_targets; boxes that are none, with invalid = error.
  void apply(Sample& sample, Key sample_key, const TargetOptions& options = {},
             std::vector<DrawNote>* notes = nullptr) const;

  /// The passes over a picture of h x w: "resize 320 x 240, color x3, warp of 2 steps, erase x1".
  std::string passes(int32_t h, int32_t w, Key sample_key) const;
  /// What the steps draw for a picture of h x w, without one.
  std::vector<DrawNote> draw(int32_t h, int32_t w, Key sample_key) const;

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace ballast
