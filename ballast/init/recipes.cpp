#include <ballast/init/recipes.h>

#include <torch/nn/modules/conv.h>

#include <cmath>
#include <map>

#include <ballast/base/check.h>
#include <ballast/base/layer_role.h>
#include <ballast/init/catalog.h>
#include <ballast/init/constant.h>
#include <ballast/init/delta_orthogonal.h>
#include <ballast/init/fixup.h>
#include <ballast/init/kaiming.h>
#include <ballast/init/layer_scale.h>
#include <ballast/init/norm_layer.h>
#include <ballast/init/normal.h>
#include <ballast/init/orthogonal.h>
#include <ballast/init/residual.h>
#include <ballast/init/skip_init.h>
#include <ballast/init/trunc_normal.h>
#include <ballast/init/uniform.h>
#include <ballast/init/variance_scaling.h>
#include <ballast/init/xavier.h>

namespace ballast {
namespace {

enum class Kind { conv, linear, head, bias, norm_weight, norm_bias, rnn_input, rnn_recurrent, rnn_bias, cls, pos, as_made, other };

struct Item {
  std::string name, layer;  // layer1.0.conv1.weight, layer1.0.conv1
  const torch::nn::Module* module = nullptr;
  torch::Tensor value;
  Kind kind = Kind::other;
  FanOptions fan = {};     // of a convolution
  int64_t gates = 1;       // of a recurrent weight
  double fan_in = 1;       // of the layer's weight, for torch's bias
};

template <class... Conv>
bool find_fan(const torch::nn::Module& module, bool transposed, FanOptions& fan) {
  const auto one = [&](const auto* conv) {
    if (conv != nullptr) fan = {.groups = conv->options.groups(), .transposed = transposed};
    return conv != nullptr;
  };
  return (one(dynamic_cast<const Conv*>(&module)) || ...);
}

FanOptions fan_of(const torch::nn::Module& module) {
  using namespace torch::nn;
  FanOptions fan;
  if (!find_fan<Conv1dImpl, Conv2dImpl, Conv3dImpl>(module, false, fan)) {
    find_fan<ConvTranspose1dImpl, ConvTranspose2dImpl, ConvTranspose3dImpl>(module, true, fan);
  }
  return fan;
}

bool is_gate(const torch::nn::Module& module) {
  return dynamic_cast<const ScalarGateImpl*>(&module) != nullptr || dynamic_cast<const LayerScaleImpl*>(&module) != nullptr;
}

Item classify(const std::string& layer, const std::string& leaf, const torch::nn::Module& module,
              const torch::Tensor& value, const std::string& head) {
  Item item{.name = layer.empty() ? leaf : layer + "." + leaf, .layer = layer, .module = &module, .value = value};
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
  } else if (is_gate(module)) {
    item.kind = Kind::as_made;
  } else if (dynamic_cast<const ScalarBiasImpl*>(&module) != nullptr) {
    item.kind = Kind::norm_bias;
  } else if (leaf == "weight") {
    item.kind = value.dim() == 1 ? Kind::norm_weight : value.dim() >= 3 ? Kind::conv : Kind::linear;
    if (item.kind == Kind::linear && layer == head) item.kind = Kind::head;
    item.fan = fan_of(module);
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
  } else if (detail::is_norm_layer(module)) {
    item.kind = Kind::as_made;
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
  Recipe(InitSpec spec, Act act, bool zero_head) : spec_(std::move(spec)), act_(act), zero_head_(zero_head) {}

  // Draws one parameter; returns the rule's name, "" if the recipe has none for it.
  std::string apply(const Item& item, Key key) const {
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
      case Kind::head: return weight(item, w, key);
      case Kind::as_made: return as_made(item);
      case Kind::other: return "";
    }
    return "";
  }

 private:
  bool is(std::string_view name) const { return spec_.name == name; }

  static std::string as_made(const Item& item) {
    if (const auto* gate = dynamic_cast<const ScalarGateImpl*>(item.module)) {
      constant_(item.value, gate->options.init);
      return gate->options.init == 0 ? "zero" : "gate";
    }
    if (const auto* scale = dynamic_cast<const LayerScaleImpl*>(item.module)) {
      constant_(item.value, scale->options.init);
      return "layer scale";
    }
    return "as the norm made it";
  }

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
      if (is("orthogonal") && item.kind == Kind::rnn_recurrent) {
        orthogonal_(gate, 1, 1, gate_key);  // over time the state's size is kept, not the pre-activation's
        rule = "orthogonal";
      } else if (!is("rnn")) {
        rule = weight(item, gate, gate_key);
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

  std::string weight(const Item& item, const torch::Tensor& w, Key key) const {
    const bool head = item.kind == Kind::head;
    const FanOptions fan = item.fan;
    const double a = act_default_a(act_);
    if (head && zero_head_) {
      zeros_(w);
      return "zero";
    }
    if (is("resnet") || is("wide_resnet") || is("fixup")) {
      if (head) return torch_rule(w, key);
      kaiming_normal_(w, {.mode = FanMode::out, .act = Act::relu, .fan = fan}, key);
      return "kaiming_normal out relu";
    }
    if (is("efficientnet")) {
      if (item.kind == Kind::conv) {
        kaiming_normal_(w, {.mode = FanMode::out, .act = Act::relu, .fan = fan}, key);
        return "kaiming_normal out relu";
      }
      const double bound = 1 / std::sqrt(fans(w.sizes(), fan).out);
      uniform_(w, -bound, bound, key);
      return "uniform 1/sqrt fan_out";
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
    if (is("torch")) return torch_rule(w, key);
    // The plain fills; the head is followed by no activation.
    const Act act = head ? Act::none : act_;
    if (is("he")) {
      kaiming_normal_(w, {.act = act, .a = a, .fan = fan}, key);
      return "kaiming_normal in " + std::string(act_name(act));
    }
    if (is("xavier")) {
      // Glorot's rule knows no rectifier: with ReLU's gain it would be He's by another name.
      xavier_normal_(w, act == Act::tanh ? gain(act, a) : 1, fan, key);
      return "xavier_normal " + std::string(act_name(act));
    }
    if (is("lecun")) {
      lecun_normal_(w, fan, key);
      return "lecun_normal";
    }
    if (is("delta_orthogonal") && item.kind == Kind::conv && fan.groups == 1 && w.size(0) >= w.size(1)) {
      delta_orthogonal_(w, gain(act, a), key);
      return "delta_orthogonal " + std::string(act_name(act));
    }
    if (is("orthogonal") || is("delta_orthogonal")) {
      orthogonal_(w, gain(act, a), fan.groups, key);
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

  // LibTorch counts the fan of a transposed convolution as of an ordinary one.
  static std::string torch_rule(const torch::Tensor& w, Key key) {
    kaiming_uniform_(w, {.act = Act::leaky_relu, .a = std::sqrt(5.0)}, key);
    return "uniform 1/sqrt fan_in";
  }

  InitSpec spec_;
  Act act_;
  bool zero_head_;
};

// What the model's residual branches ask of one parameter.
class Residual {
 public:
  Residual(const torch::nn::Module& model, const std::string& recipe, const std::string& norm_layer) {
    const auto* residual = dynamic_cast<const HasBranches*>(&model);
    if (residual != nullptr && (recipe == "resnet" || recipe == "fixup")) branches_ = residual->branches();
    fixup_ = !branches_.empty() && norm_layer.empty();
    if (recipe == "fixup") {
      check(norm_layer.empty(), "fixup", "model must have no norm layers, got ", norm_layer);
      check(!branches_.empty(), "fixup", "model must have residual branches, got none");
    }
  }
  bool fixup() const { return fixup_; }

  // The rule that replaces the recipe's, "" if none does.
  std::string replaced(const torch::Tensor& w) const {
    for (const Branch& branch : branches_) {
      if (branch.last_norm_weight.defined() && w.is_same(branch.last_norm_weight)) return "zero_gamma";
      if (fixup_ && !branch.weights.empty() && w.is_same(branch.weights.back())) return "fixup, zero";
    }
    return "";
  }

  // Fixup's factor for a weight, 1 outside the branches.
  double scale(const torch::Tensor& w) const {
    if (!fixup_) return 1;
    for (const Branch& branch : branches_) {
      for (const torch::Tensor& own : branch.weights) {
        if (!w.is_same(own)) continue;
        const auto m = static_cast<double>(branch.weights.size());
        return std::pow(static_cast<double>(branches_.size()), -1 / (2 * m - 2));
      }
    }
    return 1;
  }

 private:
  std::vector<Branch> branches_;
  bool fixup_ = false;
};

}  // namespace

RecipeReport init_model(torch::nn::Module& model, const RecipeOptions& options) {
  const auto* named = dynamic_cast<const HasRecipe*>(&model);
  InitSpec spec{options.recipe, 0};
  if (options.recipe != "auto") spec = parse_init(options.recipe);
  const bool lsuv = spec.name == "lsuv";
  if (lsuv || spec.name == "auto") {
    check(named != nullptr, "recipes", spec.name, " needs a model that names its recipe");
    spec = parse_init(named->recipe());
  }
  const std::string head = named != nullptr ? named->head() : "";

  std::vector<Item> items;
  std::string norm_layer;  // the first one
  const auto add = [&](const std::string& layer, const torch::nn::Module& module) {
    if (norm_layer.empty() && detail::is_norm_layer(module)) norm_layer = layer;
    for (const auto& parameter : module.named_parameters(/*recurse=*/false)) {
      items.push_back(classify(layer, parameter.key(), module, parameter.value(), head));
      check(items.back().kind != Kind::other, "recipes", spec.name, " must cover every parameter, got ",
            items.back().name);
    }
  };
  add("", model);  // apart, for named_modules needs its own module in a shared_ptr
  for (const auto& module : model.named_modules("", /*include_self=*/false)) add(module.key(), *module.value());

  const Residual residual(model, spec.name, norm_layer);
  const Recipe recipe(spec, options.act, lsuv || residual.fixup());
  const Key key = options.key.fold_in("init");
  RecipeReport report;
  for (const Item& item : items) {
    RecipeRow row{item.name, residual.replaced(item.value), false};
    if (!row.rule.empty()) {
      zeros_(item.value);
      row.zero_on_purpose = true;
    } else {
      row.rule = recipe.apply(item, key.fold_in(item.name));
      if (const double scale = residual.scale(item.value); scale != 1) {
        item.value.detach().mul_(scale);
        row.rule += ", fixup";
      }
      const bool may_be_zero = item.kind == Kind::head || item.kind == Kind::as_made;
      row.zero_on_purpose = row.rule == "zero" && may_be_zero && spec.name != "zeros";
    }
    report.push_back(std::move(row));
  }
  return report;
}

}  // namespace ballast
