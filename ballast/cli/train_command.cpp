#include "command.h"
#include "find_run.h"
#include "requests.h"
#include "run_config.h"
#include "start_signal.h"
#include "torch_side.h"

namespace ballast::cli {
namespace {

struct TrainFlags {
  bool dry_run = false;
  std::string progress = "auto";
  std::string resume;
  bool restart = false;
  bool exact = false;
  bool accept_data_change = false;
  std::optional<int64_t> overfit;
};
template <class Visitor>
void describe(Visitor& visit, TrainFlags& o) {
  visit("dry_run", o.dry_run, {.help = "show the plan, train two steps, leave nothing", .flags = "--dry-run"});
  visit("progress", o.progress, {.help = "how progress is shown on stderr; auto: a bar on a terminal, else plain lines",
                                 .flags = "--progress", .choices = "auto bar plain none"});
  visit("resume", o.resume, {.help = "go on with this run (its folder, its name in runs/, or last), with the flags given as changes",
                             .flags = "--resume", .value_name = "RUN|last"});
  visit("restart", o.restart, {.help = "begin anew in the run's folder; its checkpoints move to quarantine/", .flags = "--restart"});
  visit("exact", o.exact, {.help = "refuse to go on where the bits would not be those of an unbroken run", .flags = "--exact"});
  visit("overfit", o.overfit, {.help = "instead of a run: can the model learn N fixed batches by heart, without regularization, in at most 500 "
                                       "steps? A model that cannot has a fault",
                               .flags = "--overfit", .range = between(1, 100), .value_name = "[1]"});
  visit("accept_data_change", o.accept_data_change, {.help = "go on though the data is not what it was when the run began",
                                                     .flags = "--accept-data-change"});
}

class TrainCommand : public Command {
 public:
  TrainCommand() : table_(option_table(request_.options)) {
    own_.add("train", flags_);
    own_.add("train", config_);
  }

  CommandText text() const override {
    return {
        .name = "train",
        .summary = "train a model on pictures and write a report",
        .operands = "",
        .about =
            "Trains a classifier of pictures. Without a flag: the default model on Fashion-MNIST. With --data it is your "
            "own folder, with a sub-folder for each class (or train/, val/ and test/ with those inside).\n"
            "\n"
            "Model, picture size, number of epochs and learning rate fit the data unless you give them; they depend on "
            "the data alone, never on the machine. The plan, with an estimate of the time, is printed first.\n"
            "\n"
            "The run leaves a folder under runs/: report.html (open it in a browser), model/ (weights as safetensors "
            "that PyTorch and timm open), metrics.jsonl and metrics.csv, checkpoints/, predictions/, config.toml. The "
            "weights in model/ are the best by --monitor on the validation part.\n"
            "\n"
            "Ctrl-C saves and stops; a second one stops at once. The same command again goes on where the run stood, "
            "also after a crash or a power cut, and ends with the same bits as a run that was never stopped: give the run "
            "a --name or --out for that. --resume RUN goes on with changes: longer, another rate, another patience.\n"
            "\n"
            "Values come from, in rising order: defaults, --config FILE, the environment (BALLAST_OPTIM_LR), flags. Each "
            "key section.key is the flag --section.key too.",
        .examples =
            {
                {"the default model on Fashion-MNIST", "ballast train"},
                {"your own pictures, a sub-folder a class", "ballast train --data photos/"},
                {"at most half an hour", "ballast train --data photos/ --max-time 30m"},
                {"another model and length", "ballast train --data photos/ --model resnet18 --epochs 40 --image-size 160"},
                {"stop when validation no longer improves", "ballast train --patience 5 --epochs 100"},
                {"start from weights of PyTorch, keep the first layers",
                 "ballast train --data photos/ --model resnet18 --pretrained resnet18.pth --normalize imagenet --lr 0.01 "
                 "--freeze 'conv1.*,bn1.*,layer1.*'"},
                {"the plan only", "ballast train --data photos/ --dry-run"},
                {"is anything broken? learn one batch by heart", "ballast train --data photos/ --overfit"},
                {"stop it at any time; the same command goes on", "ballast train --data photos/ --name mine"},
                {"ten epochs more for the run of last night", "ballast train --resume last --epochs 40"},
                {"a recipe, with one value changed", "ballast train --config recipe.toml --lr 0.05"},
            },
    };
  }
  OptionTable* sections() override { return &table_; }
  std::string foreign(std::string_view flag) const override { return foreign_flag(flag); }

  int run(const Session& session, const Arguments& arguments) override {
    if (!flags_.resume.empty()) {
      const std::filesystem::path folder = find_run(flags_.resume);
      config_.config.insert(config_.config.begin(), (folder / "config.toml").string());
      load_run_options(request_.options, table_, config_, arguments);
      for (const FlagValue& flag : arguments.flags) {
        if (flag.key == "run.name" || flag.key == "run.out" || flag.key == "run.overwrite") {
          usage_error("--resume and " + flag.flag + " both say which folder: give one of them");
        }
      }
      request_.options.run.name.clear();
      request_.options.run.out = folder.string();
      request_.options.run.overwrite = false;
      request_.options.resume = true;
    } else {
      load_run_options(request_.options, table_, config_, arguments);
    }
    request_.options.dry_run = flags_.dry_run;
    request_.options.restart = flags_.restart;
    request_.options.exact = flags_.exact;
    request_.options.accept_data_change = flags_.accept_data_change;
    request_.progress = flags_.progress;
    starting_flag() = 1;
    request_.starting = &starting_flag();
    request_.overfit = flags_.overfit.value_or(0);
    return load_torch_side(request_.options.run.threads.value_or(0), request_.options.math.level).train(session, request_);
  }

 private:
  TrainRequest request_;
  OptionTable table_;
  TrainFlags flags_;
  ConfigFlags config_;
};

}  // namespace

std::unique_ptr<Command> make_train_command() { return std::make_unique<TrainCommand>(); }

}  // namespace ballast::cli
