#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ballast/ensemble/metrics.h>

namespace ballast {

/// Quality of the mean probability of `size` members.
struct SizePoint {
  int64_t size = 0;
  Estimate accuracy, nll;
};

/// Quality against the number of members: over keyed orders of the members (200; fewer for large tables, at least 20), the
/// first `size` of each order. An order judges rows resampled as in bootstrap_quality(), so that the 95 % intervals hold what
/// members and rows vary; the value is the mean over orders on all rows. Order o is drawn with key.fold_in("orders").fold_in(o).
/// Errors   those of check_members(), check_scores(), check_labels().
std::vector<SizePoint> size_curve(std::span<const Predictions> members, std::span<const int32_t> label, Key key, int threads = 0);

}  // namespace ballast
