#include <ballast/drop/rate_schedule.h>

#include <torch/nn/modules/container/sequential.h>

#include <ballast/base/test_message.h>
#include <ballast/drop/drop_path.h>
#include <ballast/drop/dropout.h>
#include <ballast/drop/scheduled_drops.h>
#include <ballast/drop/test_drop.h>

namespace ballast {
namespace {

TEST(RateSchedule, CurvesAtTheirPoints) {
  const RateSchedule linear{.curve = RateCurve::linear, .from = 0, .to = 0.4, .begin = 0.25, .end = 0.75};
  EXPECT_EQ(rate_at(linear, 0), 0);
  EXPECT_EQ(rate_at(linear, 0.25), 0);
  EXPECT_DOUBLE_EQ(rate_at(linear, 0.5), 0.2);
  EXPECT_EQ(rate_at(linear, 1), 0.4);
  RateSchedule cosine = linear;
  cosine.curve = RateCurve::cosine;
  EXPECT_DOUBLE_EQ(rate_at(cosine, 0.5), 0.2);
  EXPECT_NEAR(rate_at(cosine, 0.375), 0.4 * (1 - std::sqrt(0.5)) / 2, 1e-15);
  const RateSchedule early{.curve = RateCurve::step, .from = 0.3, .to = 0, .end = 0.5};
  EXPECT_EQ(rate_at(early, 0.49), 0.3);
  EXPECT_EQ(rate_at(early, 0.5), 0);
  EXPECT_EQ(rate_at({.to = 0.2}, 0), 0.2);
}

TEST(RateSchedule, FormsByName) {
  const StemSchedule ramp = parse_rate_schedule("drop_block=ramp:0.5");
  EXPECT_EQ(ramp.stem, "drop_block");
  EXPECT_EQ(rate_at(ramp.schedule, 0), 0);
  EXPECT_DOUBLE_EQ(rate_at(ramp.schedule, 0.25), 0.5);
  EXPECT_EQ(rate_at(ramp.schedule, 0.5), 1);
  EXPECT_DOUBLE_EQ(rate_at(parse_rate_schedule("cosine").schedule, 0.5), 0.5);
  const RateSchedule early = parse_rate_schedule("early").schedule, late = parse_rate_schedule("late:0.25").schedule;
  EXPECT_EQ(rate_at(early, 0.49), 1);
  EXPECT_EQ(rate_at(early, 0.5), 0);
  EXPECT_EQ(rate_at(late, 0.24), 0);
  EXPECT_EQ(rate_at(late, 0.25), 1);
  const auto message = [](const char* text) { return message_of([=] { parse_rate_schedule(text); }); };
  EXPECT_EQ(message("rmp"), "[rate_schedule] the form must be ramp, cosine, early or late, got \"rmp\"; did you mean \"ramp\"?");
  EXPECT_EQ(message("ramp:2"), "[rate_schedule] the share of the run must be in [0, 1], got \"2\"");
  EXPECT_EQ(message("late:"), "[rate_schedule] the share of the run must be in [0, 1], got \"\"");
  EXPECT_EQ(message("dropblock=ramp"),
            "[rate_schedule] the technique must be one of `ballast list drop`, got \"dropblock\"; did you mean \"drop_block\"?");
}

TEST(RateSchedule, LayersFollowTheirSchedules) {
  torch::nn::Sequential model(Dropout(DropoutOptions{.p = 0.4}), DropPath(DropPathOptions{.drop_prob = 0.2}));
  ScheduledDrops drops(*model, {parse_rate_schedule("ramp"), parse_rate_schedule("drop_path=early")});
  drops.at(0.25);
  EXPECT_DOUBLE_EQ(model[0]->as<Dropout>()->drop_rate(), 0.1);
  EXPECT_DOUBLE_EQ(model[1]->as<DropPath>()->drop_rate(), 0.2);
  drops.at(1);
  EXPECT_DOUBLE_EQ(model[0]->as<Dropout>()->drop_rate(), 0.4);
  EXPECT_DOUBLE_EQ(model[1]->as<DropPath>()->drop_rate(), 0);
  EXPECT_EQ(message_of([&] { ScheduledDrops(*model, {parse_rate_schedule("drop_block=ramp")}); }),
            "[rate_schedule] model must have layers of drop_block, got none");
}

TEST(RateSchedule, ErrorsSayWhatIsRequired) {
  EXPECT_EQ(message_of([] { rate_at({.begin = 1, .end = 0}, 0); }), "[rate_schedule] begin must be <= end, got 1 and 0");
  EXPECT_EQ(message_of([] { rate_at({.from = 2}, 0); }), "[rate_schedule] from must be in [0, 1], got 2");
  EXPECT_EQ(message_of([] { rate_at({}, std::nan("")); }), "[rate_schedule] progress must be in [0, 1], got nan");
}

}  // namespace
}  // namespace ballast
