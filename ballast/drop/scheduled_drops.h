#pragma once

#include <string>
#include <utility>
#include <vector>

#include <ballast/drop/rate_schedule.h>

namespace torch::nn {
class Module;
}

namespace ballast {

class DropLayer;

/// A model's layers that drop, with rates that follow schedules: each schedule is a factor of the rate that the layer was
/// made with.
///
///   ScheduledDrops drops(*model, {parse_rate_schedule("drop_block=ramp")});
///   drops.at(progress);   // before each step
///
/// Errors   std::invalid_argument `[rate_schedule] model must have layers of drop_block, got none`.
class ScheduledDrops {
 public:
  ScheduledDrops(torch::nn::Module& model, const std::vector<StemSchedule>& schedules);

  /// Sets the rates of progress t in [0, 1] of the run.
  void at(double progress);

 private:
  struct Layer {
    DropLayer* layer;
    double rate;
    RateSchedule schedule;
  };
  std::vector<Layer> layers_;
};

}  // namespace ballast
