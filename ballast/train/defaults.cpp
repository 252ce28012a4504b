#include <ballast/train/defaults.h>

#include <algorithm>
#include <cmath>

#include <ballast/base/check.h>

namespace ballast {
namespace {

// Pictures times pixels times epochs.
constexpr double kSmallWork = 15.0 * 57'000 * 28 * 28;
constexpr double kPhotoWork = 25.0 * 3'068 * 128 * 128;

bool without_norm(const std::string& model) {
  const std::string name = model.substr(0, model.find(':'));
  return name == "mlp" || name == "lenet" || name == "plain_cnn" || name == "rnn" || name == "vit_tiny";
}

}  // namespace

Defaults choose_defaults(const DataFacts& facts, const FixedChoices& fixed) {
  check(facts.train_images >= 1, "defaults", "train_images must be at least 1, got ", facts.train_images);
  check(facts.classes >= 2, "defaults", "classes must be at least 2, got ", facts.classes);
  check(facts.height >= 1 && facts.width >= 1, "defaults", "height and width must be at least 1, got ", facts.height,
        " and ", facts.width);
  Defaults d;
  const int64_t side = std::min(facts.height, facts.width);
  const bool small = side <= 64;
  d.model = !fixed.model.empty() ? fixed.model : small ? "resnet8_wide" : "resnet18";
  if (fixed.image_size > 0) {
    d.height = d.width = fixed.image_size;
  } else if (small) {
    d.height = facts.height;
    d.width = facts.width;
  } else {
    d.height = d.width = std::min<int64_t>(128, side / 32 * 32);
  }
  const double per_epoch = static_cast<double>(facts.train_images) * static_cast<double>(d.height * d.width);
  const double epochs = std::round((small ? kSmallWork : kPhotoWork) / per_epoch);
  d.epochs = static_cast<int64_t>(std::clamp(epochs, 5.0, 100.0));

  const bool sgd = fixed.optimizer == "sgd";
  d.schedule = !fixed.schedule.empty() ? fixed.schedule : sgd ? "one_cycle" : "cosine";
  d.warmup_share = d.schedule == "one_cycle" ? 0 : 0.05;
  const double batch = static_cast<double>(fixed.batch_size) / 128;
  if (sgd) {
    d.lr = (without_norm(d.model) ? 0.05 : 0.2) * batch * (d.schedule == "one_cycle" ? 1 : 0.5);
    d.weight_decay = 5e-4;
  } else {
    d.lr = 1e-3 * std::sqrt(batch);
    d.weight_decay = fixed.optimizer == "adamw" ? 0.05 : 0;
  }
  d.label_smoothing = 0.1;
  return d;
}

}  // namespace ballast
