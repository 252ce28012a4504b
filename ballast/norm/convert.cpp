#include <ballast/norm/convert.h>

#include <ballast/base/check.h>
#include <ballast/norm/reestimate.h>

namespace ballast {
namespace {

void collect(torch::nn::Module& module, const std::string& name, std::vector<std::pair<std::string, NormImpl*>>& norms) {
  if (auto* norm = dynamic_cast<NormImpl*>(&module)) {
    norms.emplace_back(name, norm);
    return;
  }
  for (const auto& child : module.named_children()) {
    collect(*child.value(), name.empty() ? child.key() : name + '.' + child.key(), norms);
  }
}

std::map<std::string, torch::Tensor> tensors_of(const NormImpl& norm) {
  std::map<std::string, torch::Tensor> all;
  for (const auto& p : norm.named_parameters()) all.emplace(p.key(), p.value());
  for (const auto& b : norm.named_buffers()) all.emplace(b.key(), b.value());
  return all;
}

// As far as the norm's own mode goes.
bool is_same_function(const NormImpl& norm, NormKind to) {
  const NormKind from = norm.options.kind;
  const auto one_batch = [](NormKind kind) { return kind == NormKind::batch || kind == NormKind::sync; };
  if (from == to) return true;
  if (one_batch(from) && one_batch(to)) return true;
  const bool reads_running = !norm.is_training() || from == NormKind::frozen;
  const auto running = [&](NormKind kind) { return one_batch(kind) || kind == NormKind::split || kind == NormKind::frozen; };
  return reads_running && !norm.is_training() && running(from) && running(to);
}

NormOptions options_for(const NormOptions& own, const NormOptions& wanted) {
  NormOptions to = wanted;
  to.channels = own.channels;
  to.act = own.act;
  to.act_a = own.act_a;
  to.channel_dim = own.channel_dim;
  to.overwrite_input = own.overwrite_input;
  return Norm(to)->options;  // with groups 0 resolved, and checked
}

}  // namespace

ConvertReport convert_norm_(torch::nn::Module& model, const NormOptions& wanted,
                            const std::function<bool(const std::string& name)>& filter) {
  detail::check_ballast_norms("convert", model);
  std::vector<std::pair<std::string, NormImpl*>> norms;
  collect(model, "", norms);
  ConvertReport report;
  std::vector<NormImpl*> chosen;
  for (const auto& [name, norm] : norms) {
    if (norm->options.kind == NormKind::none || (filter && !filter(name))) continue;
    ConvertRow row;
    row.name = name;
    row.from = norm->options;
    row.to = options_for(norm->options, wanted);
    row.same_function = is_same_function(*norm, row.to.kind);
    row.note = row.same_function ? "same function" : "needs training";
    row.training = norm->is_training();
    report.rows.push_back(std::move(row));
    chosen.push_back(norm);
  }
  for (size_t i = 0; i < chosen.size(); ++i) {
    ConvertRow& row = report.rows[i];
    row.waiting = tensors_of(*chosen[i]);
    chosen[i]->become(row.to);
    for (const auto& [name, tensor] : tensors_of(*chosen[i])) row.waiting.erase(name);
  }
  return report;
}

void restore_norm_(torch::nn::Module& model, const ConvertReport& report) {
  std::vector<std::pair<std::string, NormImpl*>> norms;
  collect(model, "", norms);
  check(report.rows.size() <= norms.size(), "convert", "report must belong to this model, got ", report.rows.size(),
        " rows for ", norms.size(), " norms");
  std::vector<NormImpl*> found;
  for (const ConvertRow& row : report.rows) {
    NormImpl* match = nullptr;
    for (const auto& [name, norm] : norms) {
      if (name == row.name && norm->options.channels == row.from.channels) match = norm;
    }
    check(match != nullptr, "convert", "report must belong to this model, got no norm ", row.name);
    found.push_back(match);
  }
  for (size_t i = 0; i < found.size(); ++i) {
    found[i]->become(report.rows[i].from, report.rows[i].waiting);
    found[i]->train(report.rows[i].training);
  }
}

}  // namespace ballast
