#include <ballast/control/early_stopping.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace ballast {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr int kNever = 0;

struct Outcome {
  /// Check at which training stops, or kNever.
  int stop = kNever;
  StopReason reason = StopReason::completed;
  EarlyStoppingState state;
};

// A check at each epoch of 10 steps. `cut_after`: the rate is cut after that check.
Outcome run(const EarlyStoppingOptions& options, const std::vector<double>& values,
            int cut_after = 0) {
  Outcome outcome;
  outcome.state = start_early_stopping(options);
  for (size_t i = 0; i < values.size(); ++i) {
    const auto k = static_cast<int>(i) + 1;
    const StopDecision decision = update_early_stopping(
        options, outcome.state, {.value = values[i], .epoch = k, .step = 10 * k});
    if (decision.stop) {
      outcome.stop = k;
      outcome.reason = decision.reason;
      break;
    }
    if (k == cut_after) start_cooldown(options, outcome.state);
  }
  return outcome;
}

int stop_at(const EarlyStoppingOptions& options, const std::vector<double>& values) {
  return run(options, values).stop;
}

EarlyStoppingOptions patience(int64_t p) {
  EarlyStoppingOptions options;
  options.patience = p;
  return options;
}

// ---- the conformance table, one test per row ----

TEST(EarlyStopping, RowA_PthCheckWithoutImprovement) {
  EXPECT_EQ(stop_at(patience(3), {5, 4, 4, 4, 4, 4, 4, 4}), 5);
}

TEST(EarlyStopping, RowB_PatienceOne) { EXPECT_EQ(stop_at(patience(1), {5, 4, 4, 4, 4, 4}), 3); }

TEST(EarlyStopping, RowC_PatienceZeroIsAnError) {
  EXPECT_THAT([] { run(patience(0), {5}); },
              ThrowsMessage<std::invalid_argument>(
                  HasSubstr("[early_stopping] patience must be off, or 1 or more, got 0")));
  EXPECT_EQ(stop_at(patience(1), {5, 4, 3, 2, 1, 1, 1}), 6);
}

TEST(EarlyStopping, RowD_SlowProgressAddsUp) {
  EarlyStoppingOptions options = patience(3);
  options.min_delta = 0.1;
  std::vector<double> values;
  for (int i = 0; i < 12; ++i) values.push_back(1 - 0.05 * i);
  EXPECT_EQ(stop_at(options, values), kNever);
}

TEST(EarlyStopping, RowE_EqualityIsNoImprovement) {
  EarlyStoppingOptions options = patience(3);
  options.min_delta = 0.125;
  std::vector<double> values;
  for (int i = 0; i < 12; ++i) values.push_back(2 - 0.125 * i);
  EXPECT_EQ(stop_at(options, values), kNever);
  EarlyStoppingState state = start_early_stopping(options);
  EXPECT_TRUE(update_early_stopping(options, state, {.value = 2}).improved);
  EXPECT_FALSE(update_early_stopping(options, state, {.value = 1.875}).improved);
  EXPECT_TRUE(update_early_stopping(options, state, {.value = 1.75}).improved);
}

TEST(EarlyStopping, RowF_NanNeverBecomesBest) {
  const std::vector<double> values = {kNan, 5, 4, 3, 2, 1, .9, .8, .7};
  EarlyStoppingOptions options = patience(3);
  const Outcome outcome = run(options, values);
  EXPECT_EQ(outcome.stop, kNever);
  EXPECT_EQ(outcome.state.best, .7);
  options.on_nan = OnNan::stop;
  EXPECT_EQ(stop_at(options, values), 1);
  EXPECT_EQ(run(options, values).reason, StopReason::non_finite);
}

TEST(EarlyStopping, RowG_OnlyNan) {
  std::vector<double> values = {5, 4};
  values.insert(values.end(), 12, kNan);
  EarlyStoppingOptions options = patience(3);
  EXPECT_EQ(stop_at(options, values), 5);
  EXPECT_EQ(run(options, values).reason, StopReason::non_finite);
  options.on_nan = OnNan::ignore;
  EXPECT_EQ(stop_at(options, values), kNever);
  options.on_nan = OnNan::stop;
  EXPECT_EQ(stop_at(options, values), 3);
}

TEST(EarlyStopping, RowH_OneNan) {
  const std::vector<double> values = {5, 4, kNan, 4, 4, 4, 4, 4};
  EarlyStoppingOptions options = patience(3);
  EXPECT_EQ(stop_at(options, values), 5);
  EXPECT_EQ(run(options, values).reason, StopReason::patience);
  options.on_nan = OnNan::ignore;
  EXPECT_EQ(stop_at(options, values), 6);
  options.on_nan = OnNan::stop;
  EXPECT_EQ(stop_at(options, values), 3);
}

TEST(EarlyStopping, RowI_OneBadCheckDoesNotEndARun) {
  EXPECT_EQ(stop_at(patience(3), {5, 4, kInf, 3, 2, 1, .9, .8}), kNever);
}

TEST(EarlyStopping, RowJ_ModeMax) {
  EarlyStoppingOptions options = patience(2);
  options.mode = MonitorMode::max;
  EXPECT_EQ(stop_at(options, {.1, .5, .5, .5, .5}), 4);
}

TEST(EarlyStopping, RowK_TheMarginUsesTheAbsoluteValue) {
  EarlyStoppingOptions options = patience(3);
  options.mode = MonitorMode::max;
  options.rel_delta = .05;
  EXPECT_EQ(stop_at(options, {-10, -10, -10, -10, -10}), 4);
  EXPECT_EQ(stop_at(options, {-10, -10.1, -10.2, -10.3, -10.4}), 4);
}

TEST(EarlyStopping, RowL_BestIsTheWeightsOfTheBestCheck) {
  const Outcome outcome = run(patience(3), {5, 4, 3, 4, 4, 4, 4});
  EXPECT_EQ(outcome.stop, 6);
  EXPECT_EQ(outcome.state.best_check, 3);
  EXPECT_EQ(outcome.state.best_step, 30);
  EXPECT_EQ(run(patience(3), {5, 4, 3, 4, 4}).state.best_check, 3);
}

TEST(EarlyStopping, RowM_BaselineIsAFirstReference) {
  EarlyStoppingOptions options = patience(3);
  options.baseline = 1;
  const Outcome outcome = run(options, {5, 4, 3, 2.5, 2.4, 2.3});
  EXPECT_EQ(outcome.stop, 3);
  EXPECT_EQ(outcome.state.best_check, 3);
}

TEST(EarlyStopping, RowN_WarmUpValuesDoNotCount) {
  EarlyStoppingOptions options = patience(3);
  options.warmup_checks = 2;
  const Outcome outcome = run(options, {1, 1, 5, 4, 4, 4, 4});
  EXPECT_EQ(outcome.stop, 7);
  EXPECT_EQ(outcome.state.best_check, 4);
}

TEST(EarlyStopping, RowO_BelowTheMinimumWaitCountsOn) {
  EarlyStoppingOptions options = patience(2);
  options.min_epochs = 7;
  EXPECT_EQ(stop_at(options, {5, 4, 4, 4, 4, 4, 4, 4}), 7);
  options.min_epochs = 0;
  options.min_steps = 70;
  EXPECT_EQ(stop_at(options, {5, 4, 4, 4, 4, 4, 4, 4}), 7);
}

TEST(EarlyStopping, RowP_ChecksOfACooldownDoNotCount) {
  EarlyStoppingOptions options = patience(2);
  options.cooldown = 2;
  EXPECT_EQ(run(options, {5, 4, 4, 4, 4, 4, 4}, 3).stop, 7);
}

TEST(EarlyStopping, RowQ_BestAndReferenceAreTwoThings) {
  EarlyStoppingOptions options = patience(3);
  options.min_delta = .1;
  const Outcome outcome = run(options, {1, .95, .97, .96});
  EXPECT_EQ(outcome.stop, 4);
  EXPECT_EQ(outcome.state.best_check, 2);
  EXPECT_EQ(outcome.state.reference, 1);
  EXPECT_EQ(outcome.state.reference_check, 1);
}

TEST(EarlyStopping, RowR_SeveralMonitors) {
  const std::vector<double> a = {5, 4, 4, 4, 4, 4}, b = {1, .9, .8, .7, .7, .7};
  const auto stop_of = [&](CombineMonitors combine) {
    const std::vector<EarlyStoppingOptions> options(2, patience(2));
    std::vector<EarlyStoppingState> states(2, start_early_stopping(options[0]));
    for (size_t i = 0; i < a.size(); ++i) {
      const std::vector<CheckValue> values = {{.value = a[i]}, {.value = b[i]}};
      const StopDecision decision = update_early_stopping(options, states, values, combine);
      if (!decision.stop) continue;
      EXPECT_EQ(decision.reason, StopReason::patience);
      return static_cast<int>(i) + 1;
    }
    return kNever;
  };
  EXPECT_EQ(stop_of(CombineMonitors::all), 6);
  EXPECT_EQ(stop_of(CombineMonitors::any), 4);
}

// ---- the transition table, one test per row ----

struct Step {
  EarlyStoppingState before, after;
  StopDecision decision;
};

// One update of a state that has seen 3 checks: reference 2 and best 2 of check 1, wait 1.
Step step(const EarlyStoppingOptions& options, double value, int64_t cooldown_left = 0,
          int64_t epoch = 100) {
  Step s;
  s.before = {.checks = 3,
              .wait = 1,
              .cooldown_left = cooldown_left,
              .reference = 2.0,
              .reference_check = 1,
              .best = 2.0,
              .best_check = 1,
              .best_step = 10};
  s.after = s.before;
  s.decision =
      update_early_stopping(options, s.after, {.value = value, .epoch = epoch, .step = 40});
  EXPECT_EQ(s.after.checks, 4);
  return s;
}

void expect_unchanged(const Step& s, int64_t wait) {
  EXPECT_EQ(s.after.wait, wait);
  EXPECT_EQ(s.after.reference, s.before.reference);
  EXPECT_EQ(s.after.reference_check, s.before.reference_check);
  EXPECT_EQ(s.after.best, s.before.best);
  EXPECT_EQ(s.after.best_check, s.before.best_check);
  EXPECT_FALSE(s.decision.new_best);
}

TEST(EarlyStoppingTable, Row1_NotFiniteStopsAlsoInWarmUp) {
  EarlyStoppingOptions options = patience(3);
  options.on_nan = OnNan::stop;
  options.warmup_checks = 10;
  const Step s = step(options, kNan);
  EXPECT_EQ(s.decision.row, 1);
  EXPECT_TRUE(s.decision.stop);
  EXPECT_EQ(s.decision.reason, StopReason::non_finite);
  expect_unchanged(s, 1);
}

TEST(EarlyStoppingTable, Row2_WarmUp) {
  EarlyStoppingOptions options = patience(1);
  options.warmup_checks = 4;
  for (const double v : {1.0, 9.0, kNan}) {
    const Step s = step(options, v);
    EXPECT_EQ(s.decision.row, 2);
    EXPECT_FALSE(s.decision.stop);
    expect_unchanged(s, 0);
  }
}

TEST(EarlyStoppingTable, Row3_NotFiniteIgnored) {
  EarlyStoppingOptions options = patience(1);
  options.on_nan = OnNan::ignore;
  const Step s = step(options, kInf);
  EXPECT_EQ(s.decision.row, 3);
  EXPECT_FALSE(s.decision.stop);
  expect_unchanged(s, 1);
}

TEST(EarlyStoppingTable, Row4_BeyondDivergence) {
  EarlyStoppingOptions options = patience(9);
  options.divergence = 10;
  EXPECT_NE(step(options, 10).decision.row, 4);
  const Step s = step(options, 10.5);
  EXPECT_EQ(s.decision.row, 4);
  EXPECT_EQ(s.decision.reason, StopReason::diverged);
  EXPECT_TRUE(s.decision.stop);
  expect_unchanged(s, 1);
}

TEST(EarlyStoppingTable, Row5_TargetReached) {
  EarlyStoppingOptions options = patience(9);
  options.target = 1.5;
  options.min_epochs = 5;
  const Step s = step(options, 1.5);
  EXPECT_EQ(s.decision.row, 5);
  EXPECT_TRUE(s.decision.stop);
  EXPECT_EQ(s.decision.reason, StopReason::target_reached);
  EXPECT_EQ(s.after.wait, 0);
  EXPECT_EQ(s.after.reference, 1.5);
  EXPECT_EQ(s.after.best, 1.5);
  EXPECT_EQ(s.after.best_step, 40);
  EXPECT_EQ(step(options, 1.5, 0, 4).decision.row, 6);
}

TEST(EarlyStoppingTable, Row5_KeepsABestThatIsBetter) {
  EarlyStoppingOptions options = patience(9);
  options.target = 2.5;
  const Step s = step(options, 2.25);
  EXPECT_EQ(s.decision.row, 5);
  EXPECT_EQ(s.after.reference, 2.25);
  EXPECT_EQ(s.after.best, 2.0);
}

TEST(EarlyStoppingTable, Row6_Improved) {
  const Step s = step(patience(1), 1.5);
  EXPECT_EQ(s.decision.row, 6);
  EXPECT_FALSE(s.decision.stop);
  EXPECT_TRUE(s.decision.improved && s.decision.new_best);
  EXPECT_EQ(s.after.wait, 0);
  EXPECT_EQ(s.after.reference, 1.5);
  EXPECT_EQ(s.after.reference_check, 4);
  EXPECT_EQ(s.after.best_check, 4);
}

TEST(EarlyStoppingTable, Row6_FirstFiniteValue) {
  EarlyStoppingState state = start_early_stopping(patience(1));
  const StopDecision d = update_early_stopping(patience(1), state, {.value = 1e30});
  EXPECT_EQ(d.row, 6);
  EXPECT_EQ(state.reference, 1e30);
}

TEST(EarlyStoppingTable, Row7_Cooldown) {
  EarlyStoppingOptions options = patience(1);
  options.min_delta = 1;
  Step s = step(options, 1.5, 2);
  EXPECT_EQ(s.decision.row, 7);
  EXPECT_FALSE(s.decision.stop);
  EXPECT_EQ(s.after.wait, 1);
  EXPECT_EQ(s.after.cooldown_left, 1);
  EXPECT_EQ(s.after.reference, 2.0);
  EXPECT_EQ(s.after.best, 1.5);
  s = step(options, kNan, 1);
  EXPECT_EQ(s.decision.row, 7);
  expect_unchanged(s, 1);
}

TEST(EarlyStoppingTable, Row8_WaitsAndKeepsBest) {
  EarlyStoppingOptions options = patience(3);
  options.min_delta = 1;
  const Step s = step(options, 1.5);
  EXPECT_EQ(s.decision.row, 8);
  EXPECT_EQ(s.after.wait, 2);
  EXPECT_EQ(s.after.reference, 2.0);
  EXPECT_EQ(s.after.best, 1.5);
  EXPECT_TRUE(s.decision.new_best);
  EXPECT_FALSE(s.decision.improved);
  expect_unchanged(step(options, kNan), 2);
}

TEST(EarlyStoppingTable, Row8_BelowTheMinimum) {
  EarlyStoppingOptions options = patience(1);
  options.min_epochs = 10;
  EXPECT_EQ(step(options, 3, 0, 9).decision.row, 8);
  EXPECT_EQ(step(options, 3, 0, 10).decision.row, 9);
}

TEST(EarlyStoppingTable, Row9_Patience) {
  const Step s = step(patience(2), 3);
  EXPECT_EQ(s.decision.row, 9);
  EXPECT_TRUE(s.decision.stop);
  EXPECT_EQ(s.decision.reason, StopReason::patience);
  expect_unchanged(s, 2);
}

// ---- the rest of the contract ----

TEST(EarlyStopping, WithoutPatienceItNeverStops) {
  EXPECT_EQ(stop_at({}, std::vector<double>(100, 1.0)), kNever);
}

TEST(EarlyStopping, ATieKeepsTheEarliestBest) {
  EXPECT_EQ(run(patience(5), {3, 2, 2, 2}).state.best_check, 2);
}

TEST(EarlyStopping, NoiseWidensTheMargin) {
  EarlyStoppingOptions options = patience(3);
  options.noise_z = 2;
  EarlyStoppingState state = start_early_stopping(options);
  update_early_stopping(options, state, {.value = 1.0});
  EXPECT_FALSE(
      update_early_stopping(options, state, {.value = .9, .standard_error = .05}).improved);
  EXPECT_TRUE(update_early_stopping(options, state, {.value = .9, .standard_error = .04}).improved);
}

TEST(EarlyStopping, SmoothingActsOnImprovementAndNotOnBest) {
  EarlyStoppingOptions options = patience(3);
  options.smooth = 1;
  EarlyStoppingState state = start_early_stopping(options);
  update_early_stopping(options, state, {.value = 4});
  EXPECT_EQ(state.reference, 4);
  // (4/4 + 1/2) / (1/4 + 1/2): the average of half-life 1.
  update_early_stopping(options, state, {.value = 1});
  EXPECT_DOUBLE_EQ(*state.reference, 2.0);
  EXPECT_EQ(state.best, 1);
}

TEST(EarlyStopping, ALargerPatienceOnResumeGoesOn) {
  EarlyStoppingState state = run(patience(5), {5, 4, 4, 4, 4, 4, 4}).state;
  EXPECT_EQ(state.wait, 5);
  const EarlyStoppingOptions eight = patience(8);
  int more = 0;
  while (!update_early_stopping(eight, state, {.value = 4}).stop) ++more;
  EXPECT_EQ(more, 2);
}

TEST(EarlyStopping, MixedWaitingChecksStopByPatience) {
  EXPECT_EQ(run(patience(2), {1, kNan, 1}).reason, StopReason::patience);
  EXPECT_EQ(run(patience(2), {1, kNan, kNan}).reason, StopReason::non_finite);
}

TEST(EarlyStopping, AnyMonitorsRow4ActsAtOnce) {
  std::vector<EarlyStoppingOptions> options(2, patience(5));
  options[1].divergence = 1;
  std::vector<EarlyStoppingState> states(2);
  const std::vector<CheckValue> values = {{.value = 1}, {.value = 2}};
  const StopDecision d = update_early_stopping(options, states, values, CombineMonitors::all);
  EXPECT_TRUE(d.stop && d.improved && d.new_best);
  EXPECT_EQ(d.reason, StopReason::diverged);
  EXPECT_THROW(
      update_early_stopping(options, states, std::span(values).first(1), CombineMonitors::all),
      std::invalid_argument);
}

TEST(EarlyStopping, RefusesOptionsOutsideTheirRange) {
  const auto refuse = [](auto&& change, const char* message) {
    EarlyStoppingOptions options;
    change(options);
    EXPECT_THAT([&] { check_early_stopping(options); },
                ThrowsMessage<std::invalid_argument>(message));
  };
  refuse([](auto& o) { o.min_delta = -1; }, "[early_stopping] min_delta must be 0 or more, got -1");
  refuse([](auto& o) { o.rel_delta = kNan; },
         "[early_stopping] rel_delta must be 0 or more, got nan");
  refuse([](auto& o) { o.noise_z = -1; }, "[early_stopping] noise_z must be 0 or more, got -1");
  refuse([](auto& o) { o.warmup_checks = -1; },
         "[early_stopping] warmup_checks must be 0 or more, got -1");
  refuse([](auto& o) { o.cooldown = -1; }, "[early_stopping] cooldown must be 0 or more, got -1");
  refuse([](auto& o) { o.min_epochs = -1; },
         "[early_stopping] min_epochs must be 0 or more, got -1");
  refuse([](auto& o) { o.min_steps = -1; }, "[early_stopping] min_steps must be 0 or more, got -1");
  refuse([](auto& o) { o.smooth = -1; }, "[early_stopping] smooth must be 0 or more, got -1");
}

}  // namespace
}  // namespace ballast
