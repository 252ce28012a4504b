#include <ballast/base/check.h>

#include "command.h"
#include "ensemble_plan.h"
#include "requests.h"
#include "torch_side.h"

namespace ballast::cli {
namespace {

namespace fs = std::filesystem;

struct SoupFlags {
  std::string out;
  std::string method = "uniform";
  double max_barrier = 0.05;
  std::string device = "auto";
  Auto<int64_t> threads;
  Auto<int64_t> workers;
};
template <class Visitor>
void describe(Visitor& visit, SoupFlags& o) {
  visit("out", o.out,
        {.help = "model folder that is written", .flags = "-o --out", .value_name = "FOLDER"});
  visit("method", o.method,
        {.help = "uniform: the average of all; greedy: a member stays if the average is not worse "
                 "with it",
         .flags = "--method",
         .choices = "uniform greedy"});
  visit("max_barrier", o.max_barrier,
        {.help = "refuse an average whose NLL is higher than its members' mean by more nats",
         .flags = "--max-barrier",
         .range = at_least(0)});
  visit("device", o.device,
        {.help = "auto, cpu or cuda:N", .flags = "--device", .value_name = "DEVICE"});
  visit("threads", o.threads,
        {.help = "threads that compute", .flags = "--threads", .range = between(1, 4096)});
  visit("workers", o.workers,
        {.help = "threads that decode", .flags = "-j --workers", .range = between(0, 4096)});
}

class EnsembleSoupCommand : public Command {
 public:
  EnsembleSoupCommand() { own_.add("soup", flags_); }
  CommandText text() const override {
    return {
        .name = "ensemble soup",
        .summary = "average the weights of members into one network",
        .operands = "MEMBERS...",
        .about =
            "MEMBERS are the folder of an ensemble, or runs, model folders and checkpoints of one "
            "architecture. The average costs "
            "what one network costs. It serves where members share a basin: fine-tunings of one "
            "network, or checkpoints of one "
            "run; members from different seeds do not, and are refused by their barrier. "
            "Statistics of batch norm are "
            "estimated anew over the training part; the NLL is that of the rows held out, or of "
            "the validation part.",
        .examples = {{"the last checkpoints of a run, as adopted",
                      "ballast ensemble soup runs/snapshots --out soup/"},
                     {"fine-tunings, the best ingredients",
                      "ballast ensemble soup runs/a runs/b runs/c --method greedy --out soup/"}},
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 10'000}; }
  int run(const Session& session, const Arguments& arguments) override {
    if (flags_.out.empty())
      usage_error("--out FOLDER is required: where the averaged model is written");
    SoupRequest request;
    const fs::path first = arguments.operands[0];
    if (arguments.operands.size() == 1 && has_plan(first)) {
      for (const PlannedMember& m : read_plan(first).members) {
        if (m.retired || m.lost) continue;
        for (const fs::path& net : member_runs(first, m)) request.models.push_back(net);
      }
    } else {
      for (const std::string& word : arguments.operands) request.models.emplace_back(word);
    }
    request.out = flags_.out;
    request.options = {.greedy = flags_.method == "greedy",
                       .max_barrier = flags_.max_barrier,
                       .threads = static_cast<int>(flags_.threads.value_or(0)),
                       .workers = static_cast<int>(flags_.workers.value_or(-1)),
                       .device = flags_.device};
    return load_torch_side(flags_.threads.value_or(0)).soup(session, request);
  }

 private:
  SoupFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_ensemble_soup_command() {
  return std::make_unique<EnsembleSoupCommand>();
}

}  // namespace ballast::cli
