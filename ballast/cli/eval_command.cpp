#include <filesystem>

#include <ballast/base/check.h>
#include <ballast/train/ensemble_file.h>

#include "arguments.h"
#include "command.h"
#include "requests.h"
#include "torch_side.h"

namespace ballast::cli {

/// Throws DataError unless `path` is there.
void check_model_path(const std::string& path);

namespace {

struct EvalFlags {
  std::string split = "auto";
  int64_t batch_size = 256;
  double temperature = 1;
  int64_t mc = 0;
  std::string tta;
  std::string predictions;
  std::string device = "auto";
  Auto<int64_t> threads;
  Auto<int64_t> workers;
};
template <class Visitor>
void describe(Visitor& visit, EvalFlags& o) {
  visit("split", o.split, {.help = "part of the data; auto: test, or val if there is no test part", .flags = "--split", .choices = "auto train val test hold"});
  visit("batch_size", o.batch_size, {.help = "pictures at once", .flags = "-b --batch-size", .range = between(1, 1e6)});
  visit("temperature", o.temperature, {.help = "logits are divided by it", .flags = "--temperature", .range = above(0)});
  visit("mc", o.mc, {.help = "Monte-Carlo dropout: the mean of N passes with the model's drops active; 0: one pass without",
                     .flags = "--mc", .range = between(0, 10'000), .value_name = "N"});
  visit("tta", o.tta, {.help = "show each picture several times and average: identity, hflip, vflip, shift:N, five_crop, ten_crop, "
                              "with commas",
                       .flags = "--tta", .value_name = "VIEWS"});
  visit("predictions", o.predictions, {.help = "write every prediction into this safetensors file",
                                       .flags = "--predictions", .value_name = "FILE"});
  visit("device", o.device, {.help = "auto, cpu or cuda:N", .flags = "--device", .value_name = "DEVICE"});
  visit("threads", o.threads, {.help = "threads that compute", .flags = "--threads", .range = between(1, 4096)});
  visit("workers", o.workers, {.help = "threads that decode", .flags = "-j --workers", .range = between(0, 4096)});
}

class EvalCommand : public Command {
 public:
  EvalCommand() { own_.add("eval", flags_); }
  CommandText text() const override {
    return {
        .name = "eval",
        .summary = "metrics of a trained model on a part of its data or on other data",
        .operands = "MODEL [DATA]",
        .about = "MODEL is a run's folder, a model folder (model.safetensors and config.json) or a weights file with "
                 "its config.json beside it; of an ensemble's folder the figures are those of ballast ensemble eval. DATA is a folder or file as `train --data` takes it; without it, the data "
                 "of the run itself. Each picture counts once; unreadable ones are left out and counted.",
        .examples =
            {
                {"the test part of a run's own data", "ballast eval runs/photos-resnet18-1"},
                {"other data", "ballast eval runs/photos-resnet18-1 more-photos/ --split test"},
                {"corners, middle and their mirror images", "ballast eval runs/photos-resnet18-1 --tta ten_crop"},
                {"how sure is it? 30 passes with dropout on", "ballast eval RUN --mc 30"},
                {"as JSON, with every prediction kept", "ballast eval RUN --json --predictions predictions.safetensors"},
            },
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 2}; }
  int run(const Session& session, const Arguments& arguments) override {
    check_model_path(arguments.operands[0]);
    if (is_ensemble_folder(arguments.operands[0])) return eval_ensemble(session, arguments);
    EvalRequest request;
    request.options = {.model = arguments.operands[0],
                       .data = arguments.operands.size() > 1 ? arguments.operands[1] : "",
                       .split = flags_.split,
                       .batch_size = flags_.batch_size,
                       .threads = static_cast<int>(flags_.threads.value_or(0)),
                       .workers = static_cast<int>(flags_.workers.value_or(-1)),
                       .device = flags_.device,
                       .temperature = flags_.temperature,
                       .mc = flags_.mc,
                       .tta = comma_list(flags_.tta),
                       .predictions = flags_.predictions};
    return load_torch_side(flags_.threads.value_or(0)).eval(session, request);
  }

 private:
  /// The figures of ensemble eval, of the predictions that the members' runs left.
  int eval_ensemble(const Session& session, const Arguments& arguments) const {
    if (arguments.operands.size() > 1 || (flags_.split != "auto" && flags_.split != "test") || !flags_.predictions.empty() ||
        !flags_.tta.empty() || flags_.mc > 0) {
      usage_error("the figures of an ensemble are those of its members' test part; ballast predict takes other pictures, "
                  "ballast ensemble combine --out writes predictions");
    }
    return make_ensemble_eval_command()->run(session, {.operands = {arguments.operands[0]}, .flags = {}});
  }
  EvalFlags flags_;
};

}  // namespace

void check_model_path(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    throw DataError(path + ": no such run, model folder or weights file");
  }
}

std::unique_ptr<Command> make_eval_command() { return std::make_unique<EvalCommand>(); }

}  // namespace ballast::cli
