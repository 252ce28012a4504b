#include <ballast/train/step_watch.h>

#include <gtest/gtest.h>

#include <cmath>

#include <ballast/models/model.h>
#include <ballast/train/trainer.h>

namespace ballast {
namespace {

struct Fixture {
  std::shared_ptr<Model> model = make_model({.name = "plain_cnn:4x8", .in_channels = 3, .height = 8, .width = 8, .norm = "batch"}, Key(0));
  StepWatch watch{*model};
  std::unique_ptr<Trainer> trainer;
  torch::Tensor x, y;

  explicit Fixture(int64_t micro_batch) {
    torch::manual_seed(0);
    x = torch::randn({12, 3, 8, 8});
    y = torch::randint(10, {12}, torch::kLong);
    model->train();
    TrainerOptions options;
    options.total_steps = 100;
    options.micro_batch = micro_batch;
    options.schedule.lr = 0.1;
    trainer = std::make_unique<Trainer>(
        *model,
        [this](const torch::Tensor& in) { return watch.active() ? watch.forward([&] { return model->forward(in); }, in.size(0)) : model->forward(in); },
        options);
  }
};

double field(const JsonValue& row, const char* name) { return row.number_or(name, NAN); }

TEST(StepWatch, SaysWhatTheStepDidAndChangesNothing) {
  for (const int64_t micro : {0, 4}) {
    Fixture watched(micro), plain(micro);
    const auto before = watched.model->named_parameters()["layers.1.conv.weight"].detach().clone();
    watched.watch.begin();
    watched.trainer->step(watched.x, watched.y);
    const JsonValue rows = watched.watch.end();
    plain.trainer->step(plain.x, plain.y);
    for (int i = 0; i < 2; ++i) {  // and no hook is left
      watched.trainer->step(watched.x, watched.y);
      plain.trainer->step(plain.x, plain.y);
    }
    for (const auto& p : watched.model->named_parameters()) EXPECT_TRUE(torch::equal(p.value(), plain.model->named_parameters()[p.key()])) << p.key();

    ASSERT_EQ(rows.elements().size(), 4u);
    const JsonValue& second = rows.elements()[1];
    EXPECT_EQ(second.string_or("name", ""), "layers.1.conv");
    EXPECT_GT(field(second, "std"), 0);
    EXPECT_GT(field(second, "gradient"), 0);
    EXPECT_NEAR(field(second, "zeros"), 0.5, 0.15);

    // The first step of SGD with nesterov momentum: lr (g + decay w)(1 + mu).
    Fixture fresh(micro);
    const auto named = [&] { return fresh.model->named_parameters()["layers.1.conv.weight"]; };
    fresh.trainer->step(fresh.x, fresh.y);
    const double moved = ((named() - before).norm() / before.norm()).item<double>();
    EXPECT_NEAR(field(second, "update"), moved, 1e-6 * moved + 1e-9);
    EXPECT_GT(moved, 0);
  }
}

TEST(StepWatch, GradientsAreThoseOfTheWholeStep) {
  Fixture f(4);
  f.watch.begin();
  f.trainer->step(f.x, f.y);
  const JsonValue rows = f.watch.end();
  Fixture g(4);
  for (int part = 0; part < 3; ++part) {
    at::cross_entropy_loss(g.model->forward(g.x.slice(0, 4 * part, 4 * part + 4)), g.y.slice(0, 4 * part, 4 * part + 4), {}, at::Reduction::Sum).div(12).backward();
  }
  const torch::Tensor grad = g.model->named_parameters()["layers.1.conv.weight"].grad();
  EXPECT_NEAR(field(rows.elements()[1], "weight_gradient"), grad.square().mean().sqrt().item<double>(), 1e-7);
}

TEST(StepWatch, CanBeGivenUp) {
  Fixture f(0);
  f.watch.begin();
  EXPECT_TRUE(f.watch.active());
  f.watch.abandon();
  EXPECT_FALSE(f.watch.active());
  f.watch.begin();
  f.trainer->step(f.x, f.y);
  EXPECT_EQ(f.watch.end().elements().size(), 4u);
}

}  // namespace
}  // namespace ballast
