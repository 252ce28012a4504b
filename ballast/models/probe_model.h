#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include <ballast/models/model.h>
#include <ballast/probe/init_report.h>

namespace ballast {

/// Parameters of a model that may start at 0 by design: all but biases. None where the start was asked for to be
/// looked at (zeros, constant, normal).
std::vector<std::string> may_be_zero_on_purpose(const Model& model);

/// init_report() of a model of the catalog; zeros on purpose are known from its start.
InitReport probe_model(Model& model, const torch::Tensor& x, const torch::Tensor& target, InitReportOptions options = {});

}  // namespace ballast
