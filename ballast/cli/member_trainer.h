#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "ensemble_plan.h"
#include "session.h"

namespace ballast::cli {

struct MemberTrainerOptions {
  int64_t jobs = 0;  ///< nets at a time; 0: as many as there are cores for
  int64_t retries = 2;
  int64_t min_members = 2;
  /// A member that diverges begins anew with 0.3 of its rate, at most three times.
  bool lower_lr = false;
  /// Variables of the environment that are applied already.
  std::vector<std::string> without = {};
};

/// Trains what the plan lacks, each net a process of its own: a run in the member's folder that
/// goes on where it stood. A net that dies is repeated alone, when the others are done, `retries`
/// times; one that diverges would do so again, and is lost unless lower_lr gives it another rate,
/// which the plan then holds. Writes common.toml, members/*.log, and
/// started, done, failed, diverged and interrupted into events.jsonl.
///
/// Returns an exit code: kDone; that of the signal; kNonFinite if fewer than min_members are left.
/// Members that are lost are named, and marked as such in the plan.
int train_members(const Session& session, const std::filesystem::path& folder, EnsemblePlan& plan,
                  const MemberTrainerOptions& options);

}  // namespace ballast::cli
