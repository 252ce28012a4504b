#include <ballast/drop/scheduled_drops.h>

#include <torch/nn/module.h>

#include <algorithm>

#include <ballast/base/check.h>
#include <ballast/drop/drop_layer.h>

namespace ballast {

ScheduledDrops::ScheduledDrops(torch::nn::Module& model, const std::vector<StemSchedule>& schedules) {
  for (const StemSchedule& s : schedules) {
    rate_at(s.schedule, 0);  // checks it
    int64_t found = 0;
    for (const auto& module : model.modules()) {
      auto* layer = dynamic_cast<DropLayer*>(module.get());
      if (layer == nullptr || (!s.stem.empty() && layer->stem() != s.stem)) continue;
      ++found;
      // A later schedule takes the place of an earlier one.
      const auto known = std::find_if(layers_.begin(), layers_.end(), [&](const Layer& l) { return l.layer == layer; });
      if (known != layers_.end()) {
        known->schedule = s.schedule;
      } else {
        layers_.push_back({layer, layer->drop_rate(), s.schedule});
      }
    }
    check(found > 0, "rate_schedule", "model must have layers ", s.stem.empty() ? "that drop" : "of " + s.stem, ", got none");
  }
}

void ScheduledDrops::at(double progress) {
  for (const Layer& l : layers_) l.layer->set_drop_rate(l.rate * rate_at(l.schedule, progress));
}

}  // namespace ballast
