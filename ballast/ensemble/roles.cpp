#include <ballast/ensemble/roles.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include <ballast/base/check.h>

namespace ballast {
namespace {
constexpr std::array<std::string_view, 5> kNames = {"train", "stop", "select", "calib", "test"};
}

std::string_view to_string(DataRole role) { return kNames[static_cast<size_t>(role)]; }

DataRole parse_data_role(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<DataRole>(i);
  }
  fail("roles", "role must be one of train, stop, select, calib, test, got \"", name, "\"");
}

void RoleLedger::use(DataRole role, std::string step, std::span<const uint64_t> rows) {
  uses_.push_back({role, std::move(step), {rows.begin(), rows.end()}});
  std::ranges::sort(uses_.back().rows);
}

void RoleLedger::check_unused(DataRole role, std::span<const uint64_t> rows) const {
  for (const Use& u : uses_) {
    const auto used = std::ranges::count_if(rows, [&](uint64_t id) { return std::ranges::binary_search(u.rows, id); });
    check<DataError>(used == 0, "roles", to_string(role), " must not read rows used before: ", used, " of ", rows.size(),
                     " were used by \"", to_string(u.role), "\" for ", u.step);
  }
}

RoleParts draw_roles(std::span<const int32_t> label, double select, double calib, Key key) {
  check(select >= 0 && calib >= 0 && select + calib < 1, "roles", "shares must be >= 0 and sum to less than 1, got select ", select,
        " and calib ", calib);
  std::map<int32_t, std::vector<size_t>> of_class;
  for (size_t i = 0; i < label.size(); ++i) of_class[label[i]].push_back(i);
  RoleParts out;
  for (const auto& [c, rows] : of_class) {
    const Permutation order(key.fold_in(static_cast<uint64_t>(c)), rows.size());
    const auto n = static_cast<double>(rows.size());
    const auto first = static_cast<size_t>(std::nearbyint(select * n));
    const size_t second = std::min(rows.size(), first + static_cast<size_t>(std::nearbyint(calib * n)));
    for (size_t i = 0; i < rows.size(); ++i) {
      (i < first ? out.select : i < second ? out.calib : out.test).push_back(rows[static_cast<size_t>(order(i))]);
    }
  }
  for (auto* part : {&out.select, &out.calib, &out.test}) std::ranges::sort(*part);
  return out;
}

}  // namespace ballast
