#include <ballast/train/ensemble_file.h>

#include <algorithm>
#include <cmath>

#include <ballast/base/check.h>
#include <ballast/io/file.h>

namespace ballast {
namespace {

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

JsonValue stack_json(const Stack& stack) {
  JsonValue out = JsonValue::object();
  out["form"] = stack.form == StackForm::full ? "full" : "shared";
  out["lambda"] = stack.lambda;
  out["k"] = stack.k;
  out["weights"] = json_numbers(stack.weights);
  out["bias"] = json_numbers(stack.bias);
  return out;
}

Stack stack_from(const JsonValue& json, size_t members, const std::string& label) {
  Stack stack;
  stack.form = json.at("form").string() == "full" ? StackForm::full : StackForm::shared;
  stack.members = static_cast<int64_t>(members);
  stack.k = static_cast<int32_t>(json.at("k").integer());
  stack.lambda = json.at("lambda").number();
  stack.weights = numbers_from(json.at("weights"));
  stack.bias = numbers_from(json.at("bias"));
  const auto k = static_cast<size_t>(std::max(stack.k, 0));
  check<DataError>(
      stack.bias.size() == k &&
          stack.weights.size() == (stack.form == StackForm::full ? k * members * k : members),
      "ensemble", label, ": the stack's weights must fit ", members, " members and ", k,
      " classes, got ", stack.weights.size(), " and ", stack.bias.size(), " biases");
  return stack;
}

}  // namespace

Combined EnsembleRule::apply(std::span<const Predictions> members, int threads) const {
  if (stack) return apply_stack(*stack, members, threads);
  return combine(members, {.rule = rule,
                           .weights = weights,
                           .member_temperature = member_temperature,
                           .threads = threads});
}

std::vector<float> EnsembleRule::scores(const Combined& c, size_t members) const {
  return calibration_scores(c, stack ? Rule::mean_logit : rule, members);
}

Combined EnsembleRule::tempered(const Combined& c, size_t members, int threads) const {
  if (temperature == 1) return c;
  const auto g = scores(c, members);
  Combined out = c;
  out.probability = probabilities({g.data(), c.size(), c.k, true}, temperature, threads);
  return out;
}

JsonValue to_json(const EnsembleFile& file) {
  const EnsembleRule& rule = file.rule;
  JsonValue out = JsonValue::object();
  out["format"] = 1;
  JsonValue members = JsonValue::array();
  for (size_t m = 0; m < file.members.size(); ++m) {
    JsonValue one = JsonValue::object();
    one["id"] = file.members[m].id;
    one["name"] = file.members[m].name;
    if (!file.members[m].nets.empty()) one["nets"] = JsonValue(file.members[m].nets);
    if (!rule.weights.empty()) one["weight"] = rule.weights[m];
    if (!rule.member_temperature.empty()) one["temperature"] = rule.member_temperature[m];
    members.push_back(std::move(one));
  }
  out["members"] = std::move(members);
  out["rule"] = to_string(rule.rule);
  out["weights_from"] = rule.weights_from;
  out["temperature"] = rule.temperature;
  if (rule.stack) out["stack"] = stack_json(*rule.stack);
  JsonValue used = JsonValue::array();
  for (const auto& [role, step] : rule.used) {
    JsonValue one = JsonValue::object();
    one["role"] = to_string(role);
    one["step"] = step;
    used.push_back(std::move(one));
  }
  out["used"] = std::move(used);
  if (!file.classes.empty()) out["classes"] = JsonValue(file.classes);
  return out;
}

EnsembleFile ensemble_from_json(const JsonValue& json, const std::string& label) {
  EnsembleFile out;
  EnsembleRule& rule = out.rule;
  const auto& members = json.at("members").elements();
  for (const JsonValue& m : members) {
    EnsembleMember one{.id = m.at("id").integer(), .name = m.at("name").string(), .nets = {}};
    if (const JsonValue* nets = m.find("nets"); nets != nullptr) {
      for (const JsonValue& net : nets->elements()) one.nets.push_back(net.string());
    }
    if (m.find("weight") != nullptr) rule.weights.push_back(m.at("weight").number());
    if (m.find("temperature") != nullptr)
      rule.member_temperature.push_back(m.at("temperature").number());
    out.members.push_back(std::move(one));
  }
  for (const auto* list : {&rule.weights, &rule.member_temperature}) {
    check<DataError>(list->empty() || list->size() == members.size(), "ensemble", label,
                     ": weights and temperatures must be of all members or of none");
  }
  rule.rule = parse_rule(json.at("rule").string());
  rule.weights_from = json.string_or("weights_from", "uniform");
  rule.temperature = json.number_or("temperature", 1);
  check<DataError>(std::isfinite(rule.temperature) && rule.temperature > 0, "ensemble", label,
                   ": temperature must be above 0, got ", rule.temperature);
  if (const JsonValue* s = json.find("stack"); s != nullptr)
    rule.stack = stack_from(*s, members.size(), label);
  for (const JsonValue& u : json.at("used").elements()) {
    rule.used.emplace_back(parse_data_role(u.at("role").string()), u.at("step").string());
  }
  if (const JsonValue* classes = json.find("classes"); classes != nullptr) {
    for (const JsonValue& c : classes->elements()) out.classes.push_back(c.string());
  }
  return out;
}

EnsembleFile read_ensemble_file(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "ensemble.json";
  std::error_code error;
  check<DataError>(std::filesystem::exists(file, error), "ensemble", folder.string(),
                   ": there is no ensemble.json in it; ballast ensemble combine ", folder.string(),
                   " makes it");
  return ensemble_from_json(parse_json(read_text_file(file, 1 << 26), file.string()),
                            file.string());
}

bool is_ensemble_folder(const std::filesystem::path& folder) {
  std::error_code error;
  return std::filesystem::exists(folder / "ensemble.json", error) ||
         std::filesystem::exists(folder / "plan.json", error);
}

}  // namespace ballast
