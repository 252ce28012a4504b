#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <vector>

#include <ballast/base/key.h>
#include <ballast/drop/drop_layer.h>

namespace ballast {

/// What shares a decision.
enum class DropPathMode {
  row,    ///< each sample of the batch its own (timm)
  batch,  ///< one for the whole batch (the paper): saves the time of the branch
};

/// Options of drop_path and DropPath.
struct DropPathOptions {
  /// p, probability of dropping a residual branch, in [0, 1). A later change is effective.
  double drop_prob = 0;
  /// Divide kept branches by 1 - p while training, so that E[y] = x. false: the paper's form, (1 - p) in eval.
  bool scale_by_keep = true;
  DropPathMode mode = DropPathMode::row;
  /// Masks of forwards outside any StepScope.
  Key key = {};
};

/// Stochastic depth: while training, drops the residual branch of whole samples.
///
///   drop_path(x)_n = m_n x_n / (1 - p)                            m_n ~ Bernoulli(1 - p)
///   drop_path_add: y_n = shortcut_n + m_n branch(x)_n / (1 - p)   branch runs on the kept samples only
///
/// Shape    x: (N, ...), floating point. Result: that of x (of the shortcut); drop_path keeps the memory format.
/// Eval     drop_path: x itself; drop_path_add: shortcut + branch(x). scale_by_keep false: the branch times 1 - p.
///          p = 0 draws nothing.
/// Work     drop_path_add gathers the kept rows, runs the branch on them and adds the result in their places. With none
///          kept the branch is not called, and its parameters get no gradient. Linear decay to 0.5 saves a quarter of the
///          branches' work in mode batch; in mode row the gathers cost some of it.
/// Norms    a batch norm in the branch sees the kept rows only: its statistics are theirs.
/// Drops    layers that drop inside the branch draw for a row what they would draw without drop_path (RowsScope); but
///          drop_connect, and drop_block with Rescale::batch, count the kept rows.
/// Random   row n uses event first_row + n of `key`, mode batch event 0; 32 bits.
/// Source   Huang et al. 2016, arXiv:1603.09382. Rescales while training, as timm does; the paper rescales at test time.
/// Not      drop_connect, which drops weights. (EfficientNet's code calls this technique drop connect.)
/// Errors   std::invalid_argument: `[drop_path] drop_prob must be in [0, 1), got 1.5`; a scalar x;
///          `[drop_path] branch must keep the shape, got (3, 64, 8, 8) for (3, 32, 8, 8)`.
torch::Tensor drop_path(const torch::Tensor& x, const DropPathOptions& options, bool training, Key key,
                        int64_t first_row = 0);

using BranchFunction = std::function<torch::Tensor(const torch::Tensor&)>;
torch::Tensor drop_path_add(const torch::Tensor& x, const BranchFunction& branch, const DropPathOptions& options,
                            bool training, Key key, int64_t first_row = 0);
/// With a shortcut that is not x itself (a projection).
torch::Tensor drop_path_add(const torch::Tensor& shortcut, const torch::Tensor& x, const BranchFunction& branch,
                            const DropPathOptions& options, bool training, Key key, int64_t first_row = 0);

/// How p grows with depth.
enum class DropPathRule {
  linspace,  ///< rate l / (L - 1), l = 0 .. L - 1 (timm); L = 1: rate
  paper,     ///< rate l / L, l = 1 .. L
};
/// p of each of L blocks. Errors: std::invalid_argument if rate is outside [0, 1) or blocks < 0.
std::vector<double> drop_path_rates(double rate, int64_t blocks, DropPathRule rule = DropPathRule::linspace);

class DropPathImpl : public torch::nn::Cloneable<DropPathImpl>, public DropLayer {
 public:
  explicit DropPathImpl(DropPathOptions options = {});
  torch::Tensor forward(const torch::Tensor& x);
  /// Mode batch: what the branch of this forward is multiplied by, 0 where it is left out; draws as add does. For who adds in
  /// one operator with something else.
  double batch_factor();
  /// shortcut + branch(x), dropping: drop_path_add.
  torch::Tensor add(const torch::Tensor& shortcut, const torch::Tensor& x, const BranchFunction& branch);
  void reset() override {}
  void pretty_print(std::ostream& stream) const override;
  std::string_view stem() const override { return "drop_path"; }
  double drop_rate() const override { return options.drop_prob; }
  void set_drop_rate(double p) override;

  DropPathOptions options;
};
TORCH_MODULE(DropPath);

}  // namespace ballast
