#include <ballast/train/pretrained.h>

#include <torch/nn/module.h>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>
#include <ballast/models/model.h>
#include <ballast/report/table.h>
#include <ballast/train/run_options.h>
#include <ballast/weights/freeze.h>
#include <ballast/weights/load_weights.h>
#include <ballast/weights/param_groups.h>
#include <ballast/weights/weights_file.h>

namespace ballast {
namespace {

constexpr size_t kShownRows = 12;

std::string count_of(int64_t n, const char* what) { return format_count(n) + " " + what + (n == 1 ? "" : "s"); }

}  // namespace

void load_pretrained(Model& model, const RunOptions& options, Key key, StartPlan& plan) {
  const std::string& path = options.model.pretrained;
  if (path.empty()) {
    return;
  }
  WeightsFile file = open_weights(path);
  const bool reset = options.model.pretrained_head == "reset";
  if (reset) {
    // With or without what other programs put before it.
    const std::string head = model.classifier() + ".";
    std::erase_if(file.state, [&](const auto& item) {
      const size_t at = item.first.rfind(head);
      return at != std::string::npos && (at == 0 || item.first[at - 1] == '.') &&
             item.first.find('.', at + head.size()) == std::string::npos;
    });
  }
  LoadOptions load;
  load.partial = options.model.pretrained_partial;
  load.head = HeadPolicy::reset;
  load.input = InputPolicy::adapt;
  load.key = key;
  LoadReport report;
  try {
    report = load_weights(model, file.state, load);
  } catch (const DataError& e) {
    std::string what = e.what();
    what = what.substr(what.find("] ") + 2);
    const bool names = what.find("missing: ") != std::string::npos || what.find("not in the model: ") != std::string::npos;
    fail<DataError>("weights", file.path.string(), " must fit ", model.options().name, ": ", what,
                    names ? "; --pretrained-partial takes what has a name of the model" : "");
  }
  plan.path = file.path.string();
  plan.kind = weights_kind_name(file.kind);
  plan.wrapper = file.wrapper;
  plan.skipped = file.skipped;
  plan.prefix = report.prefix;
  plan.loaded = report.loaded;
  for (const LoadRow& row : report.rows) {
    plan.tensors += row.action != LoadAction::unexpected;
    const bool asked = reset && row.action == LoadAction::reset;
    plan.rows.push_back({row.name, std::string(load_action_name(row.action)), asked ? "as asked for" : row.why, row.file_shape,
                         row.model_shape});
  }
}

std::vector<ParamGroup> run_groups(const Model& model, const RunOptions& options) {
  GroupOptions g;
  g.lr = *options.optim.lr;
  g.layer_decay = options.optim.layer_decay;
  g.weight_decay = *options.optim.weight_decay;
  for (const std::string& text : options.optim.group) {
    const GroupText rule = parse_group_text(text);
    g.rules.push_back({rule.match, rule.lr_scale, rule.weight_decay});
  }
  return param_groups(model, g);
}

void note_frozen(const FreezeReport& report, StartPlan& plan) {
  plan.frozen_tensors = static_cast<int64_t>(report.parameters.size());
  plan.frozen_numbers = report.numbers;
  plan.frozen_layers = static_cast<int64_t>(report.layers.size());
}

void note_groups(const std::vector<ParamGroup>& groups, StartPlan& plan) {
  for (const ParamGroup& group : groups) {
    plan.groups.push_back({group.name, group.lr_scale, group.weight_decay, static_cast<int64_t>(group.parameters.size()),
                           group.numbers});
  }
}

std::vector<std::string> start_lines(const StartPlan& plan) {
  std::vector<std::string> lines;
  if (!plan.path.empty()) {
    std::string head = plan.path + " (" + plan.kind + (plan.wrapper.empty() ? "" : ", " + plan.wrapper) +
                       (plan.prefix.empty() ? "" : ", without \"" + plan.prefix + "\"") + "): " + format_count(plan.loaded) +
                       " of " + count_of(plan.tensors, "tensor") + " loaded";
    lines.push_back(std::move(head));
    size_t shown = 0, rest = 0;
    for (const StartPlan::Tensor& row : plan.rows) {
      if (row.action == "loaded" || (row.action == "missing" && row.name.ends_with("num_batches_tracked"))) {
        continue;
      }
      if (++shown > kShownRows) {
        ++rest;
        continue;
      }
      std::string shapes;
      if (!row.file_shape.empty()) {
        shapes = " " + shape_text(row.file_shape);
      }
      if (!row.model_shape.empty() && row.model_shape != row.file_shape) {
        shapes += (shapes.empty() ? " " : " -> ") + shape_text(row.model_shape);
      }
      lines.push_back(row.action + " " + row.name + shapes + (row.why.empty() ? "" : ": " + row.why));
    }
    if (rest > 0) {
      lines.push_back("and " + format_count(static_cast<int64_t>(rest)) + " more: see pretrained.json");
    }
    if (!plan.skipped.empty()) {
      std::string names;
      for (size_t i = 0; i < plan.skipped.size() && i < 8; ++i) {
        names += (i > 0 ? ", " : "") + plan.skipped[i];
      }
      lines.push_back("not weights, not used: " + names + (plan.skipped.size() > 8 ? ", ..." : ""));
    }
  }
  if (plan.frozen_tensors > 0) {
    lines.push_back("frozen: " + count_of(plan.frozen_tensors, "tensor") + ", " + format_count(plan.frozen_numbers) +
                    " numbers" +
                    (plan.frozen_layers > 0 ? "; " + count_of(plan.frozen_layers, "norm or drop layer") + " in evaluation mode"
                                            : ""));
  }
  if (plan.groups.size() > 2) {
    for (const StartPlan::Group& group : plan.groups) {
      lines.push_back("group " + group.name + ": rate x " + format_significant(group.lr_scale, 3) + ", weight decay " +
                      format_significant(group.weight_decay, 3) + ", " + count_of(group.tensors, "tensor") + ", " +
                      format_count(group.numbers) + " numbers");
    }
  }
  return lines;
}

JsonValue start_json(const StartPlan& plan) {
  JsonValue out = JsonValue::object();
  if (!plan.path.empty()) {
    out["path"] = plan.path;
    out["kind"] = plan.kind;
    out["wrapper"] = plan.wrapper;
    out["prefix"] = plan.prefix;
    out["loaded"] = plan.loaded;
    out["tensors"] = plan.tensors;
    JsonValue rows = JsonValue::array();
    for (const StartPlan::Tensor& row : plan.rows) {
      JsonValue one = JsonValue::object();
      one["name"] = row.name;
      one["action"] = row.action;
      one["why"] = row.why;
      one["file_shape"] = row.file_shape;
      one["model_shape"] = row.model_shape;
      rows.push_back(std::move(one));
    }
    out["rows"] = std::move(rows);
    out["skipped"] = plan.skipped;
  }
  out["frozen_tensors"] = plan.frozen_tensors;
  out["frozen_numbers"] = plan.frozen_numbers;
  out["frozen_layers"] = plan.frozen_layers;
  JsonValue groups = JsonValue::array();
  for (const StartPlan::Group& group : plan.groups) {
    JsonValue one = JsonValue::object();
    one["name"] = group.name;
    one["lr_scale"] = group.lr_scale;
    one["weight_decay"] = group.weight_decay;
    one["tensors"] = group.tensors;
    one["numbers"] = group.numbers;
    groups.push_back(std::move(one));
  }
  out["groups"] = std::move(groups);
  return out;
}

}  // namespace ballast
