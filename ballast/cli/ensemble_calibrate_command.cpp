#include <cmath>

#include <ballast/base/check.h>
#include <ballast/ensemble/diversity.h>
#include <ballast/io/jsonl.h>
#include <ballast/report/table.h>

#include "ensemble_rule.h"

namespace ballast::cli {
namespace {

std::string percent(double x) { return format_fixed(100 * x, 2) + " %"; }

std::string perfect_text(const PerfectEce& p) {
  return format_fixed(100 * p.mean, 2) + " +- " + format_fixed(100 * p.sd, 2) + " %";
}

/// The rule of a folder, or of the flags.
EnsembleRule rule_of(const EnsembleInput& input, const RuleFlags& flags,
                     const MemberFlags& members) {
  if (!input.folder.empty()) {
    const JsonValue kept = read_ensemble_json(input.folder);
    if (kept.find("rule") != nullptr && flags.rule == "mean_probability" &&
        flags.weights == "uniform" && !flags.member_temperature)
      return rule_from_json(kept, input);
  }
  return make_rule(input, flags, members);
}

struct CalibrateFlags {
  std::string method = "temperature";
  std::string on = "calib";
};
template <class Visitor>
void describe(Visitor& visit, CalibrateFlags& o) {
  visit("method", o.method,
        {.help = "temperature keeps every label; vector scales and shifts each class, and is used "
                 "only if it is better for certain",
         .flags = "--method",
         .choices = "temperature vector"});
  visit("on", o.on,
        {.help = "role whose rows are read; one that an earlier step has read is refused",
         .flags = "--on",
         .choices = "calib select test"});
}

class EnsembleCalibrateCommand : public Command {
 public:
  EnsembleCalibrateCommand() {
    own_.add("calibrate", flags_);
    own_.add("calibrate", rule_);
    own_.add("calibrate", members_);
  }
  CommandText text() const override {
    return {
        .name = "ensemble calibrate",
        .summary = "make the combined probabilities mean what they say",
        .operands = "MEMBERS...",
        .about =
            "Fits a temperature to the combined scores on role calib: never worse there than none, "
            "and none at all, with its reason, where the "
            "data do not support one. Labels do not change. Figures before and after are of role "
            "test.",
        .examples =
            {
                {"an ensemble, which keeps it", "ballast ensemble calibrate runs/ens"},
                {"files", "ballast ensemble calibrate a.npy b.npy --labels y.csv"},
            },
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 10'000}; }
  int run(const Session& session, const Arguments& arguments) override {
    Needs needs = needs_of(rule_);
    needs.calib = needs.labels = true;
    needs.select = needs.select || flags_.on == "select";
    const EnsembleInput input = load_members(arguments.operands, members_, needs);
    const int threads = thread_count(members_);
    EnsembleRule rule = rule_of(input, rule_, members_);
    rule.temperature = 1;
    const DataRole role = parse_data_role(flags_.on);
    const RoleTable& rows = input.of(role);
    if (!members_.share_roles) {
      ledger_of(rule, input).check_unused(role, rows.row);
      check<DataError>(role != DataRole::test, "roles",
                       "calib must not read rows used before: ", rows.size(), " of ", rows.size(),
                       " were used by \"test\" for the figures");
    }
    const size_t count = input.id.size();
    const Combined c = apply_rule(rule, rows, threads);
    const auto g = rule.scores(c, count);
    const Predictions scores{g.data(), c.size(), c.k, true};
    const Temperature t = fit_temperature(scores, rows.label, threads);
    rule.temperature = t.value;
    rule.used.emplace_back(role, "the temperature");

    const Combined before = apply_rule(rule, input.test, threads);
    Combined after = rule.tempered(before, count, threads);
    std::string text = "temperature " + format_significant(t.value, 6) + " (" +
                       std::string(to_string(t.reason)) + "), fitted on " + format_count(t.rows) +
                       " rows of role " + flags_.on + ": NLL " + format_fixed(t.nll_before, 4) +
                       " -> " + format_fixed(t.nll_after, 4) + ", " +
                       std::to_string(t.evaluations) + " evaluations\n";
    nlohmann::ordered_json document = {{"temperature", t.value},
                                       {"reason", to_string(t.reason)},
                                       {"rows", t.rows},
                                       {"nll_before", t.nll_before},
                                       {"nll_after", t.nll_after},
                                       {"held_out_gain", t.held_out_gain},
                                       {"evaluations", t.evaluations},
                                       {"optimistic", input.optimistic}};
    if (flags_.method == "vector") {
      const VectorScaling v = fit_vector(scores, rows.label, threads);
      text += "vector scaling: held-out NLL " + format_fixed(v.held_out_nll, 4) + " against " +
              format_fixed(v.held_out_nll_temperature, 4) + " of the temperature (standard error " +
              format_fixed(v.standard_error, 4) + "): " + (v.chosen ? "used" : "not used") + "; " +
              format_count(v.moved) + " labels would move\n";
      document["vector"] = {{"a", v.a},
                            {"b", v.b},
                            {"lambda", v.lambda},
                            {"chosen", v.chosen},
                            {"moved", v.moved},
                            {"held_out_nll", v.held_out_nll},
                            {"held_out_nll_temperature", v.held_out_nll_temperature},
                            {"standard_error", v.standard_error}};
      if (v.chosen) {
        const auto test_scores = rule.scores(before, count);
        after.probability = apply_vector({test_scores.data(), before.size(), before.k, true}, v);
        after.label = top_classes(after.view());
      }
    }
    const std::vector<Figures> figures = {
        figures_of("before", before.view(), input.test.label, before.label, members_),
        figures_of("after", after.view(), input.test.label, after.label, members_)};
    text += "\n" + figures_text(figures) + "\nECE of perfect probabilities: " +
            perfect_text(perfect_ece(after.view(), Key(members_.seed), threads)) + "\n" +
            figures_note(input, input.test, "test") + "\n";
    for (const Figures& f : figures) document["figures"].push_back(figures_json(f));
    if (!input.folder.empty()) {
      if (flags_.method == "vector")
        session.warn("an ensemble keeps its temperature, not the vector");
      write_ensemble_json(input.folder, rule_json(rule, input));
    }
    session.print(text);
    session.document(document);
    return kDone;
  }

 private:
  CalibrateFlags flags_;
  RuleFlags rule_;
  MemberFlags members_;
};

class EnsembleEvalCommand : public Command {
 public:
  EnsembleEvalCommand() {
    own_.add("eval", rule_);
    own_.add("eval", members_);
  }
  CommandText text() const override {
    return {
        .name = "ensemble eval",
        .summary = "every figure of members and ensemble, with intervals, and how members differ",
        .operands = "MEMBERS...",
        .about =
            "With the folder of an ensemble: its kept rule and temperature, unless flags give "
            "another. Reading role test is counted in an "
            "ensemble's events.jsonl: a figure that was looked at often is worth less.",
        .examples = {{"an ensemble", "ballast ensemble eval runs/ens"},
                     {"files, for a script",
                      "ballast ensemble eval a.npy b.npy --labels y.npy --json"}},
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 10'000}; }
  int run(const Session& session, const Arguments& arguments) override {
    Needs needs = needs_of(rule_);
    needs.labels = true;
    const EnsembleInput input = load_members(arguments.operands, members_, needs);
    const int threads = thread_count(members_);
    const EnsembleRule rule = rule_of(input, rule_, members_);
    std::vector<Figures> rows = member_figures(input, input.test, members_);
    const Combined c = apply_rule(rule, input.test, threads);
    rows.push_back(figures_of(rule.stack ? "stack" : std::string(to_string(rule.rule)), c.view(),
                              input.test.label, c.label, members_));
    if (rule.temperature != 1) {
      const Combined t = rule.tempered(c, input.id.size(), threads);
      rows.push_back(figures_of("with temperature " + format_significant(rule.temperature, 4),
                                t.view(), input.test.label, t.label, members_));
    }
    Table more({{"", Table::Align::left},
                {"ACE %", Table::Align::right},
                {"class ECE %", Table::Align::right},
                {"MCE %", Table::Align::right}});
    nlohmann::ordered_json document;
    for (const Figures& f : rows) {
      more.row({f.name, format_fixed(100 * f.quality.ace, 2),
                format_fixed(100 * f.quality.class_ece, 2), format_fixed(100 * f.quality.mce, 2)});
      document["figures"].push_back(figures_json(f));
    }
    std::string text = figures_text(rows) + "\n" + more.text() +
                       "\nECE of perfect probabilities: " +
                       perfect_text(perfect_ece(c.view(), Key(members_.seed), threads)) + "\n";
    const auto views = input.test.views();
    if (views.size() > 1) {
      const Diversity d = diversity(views, input.test.label, threads);
      text += "disagreement " + percent(d.mean_disagreement) + ", group kappa " +
              format_fixed(d.group_kappa, 3) + ", Kohavi-Wolpert " +
              format_fixed(d.kohavi_wolpert, 4) + ", mutual information " +
              format_fixed(d.mutual_information, 4) + " nats\nBrier of the mean " +
              format_fixed(d.brier_of_mean, 4) + " = mean Brier " + format_fixed(d.mean_brier, 4) +
              " - ambiguity " + format_fixed(d.ambiguity, 4) + "\n";
      document["diversity"] = {{"disagreement", d.mean_disagreement},
                               {"group_kappa", d.group_kappa},
                               {"kohavi_wolpert", d.kohavi_wolpert},
                               {"mutual_information", d.mutual_information},
                               {"ambiguity", d.ambiguity},
                               {"log_ambiguity", d.log_ambiguity}};
    }
    document["optimistic"] = input.optimistic;
    session.print(text + figures_note(input, input.test, "test") + "\n");
    session.document(document);
    count_reading(input);
    return kDone;
  }

 private:
  static void count_reading(const EnsembleInput& input) {
    if (input.folder.empty()) return;
    JsonlWriter events(input.folder / "events.jsonl");
    JsonValue row = JsonValue::object();
    row["kind"] = "test_read";
    events.append(row);
    events.close();
  }
  RuleFlags rule_;
  MemberFlags members_;
};

struct CalibrateRunFlags {
  std::string predictions;
};
template <class Visitor>
void describe(Visitor& visit, CalibrateRunFlags& o) {
  visit("predictions", o.predictions,
        {.help = "predictions to fit on instead of the run's own, with labels",
         .flags = "--predictions",
         .value_name = "FILE"});
}

class CalibrateCommand : public Command {
 public:
  CalibrateCommand() {
    own_.add("calibrate", flags_);
    own_.add("calibrate", figures_);
  }
  CommandText text() const override {
    return {
        .name = "calibrate",
        .summary = "one run's temperature, so that its probabilities mean what they say",
        .operands = "RUN",
        .about =
            "Fits on predictions/hold.safetensors of the run, else on val, which chose the "
            "weights: then figures are optimistic. Kept in the run's "
            "model/config.json: predict divides the logits by it. Labels do not change.",
        .examples = {{"a run", "ballast calibrate runs/photos-resnet18-1"}},
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 1}; }
  int run(const Session& session, const Arguments& arguments) override {
    namespace fs = std::filesystem;
    const fs::path run = arguments.operands[0];
    std::error_code error;
    check<DataError>(fs::is_directory(run, error), "calibrate", run.string(),
                     ": no such run folder");
    const fs::path config = run / "model" / "config.json";
    fs::path file = flags_.predictions;
    bool optimistic = false;
    if (file.empty()) {
      file = run / "predictions" / "hold.safetensors";
      if (!fs::exists(file, error)) {
        file = run / "predictions" / "val.safetensors";
        optimistic = true;
      }
    }
    const MemberTable rows = read_member_table(file);
    check<DataError>(!rows.label.empty() || rows.n == 0, "calibrate", file.string(),
                     ": there are no labels in it");
    const Temperature t = fit_temperature({rows.scores.data(), rows.n, rows.k, rows.is_logit},
                                          rows.label, thread_count(figures_));
    std::string text = "temperature " + format_significant(t.value, 6) + " (" +
                       std::string(to_string(t.reason)) + "), fitted on " + format_count(t.rows) +
                       " rows of " + file.filename().string() +
                       (optimistic ? " (optimistic: they chose the weights)" : "") + ": NLL " +
                       format_fixed(t.nll_before, 4) + " -> " + format_fixed(t.nll_after, 4) + "\n";
    nlohmann::ordered_json document = {{"temperature", t.value},   {"reason", to_string(t.reason)},
                                       {"rows", t.rows},           {"nll_before", t.nll_before},
                                       {"nll_after", t.nll_after}, {"optimistic", optimistic}};
    const fs::path test = run / "predictions" / "test.safetensors";
    if (fs::exists(test, error)) {
      const MemberTable seen = read_member_table(test);
      const Predictions z{seen.scores.data(), seen.n, seen.k, seen.is_logit};
      const auto raw = probabilities(z), cool = probabilities(z, t.value);
      const auto label = top_classes(z);
      const std::vector<Figures> figures = {
          figures_of("before", {raw.data(), z.n, z.k, false}, seen.label, label, figures_),
          figures_of("after", {cool.data(), z.n, z.k, false}, seen.label, label, figures_)};
      text += "\n" + figures_text(figures) + "\nECE of perfect probabilities: " +
              perfect_text(perfect_ece({cool.data(), z.n, z.k, false}, Key(figures_.seed))) +
              "\nrole test, " + format_count(z.n) + " rows\n";
      for (const Figures& f : figures) document["figures"].push_back(figures_json(f));
    }
    if (fs::exists(config, error)) {
      JsonValue json = parse_json(read_text_file(config, 1 << 26), config.string());
      json["ballast"]["temperature"] = t.value;
      write_file_atomic(config, json.text(2) + "\n");
      session.note(config.string() + " keeps it");
    }
    session.print(text);
    session.document(document);
    return kDone;
  }

 private:
  CalibrateRunFlags flags_;
  FigureFlags figures_;
};

}  // namespace

std::unique_ptr<Command> make_ensemble_calibrate_command() {
  return std::make_unique<EnsembleCalibrateCommand>();
}
std::unique_ptr<Command> make_ensemble_eval_command() {
  return std::make_unique<EnsembleEvalCommand>();
}
std::unique_ptr<Command> make_calibrate_command() { return std::make_unique<CalibrateCommand>(); }

}  // namespace ballast::cli
