#include <algorithm>

#include <ballast/base/check.h>
#include <ballast/io/file.h>
#include <ballast/report/table.h>

#include "command.h"
#include "ensemble_plan.h"

namespace ballast::cli {
namespace {

namespace fs = std::filesystem;

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
    make_folders(folder);
    const FileLock lock(folder / ".lock", "ballast ensemble adopt");
    EnsemblePlan plan;
    if (has_plan(folder)) plan = read_plan(folder);
    for (size_t i = 1; i < arguments.operands.size(); ++i) {
      const fs::path run = fs::absolute(arguments.operands[i]).lexically_normal();
      check<DataError>(is_finished(run), "adopt", arguments.operands[i], ": no finished run: there is no predictions/test.safetensors in it");
      std::error_code error;
      PlannedMember m;
      for (const PlannedMember& other : plan.members) {
        m.id = std::max(m.id, other.id + 1);
        check(fs::weakly_canonical(member_folder(folder, other), error) != fs::weakly_canonical(run, error), "adopt", arguments.operands[i], " is member ", other.id, " already");
      }
      m.folder = run.string();
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
    check<DataError>(has_plan(folder), "ensemble", folder.string(), ": no ensemble: there is no plan.json in it");
    const FileLock lock(folder / ".lock", "ballast ensemble retire");
    EnsemblePlan plan = read_plan(folder);
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
        .summary = "members of an ensemble: ready, missing or retired",
        .operands = "RUN",
        .about = "A member is missing when the predictions of its run are no longer where they were.",
        .examples = {{"which members are there?", "ballast ensemble status runs/ens"}},
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 1}; }
  int run(const Session& session, const Arguments& arguments) override {
    const fs::path folder = arguments.operands[0];
    const EnsemblePlan plan = read_plan(folder);
    Table table({{"number", Table::Align::right}, {"member", Table::Align::left}, {"state", Table::Align::left}, {"folder", Table::Align::left}});
    nlohmann::ordered_json document = nlohmann::ordered_json::array();
    for (const PlannedMember& m : plan.members) {
      const std::string state = m.retired ? "retired" : is_finished(member_folder(folder, m)) ? "ready" : "missing";
      table.row({std::to_string(m.id), m.name, state, m.folder});
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
