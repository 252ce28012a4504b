#include <ballast/weights/param_groups.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <sstream>

#include <ballast/base/check.h>
#include <ballast/base/glob.h>
#include <ballast/models/model.h>

namespace ballast {
namespace {

// "layer1.0" of layer1.0.downsample.1.weight; "" without a number.
std::string numbered_prefix(const std::string& name) {
  for (size_t begin = 0; begin < name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    if (end > begin && name.find_first_not_of("0123456789", begin) >= end) return name.substr(0, end);
    begin = end + 1;
  }
  return "";
}

std::string parent(const std::string& name) {
  const size_t dot = name.rfind('.');
  return dot == std::string::npos ? "" : name.substr(0, dot);
}

void check_options(const torch::OrderedDict<std::string, torch::Tensor>& parameters, const GroupOptions& o) {
  check(std::isfinite(o.lr) && o.lr > 0, "weights", "lr must be > 0, got ", o.lr);
  check(o.layer_decay > 0 && o.layer_decay <= 1, "weights", "layer_decay must be in (0, 1], got ", o.layer_decay);
  check(std::isfinite(o.weight_decay) && o.weight_decay >= 0, "weights", "weight_decay must be >= 0, got ", o.weight_decay);
  for (const GroupRule& rule : o.rules) {
    check(std::isfinite(rule.lr_scale) && rule.lr_scale >= 0, "weights", "lr_scale must be >= 0, got ", rule.lr_scale);
    check(!rule.weight_decay || (std::isfinite(*rule.weight_decay) && *rule.weight_decay >= 0), "weights",
          "weight_decay must be >= 0, got ", rule.weight_decay.value_or(0));
    const bool any = std::any_of(parameters.begin(), parameters.end(),
                                 [&](const auto& p) { return glob_matches(rule.match, p.key()); });
    check(any, "weights", rule.match, " must match a parameter, got none");
  }
}

}  // namespace

ParamDepths param_depths(const torch::nn::Module& module) {
  const auto parameters = module.named_parameters();
  const auto* recipe = dynamic_cast<const HasRecipe*>(&module);
  const std::string head = recipe != nullptr ? recipe->head() + "." : "";
  const auto in_head = [&](const std::string& name) { return !head.empty() && name.starts_with(head); };
  const bool numbered = std::any_of(parameters.begin(), parameters.end(), [&](const auto& p) {
    return !in_head(p.key()) && !numbered_prefix(p.key()).empty();
  });
  // The block of each parameter; "" for what stands between.
  ParamDepths result;
  std::vector<std::string> blocks;
  size_t last_in_block = 0;
  std::vector<int64_t> index;
  for (const auto& p : parameters) {
    std::string block;
    if (numbered) {
      block = numbered_prefix(p.key());
    } else if (p.value().dim() > 1 || blocks.empty()) {
      block = parent(p.key());
    } else {
      block = blocks.back();
    }
    if (in_head(p.key())) block.clear();
    if (!block.empty() && (blocks.empty() || blocks.back() != block)) blocks.push_back(block);
    index.push_back(static_cast<int64_t>(blocks.size()));
    if (!block.empty()) last_in_block = index.size();
    result.depth.emplace_back(p.key(), 0);
  }
  // Without a stem before it the first block is the stem.
  const bool no_stem = !index.empty() && index[0] == 1;
  const auto count = static_cast<int64_t>(blocks.size());
  result.head = count + 1 - (no_stem ? 1 : 0);
  for (size_t i = 0; i < index.size(); ++i) {
    const bool after = i >= last_in_block || in_head(result.depth[i].first);
    result.depth[i].second = after ? result.head : index[i] - (no_stem ? 1 : 0);
  }
  return result;
}

std::vector<ParamGroup> param_groups(const torch::nn::Module& module, const GroupOptions& options) {
  const auto parameters = module.named_parameters();
  check_options(parameters, options);
  const ParamDepths depths = param_depths(module);
  std::set<std::string> declared;
  std::map<std::string, double> slower;
  if (const auto* model = dynamic_cast<const Model*>(&module)) {
    for (const std::string& name : model->no_weight_decay()) declared.insert(name);
    slower = model->lr_scale();
  }
  std::vector<ParamGroup> groups;
  std::map<std::string, size_t> by_name;
  for (size_t i = 0; i < depths.depth.size(); ++i) {
    const auto& [name, depth] = depths.depth[i];
    const torch::Tensor& value = parameters[name];
    if (!value.requires_grad()) continue;
    const bool decays = !options.no_decay_1d || (value.dim() > 1 && declared.count(name) == 0);
    const auto rule = std::find_if(options.rules.begin(), options.rules.end(),
                                   [&](const GroupRule& r) { return glob_matches(r.match, name); });
    ParamGroup group;
    group.lr_scale = std::pow(options.layer_decay, static_cast<double>(depths.head - depth));
    group.weight_decay = decays ? options.weight_decay : 0;
    if (options.layer_decay != 1) {
      group.name = depth == 0 ? "stem" : depth == depths.head ? "head" : "block " + std::to_string(depth);
    }
    if (rule != options.rules.end()) {
      group.name += (group.name.empty() ? "match " : ", match ") + rule->match;
      group.lr_scale *= rule->lr_scale;
      group.weight_decay = rule->weight_decay.value_or(group.weight_decay);
    }
    group.name += (group.name.empty() ? "" : ", ") + std::string(decays ? "decay" : "no_decay");
    if (const auto part = slower.find(name); part != slower.end()) {
      std::ostringstream text;
      text << ", lr x " << part->second;
      group.name += text.str();
      group.lr_scale *= part->second;
    }
    group.lr = options.lr * group.lr_scale;
    const auto [place, fresh] = by_name.emplace(group.name, groups.size());
    if (fresh) groups.push_back(std::move(group));
    ParamGroup& own = groups[place->second];
    own.parameters.push_back(name);
    own.numbers += value.numel();
  }
  return groups;
}

}  // namespace ballast
