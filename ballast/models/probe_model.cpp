#include <ballast/models/probe_model.h>

namespace ballast {

std::vector<std::string> may_be_zero_on_purpose(const Model& model) {
  const std::string& start = model.options().init;
  for (const char* probe : {"zeros", "constant", "normal"}) {
    if (start.rfind(probe, 0) == 0) return {};
  }
  std::vector<std::string> names;
  for (const auto& p : model.named_parameters()) {
    if (p.key().find("bias") == std::string::npos) names.push_back(p.key());
  }
  return names;
}

InitReport probe_model(Model& model, const torch::Tensor& x, const torch::Tensor& target, InitReportOptions options) {
  if (options.zero_on_purpose.empty()) options.zero_on_purpose = may_be_zero_on_purpose(model);
  return init_report(model, [&](const torch::Tensor& in) { return model.forward(in); }, x, target, options);
}

}  // namespace ballast
