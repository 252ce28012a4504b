#include <ballast/base/check.h>
#include <ballast/report/table.h>

#include "ensemble_rule.h"

namespace ballast::cli {
namespace {

struct SelectFlags {
  std::string loss = "nll";
  int64_t rounds = 25;
  int64_t start = 0;
  int64_t bags = 0;
  std::vector<double> cost;
  double budget = 0;
};
template <class Visitor>
void describe(Visitor& visit, SelectFlags& o) {
  visit("loss", o.loss,
        {.help = "what is minimised", .flags = "--loss", .choices = "nll brier error"});
  visit("rounds", o.rounds,
        {.help = "members added, with repeats", .flags = "--rounds", .range = between(1, 10'000)});
  visit(
      "start", o.start,
      {.help = "begin with so many best members", .flags = "--start", .range = between(0, 10'000)});
  visit("bags", o.bags,
        {.help = "sum over so many keyed halves of the members",
         .flags = "--bags",
         .range = between(0, 10'000)});
  visit("cost", o.cost,
        {.help = "ms of each member, for --budget", .flags = "--cost", .range = above(0)});
  visit("budget", o.budget,
        {.help = "ms that a set may cost; 0: any",
         .flags = "--budget",
         .range = at_least(0),
         .value_name = "MS"});
}

struct PruneFlags {
  double margin = 0.002;
};
template <class Visitor>
void describe(Visitor& visit, PruneFlags& o) {
  visit("margin", o.margin,
        {.help = "NLL that may be lost at most (upper 95 % bound), nats",
         .flags = "--margin",
         .range = at_least(0)});
}

class SelectCommand : public Command {
 public:
  SelectCommand() {
    own_.add("select", flags_);
    own_.add("select", members_);
  }
  CommandText text() const override {
    return {
        .name = "ensemble select",
        .summary = "greedy selection of members with replacement, also within a time budget",
        .operands = "MEMBERS...",
        .about =
            "Adds, again and again, the member with which the mean probability is best on role "
            "select (Caruana et al. 2004), then cuts at "
            "the best round; counts become weights. Figures are of role test, which the selection "
            "has not seen.",
        .examples =
            {
                {"which of these runs belong together",
                 "ballast ensemble select runs/a runs/b runs/c runs/d"},
                {"at most 5 ms a picture",
                 "ballast ensemble select a.npy b.npy c.npy --labels y.csv --cost 1,2,4 --budget "
                 "5"},
            },
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 10'000}; }
  int run(const Session& session, const Arguments& arguments) override {
    const EnsembleInput input = load_members(arguments.operands, members_, {.select = true});
    const int threads = thread_count(members_);
    const Greedy g = greedy_select(input.select.views(), input.select.label,
                                   {.loss = parse_selection_loss(flags_.loss),
                                    .rounds = static_cast<int>(flags_.rounds),
                                    .start = static_cast<int>(flags_.start),
                                    .bags = static_cast<int>(flags_.bags),
                                    .key = Key(members_.seed),
                                    .cost = flags_.cost,
                                    .budget = flags_.budget,
                                    .threads = threads});
    std::string text = "round   member   " + flags_.loss + " on select\n";
    nlohmann::ordered_json rounds = nlohmann::ordered_json::array();
    for (size_t r = 0; r < g.order.size(); ++r) {
      const std::string& name = input.name[static_cast<size_t>(g.order[r])];
      text += std::to_string(r + 1) + "   " + name + "   " + format_fixed(g.loss[r], 5) +
              (static_cast<int>(r) + 1 == g.cut ? "   <- cut" : "") + "\n";
      rounds.push_back({{"member", name}, {"loss", g.loss[r]}});
    }
    EnsembleRule rule;
    rule.weights = g.weights;
    rule.weights_from = "greedy";
    rule.used.emplace_back(DataRole::select, "the weights");
    std::vector<Figures> rows = member_figures(input, input.test, members_);
    const Combined all = combine(input.test.views(), {.threads = threads}),
                   chosen = apply_rule(rule, input.test, threads);
    rows.push_back(figures_of("mean of all", all.view(), input.test.label, all.label, members_));
    rows.push_back(figures_of("selected", chosen.view(), input.test.label, chosen.label, members_));
    text += "\n" + figures_text(rows) + "\n" + figures_note(input, input.test, "test") +
            "\nNLL on select " + format_fixed(g.nll, 4) + ", on test " +
            format_fixed(rows.back().quality.nll, 4) + "\nweights";
    for (size_t m = 0; m < g.weights.size(); ++m) {
      if (g.weights[m] > 0) text += "  " + input.name[m] + " " + format_fixed(g.weights[m], 3);
    }
    text += g.cost > 0 ? "\ncost " + format_fixed(g.cost, 3) + " ms\n" : "\n";
    nlohmann::ordered_json document = {{"rounds", rounds},     {"cut", g.cut},
                                       {"weights", g.weights}, {"cost", g.cost},
                                       {"nll_select", g.nll},  {"optimistic", input.optimistic}};
    for (const Figures& f : rows) document["figures"].push_back(figures_json(f));
    if (!input.folder.empty()) write_ensemble_json(input.folder, rule_json(rule, input));
    session.print(text);
    session.document(document);
    return kDone;
  }

 private:
  SelectFlags flags_;
  MemberFlags members_;
};

class PruneCommand : public Command {
 public:
  PruneCommand() {
    own_.add("prune", flags_);
    own_.add("prune", members_);
  }
  CommandText text() const override {
    return {
        .name = "ensemble prune",
        .summary = "which members can go: size against NLL, and each member's worth",
        .operands = "MEMBERS...",
        .about =
            "Drops, one at a time, the member whose loss costs least on role select. Kept is the "
            "smallest set before the upper 95 % bound "
            "of the paired increase passes --margin. The table says for each member alone: keep, "
            "can go, or harmful.",
        .examples = {{"how many are enough", "ballast ensemble prune runs/ens"}},
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 10'000}; }
  int run(const Session& session, const Arguments& arguments) override {
    const EnsembleInput input = load_members(arguments.operands, members_, {.select = true});
    const int threads = thread_count(members_);
    const auto views = input.select.views();
    const Pruning p = prune(views, input.select.label, flags_.margin, Key(members_.seed), threads);
    nlohmann::ordered_json document;
    Table curve({{"size", Table::Align::right},
                 {"without", Table::Align::left},
                 {"NLL", Table::Align::right},
                 {"increase", Table::Align::right},
                 {"95 %", Table::Align::left}});
    for (const PruneStep& s : p.curve) {
      const std::string dropped = s.dropped < 0 ? "" : input.name[static_cast<size_t>(s.dropped)];
      curve.row({std::to_string(s.size), dropped, format_fixed(s.nll, 4),
                 format_fixed(s.increase.value, 4),
                 format_fixed(s.increase.bounds.low, 4) + " to " +
                     format_fixed(s.increase.bounds.high, 4)});
      document["curve"].push_back({{"size", s.size},
                                   {"dropped", dropped},
                                   {"nll", s.nll},
                                   {"increase", s.increase.value},
                                   {"low", s.increase.bounds.low},
                                   {"high", s.increase.bounds.high}});
    }
    Table worth({{"without", Table::Align::left},
                 {"NLL", Table::Align::right},
                 {"95 %", Table::Align::left},
                 {"accuracy, points", Table::Align::right},
                 {"95 %", Table::Align::left},
                 {"", Table::Align::left}});
    for (const WithoutMember& w :
         who_can_go(views, input.select.label, flags_.margin, Key(members_.seed), threads)) {
      worth.row({input.name[static_cast<size_t>(w.member)], format_fixed(w.nll.value, 4),
                 format_fixed(w.nll.bounds.low, 4) + " to " + format_fixed(w.nll.bounds.high, 4),
                 format_fixed(100 * w.accuracy.value, 2),
                 format_fixed(100 * w.accuracy.bounds.low, 2) + " to " +
                     format_fixed(100 * w.accuracy.bounds.high, 2),
                 std::string(w.verdict)});
      document["members"].push_back({{"name", input.name[static_cast<size_t>(w.member)]},
                                     {"nll", w.nll.value},
                                     {"low", w.nll.bounds.low},
                                     {"high", w.nll.bounds.high},
                                     {"verdict", w.verdict}});
    }
    EnsembleRule rule;
    rule.weights.assign(input.id.size(), 0);
    rule.weights_from = "prune";
    rule.used.emplace_back(DataRole::select, "the pruning");
    std::string kept;
    for (const int32_t m : p.kept) {
      rule.weights[static_cast<size_t>(m)] = 1;
      kept += (kept.empty() ? "" : ", ") + input.name[static_cast<size_t>(m)];
    }
    const Combined all = combine(input.test.views(), {.threads = threads}),
                   left = apply_rule(rule, input.test, threads);
    const std::vector<Figures> rows = {
        figures_of("all " + std::to_string(input.id.size()), all.view(), input.test.label,
                   all.label, members_),
        figures_of("kept " + std::to_string(p.kept.size()), left.view(), input.test.label,
                   left.label, members_)};
    for (const Figures& f : rows) document["figures"].push_back(figures_json(f));
    document["kept"] = p.kept;
    session.print(curve.text() +
                  "\nthe mean without one member, less the mean of all (role select)\n" +
                  worth.text() + "\nkept: " + kept + "\n\n" + figures_text(rows) + "\n" +
                  figures_note(input, input.test, "test") + "\n");
    session.document(document);
    if (!input.folder.empty()) write_ensemble_json(input.folder, rule_json(rule, input));
    return kDone;
  }

 private:
  PruneFlags flags_;
  MemberFlags members_;
};

struct CascadeFlags {
  std::vector<double> cost;
  double shared_cost = 0;
  double max_nll = 0.01;
  double max_accuracy = 0.1;
};
template <class Visitor>
void describe(Visitor& visit, CascadeFlags& o) {
  visit("cost", o.cost,
        {.help = "ms of each member; default: 1 each", .flags = "--cost", .range = above(0)});
  visit("shared_cost", o.shared_cost,
        {.help = "ms that every picture costs", .flags = "--shared-cost", .range = at_least(0)});
  visit("max_nll", o.max_nll,
        {.help = "NLL that may be lost (one-sided 95 % bound), nats",
         .flags = "--max-nll",
         .range = at_least(0)});
  visit("max_accuracy", o.max_accuracy,
        {.help = "accuracy that may be lost, points",
         .flags = "--max-accuracy",
         .range = at_least(0)});
}

class CascadeCommand : public Command {
 public:
  CascadeCommand() {
    own_.add("cascade", flags_);
    own_.add("cascade", rule_);
    own_.add("cascade", members_);
  }
  CommandText text() const override {
    return {
        .name = "ensemble cascade",
        .summary = "members one after the other: sure answers leave early",
        .operands = "MEMBERS...",
        .about =
            "After each member the running mean, with a temperature of its own, is the answer if "
            "its confidence reaches a threshold. "
            "Thresholds are the cheapest that keep NLL and accuracy within bounds of the whole "
            "ensemble on role select.",
        .examples = {{"how much time is saved", "ballast ensemble cascade runs/ens"}},
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 10'000}; }
  int run(const Session& session, const Arguments& arguments) override {
    Needs needs = needs_of(rule_);
    needs.select = needs.calib = needs.labels = true;
    if (rule_.weights == "stack" || rule_.rule != "mean_probability")
      usage_error(
          "a cascade combines by the mean probability; --weights may be uniform, fit, greedy or "
          "numbers");
    const EnsembleInput input = load_members(arguments.operands, members_, needs);
    const int threads = thread_count(members_);
    const EnsembleRule rule = make_rule(input, rule_, members_);
    std::vector<double> cost = flags_.cost;
    if (cost.empty()) cost.assign(input.id.size(), 1);
    const Cascade c = fit_cascade(input.select.views(), input.select.label, input.calib.views(),
                                  input.calib.label,
                                  {.weights = rule.weights,
                                   .cost = cost,
                                   .shared_cost = flags_.shared_cost,
                                   .max_nll = flags_.max_nll,
                                   .max_accuracy = flags_.max_accuracy / 100},
                                  threads);
    const CascadeResult r = run_cascade(c, input.test.views(), threads);
    const Combined all = apply_rule(rule, input.test, threads);
    const std::vector<Figures> rows = {
        figures_of("all members", all.view(), input.test.label, all.label, members_),
        figures_of("cascade", r.combined.view(), input.test.label, r.combined.label, members_)};
    Table stages({{"stage", Table::Align::right},
                  {"member", Table::Align::left},
                  {"T", Table::Align::right},
                  {"threshold", Table::Align::right},
                  {"leave here %", Table::Align::right},
                  {"accuracy %", Table::Align::right}});
    nlohmann::ordered_json document;
    for (size_t j = 0; j < c.order.size(); ++j) {
      double count = 0, right = 0;
      for (size_t i = 0; i < r.stage.size(); ++i) {
        if (r.stage[i] != static_cast<int32_t>(j)) continue;
        ++count;
        right += r.combined.label[i] == input.test.label[i];
      }
      const bool last = j + 1 == c.order.size();
      const double share = count / static_cast<double>(std::max<size_t>(1, r.stage.size()));
      stages.row({std::to_string(j + 1), input.name[static_cast<size_t>(c.order[j])],
                  format_fixed(c.temperature[j], 3),
                  last || c.tau[j] > 1 ? "-" : format_fixed(c.tau[j], 4),
                  format_fixed(100 * share, 1),
                  count > 0 ? format_fixed(100 * right / count, 2) : "-"});
      document["stages"].push_back(
          {{"member", input.name[static_cast<size_t>(c.order[j])]},
           {"temperature", c.temperature[j]},
           {"tau",
            last || c.tau[j] > 1 ? nlohmann::ordered_json() : nlohmann::ordered_json(c.tau[j])},
           {"exits", share}});
    }
    document["expected_ms"] = r.expected_ms;
    document["worst_ms"] = r.worst_ms;
    for (const Figures& f : rows) document["figures"].push_back(figures_json(f));
    session.print(stages.text() + "\nexpected " + format_fixed(r.expected_ms, 3) + " ms of " +
                  format_fixed(r.worst_ms, 3) +
                  (flags_.cost.empty() ? " (a member counts 1)" : "") + "\n\n" +
                  figures_text(rows) + "\n" + figures_note(input, input.test, "test") + "\n");
    session.document(document);
    return kDone;
  }

 private:
  CascadeFlags flags_;
  RuleFlags rule_;
  MemberFlags members_;
};

}  // namespace

std::unique_ptr<Command> make_ensemble_select_command() {
  return std::make_unique<SelectCommand>();
}
std::unique_ptr<Command> make_ensemble_prune_command() { return std::make_unique<PruneCommand>(); }
std::unique_ptr<Command> make_ensemble_cascade_command() {
  return std::make_unique<CascadeCommand>();
}

}  // namespace ballast::cli
