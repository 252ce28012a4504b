#pragma once

#include <optional>
#include <string_view>

namespace ballast {

/// Why a run ended. Spelled in records and reports as the enumerators are.
enum class StopReason {
  completed,
  patience,
  target_reached,
  diverged,
  non_finite,
  max_time,
  session_time,
  signal,
  user,
  peer_lost,
  storage,
};

/// "completed", "patience", ...
std::string_view stop_reason_name(StopReason reason);
/// The reason of that name, or nothing.
std::optional<StopReason> stop_reason(std::string_view name);
/// One sentence for people: "ended as planned".
std::string_view stop_reason_text(StopReason reason);
/// Whether the run is over: its best weights are restored and written. False for interruptions, after which the same
/// command goes on (session_time, signal, peer_lost, storage).
bool is_final(StopReason reason);

}  // namespace ballast
