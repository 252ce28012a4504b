#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include <ballast/augment/catalog.h>
#include <ballast/base/check.h>
#include <ballast/base/nearest_name.h>
#include <ballast/base/options.h>
#include <ballast/drop/catalog.h>
#include <ballast/init/catalog.h>
#include <ballast/models/catalog.h>
#include <ballast/norm/catalog.h>
#include <ballast/report/run_record.h>
#include <ballast/report/table.h>
#include <ballast/train/run_options.h>

#include "command.h"

namespace ballast::cli {
namespace {

using nlohmann::ordered_json;
using Align = Table::Align;

struct ListFlags {
  std::string runs = "runs";
  std::string sort = "name";
  std::vector<std::string> filter;
  bool reverse = false;
};
template <class Visitor>
void describe(Visitor& visit, ListFlags& o) {
  visit("sort", o.sort, {.help = "order of `list runs`: best first by val or test, newest first by date", .flags = "--sort",
                         .choices = "name model epochs val test date"});
  visit("reverse", o.reverse, {.help = "the other way round", .flags = "--reverse"});
  visit("filter", o.filter, {.help = "only runs that match all of these: a text in the name, the model or the end, or a value of the "
                                     "configuration",
                             .flags = "--filter", .value_name = "TEXT|KEY=VALUE,..."});
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
                {"the best unfinished runs of one optimizer", "ballast list runs --sort val --filter optim.name=adamw,unfinished"},
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
    check_filter();
    std::vector<ListedRun> rows;
    for (const fs::path& folder : folders) {
      ListedRun row = listed(folder);
      if (std::ranges::all_of(flags_.filter, [&](const std::string& wanted) { return row.matches(wanted); })) {
        rows.push_back(std::move(row));
      }
    }
    sort(rows);
    Table table({{"run", Align::left}, {"model", Align::left}, {"epochs", Align::right}, {"val top-1", Align::right},
                 {"test top-1", Align::right}, {"ended", Align::left}, {"written", Align::left}});
    ordered_json all = ordered_json::array();
    for (const ListedRun& r : rows) {
      table.row({r.folder, r.model, std::isfinite(r.epochs) ? format_significant(r.epochs, 4) : "-", metric_text(r.val),
                 metric_text(r.test), r.ended, r.written});
      all.push_back({{"folder", r.folder}, {"model", r.model}, {"epochs", number_or_null(r.epochs)}, {"val_top1", number_or_null(r.val)},
                     {"test_top1", number_or_null(r.test)}, {"ended", r.ended}, {"written", r.written}});
    }
    session.print(rows.empty() ? "no run matches\n" : table.text());
    session.document(all);
    return kDone;
  }

  struct ListedRun {
    std::string folder, model, ended, written;
    double epochs = kNone, val = kNone, test = kNone;
    std::map<std::string, std::string> config;

    bool matches(const std::string& wanted) const {
      const size_t equal = wanted.find('=');
      if (equal != std::string::npos) {
        const auto it = config.find(wanted.substr(0, equal));
        return it != config.end() && it->second == wanted.substr(equal + 1);
      }
      return (folder + " " + model + " " + ended).find(wanted) != std::string::npos;
    }
  };

  void check_filter() const {
    RunOptions options;
    const OptionTable table = option_table(options);
    std::vector<std::string> keys;
    for (const OptionRow& row : table.rows()) {
      keys.push_back(row.key);
    }
    for (const std::string& wanted : flags_.filter) {
      const std::string key = wanted.substr(0, wanted.find('='));
      if (key != wanted && table.find(key) == nullptr) {
        usage_error("--filter: unknown key \"" + key + '"' + did_you_mean(key, keys));
      }
    }
  }

  static ListedRun listed(const std::filesystem::path& folder) {
    const auto record = read_run_record(folder);
    ListedRun row;
    row.folder = folder.string();
    row.model = record.config_text("model.name");
    row.ended = record.reason().empty() ? "unfinished" : record.reason();
    if (const CheckRow* last = record.last_check()) {
      row.epochs = last->epoch;
    }
    if (const CheckRow* best = record.best_check()) {
      row.val = best->metric("top1");
    }
    if (const CheckRow* test = record.test_check()) {
      row.test = test->metric("top1");
    }
    for (const ConfigValue& c : record.config) {
      row.config[c.key] = record.config_text(c.key);
    }
    if (!record.events.empty()) {
      row.written = record.events.back().time;
    }
    return row;
  }

  void sort(std::vector<ListedRun>& rows) const {
    // Higher first; what is not known last.
    const auto down = [](double a, double b) { return std::isfinite(a) && (!std::isfinite(b) || a > b); };
    std::stable_sort(rows.begin(), rows.end(), [&](const ListedRun& a, const ListedRun& b) {
      return flags_.sort == "val"      ? down(a.val, b.val)
             : flags_.sort == "test"   ? down(a.test, b.test)
             : flags_.sort == "epochs" ? down(a.epochs, b.epochs)
             : flags_.sort == "model"  ? a.model < b.model
             : flags_.sort == "date"   ? a.written > b.written
                                       : a.folder < b.folder;
    });
    if (flags_.reverse) {
      std::reverse(rows.begin(), rows.end());
    }
  }

  ListFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_list_command() { return std::make_unique<ListCommand>(); }

}  // namespace ballast::cli
