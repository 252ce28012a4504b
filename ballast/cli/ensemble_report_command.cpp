#include <ballast/base/check.h>
#include <ballast/ensemble/diversity.h>
#include <ballast/ensemble/size_curve.h>
#include <ballast/report/ensemble_page.h>
#include <ballast/report/table.h>

#include "ensemble_disputes.h"
#include "ensemble_rule.h"

namespace ballast::cli {
namespace {

struct EnsembleReportFlags {
  std::string out;
};
template <class Visitor>
void describe(Visitor& visit, EnsembleReportFlags& o) {
  visit("out", o.out,
        {.help = "the page to write (default: report.html in the ensemble's folder, else "
                 "./ensemble.html)",
         .flags = "--out",
         .value_name = "FILE"});
}

PageValue value_of(double value, const Bounds& b) { return {value, b.low, b.high}; }
PageValue value_of(const Estimate& e) { return {e.value, e.bounds.low, e.bounds.high}; }

EnsemblePageRow row_of(const Figures& f) {
  return {.name = f.name,
          .accuracy = value_of(f.quality.accuracy, f.bounds.accuracy),
          .nll = value_of(f.quality.nll, f.bounds.nll),
          .ece = value_of(f.quality.ece, f.bounds.ece),
          .brier = value_of(f.quality.brier, f.bounds.brier),
          .verdict = ""};
}

std::vector<ReliabilityBin> bins_of(const Predictions& p, std::span<const int32_t> label,
                                    std::span<const int32_t> predicted) {
  const RowScores rows = row_scores(p, label, predicted);
  std::vector<ReliabilityBin> out;
  for (const CalibrationBin& b : calibration_bins(rows.confidence, rows.right))
    out.push_back({b.low, b.high, b.n, b.confidence, b.accuracy});
  return out;
}

class EnsembleReportCommand : public Command {
 public:
  EnsembleReportCommand() {
    own_.add("report", flags_);
    own_.add("report", rule_);
    own_.add("report", members_);
  }
  CommandText text() const override {
    return {
        .name = "ensemble report",
        .summary =
            "the HTML page of an ensemble: size, members, diversity, reliability, disputed "
            "pictures",
        .operands = "MEMBERS...",
        .about =
            "Writes one file that needs no network and no script. Flags as of ensemble combine; an "
            "ensemble's folder brings its own rule.",
        .examples = {{"an ensemble", "ballast ensemble report runs/ens"},
                     {"three runs side by side, as one",
                      "ballast ensemble report runs/a runs/b runs/c --out three.html"}},
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 10'000}; }
  int run(const Session& session, const Arguments& arguments) override {
    Needs needs = needs_of(rule_);
    needs.calib = needs.labels = true;
    const EnsembleInput input = load_members(arguments.operands, members_, needs);
    const std::filesystem::path out = !flags_.out.empty()    ? std::filesystem::path(flags_.out)
                                      : input.folder.empty() ? "ensemble.html"
                                                             : input.folder / "report.html";
    write_file_atomic(out, ensemble_page(page_of(input)));
    session.print(out.string() + "\n");
    session.document({{"page", out.string()}});
    return kDone;
  }

 private:
  EnsemblePage page_of(const EnsembleInput& input) const {
    const int threads = thread_count(members_);
    const Key key(members_.seed);
    const auto views = input.test.views();
    const size_t count = views.size();
    EnsembleRule rule;
    const JsonValue kept =
        input.folder.empty() ? JsonValue::object() : read_ensemble_json(input.folder);
    rule = kept.find("rule") != nullptr ? rule_from_json(kept, input)
                                        : make_rule(input, rule_, members_);
    if (kept.find("rule") == nullptr && input.calib.size() > 0) {
      const Combined c = apply_rule(rule, input.calib, threads);
      const auto g = rule.scores(c, count);
      rule.temperature =
          fit_temperature({g.data(), c.size(), c.k, true}, input.calib.label, threads).value;
    }
    EnsemblePage page{
        .title = input.folder.empty() ? std::to_string(count) + " members"
                                      : input.folder.lexically_normal().filename().string(),
        .lead = (rule.stack ? "stacking" : std::string(to_string(rule.rule))) + ", weights " +
                rule.weights_from + ", temperature " + format_significant(rule.temperature, 4) +
                "; " + figures_note(input, input.test, "test") + "; intervals hold 95 %."};
    if (input.optimistic)
      page.notes.emplace_back(
          "Rows that fitted the rule had been read before: its figures are optimistic.");
    for (const Figures& f : member_figures(input, input.test, members_))
      page.rows.push_back(row_of(f));
    const auto worth = count > 1 ? who_can_go(views, input.test.label, 0.002, key, threads)
                                 : std::vector<WithoutMember>{};
    for (size_t m = 0; m < count; ++m) {
      if (!rule.stack)
        page.rows[m].weight =
            rule.weights.empty() ? 1 / static_cast<double>(count) : rule.weights[m];
      if (!worth.empty()) page.rows[m].verdict = worth[m].verdict;
    }
    const Combined c = apply_rule(rule, input.test, threads), t = rule.tempered(c, count, threads);
    const Figures raw = figures_of(rule.stack ? "stack" : std::string(to_string(rule.rule)),
                                   c.view(), input.test.label, c.label, members_);
    page.rows.push_back(row_of(raw));
    page.rows.back().combined = true;
    page.before = bins_of(c.view(), input.test.label, c.label);
    page.ece_before = raw.quality.ece;
    page.temperature = rule.temperature;
    if (rule.temperature != 1) {
      const Figures cool =
          figures_of("with temperature", t.view(), input.test.label, t.label, members_);
      page.rows.push_back(row_of(cool));
      page.rows.back().combined = true;
      page.after = bins_of(t.view(), input.test.label, t.label);
      page.ece_after = cool.quality.ece;
    }
    const PerfectEce perfect = perfect_ece(t.view(), key, threads);
    page.perfect =
        format_fixed(100 * perfect.mean, 2) + " +- " + format_fixed(100 * perfect.sd, 2) + " %";
    page.members = input.name;
    if (count < 2) return page;
    add_disputes(page, input, t, threads);
    for (const SizePoint& s : size_curve(views, input.test.label, key, threads))
      page.sizes.push_back({s.size, value_of(s.accuracy), value_of(s.nll)});
    const Diversity d = diversity(views, input.test.label, threads);
    std::vector<double> disagreements;
    for (const PairDiversity& p : d.pairs) {
      page.pairs.push_back({p.i, p.j, p.disagreement(), p.kappa(), p.q(), p.double_fault()});
      disagreements.push_back(p.disagreement());
    }
    std::ranges::nth_element(
        disagreements, disagreements.begin() + static_cast<int64_t>(disagreements.size() / 2));
    const double median = disagreements[disagreements.size() / 2];
    for (const PairDiversity& p : d.pairs) {
      if (p.disagreement() < median / 10) {
        page.notes.push_back(
            input.name[static_cast<size_t>(p.i)] + " and " + input.name[static_cast<size_t>(p.j)] +
            " disagree on " + format_fixed(100 * p.disagreement(), 2) +
            " % of the rows, a tenth of the median pair or less: one of them adds little.");
      }
    }
    page.group = {{"mean disagreement", format_fixed(100 * d.mean_disagreement, 2) + " %"},
                  {"group kappa", format_fixed(d.group_kappa, 3)},
                  {"Kohavi-Wolpert variance", format_fixed(d.kohavi_wolpert, 4)},
                  {"mutual information, nats", format_fixed(d.mutual_information, 4)},
                  {"Brier of the mean = mean Brier - ambiguity",
                   format_fixed(d.brier_of_mean, 4) + " = " + format_fixed(d.mean_brier, 4) +
                       " - " + format_fixed(d.ambiguity, 4)},
                  {"NLL of the geometric mean = mean NLL - divergence",
                   format_fixed(d.nll_of_geometric, 4) + " = " + format_fixed(d.mean_nll, 4) +
                       " - " + format_fixed(d.log_ambiguity, 4)}};
    return page;
  }

  EnsembleReportFlags flags_;
  RuleFlags rule_;
  MemberFlags members_;
};

}  // namespace

std::unique_ptr<Command> make_ensemble_report_command() {
  return std::make_unique<EnsembleReportCommand>();
}

}  // namespace ballast::cli
