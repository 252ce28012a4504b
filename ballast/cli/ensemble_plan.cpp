#include "ensemble_plan.h"

#include <algorithm>
#include <charconv>

#include <ballast/base/check.h>
#include <ballast/base/key.h>
#include <ballast/io/file.h>
#include <ballast/io/json.h>

#include "command.h"

namespace ballast::cli {
namespace {

namespace fs = std::filesystem;
using Pairs = std::vector<std::pair<std::string, std::string>>;

JsonValue pairs_json(const Pairs& pairs) {
  JsonValue out = JsonValue::object();
  for (const auto& [key, value] : pairs) out[key] = value;
  return out;
}
Pairs pairs_from(const JsonValue* json) {
  Pairs out;
  if (json != nullptr) {
    for (const auto& [key, value] : json->members()) out.emplace_back(key, value.string());
  }
  return out;
}

std::string number(int64_t id) {
  const std::string text = std::to_string(id);
  return std::string(text.size() < 3 ? 3 - text.size() : 0, '0') + text;
}

TrainingPlan training_from(const JsonValue& json) {
  TrainingPlan out;
  out.seed = json.at("seed").unsigned_integer();
  out.threads = json.at("threads").integer();
  for (const JsonValue& v : json.at("vary").elements()) out.vary.push_back(v.string());
  out.vary_mode = json.at("vary_mode").string();
  out.bag = json.at("bag").string();
  if (const JsonValue* share = json.find("share"); share != nullptr) {
    for (const JsonValue& v : share->elements()) out.share.push_back(v.string());
  }
  out.common = pairs_from(&json.at("common"));
  return out;
}

JsonValue training_json(const TrainingPlan& plan) {
  JsonValue out = JsonValue::object();
  out["seed"] = plan.seed;
  out["threads"] = plan.threads;
  out["vary"] = JsonValue(plan.vary);
  out["vary_mode"] = plan.vary_mode;
  out["bag"] = plan.bag;
  if (!plan.share.empty()) out["share"] = JsonValue(plan.share);
  out["common"] = pairs_json(plan.common);
  return out;
}

}  // namespace

bool has_plan(const fs::path& folder) {
  std::error_code error;
  return fs::exists(folder / "plan.json", error);
}

EnsemblePlan read_plan(const fs::path& folder) {
  const auto file = folder / "plan.json";
  check<DataError>(has_plan(folder), "ensemble", folder.string(),
                   ": no ensemble: there is no plan.json in it");
  const JsonValue json = parse_json(read_text_file(file, 1 << 26), file.string());
  EnsemblePlan plan;
  if (const JsonValue* training = json.find("training"); training != nullptr)
    plan.training = training_from(*training);
  for (const JsonValue& m : json.at("members").elements()) {
    PlannedMember one;
    one.id = m.at("id").integer();
    one.name = m.at("name").string();
    one.folder = m.at("folder").string();
    one.retired = m.find("retired") != nullptr;
    one.lost = m.find("lost") != nullptr;
    if (m.find("lowered") != nullptr) one.lowered = m.at("lowered").integer();
    if (m.find("seed") != nullptr) one.seed = m.at("seed").unsigned_integer();
    if (m.find("folds") != nullptr) one.folds = m.at("folds").integer();
    one.predictions = m.string_or("predictions", "");
    one.recipe = pairs_from(m.find("recipe"));
    plan.members.push_back(std::move(one));
  }
  return plan;
}

void write_plan(const fs::path& folder, const EnsemblePlan& plan) {
  JsonValue members = JsonValue::array();
  for (const PlannedMember& m : plan.members) {
    JsonValue one = JsonValue::object();
    one["id"] = m.id;
    one["name"] = m.name;
    one["folder"] = m.folder;
    if (m.retired) one["retired"] = true;
    if (m.lost) one["lost"] = true;
    if (m.lowered > 0) one["lowered"] = m.lowered;
    if (m.seed) one["seed"] = *m.seed;
    if (m.folds > 0) one["folds"] = m.folds;
    if (!m.predictions.empty()) one["predictions"] = m.predictions;
    if (!m.recipe.empty()) one["recipe"] = pairs_json(m.recipe);
    members.push_back(std::move(one));
  }
  JsonValue json = JsonValue::object();
  json["format"] = 1;
  if (plan.training) json["training"] = training_json(*plan.training);
  json["members"] = std::move(members);
  write_file_atomic(folder / "plan.json", json.text(2) + "\n");
}

fs::path member_folder(const fs::path& ensemble, const PlannedMember& member) {
  const fs::path path = member.folder;
  return path.is_absolute() ? path : ensemble / path;
}

std::vector<fs::path> member_runs(const fs::path& ensemble, const PlannedMember& member) {
  const fs::path folder = member_folder(ensemble, member);
  if (member.folds == 0) return {folder};
  std::vector<fs::path> out;
  for (int64_t f = 0; f < member.folds; ++f) out.push_back(folder / ("fold-" + std::to_string(f)));
  return out;
}

std::vector<fs::path> prediction_folders(const fs::path& ensemble, const PlannedMember& member) {
  if (!member.predictions.empty()) return {ensemble / member.predictions};
  std::vector<fs::path> out;
  for (const fs::path& run : member_runs(ensemble, member)) out.push_back(run / "predictions");
  return out;
}

uint64_t net_seed(const PlannedMember& member, int64_t fold) {
  const uint64_t seed = member.seed.value_or(0);
  return member.folds == 0 ? seed
                           : Key(seed).fold_in("fold").fold_in(static_cast<uint64_t>(fold)).bits();
}

bool is_finished(const fs::path& run) {
  std::error_code error;
  return fs::exists(run / "predictions" / "test.safetensors", error);
}

bool is_finished(const fs::path& ensemble, const PlannedMember& member) {
  std::error_code error;
  return std::ranges::all_of(prediction_folders(ensemble, member), [&](const fs::path& folder) {
    return fs::exists(folder / "test.safetensors", error);
  });
}

std::vector<std::string> join_vary(const std::vector<std::string>& parts) {
  std::vector<std::string> out;
  for (const std::string& part : parts) {
    const size_t equal = part.find('=');
    const bool key = equal != std::string::npos &&
                     part.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_.-") >= equal;
    if (key || out.empty()) {
      out.push_back(part);
    } else {
      out.back() += "," + part;
    }
  }
  return out;
}

std::pair<std::string, std::vector<std::string>> parse_vary(const std::string& text,
                                                            const OptionTable& table) {
  const size_t equal = text.find('=');
  const auto wrong = [&] { usage_error("--vary must be KEY=VALUE,VALUE, got \"" + text + "\""); };
  if (equal == std::string::npos || equal == 0) wrong();
  std::pair<std::string, std::vector<std::string>> out{text.substr(0, equal), {}};
  for (const OptionRow& row : table.rows()) {
    const auto flags = row.flags();
    if (std::ranges::count(flags, "--" + out.first) > 0) out.first = row.key;
  }
  std::string rest = text.substr(equal + 1);
  while (true) {
    const size_t comma = rest.find(',');
    out.second.push_back(rest.substr(0, comma));
    if (out.second.back().empty()) wrong();
    if (comma == std::string::npos) return out;
    rest = rest.substr(comma + 1);
  }
}

void plan_members(EnsemblePlan& plan, int64_t count, const OptionTable& table) {
  const TrainingPlan& training = plan.training.value();
  std::vector<std::pair<std::string, std::vector<std::string>>> levels;
  for (const std::string& text : training.vary) levels.push_back(parse_vary(text, table));
  int64_t next = 0;
  for (const PlannedMember& m : plan.members) next = std::max(next, m.id + 1);
  for (int64_t i = 0; i < count; ++i) {
    PlannedMember m;
    m.id = next + i;
    m.name = number(m.id);
    m.folder = "members/" + m.name;
    m.seed = Key(training.seed).fold_in("member").fold_in(static_cast<uint64_t>(m.id)).bits();
    if (training.bag.starts_with("folds:")) m.folds = std::stoll(training.bag.substr(6));
    std::vector<std::string> chosen(levels.size());
    auto rest = static_cast<size_t>(m.id);
    for (size_t l = levels.size(); l-- > 0;) {
      const auto& values = levels[l].second;
      size_t at = static_cast<size_t>(m.id) % values.size();
      if (training.vary_mode == "grid") {
        at = rest % values.size();
        rest /= values.size();
      } else if (training.vary_mode == "random") {
        at = slot_below(Key(*m.seed).fold_in("vary"), static_cast<uint32_t>(l), values.size());
      }
      chosen[l] = values[at];
    }
    for (size_t l = 0; l < levels.size(); ++l) {
      m.recipe.emplace_back(levels[l].first, chosen[l]);
      m.name += " " + chosen[l];
    }
    plan.members.push_back(std::move(m));
  }
}

}  // namespace ballast::cli
