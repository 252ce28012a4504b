#include "ensemble_rule.h"

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
      usage_error("--weights must be uniform, fit, greedy, stack or numbers with commas, got \"" + std::string(text.substr(0, comma)) + "\"");
    }
    out.push_back(value);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return out;
}

bool fits_weights(const std::string& weights) { return weights == "fit" || weights == "greedy" || weights == "stack"; }

JsonValue json_numbers(const std::vector<double>& v) {
  JsonValue out = JsonValue::array();
  for (const double x : v) out.push_back(x);
  return out;
}
std::vector<double> numbers_from(const JsonValue& v) {
  std::vector<double> out;
  for (const JsonValue& x : v.elements()) out.push_back(x.number());
  return out;
}

}  // namespace

RoleLedger EnsembleRule::ledger(const EnsembleInput& input) const {
  RoleLedger out;
  for (const auto& [role, step] : used) out.use(role, step, input.of(role).row);
  return out;
}

Needs needs_of(const RuleFlags& flags) {
  return {.select = fits_weights(flags.weights), .calib = flags.member_temperature, .labels = fits_weights(flags.weights) || flags.member_temperature};
}

EnsembleRule make_rule(const EnsembleInput& input, const RuleFlags& flags, const MemberFlags& members) {
  EnsembleRule out;
  out.rule = parse_rule(flags.rule);
  const int threads = thread_count(members);
  const auto select = input.select.views();
  if (fits_weights(flags.weights)) {
    check<DataError>(input.select.size() > 0, "roles", "role select has no rows");
    out.used.emplace_back(DataRole::select, "the weights");
  }
  out.weights_from = fits_weights(flags.weights) || flags.weights == "uniform" ? flags.weights : "given";
  if (flags.weights == "fit") {
    out.weights = fit_weights(select, input.select.label, threads).weights;
  } else if (flags.weights == "greedy") {
    out.weights = greedy_select(select, input.select.label, {.key = Key(members.seed), .threads = threads}).weights;
  } else if (flags.weights == "stack") {
    if (flags.rule != "mean_probability") usage_error("--weights stack is a rule of its own; leave --rule out");
    out.stack = fit_stack(select, input.select.label, {.threads = threads});
  } else if (flags.weights != "uniform") {
    out.weights = numbers_of(flags.weights);
  }
  if (flags.member_temperature) {
    const auto calib = input.calib.views();
    for (const Predictions& m : calib) out.member_temperature.push_back(fit_temperature(m, input.calib.label, threads).value);
    out.used.emplace_back(DataRole::calib, "the members' temperatures");
  }
  return out;
}

Combined apply_rule(const EnsembleRule& rule, const RoleTable& rows, int threads) {
  const auto views = rows.views();
  if (rule.stack) return apply_stack(*rule.stack, views, threads);
  return combine(views, {.rule = rule.rule, .weights = rule.weights, .member_temperature = rule.member_temperature, .threads = threads});
}

std::vector<float> scores_of(const EnsembleRule& rule, const Combined& c, size_t members) {
  return calibration_scores(c, rule.stack ? Rule::mean_logit : rule.rule, members);
}

Combined tempered(const EnsembleRule& rule, const Combined& c, size_t members, int threads) {
  if (rule.temperature == 1) return c;
  const auto g = scores_of(rule, c, members);
  Combined out = c;
  out.probability = probabilities({g.data(), c.size(), c.k, true}, rule.temperature, threads);
  return out;
}

JsonValue rule_json(const EnsembleRule& rule, const EnsembleInput& input) {
  JsonValue out = JsonValue::object();
  out["format"] = 1;
  JsonValue members = JsonValue::array();
  for (size_t m = 0; m < input.id.size(); ++m) {
    JsonValue one = JsonValue::object();
    one["id"] = input.id[m];
    one["name"] = input.name[m];
    if (!rule.weights.empty()) one["weight"] = rule.weights[m];
    if (!rule.member_temperature.empty()) one["temperature"] = rule.member_temperature[m];
    members.push_back(std::move(one));
  }
  out["members"] = std::move(members);
  out["rule"] = to_string(rule.rule);
  out["weights_from"] = rule.weights_from;
  out["temperature"] = rule.temperature;
  if (rule.stack) {
    JsonValue s = JsonValue::object();
    s["form"] = rule.stack->form == StackForm::full ? "full" : "shared";
    s["lambda"] = rule.stack->lambda;
    s["k"] = rule.stack->k;
    s["weights"] = json_numbers(rule.stack->weights);
    s["bias"] = json_numbers(rule.stack->bias);
    out["stack"] = std::move(s);
  }
  JsonValue used = JsonValue::array();
  for (const auto& [role, step] : rule.used) {
    JsonValue one = JsonValue::object();
    one["role"] = to_string(role);
    one["step"] = step;
    used.push_back(std::move(one));
  }
  out["used"] = std::move(used);
  if (!input.classes.empty()) out["classes"] = JsonValue(input.classes);
  return out;
}

EnsembleRule rule_from_json(const JsonValue& json, const EnsembleInput& input) {
  EnsembleRule out;
  if (json.find("rule") == nullptr) return out;
  out.rule = parse_rule(json.at("rule").string());
  out.weights_from = json.string_or("weights_from", "uniform");
  out.temperature = json.number_or("temperature", 1);
  const auto& members = json.at("members").elements();
  bool same = members.size() == input.id.size();
  for (size_t m = 0; same && m < members.size(); ++m) same = members[m].at("id").integer() == input.id[m];
  check<DataError>(same, "ensemble", "members have changed since the rule was made; ballast ensemble combine ", input.folder.string(), " makes it anew");
  for (const JsonValue& m : members) {
    if (m.find("weight") != nullptr) out.weights.push_back(m.at("weight").number());
    if (m.find("temperature") != nullptr) out.member_temperature.push_back(m.at("temperature").number());
  }
  if (const JsonValue* s = json.find("stack"); s != nullptr) {
    Stack stack;
    stack.form = s->at("form").string() == "full" ? StackForm::full : StackForm::shared;
    stack.members = static_cast<int64_t>(members.size());
    stack.k = static_cast<int32_t>(s->at("k").integer());
    stack.lambda = s->at("lambda").number();
    stack.weights = numbers_from(s->at("weights"));
    stack.bias = numbers_from(s->at("bias"));
    out.stack = std::move(stack);
  }
  for (const JsonValue& u : json.at("used").elements()) out.used.emplace_back(parse_data_role(u.at("role").string()), u.at("step").string());
  return out;
}

}  // namespace ballast::cli
