#include <ballast/control/stop_reason.h>

#include <algorithm>
#include <array>

namespace ballast {
namespace {

struct Row {
  StopReason reason;
  std::string_view name;
  std::string_view text;
  bool final;
};
// In the order of the enumerators.
constexpr std::array<Row, 11> kRows = {{
    {StopReason::completed, "completed", "ended as planned", true},
    {StopReason::patience, "patience", "the monitored value no longer improved", true},
    {StopReason::target_reached, "target_reached", "the target was reached", true},
    {StopReason::diverged, "diverged", "training diverged", true},
    {StopReason::non_finite, "non_finite", "a value was not finite", true},
    {StopReason::max_time, "max_time", "the time of the run was used up", true},
    {StopReason::session_time, "session_time", "the time of this session was used up", false},
    {StopReason::signal, "signal", "a signal asked for it", false},
    {StopReason::user, "user", "the caller asked for it", true},
    {StopReason::peer_lost, "peer_lost", "another process of the run was lost", false},
    {StopReason::storage, "storage", "results could not be stored", false},
}};

const Row& row(StopReason reason) { return kRows.at(static_cast<size_t>(reason)); }

}  // namespace

std::string_view stop_reason_name(StopReason reason) { return row(reason).name; }

std::optional<StopReason> stop_reason(std::string_view name) {
  const auto found = std::ranges::find(kRows, name, &Row::name);
  if (found == kRows.end()) return std::nullopt;
  return found->reason;
}

std::string_view stop_reason_text(StopReason reason) { return row(reason).text; }

bool is_final(StopReason reason) { return row(reason).final; }

}  // namespace ballast
