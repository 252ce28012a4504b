#include <ballast/probe/init_report.h>

#include <ATen/Functions.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/jit/api/module.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <string_view>
#include <unordered_set>

#include <ballast/base/check.h>
#include <ballast/base/fan.h>
#include <ballast/base/key.h>
#include <ballast/ops/l2_norm.h>
#include <ballast/ops/pieces.h>
#include <ballast/probe/layer_watch.h>
#include <ballast/probe/module_view.h>
#include <ballast/probe/verdict.h>

namespace ballast {
namespace {

bool matches(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return text.empty();
  if (pattern[0] == '*') return matches(pattern.substr(1), text) || (!text.empty() && matches(pattern, text.substr(1)));
  return !text.empty() && (pattern[0] == '?' || pattern[0] == text[0]) && matches(pattern.substr(1), text.substr(1));
}

Fans fans_of(const WatchedLayer& layer) {
  if (layer.weight.dim() < 2 || layer.weight.numel() == 0) return {1, 1};
  const std::vector<int64_t> shape = layer.weight.sizes().vec();
  return fans(shape, {.groups = layer.groups, .transposed = layer.transposed});
}

// Puts values into parameters that are zero on purpose, and the zeros back.
class Opened {
 public:
  Opened(const ModuleView& view, const std::vector<std::string>& globs) {
    torch::NoGradGuard no_grad;
    for (const ViewedTensor& p : view.parameters()) {
      const bool named = std::any_of(globs.begin(), globs.end(), [&](const std::string& g) { return matches(g, p.name); });
      if (!named || p.value.numel() == 0 || p.value.count_nonzero().item<int64_t>() != 0) continue;
      zeros_.emplace_back(p.value, p.value.detach().clone());
      names_.insert(p.name);
      if (p.value.dim() < 2) {
        p.value.fill_(0.1);
        continue;
      }
      const double std = 0.1 * std::sqrt(2 / fans(p.value.sizes().vec()).in);
      std::vector<double> normals(static_cast<size_t>(p.value.numel()));
      const Key key = Key(0).fold_in("init_report").fold_in(p.name);
      fill_normal(key, 0, normals);
      p.value.copy_(torch::tensor(normals, torch::kDouble).mul_(std).view(p.value.sizes()));
    }
  }
  ~Opened() {
    torch::NoGradGuard no_grad;
    for (const auto& [value, zeros] : zeros_) value.copy_(zeros);
  }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;
  bool any() const { return !zeros_.empty(); }
  bool has(const std::string& name) const { return names_.contains(name); }

 private:
  std::vector<std::pair<torch::Tensor, torch::Tensor>> zeros_;
  std::set<std::string> names_;
};

torch::Tensor loss_of(const torch::Tensor& y, const torch::Tensor& target) {
  if (target.dtype() == torch::kLong) return at::cross_entropy_loss(y, target);
  return at::mse_loss(y, target).div(2);
}

InitReportLayer row_of(const WatchedLayer& watched, const torch::Tensor& bias, const Opened& opened) {
  InitReportLayer row;
  row.name = watched.name;
  row.op = watched.op;
  row.act = watched.act;
  const Fans f = fans_of(watched);
  row.fan_in = f.in;
  row.fan_out = f.out;
  const torch::Tensor w = watched.weight.detach();
  if (w.numel() > 1) {
    row.weight_std = ops::on_one_thread([&] { return w.to(torch::kDouble).std(/*unbiased=*/false).item<double>(); });
  }
  row.he_ratio = row.weight_std / std::sqrt(2 / f.in);
  row.opened = opened.has(watched.parameter);
  if (!watched.recurrent && !watched.transposed) row.equal_units = equal_units(w, bias);
  row.signal = watched.output;
  row.activated = watched.activated;
  row.output_gradient = watched.output_gradient;
  row.computed = watched.computed;
  row.tied = watched.tied;
  row.before_norm = watched.before_norm;
  row.recurrent = watched.recurrent;
  row.section = watched.section;
  if (watched.recurrent) row.steps = recurrent_steps(watched);
  return row;
}

InitReport report_of(const ModuleView& view, const std::function<torch::Tensor(const torch::Tensor&)>& forward,
                     const torch::Tensor& x, const torch::Tensor& target, const InitReportOptions& options) {
  check(options.lr > 0, "init_report", "lr must be > 0, got ", options.lr);
  const int64_t samples = x.dim() > 0 ? x.size(0) : 0;
  check(samples >= 2, "init_report", "x must have at least 2 samples, got ", samples);

  const ProbeGuard guard(view);
  view.set_training(/*drops=*/false);
  InitReport report;
  const Opened opened(view, options.zero_on_purpose);
  torch::Tensor start;  // what the untouched model says
  if (opened.any()) {
    // The zeros go back for this pass: the loss at the start is that of the model as it is.
    torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> values;
    for (const ViewedTensor& p : view.parameters()) {
      if (!opened.has(p.name)) continue;
      values.push_back(p.value.detach().clone());
      p.value.zero_();
    }
    struct Back {
      const ModuleView& view;
      const Opened& opened;
      const std::vector<torch::Tensor>& values;
      ~Back() {
        size_t i = 0;
        for (const ViewedTensor& p : view.parameters()) {
          if (opened.has(p.name)) p.value.copy_(values[i++]);
        }
      }
    } const back{view, opened, values};
    start = forward(x);
  }

  LayerWatch watch(view, {.correlations = options.correlations});
  std::vector<torch::Tensor> trainable;
  std::vector<std::string> names;
  for (const ViewedTensor& p : view.parameters()) {
    if (!p.value.requires_grad()) continue;
    trainable.push_back(p.value);
    names.push_back(p.name);
  }
  std::vector<torch::Tensor> gradients(trainable.size());
  double classes = 0;
  bool finite = true;
  {
    torch::AutoGradMode grad(true);
    const torch::Tensor y = watch.forward([&] { return forward(x); }, samples);
    check(!watch.layers().empty(), "init_report", "forward must run layers in this thread, got none");
    if (target.dtype() == torch::kLong && y.dim() >= 2) classes = static_cast<double>(y.size(1));
    const torch::Tensor loss = loss_of(y, target);
    {
      torch::NoGradGuard no_grad;
      report.loss = (start.defined() ? loss_of(start, target) : loss).item<double>();
    }
    finite = std::isfinite(loss.item<double>());
    if (loss.requires_grad() && !trainable.empty()) {
      gradients = torch::autograd::grad({loss}, trainable, {}, /*retain_graph=*/false, /*create_graph=*/false,
                                        /*allow_unused=*/true);
    }
  }
  report.expected_loss = classes > 0 ? std::log(classes) : std::numeric_limits<double>::quiet_NaN();

  torch::NoGradGuard no_grad;
  std::vector<NamedGradient> by_name;
  for (size_t i = 0; i < trainable.size(); ++i) {
    NamedGradient g{.name = names[i], .layer = "", .norm = 0, .weight_norm = 0, .defined = gradients[i].defined(), .weight = trainable[i].dim() >= 2,
                    .opened = opened.has(names[i])};
    if (g.defined) g.norm = ops::l2_norm(gradients[i]);
    g.weight_norm = ops::l2_norm(trainable[i]);
    g.count = static_cast<double>(std::max<int64_t>(1, trainable[i].numel()));
    for (const ViewedTensor& p : view.parameters()) {
      if (p.name == g.name) g.layer = p.layer.empty() ? p.name : p.layer;
    }
    by_name.push_back(std::move(g));
  }
  for (const WatchedLayer& watched : watch.layers()) {
    torch::Tensor bias;
    for (const ViewedTensor& p : view.parameters()) {
      if (p.name == watched.name + ".bias") bias = p.value.detach();
    }
    InitReportLayer row = row_of(watched, bias, opened);
    for (const NamedGradient& g : by_name) {
      if (g.name != watched.parameter || !g.defined) continue;
      row.weight_gradient = g.norm / std::sqrt(g.count);
      if (g.weight_norm > 0) row.update_ratio = options.lr * g.norm / g.weight_norm;
    }
    report.layers.push_back(std::move(row));
  }
  report.layers.back().head = true;
  judge(report, by_name, finite);
  return report;
}

}  // namespace

int64_t equal_units(const torch::Tensor& weight, const torch::Tensor& bias) {
  if (weight.dim() < 2 || weight.size(0) < 2) return 0;
  const torch::Tensor w = weight.detach().to(torch::kCPU).contiguous().flatten(1);
  const torch::Tensor b = bias.defined() ? bias.detach().to(torch::kCPU).contiguous() : torch::Tensor();
  const auto rows = static_cast<size_t>(w.size(0));
  const size_t bytes = static_cast<size_t>(w.size(1)) * w.element_size();
  const char* data = static_cast<const char*>(w.data_ptr());
  std::unordered_multiset<std::string> seen;
  std::vector<std::string> units;
  for (size_t i = 0; i < rows; ++i) {
    std::string unit(data + i * bytes, bytes);
    if (b.defined()) unit.append(static_cast<const char*>(b.data_ptr()) + i * b.element_size(), b.element_size());
    seen.insert(unit);
    units.push_back(std::move(unit));
  }
  return std::count_if(units.begin(), units.end(), [&](const std::string& u) { return seen.count(u) > 1; });
}

InitReport init_report(torch::nn::Module& module, const std::function<torch::Tensor(const torch::Tensor&)>& forward,
                       const torch::Tensor& x, const torch::Tensor& target, const InitReportOptions& options) {
  return report_of(ModuleView(module), forward, x, target, options);
}

InitReport init_report(torch::jit::Module& module, const torch::Tensor& x, const torch::Tensor& target,
                       const InitReportOptions& options) {
  return report_of(ModuleView(module), [&](const torch::Tensor& in) { return module.forward({in}).toTensor(); }, x, target, options);
}

}  // namespace ballast
