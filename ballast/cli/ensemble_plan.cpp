#include "ensemble_plan.h"

#include <ballast/base/check.h>
#include <ballast/io/file.h>
#include <ballast/io/json.h>

namespace ballast::cli {

bool has_plan(const std::filesystem::path& folder) {
  std::error_code error;
  return std::filesystem::exists(folder / "plan.json", error);
}

EnsemblePlan read_plan(const std::filesystem::path& folder) {
  const auto file = folder / "plan.json";
  check<DataError>(has_plan(folder), "ensemble", folder.string(), ": no ensemble: there is no plan.json in it");
  const JsonValue json = parse_json(read_text_file(file, 1 << 26), file.string());
  EnsemblePlan plan;
  for (const JsonValue& m : json.at("members").elements()) {
    plan.members.push_back({.id = m.at("id").integer(), .name = m.at("name").string(), .folder = m.at("folder").string(),
                            .retired = m.find("retired") != nullptr});
  }
  return plan;
}

void write_plan(const std::filesystem::path& folder, const EnsemblePlan& plan) {
  JsonValue members = JsonValue::array();
  for (const PlannedMember& m : plan.members) {
    JsonValue one = JsonValue::object();
    one["id"] = m.id;
    one["name"] = m.name;
    one["folder"] = m.folder;
    if (m.retired) one["retired"] = true;
    members.push_back(std::move(one));
  }
  JsonValue json = JsonValue::object();
  json["format"] = 1;
  json["members"] = std::move(members);
  write_file_atomic(folder / "plan.json", json.text(2) + "\n");
}

std::filesystem::path member_folder(const std::filesystem::path& ensemble, const PlannedMember& member) {
  const std::filesystem::path path = member.folder;
  return path.is_absolute() ? path : ensemble / path;
}

bool is_finished(const std::filesystem::path& run) {
  std::error_code error;
  return std::filesystem::exists(run / "predictions" / "test.safetensors", error);
}

}  // namespace ballast::cli
