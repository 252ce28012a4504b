#include "torch_commands.h"

#include <algorithm>
#include <cmath>

#include <ballast/io/file.h>
#include <ballast/report/probe_page.h>
#include <ballast/report/table.h>
#include <ballast/train/allocator.h>
#include <ballast/train/probe_run.h>

namespace ballast::cli {
namespace {

using nlohmann::ordered_json;

ordered_json number(double v) { return std::isfinite(v) ? ordered_json(v) : ordered_json(); }

std::string level_name(FindingLevel level) {
  return level == FindingLevel::certain ? "certain" : level == FindingLevel::warning ? "warning" : "info";
}

/// "aten::conv2d" and "aten::relu_" as "conv2d, relu".
std::string kind_of(const InitReportLayer& layer) {
  const auto plain = [](const std::string& op) {
    std::string name = op.substr(op.rfind(':') == std::string::npos ? 0 : op.rfind(':') + 1);
    if (name.ends_with("_")) {
      name.pop_back();
    }
    return name;
  };
  return plain(layer.op) + (layer.act.empty() ? "" : ", " + plain(layer.act));
}

std::string note_of(const InitReportLayer& layer) {
  std::string note;
  const auto add = [&note](bool is, const char* text) {
    if (is) {
      note += (note.empty() ? "" : ", ") + std::string(text);
    }
  };
  add(layer.head, "head");
  add(layer.before_norm, "before a norm");
  add(layer.opened, "zero on purpose: opened");
  add(layer.tied, "tied");
  add(layer.computed, "computed weight");
  return note;
}

double signal_of(const InitReportLayer& layer) {
  return layer.signal.samples > 0 ? std::sqrt(layer.signal.across) : kNone;
}

ProbeRun page_run(const std::string& init, const InitReport& report) {
  ProbeRun run{.init = init, .verdict = report.verdict, .level = report.level, .layer = report.layer, .cure = report.cure,
               .text = report.text, .loss = report.loss, .expected_loss = report.expected_loss};
  for (const InitFinding& f : report.findings) {
    run.findings.push_back({level_name(f.level), f.name, f.layer, f.text});
  }
  for (const InitReportLayer& layer : report.layers) {
    ProbeLayer row{.name = layer.name, .kind = kind_of(layer), .note = note_of(layer), .fan_in = layer.fan_in, .he_ratio = layer.he_ratio};
    if (layer.signal.samples > 0) {
      row.mean = layer.signal.mean;
      row.signal = signal_of(layer);
      row.std = layer.signal.std;
      row.channel_correlation = layer.signal.channel_correlation;
      row.sample_correlation = layer.signal.sample_correlation;
    }
    if (layer.activated.samples > 0) {
      row.zeros = layer.activated.zeros;
      row.saturated = layer.activated.saturated;
    }
    row.output_gradient = layer.output_gradient;
    row.weight_gradient = layer.weight_gradient;
    row.update = layer.update_ratio;
    run.layers.push_back(std::move(row));
    if (run.steps.empty()) {
      for (const RecurrentStep& step : layer.steps) {
        if (step.layer == 0) {
          run.steps.push_back({step.step, std::sqrt(step.across), step.gradient, step.echo});
        }
      }
    }
  }
  return run;
}

/// A bar for a value between two ends of a logarithmic scale, eight characters wide.
std::string bar(double value, double low, double high) {
  constexpr int kWidth = 8;
  if (!std::isfinite(value) || value <= 0) {
    return std::isnan(value) ? "" : value > 0 ? "inf" : "0";
  }
  const double share = high > low ? (std::log10(value) - low) / (high - low) : 1;
  const int halves = std::clamp(static_cast<int>(std::lround(share * 2 * kWidth)), 1, 2 * kWidth);
  std::string text;
  for (int i = 0; i < halves / 2; ++i) {
    text += "\u2588";
  }
  return text + (halves % 2 == 1 ? "\u258c" : "");
}

/// The ends of the scale of a column: at least two decades, so that a level column looks level.
std::pair<double, double> ends_of(const std::vector<double>& values) {
  double low = 0, high = 0;
  bool any = false;
  for (const double v : values) {
    if (std::isfinite(v) && v > 0) {
      low = any ? std::min(low, std::log10(v)) : std::log10(v);
      high = any ? std::max(high, std::log10(v)) : std::log10(v);
      any = true;
    }
  }
  return {std::min(low, high - 2) - 0.2, high};
}

std::string layer_table(const ProbeRun& run) {
  Table table({{"layer", Table::Align::left}, {"kind", Table::Align::left}, {"signal", Table::Align::right}, {"", Table::Align::left},
               {"zeros", Table::Align::right}, {"gradient", Table::Align::right}, {"", Table::Align::left},
               {"update", Table::Align::right}, {"corr.", Table::Align::right}, {"", Table::Align::left}});
  std::vector<double> signals, gradients;
  for (const ProbeLayer& layer : run.layers) {
    signals.push_back(layer.signal);
    gradients.push_back(layer.output_gradient);
  }
  const auto [signal_low, signal_high] = ends_of(signals);
  const auto [gradient_low, gradient_high] = ends_of(gradients);
  for (const ProbeLayer& layer : run.layers) {
    table.row({layer.name, layer.kind, format_significant(layer.signal, 3), bar(layer.signal, signal_low, signal_high),
               std::isfinite(layer.zeros) ? format_fixed(100 * layer.zeros, 0) + " %" : "-", format_significant(layer.output_gradient, 3),
               bar(layer.output_gradient, gradient_low, gradient_high), format_significant(layer.update, 2),
               format_significant(layer.channel_correlation, 2),
               (layer.name == run.layer ? "<- " + run.verdict + (layer.note.empty() ? "" : "; ") : "") + layer.note});
  }
  return table.text();
}

std::string step_table(const ProbeRun& run) {
  Table table({{"step", Table::Align::right}, {"signal", Table::Align::right}, {"gradient", Table::Align::right}, {"", Table::Align::left},
               {"echo", Table::Align::right}, {"", Table::Align::left}});
  std::vector<double> gradients, echoes;
  for (const ProbeStep& step : run.steps) {
    gradients.push_back(step.gradient);
    echoes.push_back(step.echo);
  }
  const auto [gradient_low, gradient_high] = ends_of(gradients);
  const auto [echo_low, echo_high] = ends_of(echoes);
  for (const ProbeStep& step : run.steps) {
    table.row({std::to_string(step.step + 1), format_significant(step.signal, 3), format_significant(step.gradient, 3),
               bar(step.gradient, gradient_low, gradient_high), format_significant(step.echo, 3), bar(step.echo, echo_low, echo_high)});
  }
  return table.text();
}

ordered_json json_of(const ProbeRun& run) {
  ordered_json findings = ordered_json::array(), layers = ordered_json::array(), steps = ordered_json::array();
  for (const ProbeFinding& f : run.findings) {
    findings.push_back({{"name", f.name}, {"level", f.level}, {"layer", f.layer}, {"text", f.text}});
  }
  for (const ProbeLayer& l : run.layers) {
    layers.push_back({{"name", l.name}, {"kind", l.kind}, {"note", l.note}, {"fan_in", number(l.fan_in)}, {"he_ratio", number(l.he_ratio)},
                      {"mean", number(l.mean)}, {"std", number(l.std)}, {"signal", number(l.signal)}, {"zeros", number(l.zeros)},
                      {"saturated", number(l.saturated)}, {"output_gradient", number(l.output_gradient)},
                      {"weight_gradient", number(l.weight_gradient)}, {"update", number(l.update)},
                      {"channel_correlation", number(l.channel_correlation)}, {"sample_correlation", number(l.sample_correlation)}});
  }
  for (const ProbeStep& s : run.steps) {
    steps.push_back({{"step", s.step}, {"signal", number(s.signal)}, {"gradient", number(s.gradient)}, {"echo", number(s.echo)}});
  }
  return {{"init", run.init}, {"verdict", run.verdict}, {"level", run.level}, {"layer", run.layer}, {"cure", run.cure}, {"text", run.text},
          {"loss", number(run.loss)}, {"expected_loss", number(run.expected_loss)}, {"findings", findings}, {"layers", layers}, {"steps", steps}};
}

}  // namespace

int probe_with_torch(const Session& session, const ProbeRequest& request) {
  install_caching_allocator();
  const ProbedRun probed = probe_run(request.options, request.compare, {.lr = request.lr});
  const std::string shape = std::to_string(probed.channels) + "x" + std::to_string(probed.height) + "x" + std::to_string(probed.width);
  ProbePage page{.model = probed.model,
                 .lead = probed.model + " (norm " + probed.norm + ", act " + probed.act + ") before training, on one batch of " +
                     std::to_string(probed.samples) + " pictures of " + probed.data + " (" + shape + ")."};
  for (const auto& [init, report] : probed.starts) {
    page.runs.push_back(page_run(init, report));
  }
  ordered_json drops = ordered_json::array();
  for (const DropOrderRow& row : probed.drop_order) {
    page.warnings.push_back(row.text);
    drops.push_back({{"drop", row.drop}, {"norm", row.norm}, {"p", row.p}, {"predicted", row.predicted}, {"measured", row.measured}, {"text", row.text}});
  }
  if (!request.page.empty()) {
    write_file_atomic(real_fs(), request.page, probe_page(page));
  }

  std::string text = page.lead + "\n";
  ordered_json runs = ordered_json::array();
  for (const ProbeRun& run : page.runs) {
    if (page.runs.size() > 1) {
      text += "\n--- " + run.init + "\n";
    }
    text += "\n" + layer_table(run);
    if (!run.steps.empty()) {
      text += "\n" + step_table(run);
    }
    runs.push_back(json_of(run));
  }
  text += "\n";
  for (const ProbeRun& run : page.runs) {
    text += (page.runs.size() > 1 ? run.init + ": " : "") + run.text + "\n";
    for (size_t i = run.level == "healthy" ? 0 : 1; i < run.findings.size(); ++i) {
      text += "  " + std::string(run.findings[i].level == "info" ? "note" : "also") + ", at " + run.findings[i].layer + ": " + run.findings[i].text + "\n";
    }
    if (!run.cure.empty()) {
      text += "  what would cure it: --init " + run.cure + "\n";
    }
  }
  for (const std::string& warning : page.warnings) {
    text += warning + "\n";
  }
  if (!request.page.empty()) {
    text += "page: " + request.page.string() + "\n";
  }
  session.print(text);

  const ProbeRun& first = page.runs.front();
  ordered_json document = {{"model", probed.model}, {"norm", probed.norm}, {"act", probed.act}, {"data", probed.data},
                           {"samples", probed.samples}, {"classes", probed.classes}};
  document.update(json_of(first));
  document["drop_order"] = drops;
  document["page"] = request.page.empty() ? ordered_json() : ordered_json(request.page.string());
  if (page.runs.size() > 1) {
    document["compare"] = runs;
  }
  session.document(document);
  return kDone;
}

}  // namespace ballast::cli
