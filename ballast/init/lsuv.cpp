#include <ballast/init/lsuv.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>

#include <ballast/base/check.h>
#include <ballast/base/nearest_name.h>
#include <ballast/base/shape.h>
#include <ballast/init/constant.h>
#include <ballast/init/layer_use.h>
#include <ballast/init/norm_layer.h>
#include <ballast/init/orthogonal.h>
#include <ballast/init/residual.h>
#include <ballast/ops/pieces.h>

namespace ballast {
namespace {

// Norms on batch statistics, everything else in eval mode; puts flags and buffers back, and parameters unless kept.
class Modes {
 public:
  explicit Modes(torch::nn::Module& model) {
    torch::NoGradGuard no_grad;
    flags_.emplace_back(&model, model.is_training());
    for (const auto& module : model.modules(/*include_self=*/false)) flags_.emplace_back(module.get(), module->is_training());
    for (const torch::Tensor& buffer : model.buffers()) saved_.emplace_back(buffer, buffer.clone());
    buffers_ = saved_.size();
    for (const torch::Tensor& p : model.parameters()) saved_.emplace_back(p, p.detach().clone());
    model.eval();
    for (const auto& [module, training] : flags_) {
      if (detail::is_norm_layer(*module)) module->train();
    }
  }
  ~Modes() {
    torch::NoGradGuard no_grad;
    // Parents first: train() goes down to the children.
    for (const auto& [module, training] : flags_) module->train(training);
    if (keep_) saved_.resize(buffers_);
    for (const auto& [tensor, value] : saved_) tensor.copy_(value);
  }
  Modes(const Modes&) = delete;
  Modes& operator=(const Modes&) = delete;
  void keep_parameters() { keep_ = true; }

 private:
  std::vector<std::pair<torch::nn::Module*, bool>> flags_;
  std::vector<std::pair<torch::Tensor, torch::Tensor>> saved_;
  size_t buffers_ = 0;
  bool keep_ = false;
};

double variance_of(const torch::Tensor& y, LsuvStat stat) {
  // Shifted by the first sample (number), so that equal samples give exactly 0 and large offsets cost no digits.
  torch::Tensor d;
  if (stat == LsuvStat::across_sample) {
    d = y - y.slice(0, 0, 1);
    d.sub_(d.mean(0, /*keepdim=*/true));
  } else {
    d = y - y.flatten()[0];
    d.sub_(ops::on_one_thread([&] { return d.mean(); }));
  }
  return ops::on_one_thread([&] { return d.square_().mean().item<double>(); });
}

struct Layer {
  LsuvRow row;
  const detail::Owner* owner = nullptr;
  int64_t groups = 1;
  bool normed = false;
  double target = 1;
};

void check_options(const torch::Tensor& x, const LsuvOptions& o) {
  check(o.target > 0 && std::isfinite(o.target), "lsuv", "target must be in (0, inf), got ", o.target);
  check(o.tol > 0 && o.tol < 1, "lsuv", "tol must be in (0, 1), got ", o.tol);
  check(o.max_rounds >= 1, "lsuv", "max_rounds must be >= 1, got ", o.max_rounds);
  check(x.dim() >= 1 && x.size(0) >= 2, "lsuv", "x must have at least 2 samples, got ", shape_text(x.sizes()));
}

class Lsuv {
 public:
  Lsuv(torch::nn::Module& model, const std::function<torch::Tensor(torch::Tensor)>& forward, const torch::Tensor& x,
       const LsuvOptions& options)
      : model_(model), forward_(forward), x_(x), o_(options), owners_(detail::owners_of(model)) {}

  std::vector<LsuvRow> run() {
    survey();
    check(!layers_.empty(), "lsuv", "forward must run layers in this thread, got none");
    check_names("skip", o_.skip);
    check_names("branch_ends", o_.branch_ends);
    choose();
    if (o_.orthogonal_start) start();
    const bool any = std::any_of(layers_.begin(), layers_.end(), [](const Layer& l) { return l.row.why_skipped.empty(); });
    for (int round = 0; any && round < o_.max_rounds; ++round) {
      rescale(round == 0);
      if (measure()) break;
    }
    std::vector<LsuvRow> rows;
    for (Layer& layer : layers_) rows.push_back(std::move(layer.row));
    return rows;
  }

 private:
  void survey() {
    // Which layer's output a storage holds that nobody has read yet. Outputs are kept, so that no storage comes back.
    std::map<const c10::StorageImpl*, size_t> unread;
    std::vector<torch::Tensor> alive;
    std::set<const detail::Owner*> used;
    observe([&] { forward_(x_.slice(0, 0, 2)); }, [&](const ObservedOp& op) {
      for (const torch::Tensor& input : input_tensors(op)) {
        const auto found = unread.find(detail::storage_of(input));
        if (found == unread.end()) continue;
        const size_t layer = found->second;
        if (detail::passes_on(op.name)) {
          for (const torch::Tensor& y : op.outputs) unread[detail::storage_of(y)] = layer;
        } else {
          layers_[layer].normed = detail::is_norm_op(op.name);
          std::erase_if(unread, [&](const auto& entry) { return entry.second == layer; });
        }
      }
      alive.insert(alive.end(), op.outputs.begin(), op.outputs.end());
      const std::optional<detail::LayerUse> use = detail::layer_use(op, owners_);
      if (!use) return;
      Layer layer;
      layer.owner = use->owner;
      layer.groups = use->groups;
      layer.row.op = op.name;
      layer.row.name = use->owner == nullptr ? "layer " + std::to_string(layers_.size()) : use->owner->layer;
      if (use->owner == nullptr) {
        layer.row.why_skipped = "computed weight";
      } else if (!used.insert(use->owner).second) {
        layer.row.why_skipped = "tied";
      }
      unread[detail::storage_of(op.outputs[0])] = layers_.size();
      layers_.push_back(std::move(layer));
    });
  }

  void check_names(const char* option, const std::vector<std::string>& names) const {
    std::vector<std::string> known;
    for (const Layer& layer : layers_) known.push_back(layer.row.name);
    for (const std::string& name : names) {
      if (std::find(known.begin(), known.end(), name) != known.end()) continue;
      const std::string nearest = nearest_name(name, known);
      fail("lsuv", option, " must name layers, got \"", name, '"', nearest.empty() ? "" : " (nearest: " + nearest + ")");
    }
  }

  // Who is skipped, and each layer's target.
  void choose() {
    std::set<const c10::StorageImpl*> ends;
    size_t branches = o_.branch_ends.size();
    if (const auto* residual = dynamic_cast<const HasBranches*>(&model_)) {
      const std::vector<Branch> own = residual->branches();
      for (const Branch& branch : own) {
        if (!branch.weights.empty()) ends.insert(detail::storage_of(branch.weights.back()));
      }
      if (!own.empty()) branches = own.size();
    }
    const auto named = [](const std::vector<std::string>& names, const Layer& layer) {
      return std::find(names.begin(), names.end(), layer.row.name) != names.end();
    };
    for (size_t i = 0; i < layers_.size(); ++i) {
      Layer& layer = layers_[i];
      layer.target = o_.target;
      if (!layer.row.why_skipped.empty()) continue;
      if (ends.empty() ? named(o_.branch_ends, layer) : ends.contains(detail::storage_of(layer.owner->weight))) {
        layer.target /= static_cast<double>(branches);
      }
      if (named(o_.skip, layer)) {
        layer.row.why_skipped = "skip";
      } else if (layer.owner->weight.count_nonzero().item<int64_t>() == 0) {
        layer.row.why_skipped = "all zero";
      } else if (i + 1 == layers_.size() && !o_.include_head) {
        layer.row.why_skipped = "last layer";
      } else if (layer.normed && o_.skip_normed) {
        layer.row.why_skipped = "before a norm";
      }
    }
  }

  void start() {
    const Key key = o_.key.fold_in("init");
    for (const Layer& layer : layers_) {
      if (!layer.row.why_skipped.empty() && layer.row.why_skipped != "before a norm") continue;
      orthogonal_(layer.owner->weight.detach(), 1, layer.groups, key.fold_in(layer.owner->parameter));
      if (layer.owner->bias.defined()) zeros_(layer.owner->bias.detach());
    }
  }

  // Hands each rescaled layer's first use in a forward pass of x to `on_layer`.
  template <class OnLayer>
  void pass(const OnLayer& on_layer) {
    std::map<const detail::Owner*, size_t> todo;
    for (size_t i = 0; i < layers_.size(); ++i) {
      if (layers_[i].row.why_skipped.empty()) todo[layers_[i].owner] = i;
    }
    observe([&] { forward_(x_); }, [&](const ObservedOp& op) {
      const std::optional<detail::LayerUse> use = detail::layer_use(op, owners_);
      if (!use) return;
      const auto found = todo.find(use->owner);
      if (found == todo.end()) return;
      Layer& layer = layers_[found->second];
      todo.erase(found);
      const double v = variance_of(op.outputs[0], o_.stat);
      check(std::isfinite(v), "lsuv", "layer ", layer.row.name, " must be finite, got ", std::isnan(v) ? "nan" : "inf");
      on_layer(layer, *use, op.outputs[0], v);
    });
  }

  void rescale(bool first) {
    pass([&](Layer& layer, const detail::LayerUse& use, torch::Tensor y, double v) {
      check(v > 0, "lsuv", "layer ", layer.row.name, " must vary across samples, got variance 0");
      if (first) layer.row.before = v;
      const double s = std::sqrt(layer.target / v);
      layer.row.scale *= s;
      layer.owner->weight.detach().mul_(s);
      y.mul_(s);
      if (use.bias.defined()) {
        std::vector<int64_t> shape(static_cast<size_t>(use.channel_dim < 0 ? 1 : y.dim() - use.channel_dim), 1);
        shape[0] = use.bias.size(-1);
        y.add_(use.bias.detach().view(shape), 1 - s);
      }
    });
  }

  // True if every layer is within tol of its target.
  bool measure() {
    bool within = true;
    pass([&](Layer& layer, const detail::LayerUse&, const torch::Tensor&, double v) {
      layer.row.after = v;
      within = within && std::abs(v / layer.target - 1) <= o_.tol;
    });
    return within;
  }

  torch::nn::Module& model_;
  const std::function<torch::Tensor(torch::Tensor)>& forward_;
  const torch::Tensor& x_;
  const LsuvOptions& o_;
  detail::Owners owners_;
  std::vector<Layer> layers_;
};

}  // namespace

std::vector<LsuvRow> lsuv(torch::nn::Module& model, const std::function<torch::Tensor(torch::Tensor)>& forward,
                          const torch::Tensor& x, const LsuvOptions& options) {
  check_options(x, options);
  torch::NoGradGuard no_grad;
  Modes modes(model);
  std::vector<LsuvRow> rows = Lsuv(model, forward, x, options).run();
  modes.keep_parameters();
  return rows;
}

std::string lsuv_summary(const std::vector<LsuvRow>& rows) {
  double least = 0, most = 0;
  int64_t rescaled = 0;
  for (const LsuvRow& row : rows) {
    if (!row.why_skipped.empty()) continue;
    least = rescaled == 0 ? row.scale : std::min(least, row.scale);
    most = rescaled == 0 ? row.scale : std::max(most, row.scale);
    ++rescaled;
  }
  std::ostringstream out;
  out.precision(3);
  out << rescaled << " of " << rows.size() << " layers rescaled";
  if (rescaled > 0) out << ", by " << least << " to " << most;
  return std::move(out).str();
}

}  // namespace ballast
