#pragma once

#include <string>
#include <vector>

#include <ballast/report/run_record.h>

namespace ballast {

/// What a learning-rate range test found.
struct LrPage {
  std::string model = {};                 ///< "resnet8_wide"
  std::string lead = {};                  ///< what was tried, in a sentence
  std::vector<double> lr = {}, loss = {}, smoothed = {};
  double steepest = kNone, min_tenth = kNone;
  std::string end = {};                   ///< why it ended
};

/// One HTML file without network or script: the curve with the suggestions marked, and the numbers.
/// Throws std::invalid_argument unless lr, loss and smoothed have one length, at least 1.
std::string lr_page(const LrPage& page);

}  // namespace ballast
