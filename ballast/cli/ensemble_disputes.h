#pragma once

#include <ballast/ensemble/combine.h>
#include <ballast/report/ensemble_page.h>

#include "ensemble_input.h"

namespace ballast::cli {

/// Fills page.disputes: at most 24 rows of role test on which members give different answers, those
/// of the highest mutual information first, with their pictures where the data of the first
/// member's run is there and is what it was; else with the reason. `combined`: what the ensemble
/// says of these rows.
void add_disputes(EnsemblePage& page, const EnsembleInput& input, const Combined& combined,
                  int threads);

}  // namespace ballast::cli
