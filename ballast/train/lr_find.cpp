#include <ballast/train/lr_find.h>

#include <cmath>

#include <ballast/models/model.h>
#include <ballast/train/run_context.h>
#include <ballast/train/tensor_batch.h>

namespace ballast {

LrFindResult find_lr(const RunOptions& options, const LrRangeOptions& range_options, RunEvents& events) {
  LrFindResult result;
  result.range = LrRange(range_options);
  RunContext run(options, events);
  result.model = run.setup.model.name;
  result.data = run.setup.data_name;
  result.optimizer = run.setup.options.optim.name;
  result.batch_size = run.setup.options.train.batch_size;
  TrainerOptions t = run.trainer_options();
  t.schedule = {.name = LrScheduleName::constant, .lr = 1};
  t.total_steps = range_options.steps;
  Trainer trainer(*run.model, [&run](const torch::Tensor& x) { return run.model->forward(x); }, t);
  run.training_mode();
  events.on_phase("trying rates");
  for (int64_t epoch = 0;; ++epoch) {
    run.loader->start_epoch(epoch);
    while (const BatchSlot* slot = run.loader->next()) {
      result.interrupted = events.stop_requested();
      if (result.interrupted) {
        return result;
      }
      const TensorBatch batch = tensor_batch(*slot);
      trainer.set_lr_scale(result.range.next_lr());
      const StepResult step = trainer.step(batch.x, batch.y, batch.partner, batch.lam);
      if (!result.range.add(step.finite ? step.loss : std::nan(""))) {
        return result;
      }
    }
  }
}

}  // namespace ballast
