#include <ballast/weights/load_weights.h>

#include <algorithm>
#include <set>

#include <ballast/base/check.h>
#include <ballast/base/nearest_name.h>
#include <ballast/base/shape.h>
#include <ballast/models/model.h>

namespace ballast {
namespace {

// "a, b, ..." of at most 5 names.
std::string list_text(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) {
    if (i == 5) return text + ", ...";
    text += (i ? ", " : "") + names[i];
  }
  return text;
}

std::string count_text(size_t n) { return n == 1 ? "1 name is " : std::to_string(n) + " names are "; }

std::string nearest_hint(const char* where, const std::string& name, const std::vector<std::string>& candidates) {
  const std::string near = nearest_name(name, candidates);
  return near.empty() ? "" : std::string(" (nearest in ") + where + ": " + near + ")";
}

std::string text_of(at::IntArrayRef shape) { return shape_text(std::span(shape.data(), shape.size())); }

bool may_miss(const std::string& name) { return name.ends_with("num_batches_tracked"); }

std::string best_prefix(const StateDict& own, const std::map<std::string, std::string>& names,
                        const std::vector<std::string>& strip) {
  std::vector<std::string> prefixes = {""};
  for (const std::string& a : strip) prefixes.push_back(a);
  for (const std::string& a : strip) {
    for (const std::string& b : strip) {
      if (a != b) prefixes.push_back(a + b);
    }
  }
  std::string best;
  int64_t most = -1;
  for (const std::string& prefix : prefixes) {
    int64_t matches = 0;
    for (const auto& [name, tensor] : own) matches += names.count(prefix + name) ? 1 : 0;
    if (matches > most || (matches == most && prefix.size() < best.size())) {
      most = matches;
      best = prefix;
    }
  }
  return best;
}

// The name of today for a tensor of weight norm or spectral norm: Linear.weight_g -> Linear.parametrizations.weight.original0.
std::string todays_name(const std::string& name, const StateDict& weights) {
  const auto renamed = [&](std::string_view end, const char* today) {
    return name.substr(0, name.size() - end.size()) + "parametrizations.weight." + today;
  };
  if (name.ends_with("weight_g")) return renamed("weight_g", "original0");
  if (name.ends_with("weight_orig")) return renamed("weight_orig", "original");
  if (name.ends_with("weight_u")) return renamed("weight_u", "0._u");
  if (name.ends_with("weight_v")) {
    const std::string base = name.substr(0, name.size() - 1);
    return weights.count(base + "orig") ? renamed("weight_v", "0._v") : renamed("weight_v", "original1");
  }
  return name;
}

struct Step {
  torch::Tensor to, from;
};

class Plan {
 public:
  Plan(torch::nn::Module& module, const StateDict& weights, const LoadOptions& options)
      : own_(state_dict(module)), weights_(weights), options_(options), model_(dynamic_cast<Model*>(&module)) {
    for (const auto& [name, tensor] : weights) names_[todays_name(name, weights)] = name;
    report_.prefix = best_prefix(own_, names_, options.strip);
    match();
    check_names();
    // Weights before biases, so that an error names the one that says more.
    for (const bool weight : {true, false}) {
      for (const auto& [name, tensor] : own_) {
        if (name.ends_with("weight") == weight) plan(name, tensor);
      }
    }
    std::sort(report_.rows.begin(), report_.rows.end(), [](const LoadRow& a, const LoadRow& b) { return a.name < b.name; });
    for (const std::string& name : unexpected_) {
      report_.rows.push_back({name, name, weights.at(name).sizes().vec(), {}, LoadAction::unexpected, "the model has no such name"});
    }
    check<DataError>(report_.loaded > 0 || own_.empty(), "weights", "the file must hold tensors of this model, got none of its ",
                     own_.size(), " names");
  }

  LoadReport carry_out() {
    torch::NoGradGuard no_grad;
    if (resets_) {
      const StateDict drawn = state_dict(*make_model(model_->options(), options_.key));
      for (const std::string& name : report_.names(LoadAction::reset)) own_.at(name).copy_(drawn.at(name));
    }
    for (Step& step : steps_) step.to.copy_(step.from);
    return std::move(report_);
  }

 private:
  // The model's name -> the file's.
  void match() {
    for (const auto& [today, name] : names_) {
      std::string own = today.starts_with(report_.prefix) ? today.substr(report_.prefix.size()) : today;
      const auto renamed = options_.rename.find(own);
      if (renamed != options_.rename.end()) own = renamed->second;
      if ((today.starts_with(report_.prefix) || renamed != options_.rename.end()) && own_.count(own)) {
        matched_[own] = name;
      } else {
        unexpected_.push_back(name);
      }
    }
    std::sort(unexpected_.begin(), unexpected_.end());
    for (const auto& [from, to] : options_.rename) {
      check(names_.count(report_.prefix + from) || names_.count(from), "weights", "rename must name a tensor of the file, got ",
            from);
    }
  }

  bool of_head(const std::string& name) const {
    return model_ != nullptr && name.starts_with(model_->classifier() + ".");
  }

  void check_names() const {
    if (options_.partial) return;
    std::vector<std::string> missing, own_names, file_names;
    for (const auto& [name, tensor] : own_) {
      own_names.push_back(name);
      if (!matched_.count(name) && !may_miss(name) && !(of_head(name) && options_.head != HeadPolicy::error)) {
        missing.push_back(name);
      }
    }
    for (const auto& [name, tensor] : weights_) file_names.push_back(name);
    check<DataError>(missing.empty(), "weights", count_text(missing.size()), "missing: ", list_text(missing),
                     missing.empty() ? "" : nearest_hint("file", missing[0], unexpected_.empty() ? file_names : unexpected_));
    check<DataError>(unexpected_.empty(), "weights", count_text(unexpected_.size()), "not in the model: ",
                     list_text(unexpected_), unexpected_.empty() ? "" : nearest_hint("model", unexpected_[0], own_names));
  }

  void plan(const std::string& name, const torch::Tensor& tensor) {
    LoadRow row{.name = name, .model_shape = tensor.sizes().vec()};
    const auto found = matched_.find(name);
    if (found == matched_.end()) {
      if (of_head(name) && options_.head != HeadPolicy::error) {
        replace_head(row, tensor, "the file has no classifier");
      } else {
        row.action = LoadAction::missing;
        row.why = may_miss(name) ? "the file does not count batches" : "the file has no such name";
      }
      report_.rows.push_back(std::move(row));
      return;
    }
    const torch::Tensor& value = weights_.at(found->second);
    row.file_name = found->second;
    row.file_shape = value.sizes().vec();
    const std::string shapes = name + " must be " + text_of(tensor.sizes()) + ", got " + text_of(value.sizes());
    const bool fits = value.sizes() == tensor.sizes();
    if (of_head(name) && (!fits || (head_differs() && options_.head != HeadPolicy::error))) {
      check<DataError>(options_.head != HeadPolicy::error, "weights", shapes, "; head reset replaces it");
      replace_head(row, tensor, "the file has " + std::to_string(value.size(0)) + " outputs, the model " +
                                    std::to_string(tensor.size(0)));
    } else if (!fits) {
      const bool first = model_ != nullptr && !model_->first_conv().empty() && name == model_->first_conv() + ".weight";
      const bool channels = first && value.dim() == tensor.dim() && value.dim() > 1 && value.size(0) == tensor.size(0) &&
                            value.size(1) > 0 && value.sizes().slice(2) == tensor.sizes().slice(2);
      check<DataError>(channels, "weights", shapes);
      check<DataError>(options_.input == InputPolicy::adapt, "weights", shapes, "; input adapt converts it");
      check_type(name, tensor, value);
      row.action = LoadAction::adapted;
      row.why = "the file is for " + std::to_string(value.size(1)) + " channels, the model for " +
                std::to_string(tensor.size(1));
      steps_.push_back({tensor, adapt_channels(value, tensor.size(1))});
      ++report_.loaded;
    } else {
      check_type(name, tensor, value);
      if (value.scalar_type() != tensor.scalar_type()) {
        row.action = LoadAction::converted;
        row.why = std::string("from ") + c10::toString(value.scalar_type()) + " to " + c10::toString(tensor.scalar_type());
      }
      steps_.push_back({tensor, value});
      ++report_.loaded;
    }
    report_.rows.push_back(std::move(row));
  }

  static void check_type(const std::string& name, const torch::Tensor& own, const torch::Tensor& value) {
    check<DataError>(value.is_floating_point() == own.is_floating_point(), "weights", name, " must be of type ",
                     own.scalar_type(), ", got ", value.scalar_type());
  }

  // A classifier is replaced whole: not its weight without its bias.
  bool head_differs() const {
    return std::any_of(own_.begin(), own_.end(), [&](const auto& item) {
      const auto found = matched_.find(item.first);
      return of_head(item.first) && found != matched_.end() && weights_.at(found->second).sizes() != item.second.sizes();
    });
  }

  void replace_head(LoadRow& row, const torch::Tensor& tensor, std::string why) {
    row.why = std::move(why);
    if (options_.head == HeadPolicy::zero) {
      row.action = LoadAction::zeroed;
      steps_.push_back({tensor, torch::zeros_like(tensor)});
    } else {
      row.action = LoadAction::reset;
      resets_ = true;
    }
  }

  StateDict own_;
  const StateDict& weights_;
  const LoadOptions& options_;
  Model* model_;
  std::map<std::string, std::string> names_;    // today's name in the file -> the file's
  std::map<std::string, std::string> matched_;  // the model's name -> the file's
  std::vector<std::string> unexpected_;
  std::vector<Step> steps_;
  LoadReport report_;
  bool resets_ = false;
};

}  // namespace

std::string_view load_action_name(LoadAction action) {
  switch (action) {
    case LoadAction::loaded: return "loaded";
    case LoadAction::converted: return "converted";
    case LoadAction::adapted: return "adapted";
    case LoadAction::reset: return "reset";
    case LoadAction::zeroed: return "zeroed";
    case LoadAction::missing: return "missing";
    case LoadAction::unexpected: return "unexpected";
  }
  return "";
}

std::vector<std::string> LoadReport::names(LoadAction action) const {
  std::vector<std::string> found;
  for (const LoadRow& row : rows) {
    if (row.action == action) found.push_back(row.name);
  }
  return found;
}

torch::Tensor adapt_channels(const torch::Tensor& weight, int64_t channels) {
  check(weight.dim() >= 2 && weight.size(1) >= 1 && channels >= 1, "weights",
        "weight must have input channels, and channels be >= 1, got ", text_of(weight.sizes()), " and ", channels);
  const int64_t from = weight.size(1);
  const torch::Tensor wide = weight.to(torch::kDouble);  // half types sum in double and round once
  if (channels == 1) return wide.sum(1, /*keepdim=*/true).to(weight.scalar_type());
  const torch::Tensor index = torch::arange(channels, torch::TensorOptions(torch::kLong).device(weight.device())).remainder(from);
  return wide.index_select(1, index).mul(static_cast<double>(from) / static_cast<double>(channels)).to(weight.scalar_type());
}

LoadReport load_weights(torch::nn::Module& module, const StateDict& weights, const LoadOptions& options) {
  return Plan(module, weights, options).carry_out();
}

}  // namespace ballast
