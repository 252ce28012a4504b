#include <ballast/train/export_ensemble.h>

#include <ATen/Functions.h>
#include <torch/script.h>

#include <ballast/base/check.h>
#include <ballast/models/model.h>
#include <ballast/train/ensemble_model.h>
#include <ballast/train/export_torchscript.h>

namespace ballast {
namespace {

/// The rule as code, over z0, z1, ...: what the members of a weight above 0 say.
class RuleScript {
 public:
  RuleScript(const EnsembleRule& rule, const std::vector<std::string>& scores, int64_t classes)
      : rule_(rule), k_(std::to_string(classes)), all_(scores) {
    const bool weighted = !rule.weights.empty() && !rule.stack;
    for (size_t m = 0; m < scores.size(); ++m) {
      const double w = weighted ? rule.weights[m] : 1;
      if (w == 0) continue;
      z_.push_back(scores[m]);
      weight_.push_back(w);
      sum_ += w;
      const bool cooled = !rule.member_temperature.empty() && !rule.stack;
      inverse_.push_back(cooled ? 1 / rule.member_temperature[m] : 1);
    }
  }

  /// Lines that leave the probabilities in p.
  std::string text() {
    if (rule_.stack) {
      stack();
    } else {
      combine();
    }
    temper();
    return code_;
  }

 private:
  void line(const std::string& text) { code_ += "    " + text + "\n"; }

  std::string logit(size_t m) const {
    return inverse_[m] == 1 ? z_[m] : "(" + z_[m] + " * " + script_number(inverse_[m]) + ")";
  }
  std::string probability(size_t m) const { return "torch.softmax(" + logit(m) + ", 1)"; }
  /// sum_m w_m of(m), w summing to `total`.
  template <class Of>
  std::string weighted(const Of& of, double total) const {
    std::string out;
    for (size_t m = 0; m < z_.size(); ++m) {
      out += (m == 0 ? "" : " + ") + of(m) + " * " + script_number(weight_[m] / total);
    }
    return out;
  }
  std::string mean() const {
    return weighted([this](size_t m) { return probability(m); }, sum_);
  }
  std::string vote(size_t m) const { return "torch.one_hot(" + z_[m] + ".argmax(1), " + k_ + ")"; }

  void combine() {
    switch (rule_.rule) {
      case Rule::mean_probability:
        return line("p = " + mean());
      case Rule::mean_logit:
      case Rule::geometric:
        return line("p = torch.softmax(" + weighted([this](size_t m) { return logit(m); }, sum_) +
                    ", 1)");
      case Rule::median:
      case Rule::trimmed_mean:
        return order_statistic();
      case Rule::hard_vote:
        line("points = " + weighted([this](size_t m) { return vote(m); }, 1));
        break;
      case Rule::borda:
        borda();
        break;
      case Rule::instant_runoff:
        runoff();
        break;
    }
    line("p = (points / points.sum([1], True)).type_as(z0)");
  }

  void order_statistic() {
    const size_t m = z_.size(), cut = rule_.rule == Rule::trimmed_mean ? m / 10 : (m - 1) / 2;
    std::string list;
    for (size_t i = 0; i < m; ++i) list += (i == 0 ? "" : ", ") + probability(i);
    line("each = torch.stack([" + list + "], 0)");
    line("each = torch.sort(each, 0)[0]");
    line("middle = torch.slice(each, 0, " + std::to_string(cut) + ", " + std::to_string(m - cut) +
         ", 1).mean([0])");
    line("total = middle.sum([1], True)");
    line("p = torch.where(total > 0, middle / total, " + mean() + ")");
  }

  void borda() {
    line("points = " + weighted(
                           [this](size_t m) {
                             const std::string own = z_[m] + ".unsqueeze(2)",
                                               other = z_[m] + ".unsqueeze(1)";
                             return "((" + own + " > " + other + ").sum([2]) + ((" + own +
                                    " == " + other + ").sum([2]) - 1) * 0.5)";
                           },
                           1));
  }

  // Rounds until every row has its winner; the votes of a row's last round stay.
  void runoff() {
    std::string list, first;
    for (size_t m = 0; m < z_.size(); ++m) {
      list += (m == 0 ? "" : ", ") + z_[m];
      first += (m == 0 ? "" : " + ") + vote(m);
    }
    const std::string lowest = "-3.4028234663852886e+38";
    line("z = torch.stack([" + list + "], 1)");
    line("mean = " + mean());
    line("left = (" + first + ") > 0");
    line("points = self.votes.sum() * left");
    line("done = points.sum([1], True) < 0");
    line("while not bool(done.all()):");
    line("    own = z.masked_fill(torch.logical_not(left).unsqueeze(1), " + lowest + ").argmax(2)");
    line("    votes = (torch.one_hot(own, " + k_ + ") * self.votes).sum([1])");
    line("    points = torch.where(done, points, votes)");
    line("    over = votes.amax([1], True) > self.votes.sum() / 2");
    line("    over = torch.logical_or(over, left.sum([1], True) == 1)");
    line("    done = torch.logical_or(done, over)");
    line("    least = votes.masked_fill(torch.logical_not(left), 1e300)");
    line("    tied = torch.logical_and(left, votes == least.amin([1], True))");
    line("    low = mean.masked_fill(torch.logical_not(tied), 2.0)");
    line("    tied = torch.logical_and(tied, low == low.amin([1], True))");
    line("    goes = " + k_ + " - 1 - tied.flip([1]).type_as(own).argmax(1)");
    line("    stays = torch.one_hot(goes, " + k_ + ") == 0");
    line("    left = torch.where(done, left, torch.logical_and(left, stays))");
  }

  void stack() {
    std::string list;
    for (size_t m = 0; m < all_.size(); ++m) list += (m == 0 ? "" : ", ") + all_[m];
    line("features = torch.log(torch.softmax(torch.stack([" + list +
         "], 1), 2).clamp(1e-7)).type_as(self.stack_weight)");
    line("features = features - features.mean([2], True)");
    if (rule_.stack->form == StackForm::full) {
      line("g = torch.matmul(features.flatten(1), self.stack_weight) + self.stack_bias");
    } else {
      line("g = (features * self.stack_weight).sum([1]) + self.stack_bias");
    }
    line("p = torch.softmax(g, 1).type_as(z0)");
  }

  void temper() {
    if (rule_.temperature == 1) return;
    const bool vote = !rule_.stack && (rule_.rule == Rule::hard_vote || rule_.rule == Rule::borda ||
                                       rule_.rule == Rule::instant_runoff);
    const std::string g =
        vote ? "torch.log(p * " + script_number(static_cast<double>(all_.size())) + " + 1)"
             : "torch.log(p.clamp(" + script_number(kTinyProbability) + "))";
    line("p = torch.softmax(" + g + " * " + script_number(1 / rule_.temperature) + ", 1)");
  }

 public:
  /// Numbers that the code reads as self.*.
  void add_tensors(torch::jit::Module& module) const {
    const auto buffer = [&](const char* name, const std::vector<double>& values,
                            at::IntArrayRef shape) {
      module.register_buffer(name, at::tensor(values, at::kDouble).view(shape));
    };
    const auto count = static_cast<int64_t>(all_.size());
    if (rule_.stack && rule_.stack->form == StackForm::full) {
      const int64_t k = rule_.stack->k;
      module.register_buffer(
          "stack_weight",
          at::tensor(rule_.stack->weights, at::kDouble).view({k, count * k}).t().contiguous());
    } else if (rule_.stack) {
      buffer("stack_weight", rule_.stack->weights, {1, count, 1});
    }
    if (rule_.stack) buffer("stack_bias", rule_.stack->bias, {rule_.stack->k});
    if (!rule_.stack && rule_.rule == Rule::instant_runoff)
      buffer("votes", weight_, {1, static_cast<int64_t>(weight_.size()), 1});
  }

 private:
  const EnsembleRule& rule_;
  std::string k_, code_;
  std::vector<std::string> all_, z_;
  std::vector<double> weight_, inverse_;
  double sum_ = 0;
};

void check_inputs(const Ensemble& ensemble) {
  const auto inputs = ensemble.inputs();
  const auto text = [](const NetInput& i) {
    return std::to_string(i.channels) + " x " + std::to_string(i.height) + " x " +
           std::to_string(i.width) + " by \"" + i.pipeline + "\"";
  };
  for (const NetInput& i : inputs) {
    check(text(i) == text(inputs[0]), "export", "members must take the same picture, got ",
          text(inputs[0]), " and ", text(i));
  }
}

torch::jit::Module ensemble_module(const Ensemble& ensemble) {
  const auto unit = std::make_shared<torch::jit::CompilationUnit>();
  torch::jit::Module module("__torch__.ballast.Ensemble", unit);
  std::string code = "def forward(self, x):\n    x = x.contiguous()\n";
  const auto inputs = ensemble.inputs();
  const NetInput& in = inputs[0];
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto values = [&](const std::vector<float>& v) {
      return at::tensor(v, at::kFloat).view({1, static_cast<int64_t>(v.size()), 1, 1});
    };
    const std::string n = std::to_string(i);
    module.register_buffer("mean" + n, values(inputs[i].normalize.mean));
    module.register_buffer("std" + n, values(inputs[i].normalize.std));
    code += "    x" + n + " = (x - self.mean" + n + ") / self.std" + n + "\n";
  }
  const auto members = ensemble.nets();
  std::vector<std::string> scores;
  for (size_t m = 0; m < members.size(); ++m) {
    std::string mean;
    for (size_t j = 0; j < members[m].size(); ++j) {
      const EnsembleNet& net = members[m][j];
      Model& model = *net.model;
      const ModelProgram program =
          record_program(model, [&model](const torch::Tensor& x) { return model.forward(x); },
                         {in.channels, in.height, in.width});
      const std::string name = "net" + std::to_string(m) + "_" + std::to_string(j);
      module.register_module(name, script_module(program, "__torch__.ballast." + name, unit));
      std::string z = "self." + name + ".forward(x" + std::to_string(net.input) + ")";
      if (!net.classes.empty()) {
        module.register_buffer(name + "_classes", at::tensor(net.classes, at::kLong));
        z += ".index_select(1, self." + name + "_classes)";
      }
      if (members[m].size() > 1) {
        mean += (j == 0 ? "" : " + ") + ("torch.softmax(" + z + ", 1)");
      } else {
        mean = z;
      }
    }
    scores.push_back("z" + std::to_string(m));
    const auto count = static_cast<double>(members[m].size());
    code += "    " + scores.back() + " = " +
            (count > 1 ? "torch.log(((" + mean + ") / " + script_number(count) + ").clamp(1e-7))"
                       : mean) +
            "\n";
  }
  RuleScript rule(ensemble.rule(), scores, static_cast<int64_t>(ensemble.classes().size()));
  rule.add_tensors(module);
  module.define(code + rule.text() + "    return p\n");
  module.eval();
  return module;
}

}  // namespace

double write_ensemble_torchscript(FileSystem& fs, const std::filesystem::path& path,
                                  const Ensemble& ensemble, const torch::Tensor& x) {
  check_inputs(ensemble);
  const torch::Tensor expected = ensemble.predict(x).probability;
  return write_module(fs, path, ensemble_module(ensemble), x, expected);
}

}  // namespace ballast
