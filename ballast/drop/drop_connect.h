#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cstdint>

#include <ballast/base/act.h>
#include <ballast/base/key.h>
#include <ballast/drop/drop_layer.h>

namespace ballast {

/// What drop_connect computes in eval.
enum class Inference {
  mean,      ///< with the mean weights
  gaussian,  ///< the paper's: the mean of act over the Gaussian that matches mean and variance of the masked sum
};

/// Options of drop_connect.
struct DropConnectOptions {
  /// p, probability of dropping a weight, in [0, 1). A later change is effective.
  double p = 0.5;
  /// A mask for each sample (the paper), or one for the batch.
  bool per_sample = true;
  /// Biases are masked as weights are (the paper).
  bool drop_bias = true;
  Scaling scaling = Scaling::training;
  Inference inference = Inference::mean;
  /// Of gaussian: draws per output where no closed form is known, >= 1. none and relu have one.
  int64_t samples = 1000;
  /// phi, applied to the result.
  Act act = Act::none;
  /// Masks of forwards outside any StepScope.
  Key key = {};
};

/// A linear layer whose single weights are dropped.
///
///   y_n = phi(((M_n * W) x_n + m_n * b) / (1 - p)),   M, m ~ Bernoulli(1 - p)
///
/// Shape    x: (N, in), W: (out, in), b: (out) or undefined, floating point. Result: (N, out), dtype of x.
/// Eval     mean: phi(W x + b), times 1 - p inside with scaling inference. gaussian: mean of phi over N(mu, s^2), with
///          mu = W x + b and s^2 = p / (1 - p) (W^2 x^2 + b^2), squares per element; in closed form for none and relu.
/// Random   weight j of output o of sample n: draw ((first_row + n) out + o)(in + 1) + j of `key`, widths as dropout's; the
///          bias is j = in; one mask for all: row 0. gaussian: normal (row out + o) samples + k.
/// Memory   no mask tensor: a mask row is drawn, multiplied and forgotten, in the backward again.
/// Source   Wan et al. 2013 (ICML).
/// Not      drop_path, which EfficientNet's code calls drop connect.
/// Errors   std::invalid_argument: `[drop_connect] p must be in [0, 1), got 1`; `[drop_connect] samples must be >= 1, got 0`;
///          `[drop_connect] x must have 512 features, got (8, 256)`.
torch::Tensor drop_connect_linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                                  const DropConnectOptions& options, bool training, Key key, int64_t first_row = 0);

/// Of drop_connect_conv2d: as a convolution's.
struct DropConnectConv2dGeometry {
  int64_t stride = 1, padding = 0, groups = 1;
};
/// The same for a convolution: x (N, C, H, W), weight (out, C / groups, kh, kw); draws as above with in = C / groups kh kw.
/// per_sample is one grouped convolution; one mask (the usual choice here) costs no more than a convolution.
torch::Tensor drop_connect_conv2d(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                                  const DropConnectConv2dGeometry& geometry, const DropConnectOptions& options,
                                  bool training, Key key, int64_t first_row = 0);

/// The layer. It owns no parameters: forward takes those of the linear layer or convolution that it stands for.
class DropConnectImpl : public torch::nn::Cloneable<DropConnectImpl>, public DropLayer {
 public:
  explicit DropConnectImpl(DropConnectOptions options = {});
  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias);
  torch::Tensor forward_conv(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                             const DropConnectConv2dGeometry& geometry);
  void reset() override {}
  void pretty_print(std::ostream& stream) const override;
  std::string_view stem() const override { return "drop_connect"; }
  double drop_rate() const override { return options.p; }
  void set_drop_rate(double p) override;

  DropConnectOptions options;
};
TORCH_MODULE(DropConnect);

}  // namespace ballast
