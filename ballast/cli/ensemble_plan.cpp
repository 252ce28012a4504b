#include "ensemble_plan.h"

#include <algorithm>

#include <ballast/base/check.h>
#include <ballast/base/key.h>
#include <ballast/io/file.h>

namespace ballast::cli {
namespace {

JsonValue pairs_json(const std::vector<std::pair<std::string, std::string>>& pairs) {
  JsonValue out = JsonValue::object();
  for (const auto& [key, value] : pairs) out[key] = value;
  return out;
}
std::vector<std::pair<std::string, std::string>> pairs_from(const JsonValue& json) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& [key, value] : json.members()) out.emplace_back(key, value.string());
  return out;
}

std::string number(int64_t id) {
  std::string text = std::to_string(id);
  return std::string(text.size() < 3 ? 3 - text.size() : 0, '0') + text;
}

}  // namespace

bool has_plan(const std::filesystem::path& folder) {
  std::error_code error;
  return std::filesystem::exists(folder / "plan.json", error);
}

EnsemblePlan read_plan(const std::filesystem::path& folder) {
  const auto file = folder / "plan.json";
  check<DataError>(has_plan(folder), "ensemble", folder.string(), ": no ensemble: there is no plan.json in it");
  const JsonValue json = parse_json(read_text_file(file, 1 << 26), file.string());
  EnsemblePlan plan;
  plan.seed = json.at("seed").unsigned_integer();
  plan.threads = json.at("threads").integer();
  plan.common = pairs_from(json.at("common"));
  for (const JsonValue& m : json.at("members").elements()) {
    PlannedMember one;
    one.id = m.at("id").integer();
    one.name = m.at("name").string();
    one.folder = m.at("folder").string();
    one.adopted = m.find("adopted") != nullptr;
    one.retired = m.find("retired") != nullptr;
    if (m.find("seed") != nullptr) one.seed = m.at("seed").unsigned_integer();
    if (const JsonValue* recipe = m.find("recipe"); recipe != nullptr) one.recipe = pairs_from(*recipe);
    plan.members.push_back(std::move(one));
  }
  return plan;
}

void write_plan(const std::filesystem::path& folder, const EnsemblePlan& plan) {
  JsonValue json = JsonValue::object();
  json["format"] = 1;
  json["seed"] = plan.seed;
  json["threads"] = plan.threads;
  json["common"] = pairs_json(plan.common);
  JsonValue members = JsonValue::array();
  for (const PlannedMember& m : plan.members) {
    JsonValue one = JsonValue::object();
    one["id"] = m.id;
    one["name"] = m.name;
    one["folder"] = m.folder;
    if (m.adopted) {
      one["adopted"] = true;
    } else {
      one["seed"] = m.seed;
    }
    if (m.retired) one["retired"] = true;
    if (!m.recipe.empty()) one["recipe"] = pairs_json(m.recipe);
    members.push_back(std::move(one));
  }
  json["members"] = std::move(members);
  write_file_atomic(folder / "plan.json", json.text(2) + "\n");
}

std::pair<std::string, std::vector<std::string>> parse_vary(const std::string& text) {
  const size_t equal = text.find('=');
  check(equal != std::string::npos && equal > 0 && equal + 1 < text.size(), "ensemble", "--vary must be KEY=VALUE,VALUE, got \"", text, "\"");
  std::pair<std::string, std::vector<std::string>> out{text.substr(0, equal), {}};
  std::string rest = text.substr(equal + 1);
  while (true) {
    const size_t comma = rest.find(',');
    out.second.push_back(rest.substr(0, comma));
    check(!out.second.back().empty(), "ensemble", "--vary must be KEY=VALUE,VALUE, got \"", text, "\"");
    if (comma == std::string::npos) return out;
    rest = rest.substr(comma + 1);
  }
}

void plan_members(EnsemblePlan& plan, int64_t count, const std::vector<std::string>& vary, const std::string& mode) {
  std::vector<std::pair<std::string, std::vector<std::string>>> levels;
  for (const std::string& text : vary) levels.push_back(parse_vary(text));
  int64_t next = 0;
  for (const PlannedMember& m : plan.members) next = std::max(next, m.id + 1);
  for (int64_t i = 0; i < count; ++i) {
    PlannedMember m;
    m.id = next + i;
    m.folder = "members/" + number(m.id);
    m.seed = Key(plan.seed).fold_in("member").fold_in(static_cast<uint64_t>(m.id)).bits();
    m.name = number(m.id);
    auto rest = static_cast<size_t>(i);
    std::vector<std::string> chosen(levels.size());
    for (size_t l = levels.size(); l-- > 0;) {
      const auto& values = levels[l].second;
      chosen[l] = values[mode == "grid" ? rest % values.size() : static_cast<size_t>(i) % values.size()];
      rest /= values.size();
    }
    for (size_t l = 0; l < levels.size(); ++l) {
      m.recipe.emplace_back(levels[l].first, chosen[l]);
      m.name += " " + chosen[l];
    }
    plan.members.push_back(std::move(m));
  }
}

std::filesystem::path member_folder(const std::filesystem::path& ensemble, const PlannedMember& member) {
  const std::filesystem::path path = member.folder;
  return path.is_absolute() ? path : ensemble / path;
}

}  // namespace ballast::cli
