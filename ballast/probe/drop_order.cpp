#include <ballast/probe/drop_order.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <optional>
#include <unordered_map>

#include <ballast/base/check.h>
#include <ballast/base/step_scope.h>
#include <ballast/probe/layer_watch.h>
#include <ballast/probe/module_view.h>
#include <ballast/probe/observer.h>
#include <ballast/probe/signal.h>

namespace ballast {
namespace {

bool holds(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

// dropout, feature_dropout, spatial_dropout; an operator that keeps the variance, or drops whole paths, does not count.
bool is_dropout(const std::string& op) { return holds(op, "dropout") && !holds(op, "alpha") && !holds(op, "patch"); }
bool is_batch_norm(const std::string& op) { return holds(op, "batch_norm"); }
bool is_norm(const std::string& op) { return holds(op, "norm"); }

double first_number(const ObservedOp& op) {
  for (const c10::IValue& value : op.inputs) {
    if (value.isDouble()) return value.toDouble();
  }
  return 0;
}

// A dropout upstream.
struct Upstream {
  size_t index = 0;  // of the dropouts, in order of execution
  double p = 0, predicted = 1;
};
struct NormInput {
  std::string norm;
  double variance = 0;
  std::optional<Upstream> source;
};

// The first dimension behind the batch is the channels', the last of tokens'; both kinds of batch norm take dimension 1.
double mean_variance(const Signal& s) {
  double sum = 0;
  for (const double v : s.channel_variance) sum += v;
  return s.channels > 0 ? sum / static_cast<double>(s.channels) : 0;
}

std::vector<NormInput> walk(const ModuleView& view, const std::function<torch::Tensor(const torch::Tensor&)>& forward,
                            const torch::Tensor& x, bool drops, size_t* count = nullptr) {
  view.set_training(drops);
  std::unordered_map<const void*, std::string> owners;
  for (const auto* list : {&view.parameters(), &view.buffers()}) {
    for (const ViewedTensor& t : *list) {
      if (const void* storage = storage_of(t.value)) owners[storage] = t.layer;
    }
  }
  std::unordered_map<const void*, Upstream> tainted;
  std::vector<NormInput> norms;
  size_t dropouts = 0;
  torch::NoGradGuard no_grad;
  const StepScope scope(0, 0, 0);
  std::vector<torch::Tensor> kept;  // an address is a name only while its tensor lives
  observe([&] { forward(x); }, [&](const ObservedOp& op) {
    const std::vector<torch::Tensor> inputs = input_tensors(op);
    if (inputs.empty() || op.outputs.empty()) return;
    std::optional<Upstream> source;
    std::string owner;
    for (const torch::Tensor& t : inputs) {
      const auto found = tainted.find(storage_of(t));
      if (found != tainted.end() && !source) source = found->second;
      const auto own = owners.find(storage_of(t));
      if (own != owners.end()) owner = own->second;
    }
    kept.insert(kept.end(), op.outputs.begin(), op.outputs.end());
    const torch::Tensor& in = inputs.front();
    if (is_batch_norm(op.name)) {
      norms.push_back({owner, in.dim() >= 2 ? mean_variance(measure_signal(in, {.channel_dim = 1, .correlations = false})) : 0, source});
    }
    if (is_norm(op.name)) {
      for (const torch::Tensor& t : op.outputs) tainted.erase(storage_of(t));
      return;
    }
    if (is_dropout(op.name) && drops && in.dim() >= 2) {
      Upstream own{dropouts++, first_number(op), 1};
      const Signal s = measure_signal(in, {.channel_dim = in.dim() == 3 ? -1 : 1, .correlations = false});
      const double var = mean_variance(s);
      double squares = 0;
      for (const double m : s.channel_mean) squares += m * m;
      if (own.p > 0 && own.p < 1 && var > 0) {
        own.predicted = variance_shift(own.p, std::sqrt(squares / static_cast<double>(s.channels)), var);
        source = own;
      }
    }
    for (const torch::Tensor& t : op.outputs) {
      if (source) {
        tainted[storage_of(t)] = *source;
      }
    }
  });
  if (count != nullptr) *count = dropouts;
  return norms;
}

std::string short_text(double x, const char* format) {
  std::array<char, 32> out{};
  std::snprintf(out.data(), out.size(), format, x);
  return out.data();
}

}  // namespace

double variance_shift(double p, double mean, double var) {
  check(p >= 0 && p < 1, "drop_order", "p must be in [0, 1), got ", p);
  check(var > 0, "drop_order", "var must be > 0, got ", var);
  return 1 / (1 - p) + mean * mean / var * p / (1 - p);
}

std::vector<DropOrderRow> drop_order(torch::nn::Module& module,
                                     const std::function<torch::Tensor(const torch::Tensor&)>& forward,
                                     const torch::Tensor& x) {
  const ModuleView view(module);
  if (view.layers(LayerRole::drop).empty() || view.layers(LayerRole::norm).empty()) return {};
  check(x.dim() >= 2 && x.size(0) >= 2, "drop_order", "x must have at least 2 samples, got ", x.dim() > 0 ? x.size(0) : 0);
  const ProbeGuard guard(view);
  size_t ran = 0;
  const std::vector<NormInput> with = walk(view, forward, x, true, &ran), without = walk(view, forward, x, false);
  // An operator does not know its module: where as many ran as there are layers, they ran in the order of registration.
  std::vector<std::string> names;
  for (const std::string& name : view.layers(LayerRole::drop, "Dropout")) {
    const auto of_type = [&](const char* type) {
      const std::vector<std::string> others = view.layers(LayerRole::drop, type);
      return std::find(others.begin(), others.end(), name) != others.end();
    };
    if (!of_type("Alpha") && !of_type("Patch")) names.push_back(name);
  }
  if (names.size() != ran) names.clear();
  std::vector<DropOrderRow> rows;
  for (size_t i = 0; i < with.size() && i < without.size(); ++i) {
    if (!with[i].source || without[i].variance <= 0) continue;
    const Upstream& source = *with[i].source;
    DropOrderRow row;
    row.drop = source.index < names.size() ? names[source.index] : "dropout";
    row.norm = with[i].norm;
    row.p = source.p;
    row.predicted = source.predicted;
    row.measured = with[i].variance / without[i].variance;
    row.text = "[dropout] " + row.drop + " (p " + short_text(row.p, "%g") + ") feeds " + row.norm + ": variance in training " +
               short_text(row.measured, "%.3g") + " x that in eval; move it behind the last batch norm or use drop_path";
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace ballast
