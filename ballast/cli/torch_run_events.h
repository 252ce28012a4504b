#pragma once

#include <csignal>
#include <memory>
#include <optional>
#include <string>

#include <ballast/report/progress.h>
#include <ballast/train/run.h>

#include "session.h"

namespace ballast::cli {

/// Shows a run on stderr: the plan, a bar or plain lines, a line for each check, warnings.
class TerminalEvents : public RunEvents {
 public:
  /// progress: auto, bar, plain, none. starting: as in TrainRequest.
  TerminalEvents(const Session& session, const std::string& progress, volatile std::sig_atomic_t* starting = nullptr);

  void on_plan(const RunPlan& plan) override;
  void on_progress(const RunProgress& progress) override;
  void on_check(const RunCheck& check) override;
  void on_warning(const std::string& text) override;
  void on_phase(const std::string& text) override;
  bool stop_requested() override;
  bool save_requested() override;

  /// Takes the bar away; before anything else is printed.
  void finish();
  const std::optional<RunPlan>& plan() const { return plan_; }

 private:
  const Session& session_;
  Progress progress_;
  bool bar_ = false;
  std::optional<RunPlan> plan_;
  std::optional<double> best_;
  bool told_stop_ = false;
  int saves_asked_ = 0;
  volatile std::sig_atomic_t* starting_;
};

/// The plan as lines for people, and as JSON.
std::string plan_text(const RunPlan& plan);
nlohmann::ordered_json plan_json(const RunPlan& plan);

}  // namespace ballast::cli
