#include <algorithm>

#include <ballast/base/check.h>
#include <ballast/base/config_file.h>
#include <ballast/report/table.h>

#include "ensemble_plan.h"
#include "ensemble_rule.h"
#include "requests.h"
#include "run_config.h"
#include "start_signal.h"
#include "torch_side.h"

namespace ballast::cli {
namespace {

namespace fs = std::filesystem;

struct DistillFlags {
  std::string progress = "auto";
  bool restart = false;
  std::string beside;
};
template <class Visitor>
void describe(Visitor& visit, DistillFlags& o) {
  visit(
      "beside", o.beside,
      {.help =
           "a run of the same network without a teacher, whose figures stand beside the student's",
       .flags = "--beside",
       .value_name = "RUN"});
  visit("progress", o.progress,
        {.help = "how progress is shown on stderr; auto: a bar on a terminal, else plain lines",
         .flags = "--progress",
         .choices = "auto bar plain none"});
  visit("restart", o.restart,
        {.help = "begin anew in the student's folder; its checkpoints move to quarantine/",
         .flags = "--restart"});
}

/// The data and the split of an ensemble of adopted runs: those of its first one, as TOML.
std::string member_data(const fs::path& config) {
  RunOptions options;
  OptionTable table = option_table(options);
  apply_toml(table, read_config_file(config.string()), config.string());
  std::string out = "[data]\n";
  for (const OptionRow& row : table.rows()) {
    const bool own = row.key == "data.bag" || row.key == "data.split.seed";
    if (row.key.starts_with("data.") && !own) out += row.key.substr(5) + " = " + row.text() + "\n";
  }
  out +=
      "split.seed = " + std::to_string(options.data.split_seed.value_or(options.run.seed)) + "\n";
  return out + "[augment]\nnormalize = " + table.find("augment.normalize")->text() + "\n";
}

std::string signed_text(double value, int digits) {
  return (value < 0 ? "" : "+") + format_fixed(value, digits);
}

class EnsembleDistillCommand : public Command {
 public:
  EnsembleDistillCommand() : table_(option_table(request_.options)) {
    own_.add("distill", flags_);
    own_.add("distill", config_);
  }
  CommandText text() const override {
    return {
        .name = "ensemble distill",
        .summary = "train one network that says what the ensemble says, at the cost of one",
        .operands = "RUN",
        .about =
            "Takes every flag of train; data, split and recipe are those of the ensemble's members "
            "unless flags give others. Of each training picture, as it was augmented, the student "
            "learns what the ensemble says of it (--distill-alpha of the loss, both softened by "
            "--distill-temperature) and its label. Rows that the ensemble was fitted on or judged "
            "by are no training rows of the student.\n"
            "\n"
            "The run stands in RUN/student unless --out or --name says otherwise; the same command "
            "goes on with one that was stopped. At the end teacher and student are compared on the "
            "test part. `ballast train --teacher MODEL` does the same with any model.",
        .examples = {{"the ensemble's own recipe", "ballast ensemble distill runs/ens"},
                     {"a smaller network, for longer",
                      "ballast ensemble distill runs/ens --model resnet20 --epochs 60"},
                     {"beside the same network without a teacher",
                      "ballast ensemble distill runs/ens --beside runs/ens/members/000"}},
    };
  }
  OptionTable* sections() override { return &table_; }
  std::string foreign(std::string_view flag) const override { return foreign_flag(flag); }
  std::pair<size_t, size_t> operands() const override { return {1, 1}; }

  int run(const Session& session, const Arguments& arguments) override {
    const fs::path folder = arguments.operands[0];
    const EnsembleFile file = read_ensemble_file(folder);
    RunOptions& o = request_.options;
    const std::string teacher = fs::absolute(folder).lexically_normal().string();
    table_.set("distill.teacher", OptionValue::from_text(teacher), "ensemble");
    const bool found = take_recipe(folder, file);
    load_run_options(o, table_, config_, arguments);
    if (o.distill.teacher != teacher)
      usage_error("--teacher is for train: here RUN is the teacher");
    if (!found && table_.find("data.source")->origin == "default")
      usage_error("--data is required: the members of " + folder.string() + " name none");
    if (o.run.out.empty() && o.run.name.empty()) o.run.out = (folder / "student").string();
    o.restart = flags_.restart;
    request_.progress = flags_.progress;
    starting_flag() = 1;
    request_.starting = &starting_flag();
    Session silent = session;
    silent.silent = true;
    const int code =
        load_torch_side(o.run.threads.value_or(0), o.math.level).train(silent, request_);
    if (code != kDone) return code;
    const fs::path student =
        o.run.out.empty() ? fs::path("runs") / o.run.name : fs::path(o.run.out);
    return compare(session, student);
  }

 private:
  /// What the members have in common, below all that the user says; what they left at its default stays so. False: nothing
  /// is known of how they were trained.
  bool take_recipe(const fs::path& folder, const EnsembleFile& file) {
    const std::optional<TrainingPlan> training =
        has_plan(folder) ? read_plan(folder).training : std::nullopt;
    std::error_code error;
    if (training) {
      const fs::path common = folder / "common.toml";
      apply_toml(table_, read_config_file(common.string()), common.string());
      table_.set("data.split.seed", OptionValue::from_text(std::to_string(training->seed)),
                 "ensemble");
      return true;
    }
    for (const EnsembleMember& m : file.members) {
      if (m.nets.empty()) continue;
      const fs::path net =
          fs::path(m.nets[0]).is_absolute() ? fs::path(m.nets[0]) : folder / m.nets[0];
      const fs::path config = net / "config.toml";
      if (!fs::exists(config, error)) continue;
      apply_toml(table_, member_data(config), config.string());
      return true;
    }
    return false;
  }

  int compare(const Session& session, const fs::path& student) const {
    const fs::path predictions = student / "predictions";
    std::error_code error;
    if (!fs::exists(predictions / "teacher.safetensors", error)) {
      session.print("model     " + (student / "model").string() +
                    "\nthe data has no test part: there is nothing to compare on\n");
      session.document(
          {{"student", student.string()}, {"figures", nlohmann::ordered_json::array()}});
      return kDone;
    }
    std::vector<std::string> name = {"teacher", "student"};
    std::vector<MemberTable> tables = {read_member_table(predictions / "teacher.safetensors"),
                                       read_member_table(predictions / "test.safetensors")};
    if (!flags_.beside.empty()) {
      name.emplace_back("without a teacher");
      tables.push_back(
          read_member_table(fs::path(flags_.beside) / "predictions" / "test.safetensors"));
    }
    align_member_tables(tables);
    const FigureFlags flags;
    std::vector<Figures> figures;
    std::vector<RowScores> rows;
    for (size_t i = 0; i < tables.size(); ++i) {
      const Predictions z{tables[i].scores.data(), tables[i].n, tables[i].k, tables[i].is_logit};
      const auto p = probabilities(z);
      const Predictions view{p.data(), z.n, z.k, false};
      const auto label = top_classes(z);
      figures.push_back(figures_of(name[i], view, tables[i].label, label, flags));
      rows.push_back(row_scores(view, tables[i].label, label));
    }
    std::string text = figures_text(figures) + "\n";
    nlohmann::ordered_json document = {{"student", student.string()}};
    for (const Figures& f : figures) document["figures"].push_back(figures_json(f));
    for (size_t i = 0; i < tables.size(); ++i) {
      if (i == 1) continue;
      const auto right = [&](size_t m) {
        return std::vector<double>(rows[m].right.begin(), rows[m].right.end());
      };
      const Estimate accuracy = bootstrap_difference(right(1), right(i), Key(flags.seed));
      const Estimate nll = bootstrap_difference(rows[1].nll, rows[i].nll, Key(flags.seed));
      text += "student against " + name[i] + ": accuracy " + signed_text(100 * accuracy.value, 2) +
              " points (" + signed_text(100 * accuracy.bounds.low, 2) + " to " +
              signed_text(100 * accuracy.bounds.high, 2) + "), NLL " + signed_text(nll.value, 4) +
              " (" + signed_text(nll.bounds.low, 4) + " to " + signed_text(nll.bounds.high, 4) +
              ")\n";
      const auto json = [](const Estimate& e) {
        return nlohmann::ordered_json{
            {"value", e.value}, {"low", e.bounds.low}, {"high", e.bounds.high}};
      };
      document["differences"].push_back(
          {{"against", name[i]}, {"accuracy", json(accuracy)}, {"nll", json(nll)}});
    }
    session.print(text + "role test, " + format_count(tables[0].n) +
                  " rows; intervals hold 95 %\nmodel     " + (student / "model").string() +
                  "\nreport    " + (student / "report.html").string() + "\n");
    session.document(document);
    return kDone;
  }

  TrainRequest request_;
  OptionTable table_;
  DistillFlags flags_;
  ConfigFlags config_;
};

}  // namespace

std::unique_ptr<Command> make_ensemble_distill_command() {
  return std::make_unique<EnsembleDistillCommand>();
}

}  // namespace ballast::cli
