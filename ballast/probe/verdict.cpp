#include <ballast/probe/verdict.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>

namespace ballast {
namespace {

constexpr double kSlope = 0.12;      // decades a layer
constexpr size_t kFewestLayers = 4;
constexpr double kUpdateSmall = 1e-6, kUpdateLarge = 0.1;
constexpr double kSymmetric = 0.99;

std::string text_of(double x) {
  std::array<char, 32> out{};
  std::snprintf(out.data(), out.size(), "%.3g", x);
  return out.data();
}

// log10 of a standard deviation or rms; what fell below float's range, or rose above it, counts as its end.
double decades(double x) {
  return std::isfinite(x) ? std::log10(std::clamp(x, 1e-23, 1e38)) : 38;
}

double slope_of(const std::vector<double>& y, size_t begin, size_t end) {
  const auto n = static_cast<double>(end - begin);
  double sx = 0, sy = 0, sxx = 0, sxy = 0;
  for (size_t i = begin; i < end; ++i) {
    const auto x = static_cast<double>(i - begin);
    sx += x;
    sy += y[i];
    sxx += x * x;
    sxy += x * y[i];
  }
  return (n * sxy - sx * sy) / (n * sxx - sx * sx);
}

class Judge {
 public:
  Judge(InitReport& report, const std::vector<NamedGradient>& gradients, bool finite)
      : report_(report), gradients_(gradients), finite_(finite) {}

  void all() {
    not_finite();
    symmetric();
    depth();
    steps();
    units();
    parameters();
    loss();
    decide();
  }

 private:
  void add(const std::string& name, FindingLevel level, const std::string& statistic, const std::string& layer, double value,
           const std::string& text) {
    report_.findings.push_back({name, level, statistic, layer, value, text});
  }

  void not_finite() {
    for (const InitReportLayer& layer : report_.layers) {
      if (layer.signal.samples > 0 && !layer.signal.finite) {
        add("not_finite", FindingLevel::certain, "signal", layer.name, 0, "its values are not finite");
        return;
      }
    }
    for (const NamedGradient& g : gradients_) {
      if (g.defined && !std::isfinite(g.norm)) {
        add("not_finite", FindingLevel::certain, "gradient", g.layer, g.norm, "the gradient of " + g.name + " is not finite");
        return;
      }
    }
    if (!finite_) add("not_finite", FindingLevel::certain, "loss", report_.layers.back().name, report_.loss, "the loss is not finite");
  }

  void symmetric() {
    for (const InitReportLayer& layer : report_.layers) {
      if (layer.equal_units > 1) {
        add("symmetric", FindingLevel::certain, "weights", layer.name, static_cast<double>(layer.equal_units),
            std::to_string(layer.equal_units) + " units have the same weights: they get the same gradient and stay one unit; random draws break it");
        return;
      }
    }
    for (const InitReportLayer& layer : report_.layers) {
      const Signal& s = layer.signal;
      if (s.channels > 1 && s.samples * s.positions >= 32 && s.channel_correlation >= kSymmetric) {
        add("symmetric", FindingLevel::certain, "signal", layer.name, s.channel_correlation,
            "its channels say the same (mean correlation " + text_of(s.channel_correlation) + ")");
        return;
      }
    }
  }

  // Slopes over layers that follow each other without a norm; the head has a scale of its own.
  void depth() {
    std::vector<std::vector<size_t>> sections;
    for (size_t i = 0; i + 1 < report_.layers.size(); ++i) {
      const InitReportLayer& layer = report_.layers[i];
      if (layer.recurrent || layer.signal.samples == 0) continue;
      if (sections.empty() || report_.layers[sections.back().back()].section != layer.section) sections.emplace_back();
      sections.back().push_back(i);
    }
    for (const auto& section : sections) {
      if (section.size() < kFewestLayers) continue;
      std::vector<double> signal, gradient;
      for (const size_t i : section) {
        const InitReportLayer& layer = report_.layers[i];
        if (layer.signal.finite) signal.push_back(decades(std::sqrt(layer.signal.across)));
        if (std::isfinite(layer.output_gradient) && layer.output_gradient > 0) gradient.push_back(decades(layer.output_gradient));
      }
      if (signal.size() >= kFewestLayers) slope(section, signal, true);
      if (gradient.size() == section.size()) slope(section, gradient, false);
    }
  }

  void slope(const std::vector<size_t>& section, const std::vector<double>& y, bool forward) {
    const double s = slope_of(y, 0, y.size());
    const double change = s * static_cast<double>(y.size() - 1);
    if (std::abs(s) <= kSlope || std::abs(change) < 1) return;
    // The first layer out of band: forward from the input, of gradients from the output.
    size_t at = forward ? 1 : y.size() - 2;
    for (size_t k = 0; k + kFewestLayers <= y.size(); ++k) {
      const size_t begin = forward ? k : y.size() - kFewestLayers - k;
      const double local = slope_of(y, begin, begin + kFewestLayers);
      if (std::abs(local) <= kSlope || (local > 0) != (s > 0)) continue;
      // Within these layers, the first one whose own step is out of band.
      for (size_t i = 1; i < kFewestLayers; ++i) {
        const size_t to = forward ? begin + i : begin + kFewestLayers - 1 - i;
        const double step = forward ? y[to] - y[to - 1] : y[to + 1] - y[to];
        if (std::abs(step) > kSlope && (step > 0) == (s > 0)) {
          at = to;
          break;
        }
      }
      break;
    }
    const double per_layer = std::pow(10, forward ? s : -s);
    const bool grows = per_layer > 1;
    add(grows ? "exploding" : "vanishing", FindingLevel::warning, forward ? "signal" : "gradient",
        report_.layers[section[at]].name, s,
        std::string(forward ? "the signal" : "the gradient, on its way back,") + (grows ? " grows" : " shrinks") + " by a factor of " +
            text_of(per_layer) + " a layer, " + text_of(std::pow(10, forward ? change : -change)) + " over " +
            std::to_string(y.size()) + " layers without a norm");
  }

  // Time steps of a recurrent layer: what its recurrence does to a small difference, and the gradient on its way back.
  void steps() {
    for (const InitReportLayer& layer : report_.layers) {
      std::vector<double> echo, gradient;
      for (const RecurrentStep& step : layer.steps) {
        if (step.layer != 0) continue;
        // What has become large is bounded by the activation and grows no more.
        if (step.echo > 0 && step.echo < 0.1) echo.push_back(decades(step.echo));
        if (step.gradient > 0) gradient.push_back(decades(step.gradient));
      }
      step_slope(layer, echo, true);
      step_slope(layer, gradient, false);
    }
  }

  void step_slope(const InitReportLayer& layer, const std::vector<double>& y, bool echo) {
    if (y.size() < kFewestLayers) return;
    const double s = slope_of(y, 0, y.size()) * (echo ? 1 : -1);
    const double change = s * static_cast<double>(y.size() - 1);
    if ((s <= kStepGrow && s >= -kStepShrink) || std::abs(change) < 1) return;
    add(s > 0 ? "exploding" : "vanishing", FindingLevel::warning, echo ? "steps" : "step gradient", layer.name, s,
        std::string(echo ? "a small difference of states" : "the gradient, on its way back,") + (s > 0 ? " grows" : " shrinks") +
            " by a factor of " + text_of(std::pow(10, s)) + " a time step, " + text_of(std::pow(10, change)) + " over " +
            std::to_string(y.size()) + " steps");
  }

  void units() {
    for (const InitReportLayer& layer : report_.layers) {
      if (layer.head || layer.activated.samples == 0) continue;
      if (layer.activated.saturated_units > 0.5) {
        add("saturated", FindingLevel::warning, "units", layer.name, layer.activated.saturated_units,
            text_of(100 * layer.activated.saturated_units) + " % of its units are saturated on all samples");
        break;
      }
    }
    for (const InitReportLayer& layer : report_.layers) {
      if (layer.head || layer.activated.samples == 0) continue;
      if (layer.activated.dead_units > 0.5) {
        add("dead", FindingLevel::warning, "units", layer.name, layer.activated.dead_units,
            text_of(100 * layer.activated.dead_units) + " % of its units are 0 on all samples");
        break;
      }
    }
  }

  void parameters() {
    std::set<std::string> normed;
    for (const InitReportLayer& layer : report_.layers) {
      if (layer.before_norm) normed.insert(layer.name);
    }
    for (const NamedGradient& g : gradients_) {
      // A norm takes the bias before it away again.
      if (!g.weight && normed.contains(g.layer)) continue;
      if (g.defined && g.norm != 0) continue;
      add("no_gradient", FindingLevel::certain, "gradient", g.layer, 0,
          g.name + (g.defined ? " has a gradient of exactly 0" : " takes no part in the loss"));
      break;
    }
    const InitReportLayer *small = nullptr, *large = nullptr;
    for (const InitReportLayer& layer : report_.layers) {
      if (!std::isfinite(layer.update_ratio) || layer.opened || layer.update_ratio == 0) continue;
      if (layer.update_ratio < kUpdateSmall) small = &layer;  // the last: gradients come from there
      // Before a norm the size of a weight means nothing: its first updates make it larger, which makes them smaller.
      if (layer.update_ratio > kUpdateLarge && !layer.before_norm) large = &layer;
    }
    if (small != nullptr) {
      add("update_small", FindingLevel::warning, "update", small->name, small->update_ratio,
          "an update would change its weights by a share of " + text_of(small->update_ratio) + ": it does not learn");
    }
    if (large != nullptr) {
      add("update_large", FindingLevel::warning, "update", large->name, large->update_ratio,
          "an update would change its weights by a share of " + text_of(large->update_ratio) + ": it forgets its start");
    }
  }

  void loss() {
    const double off = std::abs(report_.loss - report_.expected_loss);
    if (!std::isfinite(off) || off <= 0.5) return;
    const bool badly = off > 2 * report_.expected_loss + 2;
    add("loss_start", badly ? FindingLevel::warning : FindingLevel::info, "loss", report_.layers.back().name, report_.loss,
        "the loss at the start is " + text_of(report_.loss) + "; knowing nothing costs ln K = " + text_of(report_.expected_loss));
  }

  std::string most_common_act() const {
    std::map<std::string, int> count;
    for (const InitReportLayer& layer : report_.layers) {
      if (!layer.act.empty()) ++count[layer.act];
    }
    std::string act;
    int most = 0;
    for (const auto& [name, n] : count) {
      if (n > most) {
        most = n;
        act = name;
      }
    }
    return act;
  }

  std::string cure_of(const InitFinding& finding) const {
    const std::string act = most_common_act();
    const bool tanh = act.find("tanh") != std::string::npos, sigmoid = act.find("sigmoid") != std::string::npos;
    if (finding.statistic.starts_with("step")) return "rnn";
    if (finding.name == "symmetric" || finding.name == "no_gradient") return tanh || sigmoid ? "xavier" : "he";
    if (finding.name == "loss_start") return "auto";
    return sigmoid ? "lsuv" : tanh ? "xavier" : "he";
  }

  void decide() {
    static const std::vector<std::string> kOrder = {"symmetric", "exploding", "vanishing", "not_finite", "saturated", "dead",
                                                    "no_gradient", "update_large", "update_small", "loss_start"};
    const auto rank = [](const InitFinding& f) {
      const auto at = std::find(kOrder.begin(), kOrder.end(), f.name) - kOrder.begin();
      return f.level == FindingLevel::info ? at + 100 : at;
    };
    std::stable_sort(report_.findings.begin(), report_.findings.end(),
                     [&](const InitFinding& a, const InitFinding& b) { return rank(a) < rank(b); });
    std::set<std::string> statistics;
    bool certain = false;
    for (const InitFinding& f : report_.findings) {
      certain = certain || f.level == FindingLevel::certain;
      if (f.level == FindingLevel::warning) statistics.insert(f.statistic);
    }
    if (!certain && statistics.empty()) {
      report_.text = "healthy: signals and gradients keep their size through the model";
      return;
    }
    const InitFinding& first = report_.findings.front();
    report_.verdict = first.name == "loss_start" ? "head_badly_scaled" : first.name;
    report_.level = certain || statistics.size() >= 2 ? "error" : "warning";
    report_.layer = first.layer;
    report_.cure = cure_of(first);
    static const std::map<std::string, std::string> kWords = {
        {"symmetric", "symmetric initialization"}, {"exploding", "exploding"}, {"vanishing", "vanishing"},
        {"not_finite", "not finite"}, {"saturated", "saturated"}, {"dead", "dead"}, {"no_gradient", "no gradient"},
        {"update_large", "updates too large"}, {"update_small", "updates too small"}, {"head_badly_scaled", "head badly scaled"}};
    report_.text = kWords.at(report_.verdict) + ", from " + first.layer + " on: " + first.text;
  }

  InitReport& report_;
  const std::vector<NamedGradient>& gradients_;
  bool finite_;
};

}  // namespace

void judge(InitReport& report, const std::vector<NamedGradient>& gradients, bool finite) {
  Judge(report, gradients, finite).all();
}

}  // namespace ballast
