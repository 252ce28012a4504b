#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ballast/report/page.h>
#include <ballast/report/svg_chart.h>

namespace ballast {

/// A value with its 95 % interval.
struct PageValue {
  double value = kNone, low = kNone, high = kNone;
};

struct EnsemblePageRow {
  std::string name;
  PageValue accuracy, nll, ece, brier;
  double weight = kNone;
  double temperature = kNone;
  std::string verdict = {};  ///< keep, can go, harmful; or empty
  bool combined = false;
};

struct EnsemblePageSize {
  int64_t size = 0;
  PageValue accuracy, nll;
};

struct EnsemblePagePair {
  int64_t i = 0, j = 0;
  double disagreement = 0, kappa = 0, q = 0, double_fault = 0;
};

/// A row over which members disagree.
struct EnsemblePageDispute {
  PagePicture picture;            ///< without bytes: only its name is shown
  std::string truth, answer;      ///< of the ensemble
  double confidence = kNone;      ///< in `answer`
  struct Vote {
    std::string answer;
    double confidence = kNone;
  };
  std::vector<Vote> votes = {};   ///< one per member, in their order
  double information = 0;         ///< H(mean p) - mean H(p_m), nats
};

/// What the page of an ensemble shows; all figures are of one role.
struct EnsemblePage {
  std::string title, lead;
  std::vector<std::string> notes = {};      ///< warnings
  std::vector<EnsemblePageRow> rows = {};   ///< members, then what they are combined to
  std::vector<EnsemblePageSize> sizes = {};
  std::vector<std::string> members = {};    ///< names, of the pairs' numbers
  std::vector<EnsemblePagePair> pairs = {};
  std::vector<std::pair<std::string, std::string>> group = {};  ///< measure, value
  std::vector<ReliabilityBin> before = {}, after = {};               ///< of the combination, without and with its temperature
  std::vector<EnsemblePageDispute> disputes = {};               ///< the most disputed first
  std::string disputes_note = {};                               ///< why there are no pictures of them
  double temperature = 1, ece_before = kNone, ece_after = kNone;
  std::string perfect = {};                 ///< "0.6 +- 0.1 %": the ECE of perfect probabilities
};

/// One file that needs no network and no script.
/// Errors   std::invalid_argument without rows.
std::string ensemble_page(const EnsemblePage& page);

}  // namespace ballast
