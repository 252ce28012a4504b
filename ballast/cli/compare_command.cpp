#include <algorithm>
#include <filesystem>
#include <set>

#include <ballast/base/check.h>
#include <ballast/base/config_file.h>
#include <ballast/io/jsonl.h>
#include <ballast/report/table.h>
#include <ballast/train/run_options.h>

#include "command.h"
#include "requests.h"
#include "run_config.h"
#include "run_difference.h"
#include "torch_side.h"

namespace ballast::cli {
namespace {

namespace stdfs = std::filesystem;
using nlohmann::ordered_json;

bool is_run(const stdfs::path& path) {
  std::error_code error;
  return stdfs::exists(path / "config.toml", error) && stdfs::exists(path / "metrics.jsonl", error);
}

std::string fingerprint_of(const stdfs::path& run) {
  for (const JsonValue& row : read_jsonl(run / "metrics.jsonl").rows) {
    if (row.string_or("kind", "") == "run") {
      return row.string_or("fingerprint", "");
    }
  }
  return "";
}

void load_config(OptionTable& table, const stdfs::path& run) {
  const std::string path = (run / "config.toml").string();
  if (std::vector<OptionProblem> problems = apply_toml(table, read_config_file(path), path); !problems.empty()) {
    throw OptionError(problems);
  }
}

/// The newest step of which both runs have a checkpoint; empty: none.
std::string common_checkpoint(const stdfs::path& a, const stdfs::path& b) {
  std::set<std::string> names[2];
  for (int i = 0; i < 2; ++i) {
    std::error_code error;
    for (stdfs::directory_iterator it((i == 0 ? a : b) / "checkpoints", error), end; !error && it != end; it.increment(error)) {
      const std::string name = it->path().filename().string();
      if (name.starts_with("step-")) {
        names[i].insert(name);
      }
    }
  }
  std::string newest;
  for (const std::string& name : names[0]) {
    newest = names[1].contains(name) ? std::max(newest, name) : newest;
  }
  return newest;
}

/// Configuration, fingerprint and record of two runs; then which weights to compare.
void compare_runs(CompareRequest& request) {
  const stdfs::path a = request.a, b = request.b;
  RunOptions left, right;
  OptionTable left_table = option_table(left), right_table = option_table(right);
  load_config(left_table, a);
  load_config(right_table, b);
  ordered_json keys = ordered_json::array();
  Table table({{"key", Table::Align::left}, {"A", Table::Align::left}, {"B", Table::Align::left}});
  for (size_t i = 0; i < left_table.rows().size(); ++i) {
    const OptionRow &l = left_table.rows()[i], &r = right_table.rows()[i];
    if (l.text() != r.text() && l.key != "run.name" && l.key != "run.out") {
      table.row({l.key, l.text(), r.text()});
      keys.push_back({{"key", l.key}, {"a", l.text()}, {"b", r.text()}});
    }
  }
  request.lead += keys.empty() ? "configuration: equal\n" : "configuration: " + std::to_string(keys.size()) + " keys differ\n" + table.text();
  const std::string fa = fingerprint_of(a), fb = fingerprint_of(b);
  request.lead += "fingerprint: " + (fa == fb ? fa + " of both" : fa + " | " + fb) + "\n";
  const std::optional<FileDifference> record = first_record_difference(a / "metrics.jsonl", b / "metrics.jsonl");
  request.differ = record.has_value();
  request.lead += record ? "record: first difference at " + record->place + ": " + record->a + " | " + record->b + "\n" : "record: equal\n";
  request.members["config"] = keys;
  request.members["fingerprint"] = {{"a", fa}, {"b", fb}};
  request.members["record"] = record ? ordered_json{{"place", record->place}, {"a", record->a}, {"b", record->b}} : ordered_json();
  const std::string common = common_checkpoint(a, b);
  request.members["checkpoint"] = common.empty() ? ordered_json() : ordered_json(common);
  if (!common.empty()) {
    for (stdfs::path* path : {&request.a, &request.b}) {
      *path = *path / "checkpoints" / common / "model.safetensors";
    }
  }
  request.lead += common.empty() ? "no checkpoint of one step in both: the models are compared\n" : "checkpoints: " + common + ", the newest of both\n";
}

class CompareCommand : public Command {
 public:
  CommandText text() const override {
    return {
        .name = "compare",
        .summary = "two runs or files of weights, bit by bit: the first step and tensor that differ, how many, by how much",
        .operands = "A B",
        .about = "Of two runs: the keys of the configuration and the fingerprints that differ; the first row of the record that differs, with "
                 "step, field and both values; then the weights of the newest step of which both have a checkpoint (else model/).\n"
                 "\n"
                 "Else A and B are files of weights (.safetensors, .pt, TorchScript), runs or model folders. Tensors are compared in "
                 "order of their names: names, shapes, types, then every bit. For each that differs: how many numbers, the "
                 "largest difference, and the largest distance in ulps (how many numbers of the type lie between).\n"
                 "\n"
                 "Exit code 0: all equal (configurations may differ). 5: records or weights differ.",
        .examples =
            {
                {"where did two runs part?", "ballast compare runs/a runs/b"},
                {"what did a conversion change?", "ballast compare model.pt half.safetensors"},
                {"for a script", "ballast compare a.safetensors b.safetensors --json"},
            },
    };
  }
  std::pair<size_t, size_t> operands() const override { return {2, 2}; }
  int run(const Session& session, const Arguments& arguments) override {
    for (const std::string& path : arguments.operands) {
      std::error_code error;
      if (!stdfs::exists(path, error)) {
        throw DataError(path + ": no such run, model folder or weights file");
      }
    }
    CompareRequest request{.a = arguments.operands[0], .b = arguments.operands[1], .lead = "", .members = {}};
    if (is_run(request.a) && is_run(request.b)) {
      compare_runs(request);
    }
    return load_torch_side(0).compare(session, request);
  }
};

}  // namespace

std::unique_ptr<Command> make_compare_command() { return std::make_unique<CompareCommand>(); }

}  // namespace ballast::cli
