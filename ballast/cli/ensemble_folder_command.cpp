#include <algorithm>

#include <ballast/base/check.h>
#include <ballast/io/jsonl.h>
#include <ballast/report/table.h>

#include "command.h"
#include "ensemble_plan.h"

namespace ballast::cli {
namespace {

namespace fs = std::filesystem;

/// Members that events.jsonl says are done, and that are there.
std::vector<int64_t> done_members(const fs::path& folder, const EnsemblePlan& plan) {
  std::vector<int64_t> said, out;
  std::error_code error;
  const fs::path file = folder / "events.jsonl";
  if (fs::exists(file, error)) {
    for (const JsonValue& row : read_jsonl(file).rows) {
      if (row.string_or("kind", "") == "done") said.push_back(row.at("member").integer());
    }
  }
  for (const PlannedMember& m : plan.members) {
    const fs::path run = member_folder(folder, m);
    const bool there = fs::exists(run / "model" / "model.safetensors", error) && fs::exists(run / "predictions" / "test.safetensors", error);
    if (there && (m.adopted || std::ranges::count(said, m.id) > 0)) out.push_back(m.id);
  }
  return out;
}

class EnsembleAdoptCommand : public Command {
 public:
  CommandText text() const override {
    return {
        .name = "ensemble adopt",
        .summary = "take finished runs into an ensemble",
        .operands = "RUN MEMBER...",
        .about = "MEMBER is the folder of a run; it stays where it is. Its classes must be those of the others. The rule is made anew by ballast "
                 "ensemble combine RUN.",
        .examples = {{"a run that was trained alone", "ballast ensemble adopt runs/ens runs/photos-resnet18-1"}},
    };
  }
  std::pair<size_t, size_t> operands() const override { return {2, 10'000}; }
  int run(const Session& session, const Arguments& arguments) override {
    const fs::path folder = arguments.operands[0];
    EnsemblePlan plan;
    if (has_plan(folder)) plan = read_plan(folder);
    make_folders(folder);
    const FileLock lock(folder / ".lock", "ballast ensemble adopt");
    for (size_t i = 1; i < arguments.operands.size(); ++i) {
      const fs::path run = fs::absolute(arguments.operands[i]).lexically_normal();
      std::error_code error;
      check<DataError>(fs::exists(run / "predictions" / "test.safetensors", error), "adopt", arguments.operands[i], ": no finished run: there is no predictions/test.safetensors in it");
      PlannedMember m;
      for (const PlannedMember& other : plan.members) {
        m.id = std::max(m.id, other.id + 1);
        check(fs::weakly_canonical(member_folder(folder, other), error) != fs::weakly_canonical(run, error), "adopt", arguments.operands[i], " is member ", other.id, " already");
      }
      m.folder = run.string();
      m.adopted = true;
      m.name = run.filename().empty() ? run.parent_path().filename().string() : run.filename().string();
      plan.members.push_back(m);
      session.note("member " + std::to_string(m.id) + ": " + m.name);
    }
    write_plan(folder, plan);
    remove_file(folder / "ensemble.json");
    return kDone;
  }
};

class EnsembleRetireCommand : public Command {
 public:
  CommandText text() const override {
    return {
        .name = "ensemble retire",
        .summary = "leave members out; their files stay",
        .operands = "RUN NUMBER...",
        .about = "The number is not used again. The rule is made anew by ballast ensemble combine RUN.",
        .examples = {{"without member 4", "ballast ensemble retire runs/ens 4"}},
    };
  }
  std::pair<size_t, size_t> operands() const override { return {2, 10'000}; }
  int run(const Session&, const Arguments& arguments) override {
    const fs::path folder = arguments.operands[0];
    EnsemblePlan plan = read_plan(folder);
    const FileLock lock(folder / ".lock", "ballast ensemble retire");
    for (size_t i = 1; i < arguments.operands.size(); ++i) {
      const auto at = std::ranges::find_if(plan.members, [&](const PlannedMember& m) { return std::to_string(m.id) == arguments.operands[i]; });
      check(at != plan.members.end(), "ensemble", "no member has the number ", arguments.operands[i]);
      at->retired = true;
    }
    write_plan(folder, plan);
    remove_file(folder / "ensemble.json");
    return kDone;
  }
};

class EnsembleStatusCommand : public Command {
 public:
  CommandText text() const override {
    return {
        .name = "ensemble status",
        .summary = "members of an ensemble: done, missing, retired",
        .operands = "RUN",
        .about = "",
        .examples = {{"how far is it?", "ballast ensemble status runs/ens"}},
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 1}; }
  int run(const Session& session, const Arguments& arguments) override {
    const fs::path folder = arguments.operands[0];
    const EnsemblePlan plan = read_plan(folder);
    const auto done = done_members(folder, plan);
    Table table({{"member", Table::Align::left}, {"state", Table::Align::left}, {"seed", Table::Align::right}, {"folder", Table::Align::left}});
    nlohmann::ordered_json document = nlohmann::ordered_json::array();
    for (const PlannedMember& m : plan.members) {
      const std::string state = m.retired ? "retired" : std::ranges::count(done, m.id) > 0 ? (m.adopted ? "adopted" : "done") : "missing";
      table.row({m.name, state, m.adopted ? "" : std::to_string(m.seed), m.folder});
      document.push_back({{"id", m.id}, {"name", m.name}, {"state", state}, {"folder", m.folder}});
    }
    session.print(table.text());
    session.document({{"members", document}});
    return kDone;
  }
};

}  // namespace

std::unique_ptr<Command> make_ensemble_adopt_command() { return std::make_unique<EnsembleAdoptCommand>(); }
std::unique_ptr<Command> make_ensemble_retire_command() { return std::make_unique<EnsembleRetireCommand>(); }
std::unique_ptr<Command> make_ensemble_status_command() { return std::make_unique<EnsembleStatusCommand>(); }

}  // namespace ballast::cli
