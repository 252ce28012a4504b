#pragma once

#include <string>
#include <vector>

#include <ballast/report/run_record.h>

namespace ballast {

enum class Severity { problem, warning, note };

/// Something in a run that its owner should know: what, how it shows, what to do.
struct Alert {
  Severity severity = Severity::note;
  std::string title;
  std::string evidence;
  std::string remedy;
};

/// What stands out in a record, most severe first. A pure function of the record; with `no_times` nothing that depends
/// on the clock is looked at.
///
///   problem  ended by a value that is not finite; no better than guessing; a class that is never predicted; a record
///            that is damaged
///   warning  overfitting (validation loss rose by more than 10 % and 2 standard errors after its best, or is far above
///            the training loss); unreadable samples; skipped steps; validation and test disagree; a class far below
///            the others
///   note     still improving at the end; nothing gained in the second half; interrupted or out of time; confidence
///            that cannot be believed; labels that may be wrong (confident learning, Northcutt et al. 2021,
///            arXiv:1911.00068, with the predicted class alone: at least 1 % of the pictures, 95 % sure); few samples to
///            measure with; unbalanced classes; training waits for data; warnings of the run
std::vector<Alert> find_alerts(const RecordedRun& record, bool no_times = false);

}  // namespace ballast
