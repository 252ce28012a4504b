#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace ballast {

enum class ProgressMode {
  /// One line that is rewritten, at most 10 times a second; a line that stays for each check.
  bar,
  /// Whole lines, at most one per 30 s; a line for each check.
  plain,
  /// Nothing.
  none
};

/// The mode and colour that fit where the output goes.
///   bar      a terminal whose TERM is set and not "dumb"
///   plain    anything else
/// Colour only with bar, and only if NO_COLOR is unset or empty (no-color.org).
/// `term` and `no_color` are the values of the environment's variables; null if unset.
struct ProgressStyle {
  ProgressMode mode = ProgressMode::plain;
  bool color = false;
};
ProgressStyle choose_progress_style(bool is_terminal, const char* term, const char* no_color);

struct ProgressOptions {
  ProgressMode mode = ProgressMode::plain;
  bool color = false;
  /// Columns of the terminal; parts of the bar are left out, least important first, until it fits.
  int64_t width = 80;
  /// Seconds between two drawings of the bar.
  double bar_interval = 0.1;
  /// Seconds between two plain lines.
  double plain_interval = 30;
};

/// Where training stands. NaN: not known yet.
struct ProgressNumbers {
  int64_t epoch = 1;   ///< the current epoch, from 1
  int64_t epochs = 0;  ///< planned
  int64_t step = 0;    ///< steps done in this epoch
  int64_t steps = 0;   ///< steps of this epoch
  double images_per_second = std::numeric_limits<double>::quiet_NaN();
  double seconds_left_epoch = std::numeric_limits<double>::quiet_NaN();
  double seconds_left_run = std::numeric_limits<double>::quiet_NaN();
  double loss = std::numeric_limits<double>::quiet_NaN();  ///< smoothed
  double lr = std::numeric_limits<double>::quiet_NaN();
  /// What is being done instead of training ("val", "test"); empty while training.
  std::string phase = {};
};

/// A check (an evaluation of a split) that has just ended.
struct ProgressCheck {
  int64_t epoch = 0;   ///< epochs done
  int64_t epochs = 0;  ///< planned
  std::string split = "val";
  double loss = std::numeric_limits<double>::quiet_NaN();
  double train_loss = std::numeric_limits<double>::quiet_NaN();
  /// The metric shown, as a share in [0, 1] if `percent`.
  std::string metric = "top1";
  double value = std::numeric_limits<double>::quiet_NaN();
  bool percent = true;
  /// The same metric at the best check before this one; NaN at the first.
  double best = std::numeric_limits<double>::quiet_NaN();
  bool improved = false;
  /// Checks in a row without improvement, and the number that stops the run (0: never).
  int64_t wait = 0;
  int64_t patience = 0;
};

/// The progress of a run, as text.
///
///   epoch 3/17 ━━━━━━━━━━────────── 212/469   1,840 images/s   epoch 0:18   run 4:02   loss 0.412   lr 0.187   val 88.1 % +1.2
///
/// Numbers and the time are handed in; text leaves through `sink`: nothing here reads a clock or knows a terminal.
/// Not thread-safe. `now` is in seconds of any monotonic clock.
class Progress {
 public:
  using Sink = std::function<void(std::string_view)>;

  /// Throws std::invalid_argument if an interval is negative or `sink` is empty.
  Progress(const ProgressOptions& options, Sink sink);

  /// As often as one likes; draws if the interval has passed, and in bar mode at an epoch's last step.
  void update(const ProgressNumbers& numbers, double now);
  /// After each evaluation: one line that stays, in both modes.
  void check(const ProgressCheck& check);
  /// A line that stays (a warning, a decision): the bar is taken away first. `text` needs no new line.
  void line(std::string_view text);
  /// Takes the bar away. Call at the end, and before anything else prints.
  void finish();

 private:
  std::string bar(const ProgressNumbers& numbers) const;
  std::string plain(const ProgressNumbers& numbers) const;
  void clear_bar();
  std::string paint(std::string_view code, std::string_view text) const;

  ProgressOptions options_;
  Sink sink_;
  std::optional<double> last_drawn_;
  std::string last_check_;
  bool bar_visible_ = false;
};

}  // namespace ballast
