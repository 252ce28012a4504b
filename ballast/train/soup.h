#pragma once

// No torch in this header.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace ballast {

struct RunEvents;

/// Options of make_soup.
struct SoupOptions {
  /// Ingredients by their own NLL, best first: each stays if the NLL of the average does not rise
  /// with it. false: all.
  bool greedy = false;
  /// NLL of the average less the mean NLL of its ingredients, nats: above it the average is
  /// refused.
  double max_barrier = 0.05;
  int64_t batch_size = 256;
  int threads = 0;   ///< 0: auto
  int workers = -1;  ///< -1: auto
  std::string device = "auto";
};

struct SoupResult {
  std::vector<double> nll;   ///< of each ingredient alone
  std::vector<size_t> kept;  ///< ingredients of the soup, in the order they were added
  double soup_nll = 0;
  double barrier = 0;  ///< soup_nll less the mean NLL of those kept
  std::string split;   ///< hold or val: the rows of all these
  int64_t rows = 0;
};

/// Averages the weights of models of one architecture and writes the average as a model folder.
///
///   w = mean_m w_m;   statistics of batch norm: estimated anew over the training part with the
///   averaged weights
///
/// Data     that of the first model's run: NLL on `hold` where the run has one, else on `val`.
/// Source   Wortsman et al. 2022, arXiv:2203.05482. Nets from different seeds do not share a
///          basin; fine-tunings of one net and checkpoints of one run do.
/// Not      an ensemble: one net, at the cost of one.
/// Errors   std::invalid_argument `[soup] members must have one architecture, got lenet and
///          mlp:1x16`, `[soup] members must
///          share a basin, barrier is 1.83 nats`; DataError as load_saved_model.
SoupResult make_soup(const std::vector<std::filesystem::path>& models,
                     const std::filesystem::path& out, const SoupOptions& options,
                     RunEvents& events);

}  // namespace ballast
