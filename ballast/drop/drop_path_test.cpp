#include <ballast/drop/drop_path.h>

#include <torch/autograd.h>

#include <ballast/base/step_scope.h>
#include <ballast/base/test_message.h>
#include <ballast/drop/alpha_dropout.h>
#include <ballast/drop/drop_block.h>
#include <ballast/drop/dropout.h>
#include <ballast/drop/spatial_dropout.h>
#include <ballast/drop/test_drop.h>

namespace ballast {
namespace {

using namespace test;

TEST(DropPath, TheFactorOfABatchIsThatOfAdd) {
  for (bool scale_by_keep : {true, false}) {
    const DropPathOptions o{.drop_prob = 0.4, .scale_by_keep = scale_by_keep, .mode = DropPathMode::batch};
    DropPath a(o), b(o);
    a->set_layer_name("x");
    b->set_layer_name("x");
    const torch::Tensor zero = torch::zeros({3, 2}), one = torch::ones({3, 2});
    int64_t dropped = 0;
    for (uint64_t step = 0; step < 200; ++step) {
      const StepScope scope(1, 0, step);
      const double factor = a->batch_factor();
      EXPECT_TRUE(torch::allclose(b->add(zero, one, [](const torch::Tensor& x) { return x; }), one * factor));
      dropped += factor == 0 ? 1 : 0;
    }
    expect_count(dropped, 200, 0.4);
    a->eval();
    b->eval();
    EXPECT_NEAR(a->batch_factor(), scale_by_keep ? 1 : 0.6, 1e-9);
    EXPECT_TRUE(torch::allclose(b->add(zero, one, [](const torch::Tensor& x) { return x; }), one * a->batch_factor()));
  }
  EXPECT_THROW(DropPath(DropPathOptions{.drop_prob = 0.4})->batch_factor(), std::logic_error);
}

TEST(DropPath, RowsAreZeroOrScaledAsTheirEventSays) {
  const torch::Tensor x = draw({50, 3, 4});
  const torch::Tensor y = drop_path(x, {.drop_prob = 0.3}, true, Key(2));
  for (int64_t n = 0; n < 50; ++n) {
    const bool gone = event(Key(2), static_cast<uint64_t>(n), 0.3);
    EXPECT_TRUE(torch::allclose(y[n], gone ? torch::zeros_like(x[n]) : x[n] / 0.7, 1e-9, 0));
  }
  const torch::Tensor ones = torch::ones({1'000'000, 1});
  for (double p : {1e-6, 0.01, 0.5, 0.9}) expect_count(zeros_in(drop_path(ones, {.drop_prob = p}, true, Key(1))), 1e6, p);
}

TEST(DropPath, BatchModeDecidesForAllRows) {
  int64_t gone = 0;
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    const torch::Tensor y = drop_path(torch::ones({3, 2}), {.drop_prob = 0.3, .mode = DropPathMode::batch}, true, Key(seed));
    const int64_t zeros = zeros_in(y);
    ASSERT_TRUE(zeros == 0 || zeros == 6);
    gone += zeros == 6 ? 1 : 0;
    EXPECT_EQ(zeros == 6, event(Key(seed), 0, 0.3));
  }
  expect_count(gone, 2000, 0.3);
}

TEST(DropPath, EvalAndScaling) {
  const torch::Tensor x = draw({6, 2});
  EXPECT_TRUE(drop_path(x, {.drop_prob = 0.4}, false, Key()).is_same(x));
  EXPECT_TRUE(drop_path(x, {.drop_prob = 0}, true, Key()).is_same(x));
  const DropPathOptions paper{.drop_prob = 0.25, .scale_by_keep = false};
  EXPECT_TRUE(torch::equal(drop_path(x, paper, false, Key()), x * 0.75));
  EXPECT_TRUE(torch::allclose(drop_path(x, paper, true, Key(1)), drop_path(x, {.drop_prob = 0.25}, true, Key(1)) * 0.75, 1e-9, 0));
}

TEST(DropPath, AddOnKeptRowsEqualsTheMaskWithGradients) {
  for (DropPathMode mode : {DropPathMode::row, DropPathMode::batch}) {
    for (uint64_t seed = 0; seed < 6; ++seed) {
      const DropPathOptions o{.drop_prob = 0.5, .mode = mode};
      torch::Tensor x = draw({9, 4}).requires_grad_(), w = draw({4, 4}, 2).requires_grad_();
      int calls = 0;
      const auto branch = [&](const torch::Tensor& rows) {
        ++calls;
        return torch::tanh(rows.matmul(w));
      };
      const torch::Tensor masked = x + drop_path(torch::tanh(x.matmul(w)), o, true, Key(seed));
      const auto want = torch::autograd::grad({(masked * draw({9, 4}, 1)).sum()}, {x, w});
      const torch::Tensor y = drop_path_add(x, branch, o, true, Key(seed));
      EXPECT_TRUE(torch::allclose(y, masked, 1e-9, 1e-9));
      const auto got = torch::autograd::grad({(y * draw({9, 4}, 1)).sum()}, {x, w}, {}, {}, false, true);
      EXPECT_TRUE(torch::allclose(got[0], want[0], 1e-9, 1e-9));
      if (got[1].defined()) {
        EXPECT_TRUE(torch::allclose(got[1], want[1], 1e-9, 1e-9));
      } else {
        EXPECT_EQ(zeros_in(want[1]), 16) << "nothing was kept";
      }
      EXPECT_LE(calls, 1);
    }
  }
}

TEST(DropPath, BranchRunsOnKeptRowsAndNotAtAllWithoutAny) {
  int64_t rows = 0, calls = 0, kept = 0, dropped_batches = 0;
  const auto branch = [&](const torch::Tensor& x) {
    ++calls;
    rows += x.size(0);
    return x;
  };
  for (uint64_t seed = 0; seed < 200; ++seed) {
    drop_path_add(torch::ones({10, 1}), branch, {.drop_prob = 0.5}, true, Key(seed));
    kept += 10 - zeros_in(drop_path(torch::ones({10, 1}), {.drop_prob = 0.5}, true, Key(seed)));
  }
  EXPECT_EQ(rows, kept);
  expect_count(rows, 2000, 0.5);
  calls = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const torch::Tensor x = torch::ones({10, 1});
    const torch::Tensor y = drop_path_add(x, branch, {.drop_prob = 0.5, .mode = DropPathMode::batch}, true, Key(seed));
    if (y.is_same(x)) ++dropped_batches;
  }
  EXPECT_EQ(calls + dropped_batches, 200);
  expect_count(calls, 200, 0.5);
}

// The masks of a sample inside a branch are those it has when nobody is dropped.
TEST(DropPath, DropsInsideTheBranchFollowTheirSamples) {
  const torch::Tensor x = torch::ones({9, 4, 8, 8});
  DropBlock block(DropBlockOptions{.p = 0.2, .block_size = 3});
  Dropout element(DropoutOptions{.p = 0.3});
  SpatialDropout2d channels(SpatialDropoutOptions{.p = 0.3});
  AlphaDropout alpha(AlphaDropoutOptions{.p = 0.3});
  const std::vector<BranchFunction> branches = {
      [&](const torch::Tensor& t) { return block->forward(t); }, [&](const torch::Tensor& t) { return element->forward(t); },
      [&](const torch::Tensor& t) { return channels->forward(t); }, [&](const torch::Tensor& t) { return alpha->forward(t); }};
  DropPath path(DropPathOptions{.drop_prob = 0.5});
  for (const BranchFunction& branch : branches) {
    for (uint64_t step = 0; step < 4; ++step) {
      const auto in_scope = [&](const auto& run) {
        const StepScope scope(3, 0, step, 100);
        return run();
      };
      const torch::Tensor whole = in_scope([&] { return branch(x); });
      const torch::Tensor sum = in_scope([&] { return path->add(torch::zeros_like(x), x, branch); });
      int64_t kept = 0;
      for (int64_t n = 0; n < 9; ++n) {
        if (zeros_in(sum[n]) == sum[n].numel()) continue;
        ++kept;
        EXPECT_TRUE(torch::allclose(sum[n], 2 * whole[n], 1e-6, 0)) << step << ' ' << n;
      }
      EXPECT_GT(kept, 0);
      EXPECT_LT(kept, 9);
    }
  }
}

TEST(DropPath, LayoutsThreadsRowsAndGradients) {
  const auto f = [](const torch::Tensor& x) { return drop_path(x, {.drop_prob = 0.3}, true, Key(4)); };
  expect_layouts_and_types(f, {{1, 1, 1, 1}, {5, 17, 1, 7}, {5, 64, 5, 3}, {5, 3}, {3, 4, 5, 2, 3}});
  const torch::Tensor x = draw({8, 3, 5, 7});
  const DropPathOptions o{.drop_prob = 0.5};
  EXPECT_TRUE(torch::equal(drop_path(x, o, true, Key(1)), torch::cat({drop_path(x.slice(0, 0, 3), o, true, Key(1)),
                                                                      drop_path(x.slice(0, 3), o, true, Key(1), 3)})));
  expect_same_bits([&] { return f(x.to(torch::kFloat)); });
  expect_gradients([&](const std::vector<torch::Tensor>& in) { return f(in[0]); }, {draw({6, 2})});
  expect_meta_and_unchanged(f, draw({3, 5}).to(torch::kFloat));
  EXPECT_EQ(f(torch::empty({0, 3})).numel(), 0);
}

TEST(DropPath, RatesGrowWithDepth) {
  EXPECT_EQ(drop_path_rates(0.5, 3), (std::vector<double>{0, 0.25, 0.5}));
  EXPECT_EQ(drop_path_rates(0.5, 2, DropPathRule::paper), (std::vector<double>{0.25, 0.5}));
  EXPECT_EQ(drop_path_rates(0.5, 1), (std::vector<double>{0.5}));
  EXPECT_TRUE(drop_path_rates(0.5, 0).empty());
}

TEST(DropPath, ErrorsSayWhatIsRequired) {
  const torch::Tensor x = torch::ones({3, 32, 8, 8});
  EXPECT_EQ(message_of([&] { drop_path(x, {.drop_prob = 1.5}, true, Key()); }), "[drop_path] drop_prob must be in [0, 1), got 1.5");
  EXPECT_EQ(message_of([&] { drop_path(x, {.drop_prob = 1}, true, Key()); }), "[drop_path] drop_prob must be in [0, 1), got 1");
  EXPECT_EQ(message_of([&] { drop_path(x, {.drop_prob = std::nan("")}, true, Key()); }), "[drop_path] drop_prob must be in [0, 1), got nan");
  EXPECT_EQ(message_of([&] { drop_path(torch::ones({}), {}, true, Key()); }), "[drop_path] x must have at least 1 dimension, got ()");
  EXPECT_EQ(message_of([&] { drop_path(x.to(torch::kLong), {}, true, Key()); }), "[drop_path] x must be floating point, got Long");
  EXPECT_EQ(message_of([&] { drop_path_add(x, [](const torch::Tensor&) { return torch::ones({3, 64, 8, 8}); }, {}, true, Key()); }),
            "[drop_path] branch must keep the shape, got (3, 64, 8, 8) for (3, 32, 8, 8)");
}

}  // namespace
}  // namespace ballast
