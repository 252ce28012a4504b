#include "ensemble_plan.h"

#include <ballast/base/check.h>
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

std::filesystem::path member_folder(const std::filesystem::path& ensemble, const PlannedMember& member) {
  const std::filesystem::path path = member.folder;
  return path.is_absolute() ? path : ensemble / path;
}

}  // namespace ballast::cli
