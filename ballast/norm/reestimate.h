#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace ballast {

/// Options of reestimate.
struct ReestimateOptions {
  /// Batches taken at most, >= 1.
  int64_t max_batches = 200;
};

/// Precise batch norm: running statistics computed anew over many batches with the present weights, in the place of the
/// moving averages of training.
///
///   mean = sum m u / sum m,   var = sum m (v + (u - mean)^2) / sum m,   stored times M / (M - 1), M = sum m
///
/// over batches of count m, mean u and biased variance v of each channel; merged in double. The model runs in evaluation
/// mode with its batch norms (BatchNorm, and Norm of kind batch, sync or split's main norm) normalizing by the batch;
/// nothing is learned, and modes, momentum and num_batches_tracked stay. Frozen norms are left alone. forward must run in
/// this thread. Returns the number of batches taken; a model without running statistics takes none, and returns 0.
///
/// Source   Wu and Johnson 2021, arXiv:2105.07576.
/// Not      PyTorch's update_bn, which averages the batches' variances and loses the variance of their means.
/// Errors   std::invalid_argument `[reestimate] at least 1 batch is needed, got 0`; `[reestimate] model must hold ballast
///          norms, got torch::nn::BatchNorm2d at bn1`; `[reestimate] max_batches must be >= 1, got 0`; what forward throws,
///          with nothing changed.
int64_t reestimate(torch::nn::Module& model, const std::function<torch::Tensor(const torch::Tensor&)>& forward,
                   const std::function<std::optional<torch::Tensor>()>& next_batch, const ReestimateOptions& options = {});

/// How far the running statistics of a layer are from those that reestimate would store, over its channels.
struct NormDrift {
  std::string layer;  ///< "layer1.0.bn1"
  /// sqrt(mean (mean_c - running_mean_c)^2 / (running_var_c + eps)), eps 1e-5: in standard deviations. 0: none.
  double shift = 0;
  /// exp(sqrt(mean log^2(std_c / running_std_c))), std = sqrt(var + eps): the factor between them. 1: none.
  double scale = 1;
};

/// Measures that and changes nothing: what evaluation by running statistics assumes against what the present weights make
/// of these batches. Layers in the order of execution; those without running statistics or without a value are left out.
///
/// Modes, options and errors: reestimate's.
std::vector<NormDrift> norm_drift(torch::nn::Module& model,
                                  const std::function<torch::Tensor(const torch::Tensor&)>& forward,
                                  const std::function<std::optional<torch::Tensor>()>& next_batch,
                                  const ReestimateOptions& options = {});

namespace detail {
/// Throws `[stem] model must hold ballast norms, got torch::nn::BatchNorm2d at bn1` if the model has one of LibTorch's.
void check_ballast_norms(const char* stem, const torch::nn::Module& model);
}  // namespace detail

}  // namespace ballast
