#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <set>

#include <nlohmann/json.hpp>

#include <ballast/augment/pipeline.h>
#include <ballast/augment/policy_space.h>

namespace ballast {
namespace {

using nlohmann::json;

const json& golden() {
  static const json all = [] {
    std::ifstream file(BALLAST_TEST_SOURCE_DIR "/tests/golden/policies.json");
    return json::parse(file);
  }();
  return all;
}

std::string name_of(detail::PolicyOp op) {
  using P = detail::PolicyOp;
  static const std::map<P, std::string> names = {
      {P::shear_x, "shear_x"}, {P::shear_y, "shear_y"}, {P::translate_x, "translate_x"}, {P::translate_y, "translate_y"},
      {P::rotate, "rotate"}, {P::brightness, "brightness"}, {P::color, "saturation"}, {P::contrast, "contrast"},
      {P::sharpness, "sharpness"}, {P::posterize, "posterize"}, {P::solarize, "solarize"},
      {P::auto_contrast, "autocontrast"}, {P::equalize, "equalize"}, {P::invert, "invert"}};
  return names.at(op);
}

TEST(Policies, AutoAugmentsTablesAreTorchvisionsAndTimms) {
  const std::vector<std::string> policies = {"imagenet", "cifar10", "svhn"};
  for (size_t which = 0; which < policies.size(); ++which) {
    const json& want = golden()["tables"][policies[which]];
    const auto got = detail::auto_augment_policy(static_cast<int>(which));
    ASSERT_EQ(got.size(), 25U);
    ASSERT_EQ(want.size(), 25U);
    for (size_t i = 0; i < 25; ++i) {
      for (size_t k = 0; k < 2; ++k) {
        SCOPED_TRACE(policies[which] + " " + std::to_string(i) + "." + std::to_string(k));
        EXPECT_EQ(name_of(got[i][k].op), want[i][k][0].get<std::string>());
        EXPECT_DOUBLE_EQ(got[i][k].p, want[i][k][1].get<double>());
        EXPECT_EQ(got[i][k].magnitude, want[i][k][2].get<int>());
      }
    }
  }
}

/// Whether x is one of the values, which the peers may hold in single precision.
size_t place(const std::vector<double>& values, double x) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::abs(values[i] - x) <= 1e-5 * std::max(1.0, std::abs(x))) return i;
  }
  return values.size();
}

/// Values of an operation in golden's words; none for an operation without a value.
std::vector<double> values_of(const json& list) {
  std::vector<double> out;
  for (const json& v : list) {
    if (!v.is_null() && place(out, v.get<double>()) == out.size()) out.push_back(v.get<double>());
  }
  return out;
}

TEST(Policies, OperationsAndValuesAreTorchvisionsAndTimms) {
  ASSERT_GE(golden()["spaces"].size(), 25U);
  for (const json& space : golden()["spaces"]) {
    const std::string call = space["call"];
    SCOPED_TRACE(call);
    const Pipeline pipeline = Pipeline::parse(call);
    const int32_t h = space["h"], w = space["w"];
    // Enough draws that the rarest value is missed with a probability of exp(-40).
    double rarest = 1e-3;
    if (!space["shares"].is_null()) {
      rarest = 1;
      for (const auto& [name, share] : space["shares"].items()) {
        const json& values = space["ops"][name];
        rarest = std::min(rarest, share.get<double>() / static_cast<double>(std::max<size_t>(1, values.size())));
      }
    }
    const auto n = static_cast<uint64_t>(40 / rarest);
    std::map<std::string, uint64_t> counts;
    std::map<std::string, std::set<size_t>> seen;
    for (uint64_t i = 0; i < n; ++i) {
      bool first = true;
      for (const DrawNote& note : pipeline.draw(h, w, Key(5).fold_in(i))) {
        if (note.name == "augmix") continue;
        ASSERT_TRUE(space["ops"].contains(note.name)) << note.name;
        const json& list = space["ops"][note.name];
        if (first) ++counts[note.name];
        first = false;
        if (list.is_null()) continue;
        const std::vector<double> values = values_of(list);
        if (values.empty()) {
          EXPECT_TRUE(note.values.empty()) << note.name;
          seen[note.name].insert(0);
          continue;
        }
        ASSERT_EQ(note.values.size(), 1U) << note.name;
        const size_t at = place(values, note.values[0]);
        ASSERT_LT(at, values.size()) << note.name << ' ' << note.values[0];
        seen[note.name].insert(at);
      }
    }
    for (const auto& [name, list] : space["ops"].items()) {
      EXPECT_GT(counts[name], 0U) << name;
      if (list.is_null()) continue;
      EXPECT_EQ(seen[name].size(), std::max<size_t>(1, values_of(list).size())) << name;
    }
    if (space["shares"].is_null()) continue;
    double chi = 0;
    for (const auto& [name, share] : space["shares"].items()) {
      const double expected = share.get<double>() * static_cast<double>(n);
      chi += (static_cast<double>(counts[name]) - expected) * (static_cast<double>(counts[name]) - expected) / expected;
    }
    // Wilson and Hilferty at a false alarm of 1e-6.
    const double degrees = static_cast<double>(space["shares"].size()) - 1, c = 2 / (9 * degrees);
    EXPECT_LT(chi, degrees * std::pow(1 - c + 4.753 * std::sqrt(c), 3));
  }
}

}  // namespace
}  // namespace ballast
