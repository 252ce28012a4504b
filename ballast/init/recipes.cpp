#include <ballast/init/recipes.h>

#include <torch/nn/modules/conv.h>

#include <cmath>
#include <map>

#include <ballast/base/check.h>
#include <ballast/base/layer_role.h>
#include <ballast/init/catalog.h>
#include <ballast/init/constant.h>
#include <ballast/init/kaiming.h>
#include <ballast/init/normal.h>
#include <ballast/init/orthogonal.h>
#include <ballast/init/residual.h>
#include <ballast/init/trunc_normal.h>
#include <ballast/init/uniform.h>
#include <ballast/init/variance_scaling.h>
#include <ballast/init/xavier.h>

namespace ballast {
namespace {

enum class Kind { conv, linear, head, bias, norm_weight, norm_bias, rnn_input, rnn_recurrent, rnn_bias, cls, pos, other };

struct Item {
  std::string name, layer;  // layer1.0.conv1.weight, layer1.0.conv1
  torch::Tensor value;
  Kind kind = Kind::other;
  int64_t groups = 1;      // of a convolution
  int64_t gates = 1;       // of a recurrent weight
  double fan_in = 1;       // of the layer's weight, for torch's bias
};

int64_t groups_of(const torch::nn::Module& module) {
  if (const auto* conv = dynamic_cast<const torch::nn::Conv1dImpl*>(&module)) return conv->options.groups();
  if (const auto* conv = dynamic_cast<const torch::nn::Conv2dImpl*>(&module)) return conv->options.groups();
  if (const auto* conv = dynamic_cast<const torch::nn::Conv3dImpl*>(&module)) return conv->options.groups();
  return 1;
}

Item classify(const std::string& layer, const std::string& leaf, const torch::nn::Module& module,
              const torch::Tensor& value, const std::string& head) {
  Item item{.name = layer.empty() ? leaf : layer + "." + leaf, .layer = layer, .value = value};
  const auto own = module.named_parameters(/*recurse=*/false);
  if (leaf.starts_with("weight_ih_") || leaf.starts_with("weight_hh_")) {
    const int64_t width = own["weight_hh_" + leaf.substr(10)].size(1);
    item.kind = leaf.starts_with("weight_ih_") ? Kind::rnn_input : Kind::rnn_recurrent;
    item.gates = value.size(0) / width;
  } else if (leaf.starts_with("bias_ih_") || leaf.starts_with("bias_hh_")) {
    const int64_t width = own["weight_hh_" + leaf.substr(8)].size(1);
    item.kind = Kind::rnn_bias;
    item.gates = value.size(0) / width;
    item.fan_in = static_cast<double>(width);
  } else if (leaf == "weight") {
    item.kind = value.dim() == 1 ? Kind::norm_weight : value.dim() >= 3 ? Kind::conv : Kind::linear;
    if (item.kind == Kind::linear && layer == head) item.kind = Kind::head;
    item.groups = groups_of(module);
  } else if (leaf == "bias") {
    const torch::Tensor* weight = own.find("weight");
    const bool norm = weight == nullptr ? dynamic_cast<const HasLayerRole*>(&module) != nullptr : weight->dim() == 1;
    item.kind = norm ? Kind::norm_bias : Kind::bias;
    if (!norm && weight != nullptr) item.fan_in = fans(weight->sizes()).in;
  } else if (leaf == "tau" || leaf == "v") {  // of filter_response_norm and evo_norm
    item.kind = leaf == "tau" ? Kind::norm_bias : Kind::norm_weight;
  } else if (leaf == "cls_token") {
    item.kind = Kind::cls;
  } else if (leaf == "pos_embed") {
    item.kind = Kind::pos;
  }
  return item;
}

// Applies `fill` to each gate's matrix of a stacked recurrent weight, each with its own key.
template <class Fill>
void per_gate(const Item& item, Key key, const Fill& fill) {
  const std::vector<torch::Tensor> gates = item.value.detach().chunk(item.gates, 0);
  for (size_t g = 0; g < gates.size(); ++g) fill(gates[g], key.fold_in(static_cast<uint64_t>(g)));
}

class Recipe {
 public:
  Recipe(InitSpec spec, Act act, bool fixup, double fixup_scale)
      : spec_(std::move(spec)), act_(act), fixup_(fixup), fixup_scale_(fixup_scale) {}

  // Draws one parameter; returns the rule's name, "" if the recipe has none for it.
  std::string apply(const Item& item, Key key, bool in_branch) const {
    const torch::Tensor& w = item.value;
    switch (item.kind) {
      case Kind::norm_weight: ones_(w); return "one";
      case Kind::norm_bias: zeros_(w); return "zero";
      case Kind::bias: return bias(item, key);
      case Kind::rnn_bias: return rnn_bias(item, key);
      case Kind::cls: normal_(w, 0, 1e-6, key); return "normal 1e-6";
      case Kind::pos: trunc_normal_(w, 0, 0.02, -2, 2, key); return "trunc_normal 0.02";
      case Kind::rnn_input:
      case Kind::rnn_recurrent: return recurrent(item, key);
      case Kind::conv:
      case Kind::linear:
      case Kind::head: return weight(item, w, key, in_branch);
      case Kind::other: return "";
    }
    return "";
  }

 private:
  bool is(std::string_view name) const { return spec_.name == name; }

  std::string bias(const Item& item, Key key) const {
    if (is("torch")) {
      const double bound = 1 / std::sqrt(item.fan_in);
      uniform_(item.value, -bound, bound, key);
      return "uniform 1/sqrt fan_in";
    }
    zeros_(item.value);
    return "zero";
  }

  std::string rnn_bias(const Item& item, Key key) const {
    if (is("torch")) return bias(item, key);
    zeros_(item.value);
    if (is("rnn") && item.gates == 4 && item.name.find("bias_ih_") != std::string::npos) {
      ones_(item.value.detach().chunk(4, 0)[1]);
      return "zero, forget gate one";
    }
    return "zero";
  }

  std::string recurrent(const Item& item, Key key) const {
    if (is("torch")) {
      const double bound = 1 / std::sqrt(static_cast<double>(item.value.size(0) / item.gates));
      uniform_(item.value, -bound, bound, key);
      return "uniform 1/sqrt width";
    }
    std::string rule;
    per_gate(item, key, [&](const torch::Tensor& gate, Key gate_key) {
      if (!is("rnn")) {
        rule = weight(item, gate, gate_key, false);
      } else if (item.kind == Kind::rnn_input) {
        xavier_uniform_(gate, 1, {}, gate_key);
        rule = "xavier_uniform";
      } else {
        orthogonal_(gate, 1, 1, gate_key);
        rule = "orthogonal";
      }
    });
    return rule + " per gate";
  }

  std::string weight(const Item& item, const torch::Tensor& w, Key key, bool in_branch) const {
    const bool head = item.kind == Kind::head;
    const FanOptions fan{.groups = item.groups};
    const double a = act_default_a(act_);
    if (is("resnet") || is("wide_resnet")) {
      if (head && fixup_) {
        zeros_(w);
        return "zero";
      }
      if (head) return torch_rule(w, fan, key);
      kaiming_normal_(w, {.mode = FanMode::out, .act = Act::relu, .fan = fan}, key);
      if (fixup_ && in_branch) {
        torch::NoGradGuard no_grad;
        w.mul_(fixup_scale_);
        return "kaiming_normal out relu, fixup";
      }
      return "kaiming_normal out relu";
    }
    if (is("plain_cnn") || is("mlp") || is("lenet")) {
      const Act act = head ? Act::none : act_;
      if (!head && (act == Act::tanh || act == Act::sigmoid)) {
        xavier_normal_(w, gain(act, a, GainRule::second_moment), fan, key);
        return "xavier_normal " + std::string(act_name(act));
      }
      kaiming_normal_(w, {.act = act, .a = a, .rule = GainRule::second_moment, .fan = fan}, key);
      return "kaiming_normal in " + std::string(act_name(act));
    }
    if (is("vit")) {
      if (head) {
        zeros_(w);
        return "zero";
      }
      if (item.kind == Kind::conv) {
        lecun_normal_(w, fan, key);
        return "lecun_normal";
      }
      trunc_normal_(w, 0, 0.02, -2, 2, key);
      return "trunc_normal 0.02";
    }
    if (is("rnn")) {
      xavier_uniform_(w, 1, fan, key);
      return "xavier_uniform";
    }
    if (is("torch")) return torch_rule(w, fan, key);
    // The plain fills; the head is followed by no activation.
    const Act act = head ? Act::none : act_;
    if (is("he")) {
      kaiming_normal_(w, {.act = act, .a = a, .fan = fan}, key);
      return "kaiming_normal in " + std::string(act_name(act));
    }
    if (is("xavier")) {
      xavier_normal_(w, gain(act, a), fan, key);
      return "xavier_normal " + std::string(act_name(act));
    }
    if (is("lecun")) {
      lecun_normal_(w, fan, key);
      return "lecun_normal";
    }
    if (is("orthogonal")) {
      orthogonal_(w, gain(act, a), item.groups, key);
      return "orthogonal " + std::string(act_name(act));
    }
    if (is("zeros")) {
      zeros_(w);
      return "zero";
    }
    if (is("constant")) {
      constant_(w, spec_.number);
      return "constant";
    }
    if (is("normal")) {
      normal_(w, 0, spec_.number, key);
      return "normal";
    }
    fail<std::logic_error>("recipes", "every row of the catalog must have a rule, got ", spec_.name);
  }

  static std::string torch_rule(const torch::Tensor& w, const FanOptions& fan, Key key) {
    kaiming_uniform_(w, {.act = Act::leaky_relu, .a = std::sqrt(5.0), .fan = fan}, key);
    return "uniform 1/sqrt fan_in";
  }

  InitSpec spec_;
  Act act_;
  bool fixup_;
  double fixup_scale_;
};

}  // namespace

RecipeReport init_model(torch::nn::Module& model, const RecipeOptions& options) {
  const auto* named = dynamic_cast<const HasRecipe*>(&model);
  check(options.recipe != "auto" || named != nullptr, "recipes", "auto needs a model that names its recipe");
  const InitSpec spec = parse_init(options.recipe == "auto" ? named->recipe() : options.recipe);
  const std::string head = named != nullptr ? named->head() : "";

  std::vector<Item> items;
  const auto add = [&](const std::string& layer, const torch::nn::Module& module) {
    for (const auto& parameter : module.named_parameters(/*recurse=*/false)) {
      items.push_back(classify(layer, parameter.key(), module, parameter.value(), head));
      check(items.back().kind != Kind::other, "recipes", spec.name, " must cover every parameter, got ",
            items.back().name);
    }
  };
  add("", model);  // apart, for named_modules needs its own module in a shared_ptr
  for (const auto& module : model.named_modules("", /*include_self=*/false)) add(module.key(), *module.value());

  const auto* residual = dynamic_cast<const HasBranches*>(&model);
  const std::vector<Branch> branches = residual != nullptr && spec.name == "resnet" ? residual->branches() : std::vector<Branch>{};
  bool normless = !branches.empty();
  for (const Branch& branch : branches) normless = normless && !branch.last_norm_weight.defined();
  double fixup_scale = 1;
  if (normless) {
    const double m = static_cast<double>(branches.front().weights.size());
    fixup_scale = std::pow(static_cast<double>(branches.size()), -1 / (2 * m - 2));
  }
  const auto is_one_of = [](const torch::Tensor& w, const std::vector<torch::Tensor>& set) {
    for (const torch::Tensor& other : set) {
      if (w.is_same(other)) return true;
    }
    return false;
  };

  const Recipe recipe(spec, options.act, normless, fixup_scale);
  const Key key = options.key.fold_in("init");
  RecipeReport report;
  for (const Item& item : items) {
    RecipeRow row{item.name, "", false};
    bool in_branch = false, ends_branch = false, last_norm = false;
    for (const Branch& branch : branches) {
      in_branch = in_branch || is_one_of(item.value, branch.weights);
      ends_branch = ends_branch || (normless && item.value.is_same(branch.weights.back()));
      last_norm = last_norm || (branch.last_norm_weight.defined() && item.value.is_same(branch.last_norm_weight));
    }
    if (ends_branch || last_norm) {
      zeros_(item.value);
      row.rule = last_norm ? "zero_gamma" : "fixup, zero";
      row.zero_on_purpose = true;
    } else {
      row.rule = recipe.apply(item, key.fold_in(item.name), in_branch);
      row.zero_on_purpose = row.rule == "zero" && item.kind == Kind::head && spec.name != "zeros";
    }
    report.push_back(std::move(row));
  }
  return report;
}

}  // namespace ballast
