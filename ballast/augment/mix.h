#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include <ballast/augment/batch_slot.h>
#include <ballast/base/key.h>

namespace ballast {

/// Who shares a draw.
enum class MixMode : uint8_t {
  batch,  ///< the whole batch
  pair,   ///< two samples that mix with each other
  elem,   ///< nobody: each sample has lambda, kind and box of its own
};
std::string_view to_string(MixMode mode);
/// Errors: std::invalid_argument.
MixMode parse_mix_mode(std::string_view text);

/// Options of mixup and cutmix. Also called: timm's Mixup.
struct MixOptions {
  /// Beta(alpha, alpha) of lambda; 0: off. Mixing is on if one of them is above 0.
  double mixup_alpha = 0;
  double cutmix_alpha = 0;
  /// Sides of the box as shares drawn from [a, b], fully inside, in place of cutmix_alpha.
  std::optional<std::array<double, 2>> cutmix_minmax = std::nullopt;
  /// Probability of mixing at all.
  double prob = 1;
  /// Probability of cutmix where both are on.
  double switch_prob = 0.5;
  MixMode mode = MixMode::batch;
  /// From this epoch on (counted from 0) nothing is mixed; -1: never off.
  int64_t off_epoch = -1;

  bool on() const { return mixup_alpha > 0 || cutmix_alpha > 0 || cutmix_minmax.has_value(); }
};

/// Errors: std::invalid_argument: `[mixup] mixup_alpha must be >= 0, got -1`, ...; `[mixup] num_classes must be at least
/// 2, got 1`.
void check_mix(const MixOptions& options, int64_t num_classes);

/// What one sample does: row <- mix(row, partner).
struct MixDraw {
  int64_t row = 0, partner = 0;
  /// The share of the picture and of the label that stays the row's: for cutmix 1 - area / (h w) after clipping.
  float lambda = 1;
  /// cutmix's box; empty: mixup.
  int32_t x = 0, y = 0, w = 0, h = 0;
  friend bool operator==(const MixDraw&, const MixDraw&) = default;
};

/// Draws for the rows of a batch whose pictures are h x w, in an order in which every partner is still unmixed when it
/// is read, except the first row of a cycle (`cycle_begins`: its index in the list).
///
///   mixup    x_i <- lambda x_i + (1 - lambda) x_j                                             (arXiv:1710.09412)
///   cutmix   s = sqrt(1 - lambda); a box of floor(W s) x floor(H s) about a uniform centre, clipped, filled from x_j;
///            lambda becomes 1 - area / (W H)                                                  (arXiv:1905.04899)
///
/// Random   `key`: Key(seed).fold_in("mix").fold_in(epoch).fold_in(position of the batch's first sample in the epoch);
///          slots 0: u < prob, 1: u < switch_prob takes cutmix, 2: lambda, 3: cy, 4: cx, 5: order. pair and elem add
///          fold_in(index).
/// Partner  the successor in a keyed random cycle: nobody mixes with itself, n may be odd. pair: couples of that order,
///          the last three form a cycle where n is odd. One sample stays as it is.
std::vector<MixDraw> draw_mix(const MixOptions& options, Key key, const std::vector<int64_t>& rows, int32_t h, int32_t w,
                              std::vector<size_t>& cycle_begins);

/// Mixes a batch in place and sets its partner and lambda. Rows with weight 0 play no part. `saved` keeps its memory.
void mix_batch(BatchSlot& slot, const MixOptions& options, Key key, std::vector<float>& saved);

}  // namespace ballast
