#include "command.h"
#include "requests.h"
#include "run_config.h"
#include "start_signal.h"
#include "torch_side.h"

namespace ballast::cli {
namespace {

struct LrFindFlags {
  LrRangeOptions range;
  std::string page = "lr-find.html";
};
template <class Visitor>
void describe(Visitor& visit, LrFindFlags& o) {
  visit("from", o.range.from, {.help = "first rate", .flags = "--from", .range = above(0)});
  visit("to", o.range.to, {.help = "last rate", .flags = "--to", .range = above(0)});
  visit("steps", o.range.steps, {.help = "rates tried, a step each", .flags = "--steps", .range = between(20, 100000)});
  visit("page", o.page, {.help = "the HTML page with the curve; none: no page", .flags = "--page", .value_name = "FILE"});
}

class LrFindCommand : public Command {
 public:
  LrFindCommand() : table_(option_table(request_.options)) {
    own_.add("lr_find", flags_);
    own_.add("lr_find", config_);
  }
  CommandText text() const override {
    return {
        .name = "lr-find",
        .summary = "which learning rate: train a fresh model while the rate rises, and look at the loss",
        .operands = "",
        .about = "Takes model, data, augmentation, batch size and optimizer as `train` does, trains a fresh copy of the model for "
                 "--steps steps at rates from --from to --to, evenly spaced on a logarithmic scale, and stops early where the loss (a moving "
                 "average) is four times its lowest.\n"
                 "\n"
                 "Two suggestions: steepest, where the loss falls fastest per decade, and min/10, a tenth of the rate at its lowest. Both "
                 "are peaks for a schedule such as cosine or one_cycle. No run is made or touched.",
        .examples =
            {
                {"for the default recipe", "ballast lr-find"},
                {"for your pictures and another optimizer", "ballast lr-find --data photos/ --opt adamw --to 1"},
                {"for a script", "ballast lr-find --page none --json"},
            },
    };
  }
  OptionTable* sections() override { return &table_; }
  std::string foreign(std::string_view flag) const override { return foreign_flag(flag); }
  int run(const Session& session, const Arguments& arguments) override {
    load_run_options(request_.options, table_, config_, arguments);
    LrRange(flags_.range);  // its errors, before anything is loaded
    request_.range = flags_.range;
    if (flags_.page != "none") {
      request_.page = flags_.page;
    }
    starting_flag() = 1;  // nothing is written before the end
    return load_torch_side(request_.options.run.threads.value_or(0), request_.options.math.level).lr_find(session, request_);
  }

 private:
  LrFindRequest request_;
  OptionTable table_;
  LrFindFlags flags_;
  ConfigFlags config_;
};

}  // namespace

std::unique_ptr<Command> make_lr_find_command() { return std::make_unique<LrFindCommand>(); }

}  // namespace ballast::cli
