#include <algorithm>
#include <cmath>
#include <filesystem>

#include <ballast/augment/catalog.h>
#include <ballast/base/check.h>
#include <ballast/drop/catalog.h>
#include <ballast/init/catalog.h>
#include <ballast/models/catalog.h>
#include <ballast/norm/catalog.h>
#include <ballast/report/run_record.h>
#include <ballast/report/table.h>

#include "command.h"

namespace ballast::cli {
namespace {

using nlohmann::ordered_json;
using Align = Table::Align;

struct ListFlags {
  std::string runs = "runs";
};
template <class Visitor>
void describe(Visitor& visit, ListFlags& o) {
  visit("runs", o.runs, {.help = "the folder of runs that `list runs` looks into", .flags = "--runs", .value_name = "DIR"});
}

std::string metric_text(double value) { return std::isfinite(value) ? format_fixed(100 * value, 2) + " %" : "-"; }
ordered_json number_or_null(double value) { return std::isfinite(value) ? ordered_json(value) : ordered_json(); }

class ListCommand : public Command {
 public:
  ListCommand() { own_.add("list", flags_); }
  CommandText text() const override {
    return {
        .name = "list",
        .summary = "catalogs: models, augment, init, norm, drop; and the runs here",
        .operands = "models | augment | init | norm | drop | runs",
        .about = "What --model, --augment-train, --init, --norm and the flags of dropout take, and what stands in runs/. Parameters and "
                 "multiply-adds of a model are for the input and the number of classes shown.",
        .examples =
            {
                {"models with parameters and multiply-adds", "ballast list models"},
                {"operations of a pipeline", "ballast list augment"},
                {"runs with their result, as JSON", "ballast list runs --json"},
            },
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 1}; }
  int run(const Session& session, const Arguments& arguments) override {
    const std::string& what = arguments.operands[0];
    if (what == "models") {
      return models(session);
    }
    if (what == "augment") {
      return augment(session);
    }
    if (what == "init") {
      return init(session);
    }
    if (what == "norm") {
      return norm(session);
    }
    if (what == "drop") {
      return drop(session);
    }
    if (what == "runs") {
      return runs(session);
    }
    usage_error("list knows models, augment, init, norm, drop and runs, got \"" + what + "\"" +
                did_you_mean(what, std::vector<std::string>{"models", "augment", "init", "norm", "drop", "runs"}));
  }

 private:
  static int models(const Session& session) {
    Table table({{"model", Align::left}, {"parameters", Align::right}, {"multiply-adds", Align::right},
                 {"input", Align::left}, {"classes", Align::right}, {"about", Align::left}});
    ordered_json all = ordered_json::array();
    for (const ModelRow& row : kModels) {
      const std::string input =
          std::to_string(row.input[0]) + "x" + std::to_string(row.input[1]) + "x" + std::to_string(row.input[2]);
      table.row({std::string(row.name), format_count(row.params), format_count(row.multiply_adds), input,
                 std::to_string(row.num_classes), std::string(row.summary)});
      all.push_back({{"name", row.name}, {"parameters", row.params}, {"multiply_adds", row.multiply_adds},
                     {"input", input}, {"classes", row.num_classes}, {"size", row.size}, {"norm", row.norm},
                     {"act", row.act}, {"init", row.init}, {"summary", row.summary}});
    }
    session.print(table.text());
    session.document(all);
    return kDone;
  }

  static int augment(const Session& session) {
    Table table({{"operation", Align::left}, {"short", Align::left}, {"kind", Align::left}, {"about", Align::left}});
    ordered_json all = ordered_json::array();
    for (const AugmentEntry& row : augment_catalog()) {
      table.row({std::string(row.name), std::string(row.alias), std::string(to_string(row.group)), std::string(row.summary)});
      all.push_back({{"name", row.name}, {"alias", row.alias}, {"arguments", row.arguments}, {"random", row.random},
                     {"summary", row.summary}});
    }
    session.print(table.text());
    session.document(all);
    return kDone;
  }

  static int init(const Session& session) {
    Table table({{"init", Align::left}, {"about", Align::left}});
    ordered_json all = ordered_json::array();
    for (const InitRow& row : kInits) {
      const std::string name = std::string(row.name) + (row.number ? ":X" : "");
      table.row({name, std::string(row.summary)});
      all.push_back({{"name", row.name}, {"form", name}, {"number", row.number}, {"summary", row.summary}});
    }
    session.print(table.text());
    session.document(all);
    return kDone;
  }

  static int norm(const Session& session) {
    Table table({{"norm", Align::left}, {"about", Align::left}});
    ordered_json all = ordered_json::array();
    for (const NormRow& row : kNorms) {
      table.row({std::string(row.form), std::string(row.summary)});
      all.push_back({{"name", row.name}, {"form", row.form}, {"summary", row.summary}});
    }
    session.print(table.text());
    session.document(all);
    return kDone;
  }

  static int drop(const Session& session) {
    Table table({{"name", Align::left}, {"flag", Align::left}, {"about", Align::left}, {"where", Align::left}});
    ordered_json all = ordered_json::array();
    for (const DropRow& row : kDrops) {
      table.row({std::string(row.stem), std::string(row.flag) + " " + std::string(row.form), std::string(row.summary),
                 std::string(row.where)});
      all.push_back({{"name", row.stem}, {"flag", row.flag}, {"form", row.form}, {"summary", row.summary}, {"where", row.where}});
    }
    session.print(table.text());
    session.document(all);
    return kDone;
  }

  int runs(const Session& session) const {
    namespace fs = std::filesystem;
    std::error_code error;
    std::vector<fs::path> folders;
    for (const fs::directory_entry& entry : fs::directory_iterator(flags_.runs, error)) {
      if (entry.is_directory(error) && fs::exists(entry.path() / "config.toml", error)) {
        folders.push_back(entry.path());
      }
    }
    if (folders.empty()) {
      session.print("no runs in " + flags_.runs + "\n");
      session.document(ordered_json::array());
      return kDone;
    }
    std::sort(folders.begin(), folders.end());
    Table table({{"run", Align::left}, {"model", Align::left}, {"epochs", Align::right}, {"val top-1", Align::right},
                 {"test top-1", Align::right}, {"ended", Align::left}});
    ordered_json all = ordered_json::array();
    for (const fs::path& folder : folders) {
      const auto record = read_run_record(folder);
      const CheckRow* best = record.best_check();
      const CheckRow* last = record.last_check();
      const CheckRow* test = record.test_check();
      const double val_top1 = best == nullptr ? kNone : best->metric("top1");
      const double test_top1 = test == nullptr ? kNone : test->metric("top1");
      const std::string reason = record.reason().empty() ? "unfinished" : record.reason();
      table.row({folder.string(), record.config_text("model.name"), last == nullptr ? "-" : format_significant(last->epoch, 4),
                 metric_text(val_top1), metric_text(test_top1), reason});
      all.push_back({{"folder", folder.string()}, {"model", record.config_text("model.name")},
                     {"epochs", last == nullptr ? ordered_json() : ordered_json(last->epoch)},
                     {"val_top1", number_or_null(val_top1)}, {"test_top1", number_or_null(test_top1)}, {"ended", reason}});
    }
    session.print(table.text());
    session.document(all);
    return kDone;
  }

  ListFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_list_command() { return std::make_unique<ListCommand>(); }

}  // namespace ballast::cli
