#include <algorithm>
#include <charconv>
#include <iterator>

#include <ballast/base/check.h>
#include <ballast/io/file.h>
#include <ballast/report/table.h>

#include "command.h"
#include "ensemble_plan.h"
#include "requests.h"
#include "torch_side.h"

namespace ballast::cli {
namespace {

namespace fs = std::filesystem;

std::string check_checkpoints(const std::string& text) {
  int64_t n = 0;
  const char* end = text.data() + text.size();
  if (text == "all" || text == "none") return "";
  for (const std::string_view word : {"last:", "every:"}) {
    if (text.starts_with(word) && std::from_chars(text.data() + word.size(), end, n).ptr == end &&
        n >= 1)
      return "";
  }
  return "must be all, last:N or every:N, got \"" + text + "\"";
}

struct AdoptFlags {
  std::string checkpoints = "none";
  Auto<int64_t> threads;
};
template <class Visitor>
void describe(Visitor& visit, AdoptFlags& o) {
  visit("checkpoints", o.checkpoints,
        {.help = "take the checkpoints of each run, a member each: all, last:N or every:N (the "
                 "N-th, 2N-th ...)",
         .flags = "--checkpoints",
         .value_name = "WHICH",
         .check = check_checkpoints});
  visit("threads", o.threads,
        {.help = "threads that compute", .flags = "--threads", .range = between(1, 4096)});
}

/// The checkpoints of a run, by step.
std::vector<fs::path> checkpoints_of(const fs::path& run, const std::string& which) {
  std::vector<std::pair<int64_t, fs::path>> found;
  std::error_code error;
  for (fs::directory_iterator it(run / "checkpoints", error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.starts_with("step-") && fs::exists(it->path() / "model.safetensors", error)) {
      found.emplace_back(std::stoll(name.substr(5)), it->path());
    }
  }
  check<DataError>(!found.empty(), "adopt", run.string(),
                   ": there is no checkpoint in checkpoints/");
  std::ranges::sort(found);
  const size_t n = which == "all" ? 1 : std::stoull(which.substr(which.find(':') + 1));
  std::vector<fs::path> out;
  for (size_t i = 0; i < found.size(); ++i) {
    const bool take = which.starts_with("last:") ? i + n >= found.size() : (i + 1) % n == 0;
    if (take) out.push_back(found[i].second);
  }
  check(!out.empty(), "adopt", "--checkpoints ", which, " takes none of the ", found.size(),
        " checkpoints of ", run.string());
  return out;
}

class EnsembleAdoptCommand : public Command {
 public:
  EnsembleAdoptCommand() { own_.add("adopt", flags_); }
  CommandText text() const override {
    return {
        .name = "ensemble adopt",
        .summary = "take runs, models or the checkpoints of one run into an ensemble",
        .operands = "RUN MEMBER...",
        .about =
            "MEMBER is the folder of a run, a model folder or a checkpoint; it stays where it is. "
            "What has left no predictions "
            "is evaluated on the data of its run. Its classes must be those of the others. The "
            "rule is made anew by ballast "
            "ensemble combine RUN.\n"
            "\n"
            "A snapshot ensemble (Huang et al. 2017) is one run whose rate falls in cycles, with "
            "the checkpoint at the end of each.",
        .examples =
            {{"a run that was trained alone",
              "ballast ensemble adopt runs/ens runs/photos-resnet18-1"},
             {"the last five checkpoints of one run",
              "ballast ensemble adopt runs/ens runs/photos-resnet18-1 --checkpoints last:5"},
             {"a snapshot ensemble: first the run",
              "ballast train --data photos/ --name snap --sched cosine --sched-cycles 5 "
              "--warmup 0ep --save-every 20% --checkpoint-hist 5"},
             {"then its members",
              "ballast ensemble adopt runs/snapshots runs/snap --checkpoints last:5"}},
    };
  }
  std::pair<size_t, size_t> operands() const override { return {2, 10'000}; }
  int run(const Session& session, const Arguments& arguments) override {
    const fs::path folder = arguments.operands[0];
    std::vector<fs::path> models;
    for (size_t i = 1; i < arguments.operands.size(); ++i) {
      const fs::path path = fs::absolute(arguments.operands[i]).lexically_normal();
      std::error_code error;
      check<DataError>(
          is_finished(path) || fs::exists(path / "model.safetensors", error) ||
              fs::exists(path / "model", error),
          "adopt", arguments.operands[i],
          ": no finished run: there is no predictions/test.safetensors in it, and no model");
      if (flags_.checkpoints == "none") {
        models.push_back(path);
      } else {
        std::ranges::copy(checkpoints_of(path, flags_.checkpoints), std::back_inserter(models));
      }
    }
    make_folders(folder);
    const FileLock lock(folder / ".lock", "ballast ensemble adopt");
    EnsemblePlan plan;
    if (has_plan(folder)) plan = read_plan(folder);
    for (const fs::path& model : models) adopt(session, folder, plan, model);
    write_plan(folder, plan);
    remove_file(folder / "ensemble.json");
    return kDone;
  }

 private:
  void adopt(const Session& session, const fs::path& folder, EnsemblePlan& plan,
             const fs::path& model) const {
    std::error_code error;
    PlannedMember m;
    for (const PlannedMember& other : plan.members) {
      m.id = std::max(m.id, other.id + 1);
      check(fs::weakly_canonical(member_folder(folder, other), error) !=
                fs::weakly_canonical(model, error),
            "adopt", model.string(), " is member ", other.id, " already");
    }
    m.folder = model.string();
    const fs::path named = model.filename().empty() ? model.parent_path() : model;
    const bool checkpoint = named.filename().string().starts_with("step-") &&
                            named.parent_path().filename() == "checkpoints";
    m.name = checkpoint ? named.parent_path().parent_path().filename().string() + " " +
                              named.filename().string()
                        : named.filename().string();
    if (!is_finished(model)) {
      m.predictions = "predictions/" + std::to_string(m.id);
      predict(session, model, folder / m.predictions,
              checkpoint ? named.parent_path().parent_path() : model);
    }
    plan.members.push_back(m);
    session.note("member " + std::to_string(m.id) + ": " + m.name);
  }

  /// What a run leaves at its end: test.safetensors, and hold.safetensors where the run holds rows
  /// out.
  void predict(const Session& session, const fs::path& model, const fs::path& out,
               const fs::path& run) const {
    make_folders(out);
    Session silent = session;
    silent.silent = true;
    std::error_code error;
    for (const char* split : {"test", "hold"}) {
      if (split == std::string("hold") &&
          !fs::exists(run / "predictions" / "hold.safetensors", error))
        continue;
      EvalRequest request;
      request.options.model = model;
      request.options.split = split;
      request.options.threads = static_cast<int>(flags_.threads.value_or(0));
      request.options.predictions = out / (std::string(split) + ".safetensors");
      load_torch_side(flags_.threads.value_or(0)).eval(silent, request);
    }
  }
  AdoptFlags flags_;
};

class EnsembleRetireCommand : public Command {
 public:
  CommandText text() const override {
    return {
        .name = "ensemble retire",
        .summary = "leave members out; their files stay",
        .operands = "RUN NUMBER...",
        .about =
            "The number is not used again. The rule is made anew by ballast ensemble combine RUN.",
        .examples = {{"without member 4", "ballast ensemble retire runs/ens 4"}},
    };
  }
  std::pair<size_t, size_t> operands() const override { return {2, 10'000}; }
  int run(const Session&, const Arguments& arguments) override {
    const fs::path folder = arguments.operands[0];
    check<DataError>(has_plan(folder), "ensemble", folder.string(),
                     ": no ensemble: there is no plan.json in it");
    const FileLock lock(folder / ".lock", "ballast ensemble retire");
    EnsemblePlan plan = read_plan(folder);
    for (size_t i = 1; i < arguments.operands.size(); ++i) {
      const auto at = std::ranges::find_if(plan.members, [&](const PlannedMember& m) {
        return std::to_string(m.id) == arguments.operands[i];
      });
      check(at != plan.members.end(), "ensemble", "no member has the number ",
            arguments.operands[i]);
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
        .summary = "members of an ensemble: ready, unfinished, lost, missing or retired",
        .operands = "RUN",
        .about =
            "Unfinished is what ballast ensemble train goes on with, lost what it could not train. "
            "An adopted member is missing "
            "when the predictions of its run are no longer where they were.",
        .examples = {{"which members are there?", "ballast ensemble status runs/ens"}},
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 1}; }
  int run(const Session& session, const Arguments& arguments) override {
    const fs::path folder = arguments.operands[0];
    const EnsemblePlan plan = read_plan(folder);
    Table table({{"number", Table::Align::right},
                 {"member", Table::Align::left},
                 {"state", Table::Align::left},
                 {"folder", Table::Align::left}});
    nlohmann::ordered_json document = nlohmann::ordered_json::array();
    for (const PlannedMember& m : plan.members) {
      const std::string state = m.retired                ? "retired"
                                : m.lost                 ? "lost"
                                : is_finished(folder, m) ? "ready"
                                : m.seed                 ? "unfinished"
                                                         : "missing";
      table.row({std::to_string(m.id), m.name, state, m.folder});
      document.push_back({{"id", m.id}, {"name", m.name}, {"state", state}, {"folder", m.folder}});
    }
    session.print(table.text());
    session.document({{"members", document}});
    return kDone;
  }
};

}  // namespace

std::unique_ptr<Command> make_ensemble_adopt_command() {
  return std::make_unique<EnsembleAdoptCommand>();
}
std::unique_ptr<Command> make_ensemble_retire_command() {
  return std::make_unique<EnsembleRetireCommand>();
}
std::unique_ptr<Command> make_ensemble_status_command() {
  return std::make_unique<EnsembleStatusCommand>();
}

}  // namespace ballast::cli
