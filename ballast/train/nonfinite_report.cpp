#include <ballast/train/nonfinite_report.h>

#include <algorithm>
#include <sstream>

#include <ATen/Functions.h>

#include <ballast/base/check.h>
#include <ballast/models/model.h>
#include <ballast/train/tensor_batch.h>
#include <ballast/weights/state_dict.h>

namespace ballast {
namespace {

std::string names_of(const Source& source, const std::vector<uint64_t>& ids, size_t most) {
  std::string text;
  for (size_t i = 0; i < std::min(ids.size(), most); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(ids[i]) + " (" + source.name(static_cast<int64_t>(ids[i])) + ")";
  }
  return text + (ids.size() > most ? ", and " + std::to_string(ids.size() - most) + " more" : "");
}

}  // namespace

std::string report_non_finite(RunContext& run, const StepLog& log, const StepResult& r, const BatchSlot& slot) {
  const int64_t step = run.trainer->steps();
  const int64_t epoch = step / run.setup.steps_per_epoch;
  const int64_t batch = step % run.setup.steps_per_epoch;
  const Source& source = *run.setup.data.source;
  const std::vector<uint64_t> ids(slot.id.begin(), slot.id.begin() + slot.n);
  std::string where;
  const TensorBatch input = tensor_batch(slot);
  const NonFiniteOrigin origin = run.trainer->find_non_finite(input.x, input.y, input.partner, input.lam);
  if (run.folder) {
    JsonValue report = JsonValue::object();
    report["step"] = step;
    report["epoch"] = epoch;
    report["batch"] = batch;
    report["loss"] = r.loss;
    report["gradient_norm"] = r.gradient_norm;
    report["lr"] = r.lr;
    JsonValue first = JsonValue::object();
    first["pass"] = origin.pass;
    first["operator"] = origin.op;
    first["layer"] = origin.layer;
    report["first"] = std::move(first);
    report["attempt"] = run.rollbacks;
    report["input_finite"] = at::isfinite(batch_pixels(slot)).all().item<bool>();
    report["weights_finite"] = WeightsCopy(*run.model).finite();
    JsonValue samples = JsonValue::array();
    for (const uint64_t id : ids) {
      JsonValue s = JsonValue::object();
      s["id"] = id;
      s["path"] = source.name(static_cast<int64_t>(id));
      samples.push_back(std::move(s));
    }
    report["samples"] = std::move(samples);
    report["last_losses"] = std::vector<double>(log.last_losses().begin(), log.last_losses().end());
    report["last_gradient_norms"] = std::vector<double>(log.last_norms().begin(), log.last_norms().end());
    const std::filesystem::path name =
        std::filesystem::path("nonfinite") / ("step-" + std::to_string(step)) / "report.json";
    make_folders(run.folder->fs(), (run.folder->path() / name).parent_path());
    run.folder->write(name, report.text(2) + "\n");
    const std::vector<std::byte> batch_file = encode_weights({{"x", input.x.contiguous()}, {"y", input.y.contiguous()}});
    write_file_atomic(run.folder->fs(), (run.folder->path() / name).parent_path() / "batch.safetensors", std::span(batch_file));
    where = "; see " + (run.folder->path() / name).string();
  }
  std::ostringstream text;
  text << "the loss must be finite, got loss " << r.loss << " and gradient norm " << r.gradient_norm << " at step " << step
       << " (epoch " << epoch + 1 << ", batch " << batch << ") of samples " << names_of(source, ids, 4)
       << (origin.text().empty() ? "" : "; " + origin.text()) << where;
  return text.str();
}

}  // namespace ballast
