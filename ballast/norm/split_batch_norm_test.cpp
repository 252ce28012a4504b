#include <ballast/norm/split_batch_norm.h>

#include <gtest/gtest.h>

#include <ballast/base/test_message.h>
#include <ballast/norm/frozen_batch_norm.h>
#include <ballast/norm/test_gradients.h>

namespace ballast {
namespace {

using test::draw;

TEST(SplitBatchNorm, EachPartIsItsOwnBatchNorm) {
  const BatchNormOptions options{.num_features = 3, .act = Act::relu};
  SplitBatchNorm split(SplitBatchNormOptions{.norm = options, .num_splits = 3});
  const torch::Tensor x = draw({6, 3, 4, 5}).to(torch::kFloat);
  const torch::Tensor y = split->forward(x);
  for (int64_t j = 0; j < 3; ++j) {
    BatchNorm own(options);
    EXPECT_TRUE(torch::equal(own->forward(x.narrow(0, 2 * j, 2)), y.narrow(0, 2 * j, 2)));
    EXPECT_TRUE(torch::equal(own->running_mean, j == 0 ? split->running_mean : split->aux(j - 1)->running_mean));
    EXPECT_TRUE(torch::equal(own->running_var, j == 0 ? split->running_var : split->aux(j - 1)->running_var));
  }
  split->eval();
  BatchNorm main(options);
  main->forward(x.narrow(0, 0, 2));
  main->eval();
  EXPECT_TRUE(torch::equal(split->forward(x), main->forward(x)));
}

TEST(SplitBatchNorm, NamesAreTimms) {
  SplitBatchNorm split(SplitBatchNormOptions{.norm = {.num_features = 3}, .num_splits = 2});
  const auto state = test::tensors_of(*split);
  EXPECT_EQ(state.size(), 10u);
  for (const char* name : {"weight", "running_var", "aux_bn.0.bias", "aux_bn.0.num_batches_tracked"}) {
    EXPECT_TRUE(state.count(name)) << name;
  }
}

TEST(SplitBatchNorm, CloneSaveLoadAndErrors) {
  const SplitBatchNormOptions options{.norm = {.num_features = 3}};
  SplitBatchNorm a(options), b(options);
  const torch::Tensor x = draw({4, 3, 2, 2}).to(torch::kFloat);
  a->forward(x);
  test::save_and_load(a.ptr(), b.ptr());
  const auto copy = std::dynamic_pointer_cast<SplitBatchNormImpl>(a->clone());
  const torch::Tensor y = a->forward(x);
  EXPECT_TRUE(torch::equal(b->forward(x), y));
  EXPECT_TRUE(torch::equal(copy->forward(x), y));
  EXPECT_TRUE(torch::equal(copy->aux(0)->running_mean, a->aux(0)->running_mean));
  EXPECT_EQ(message_of([&] { a->forward(draw({7, 3})); }),
            "[split_batch_norm] batch must be divisible by num_splits, got 7 and 2");
  EXPECT_EQ(message_of([] { SplitBatchNorm(SplitBatchNormOptions{.norm = {.num_features = 3}, .num_splits = 1}); }),
            "[split_batch_norm] num_splits must be >= 2, got 1");
}

TEST(FrozenBatchNorm, IsTheLineOfItsBuffersInTrainingAndInEval) {
  FrozenBatchNorm norm(FrozenBatchNormOptions{.num_features = 3, .act = Act::relu});
  norm->to(torch::kDouble);
  norm->weight.copy_(draw({3}, 1));
  norm->bias.copy_(draw({3}, 2));
  norm->running_mean.copy_(draw({3}, 3));
  norm->running_var.copy_(draw({3}, 4).square() + 0.1);
  const auto before = test::tensors_of(*norm);
  EXPECT_EQ(before.size(), 4u);
  EXPECT_TRUE(norm->parameters().empty());
  torch::Tensor x = draw({2, 3, 4, 4}).requires_grad_();
  const torch::Tensor a = (norm->weight / (norm->running_var + 1e-5).sqrt()).view({1, 3, 1, 1});
  const torch::Tensor expected = ((x - norm->running_mean.view({1, 3, 1, 1})) * a + norm->bias.view({1, 3, 1, 1})).relu();
  const torch::Tensor y = norm->forward(x);
  EXPECT_TRUE(torch::allclose(y, expected, 1e-10, 1e-12));
  norm->eval();
  EXPECT_TRUE(torch::equal(norm->forward(x), y));
  y.sum().backward();
  EXPECT_TRUE(torch::allclose(x.grad(), a * (expected > 0), 1e-10, 1e-12));
  for (const auto& [name, t] : test::tensors_of(*norm)) EXPECT_TRUE(torch::equal(t, before.at(name))) << name;
  EXPECT_TRUE(torch::equal(std::dynamic_pointer_cast<FrozenBatchNormImpl>(norm->clone())->forward(x), norm->forward(x)));
}

TEST(FrozenBatchNorm, LoadsABatchNormsArchiveAndLeavesItsCountAside) {
  BatchNorm batch(BatchNormOptions{.num_features = 3});
  batch->forward(draw({4, 3, 2, 2}).to(torch::kFloat));
  FrozenBatchNorm frozen(FrozenBatchNormOptions{.num_features = 3});
  std::stringstream stream;
  torch::serialize::OutputArchive out;
  batch->save(out);
  out.save_to(stream);
  torch::serialize::InputArchive in;
  in.load_from(stream);
  frozen->load(in);
  batch->eval();
  const torch::Tensor x = draw({2, 3, 4, 4}).to(torch::kFloat);
  EXPECT_TRUE(torch::equal(frozen->forward(x), batch->forward(x)));
  EXPECT_EQ(message_of([&] { frozen->forward(draw({2, 4, 4, 4}).to(torch::kFloat)); }),
            "[batch_norm] x must have 3 channels, got (2, 4, 4, 4)");
}

}  // namespace
}  // namespace ballast
