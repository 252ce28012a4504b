#include <ballast/base/check.h>
#include <ballast/report/table.h>

#include "ensemble_rule.h"

namespace ballast::cli {
namespace {

struct CombineFlags {
  std::string out;
};
template <class Visitor>
void describe(Visitor& visit, CombineFlags& o) {
  visit("out", o.out,
        {.help = "write the combined probabilities of all rows into this safetensors file",
         .flags = "--out",
         .value_name = "FILE"});
}

class CombineCommand : public Command {
 public:
  CombineCommand() {
    own_.add("combine", rule_);
    own_.add("combine", flags_);
    own_.add("combine", members_);
  }
  CommandText text() const override {
    return {
        .name = "ensemble combine",
        .summary = "several models' predictions as one, with honest figures",
        .operands = "MEMBERS...",
        .about =
            "MEMBERS are files of predictions from any system (.safetensors of ballast, .npy, "
            ".csv; see the page on ensembles), run "
            "folders, or the folder of an ensemble, which then keeps the rule. Rows that weights "
            "were fitted on are never among those "
            "that figures are of: the rows of a file, or of a run's test part, are shared out "
            "(--select-share, --calib-share).",
        .examples =
            {
                {"two files, no run folder needed",
                 "ballast ensemble combine a.npy b.npy --labels y.csv --out p.safetensors"},
                {"three runs, weights by greedy selection",
                 "ballast ensemble combine runs/a runs/b runs/c --weights greedy"},
                {"an ensemble's rule", "ballast ensemble combine runs/ens --rule mean_logit"},
            },
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 10'000}; }
  int run(const Session& session, const Arguments& arguments) override {
    const EnsembleInput input = load_members(arguments.operands, members_, needs_of(rule_));
    const int threads = thread_count(members_);
    const EnsembleRule rule = make_rule(input, rule_, members_);
    nlohmann::ordered_json document = {{"rule", rule_.rule},
                                       {"weights_from", rule.weights_from},
                                       {"roles", input.roles},
                                       {"optimistic", input.optimistic}};
    std::string text;
    if (!input.test.label.empty()) {
      std::vector<Figures> rows = member_figures(input, input.test, members_);
      double mean_accuracy = 0, mean_nll = 0;
      for (const Figures& f : rows) {
        mean_accuracy += f.quality.accuracy / static_cast<double>(rows.size());
        mean_nll += f.quality.nll / static_cast<double>(rows.size());
      }
      const Combined c = apply_rule(rule, input.test, threads);
      rows.push_back(figures_of(rule.stack ? "stack" : rule_.rule, c.view(), input.test.label,
                                c.label, members_));
      const Quality& q = rows.back().quality;
      text += figures_text(rows) + "\n" + figures_note(input, input.test, "test") + "\n";
      text += "against the mean member: accuracy " +
              format_fixed(100 * (q.accuracy - mean_accuracy), 2) + " points, NLL " +
              format_fixed(100 * (q.nll / mean_nll - 1), 1) + " %\n";
      if (rule_.weights == "fit" || rule_.weights == "greedy" || rule_.weights == "stack") {
        const Combined seen = apply_rule(rule, input.select, threads);
        const double optimism = q.nll - quality(seen.view(), input.select.label, seen.label).nll;
        text += "NLL on the rows of the fit is lower by " + format_fixed(optimism, 4) +
                ": that much it flatters\n";
        document["optimism_nll"] = optimism;
      }
      for (const Figures& f : rows) document["figures"].push_back(figures_json(f));
      document["mean_member"] = {{"accuracy", mean_accuracy}, {"nll", mean_nll}};
    }
    if (!rule.weights.empty()) {
      text += "weights";
      for (size_t m = 0; m < rule.weights.size(); ++m)
        text += "  " + input.name[m] + " " + format_fixed(rule.weights[m], 3);
      text += "\n";
      document["weights"] = rule.weights;
    }
    if (!flags_.out.empty()) {
      const Combined c = apply_rule(rule, input.all, threads);
      MemberTable t = input.all.tables[0];
      t.scores = c.probability;
      t.is_logit = false;
      t.classes = input.classes;
      t.metadata = {{"rule", rule.stack ? "stack" : rule_.rule},
                    {"members", std::to_string(input.id.size())}};
      write_member_table(flags_.out, t);
      session.note(flags_.out + ": " + format_count(c.size()) + " rows");
    }
    if (!input.folder.empty()) write_ensemble_json(input.folder, rule_json(rule, input));
    session.print(text);
    session.document(document);
    return kDone;
  }

 private:
  RuleFlags rule_;
  CombineFlags flags_;
  MemberFlags members_;
};

}  // namespace

std::unique_ptr<Command> make_ensemble_combine_command() {
  return std::make_unique<CombineCommand>();
}

}  // namespace ballast::cli
