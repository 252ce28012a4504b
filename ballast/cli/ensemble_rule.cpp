#include "ensemble_rule.h"

#include <algorithm>
#include <charconv>

#include <ballast/base/check.h>
#include <ballast/ensemble/weights.h>

namespace ballast::cli {
namespace {

std::vector<double> numbers_of(std::string_view text) {
  std::vector<double> out;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + comma, value);
    if (error != std::errc() || end != text.data() + comma) {
      usage_error("--weights must be uniform, fit, greedy, stack or numbers with commas, got \"" +
                  std::string(text.substr(0, comma)) + "\"");
    }
    out.push_back(value);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return out;
}

bool fits_weights(const std::string& weights) {
  return weights == "fit" || weights == "greedy" || weights == "stack";
}

}  // namespace

RoleLedger ledger_of(const EnsembleRule& rule, const EnsembleInput& input) {
  RoleLedger out;
  for (const auto& [role, step] : rule.used) out.use(role, step, input.of(role).row);
  return out;
}

Needs needs_of(const RuleFlags& flags) {
  return {.select = fits_weights(flags.weights),
          .calib = flags.member_temperature,
          .labels = fits_weights(flags.weights) || flags.member_temperature};
}

EnsembleRule make_rule(const EnsembleInput& input, const RuleFlags& flags,
                       const MemberFlags& members) {
  EnsembleRule out;
  out.rule = parse_rule(flags.rule);
  const int threads = thread_count(members);
  const auto select = input.select.views();
  if (fits_weights(flags.weights)) {
    check<DataError>(input.select.size() > 0, "roles", "role select has no rows");
    out.used.emplace_back(DataRole::select, "the weights");
  }
  out.weights_from =
      fits_weights(flags.weights) || flags.weights == "uniform" ? flags.weights : "given";
  if (flags.weights == "fit") {
    out.weights = fit_weights(select, input.select.label, threads).weights;
  } else if (flags.weights == "greedy") {
    out.weights =
        greedy_select(select, input.select.label, {.key = Key(members.seed), .threads = threads})
            .weights;
  } else if (flags.weights == "stack") {
    if (flags.rule != "mean_probability")
      usage_error("--weights stack is a rule of its own; leave --rule out");
    out.stack = fit_stack(select, input.select.label, {.threads = threads});
  } else if (flags.weights != "uniform") {
    out.weights = numbers_of(flags.weights);
  }
  if (flags.member_temperature) {
    const auto calib = input.calib.views();
    for (const Predictions& m : calib)
      out.member_temperature.push_back(fit_temperature(m, input.calib.label, threads).value);
    out.used.emplace_back(DataRole::calib, "the members' temperatures");
  }
  return out;
}

Combined apply_rule(const EnsembleRule& rule, const RoleTable& rows, int threads) {
  return rule.apply(rows.views(), threads);
}

JsonValue rule_json(const EnsembleRule& rule, const EnsembleInput& input) {
  EnsembleFile out{.rule = rule, .members = {}, .classes = input.classes};
  for (size_t m = 0; m < input.id.size(); ++m) {
    out.members.push_back(
        {.id = input.id[m],
         .name = input.name[m],
         .nets = input.nets.empty() ? std::vector<std::string>() : input.nets[m]});
  }
  return to_json(out);
}

EnsembleRule rule_from_json(const JsonValue& json, const EnsembleInput& input) {
  if (json.find("rule") == nullptr) return {};
  const EnsembleFile file = ensemble_from_json(json, (input.folder / "ensemble.json").string());
  check<DataError>(std::ranges::equal(file.members, input.id, {}, &EnsembleMember::id), "ensemble",
                   "members have changed since the rule was made; ballast ensemble combine ",
                   input.folder.string(), " makes it anew");
  return file.rule;
}

}  // namespace ballast::cli
