#include "command.h"
#include "requests.h"
#include "run_config.h"
#include "torch_side.h"

namespace ballast::cli {
namespace {

struct TrainFlags {
  bool dry_run = false;
  std::string progress = "auto";
};
template <class Visitor>
void describe(Visitor& visit, TrainFlags& o) {
  visit("dry_run", o.dry_run, {.help = "show the plan, train two steps, leave nothing", .flags = "--dry-run"});
  visit("progress", o.progress, {.help = "how progress is shown on stderr; auto: a bar on a terminal, else plain lines",
                                 .flags = "--progress", .choices = "auto bar plain none"});
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
            "Ctrl-C stops cleanly and keeps what was saved; a second one stops at once.\n"
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
                {"a recipe, with one value changed", "ballast train --config recipe.toml --lr 0.05"},
            },
    };
  }
  OptionTable* sections() override { return &table_; }
  std::string foreign(std::string_view flag) const override { return foreign_flag(flag); }

  int run(const Session& session, const Arguments& arguments) override {
    load_run_options(request_.options, table_, config_, arguments);
    request_.options.dry_run = flags_.dry_run;
    request_.progress = flags_.progress;
    return load_torch_side(request_.options.run.threads.value_or(0)).train(session, request_);
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
