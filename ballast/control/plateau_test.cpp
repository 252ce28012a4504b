#include <ballast/control/plateau.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace ballast {
namespace {

// PyTorch's rates, written by tests/golden/lr_schedule.py.
void expect_pytorch(const char* name, const PlateauOptions& options) {
  std::ifstream file(BALLAST_TEST_SOURCE_DIR "/tests/golden/lr_schedule.json");
  const auto golden = nlohmann::json::parse(file).at("plateau").at(name);
  const auto values = golden.at("values").get<std::vector<double>>();
  const auto lr = golden.at("lr").get<std::vector<double>>();
  PlateauState state;
  int cuts = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    cuts += update_plateau(options, state, {.value = values[i]}) ? 1 : 0;
    EXPECT_NEAR(0.2 * state.scale, lr[i], 1e-12) << name << " check " << i + 1;
  }
  EXPECT_GT(cuts, 2) << name;
}

PlateauOptions plateau(int64_t patience) {
  PlateauOptions options;
  options.rule.patience = patience;
  return options;
}

TEST(Plateau, EqualsPyTorchWithOneMorePatience) {
  PlateauOptions options = plateau(3);
  options.factor = 0.5;
  options.rule.min_delta = 0.01;
  expect_pytorch("plateau", options);
  options = plateau(4);
  options.rule.rel_delta = 0.02;
  options.rule.cooldown = 4;
  expect_pytorch("plateau_rel_cooldown", options);
  options = plateau(1);
  options.rule.mode = MonitorMode::max;
  options.rule.cooldown = 1;
  options.factor = 0.3;
  options.min_scale = 0.001 / 0.2;
  expect_pytorch("plateau_max", options);
}

TEST(Plateau, CutsAtThePthCheckWithoutImprovement) {
  PlateauState state;
  const PlateauOptions options = plateau(2);
  std::vector<int> cut_at;
  const std::vector<double> values = {5, 4, 4, 4, 4, 4, 3, 3, 3};
  for (size_t i = 0; i < values.size(); ++i) {
    if (update_plateau(options, state, {.value = values[i]})) cut_at.push_back(static_cast<int>(i) + 1);
  }
  EXPECT_EQ(cut_at, (std::vector<int>{4, 6, 9}));
  EXPECT_NEAR(state.scale, 1e-3, 1e-15);
}

TEST(Plateau, TheFloorIsNoCut) {
  PlateauOptions options = plateau(1);
  options.min_scale = 0.5;
  PlateauState state;
  update_plateau(options, state, {.value = 1});
  EXPECT_TRUE(update_plateau(options, state, {.value = 1}));
  EXPECT_EQ(state.scale, 0.5);
  EXPECT_FALSE(update_plateau(options, state, {.value = 1}));
  EXPECT_EQ(state.scale, 0.5);
}

TEST(Plateau, RefusesOptionsOutsideTheirRange) {
  const auto refuse = [](auto&& change, const char* message) {
    PlateauOptions options = plateau(1);
    change(options);
    EXPECT_THAT([&] { check_plateau(options); }, testing::ThrowsMessage<std::invalid_argument>(message));
  };
  refuse([](auto& o) { o.factor = 1; }, "[plateau] factor must be in (0, 1), got 1");
  refuse([](auto& o) { o.factor = 0; }, "[plateau] factor must be in (0, 1), got 0");
  refuse([](auto& o) { o.min_scale = 2; }, "[plateau] min_scale must be in [0, 1], got 2");
  refuse([](auto& o) { o.rule.patience.reset(); }, "[plateau] patience must be 1 or more, got none");
}

}  // namespace
}  // namespace ballast
