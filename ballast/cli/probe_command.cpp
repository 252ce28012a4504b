#include <filesystem>

#include <ballast/init/catalog.h>

#include "command.h"
#include "requests.h"
#include "run_config.h"
#include "torch_side.h"

namespace ballast::cli {
namespace {

struct ProbeFlags {
  std::vector<std::string> compare;
  double probe_lr = 0.01;
  std::string page = "probe.html";
};
template <class Visitor>
void describe(Visitor& visit, ProbeFlags& o) {
  visit("compare", o.compare, {.help = "starts that are laid over each other, instead of --init: he,xavier,orthogonal; `list init` shows all",
                               .flags = "--compare", .value_name = "INIT,INIT,..."});
  visit("probe_lr", o.probe_lr, {.help = "the learning rate that the ratio of update to weight is for", .flags = "--probe-lr", .range = above(0)});
  visit("page", o.page, {.help = "the HTML page to write; none: no page", .flags = "--page", .value_name = "FILE"});
}

class ProbeCommand : public Command {
 public:
  ProbeCommand() : table_(option_table(request_.options)) {
    own_.add("probe", flags_);
    own_.add("probe", config_);
  }

  CommandText text() const override {
    return {
        .name = "probe",
        .summary = "signals and gradients of a model before it trains: does its start survive its depth?",
        .operands = "",
        .about =
            "Runs one training batch forward and back through the untrained model and shows, layer by layer in the order of "
            "execution: the standard deviation of the activations across the samples (the signal), zeros and saturation, "
            "the gradient at the output and at the weights, the ratio of an update to its weight, and how alike channels and "
            "samples are. Recurrent layers are shown step by step. Then it says what it thinks, and writes the curves into an "
            "HTML page.\n"
            "\n"
            "Verdicts: healthy, symmetric (units with equal weights), exploding, vanishing, not_finite, saturated, dead, "
            "no_gradient, update_large, update_small, head_badly_scaled; each with the layer where it starts and the --init "
            "that would cure it. A norm behind each layer, or a residual branch that starts at zero, is no illness. With --json "
            "the field `verdict` has it.\n"
            "\n"
            "It also warns of dropout that feeds a batch norm. Model, data and start are given as to `train`; nothing is "
            "trained and no run is made.",
        .examples =
            {
                {"will 30 plain layers learn from Xavier's start?", "ballast probe --model plain_cnn:30 --init xavier"},
                {"four starts in one picture", "ballast probe --model plain_cnn:30 --compare he,xavier,orthogonal,torch"},
                {"the model and data of a run to be", "ballast probe --data photos/ --model resnet18 --norm group"},
                {"a recurrent net, step by step", "ballast probe --model rnn:plain --page rnn.html"},
                {"the verdict only, for a script", "ballast probe --model resnet20 --page none --json"},
            },
    };
  }
  OptionTable* sections() override { return &table_; }
  std::string foreign(std::string_view flag) const override { return foreign_flag(flag); }

  int run(const Session& session, const Arguments& arguments) override {
    load_run_options(request_.options, table_, config_, arguments);
    for (const std::string& name : flags_.compare) {
      if (name != "auto") {
        parse_init(name);
      }
    }
    request_.compare = flags_.compare;
    request_.lr = flags_.probe_lr;
    if (flags_.page != "none") {
      request_.page = flags_.page;
    }
    return load_torch_side(request_.options.run.threads.value_or(0), request_.options.math.level).probe(session, request_);
  }

 private:
  ProbeRequest request_;
  OptionTable table_;
  ProbeFlags flags_;
  ConfigFlags config_;
};

}  // namespace

std::unique_ptr<Command> make_probe_command() { return std::make_unique<ProbeCommand>(); }

}  // namespace ballast::cli
