#include <ballast/norm/grn.h>

#include <gtest/gtest.h>

#include <ballast/base/test_message.h>
#include <ballast/norm/test_gradients.h>

namespace ballast {
namespace {

using test::draw;

TEST(Grn, ByHand) {
  // Norms 5 and 0 of two channels: mean 2.5, n = 2 and 0.
  const torch::Tensor x = torch::tensor({3.0, 4.0, 0.0, 0.0}, torch::kDouble).view({1, 2, 1, 2});
  const torch::Tensor y = grn(x, torch::tensor({0.5, 7.0}, torch::kDouble), torch::tensor({1.0, -1.0}, torch::kDouble), 1e-12);
  EXPECT_TRUE(torch::allclose(y.flatten(), torch::tensor({7.0, 9.0, -1.0, -1.0}, torch::kDouble)));
}

TEST(Grn, AtTheStartItIsTheIdentity) {
  Grn norm(GrnOptions{.num_features = 4});
  const torch::Tensor x = draw({2, 4, 3, 5}).to(torch::kFloat);
  EXPECT_TRUE(torch::equal(norm->forward(x), x));
  norm->eval();
  EXPECT_TRUE(torch::equal(norm->forward(x), x));
}

TEST(Grn, GradientsAreThoseOfDifferencesAndFiniteAtZero) {
  test::expect_gradients([](const test::Inputs& in) { return grn(in[0], in[1], in[2], 1e-3); },
                         {draw({2, 3, 2, 2}), draw({3}, 1), draw({3}, 2)});
  torch::Tensor zero = torch::zeros({2, 3, 4, 4}).requires_grad_();
  (grn(zero, torch::ones({3}), torch::zeros({3})) * draw({2, 3, 4, 4}).to(torch::kFloat)).sum().backward();
  EXPECT_TRUE(zero.grad().isfinite().all().item<bool>());
}

TEST(Grn, ShapesLayoutsAndTypes) {
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{
           {0, 17, 5, 3}, {5, 1, 1, 1}, {1, 64, 1, 7}, {5, 17, 33, 31}, {5, 17}, {2, 3, 4}}) {
    const torch::Tensor x = draw(shape).to(torch::kFloat);
    const torch::Tensor w = draw({shape[1]}, 1).to(torch::kFloat).requires_grad_(), b = draw({shape[1]}, 2).to(torch::kFloat);
    const torch::Tensor y = grn(x, w, b);
    ASSERT_EQ(y.sizes(), x.sizes());
    EXPECT_TRUE(torch::allclose(grn(x.to(torch::kBFloat16), w, b).to(torch::kFloat), y, 1.0 / 32, 1.0 / 32));
    EXPECT_TRUE(torch::allclose(grn(x.to(torch::kDouble), w, b).to(torch::kFloat), y, 1e-5, 1e-6));
    if (x.dim() == 4) {
      const torch::Tensor z = grn(x.contiguous(torch::MemoryFormat::ChannelsLast), w, b);
      EXPECT_TRUE(z.is_contiguous(torch::MemoryFormat::ChannelsLast));
      EXPECT_TRUE(torch::allclose(z, y, 1e-5, 1e-6));
    }
    y.sum().backward();
    EXPECT_TRUE(w.grad().defined());
  }
}

TEST(Grn, CloneSaveLoadAndErrors) {
  Grn a(GrnOptions{.num_features = 3}), b(GrnOptions{.num_features = 3});
  {
    torch::NoGradGuard no_grad;
    a->weight.fill_(0.7);
  }
  const torch::Tensor x = draw({2, 3, 4, 4}).to(torch::kFloat), y = a->forward(x);
  test::save_and_load(a.ptr(), b.ptr());
  EXPECT_TRUE(torch::equal(b->forward(x), y));
  EXPECT_TRUE(torch::equal(std::dynamic_pointer_cast<GrnImpl>(a->clone())->forward(x), y));
  EXPECT_EQ(message_of([] { grn(draw({8, 32, 4, 4}), draw({64}), draw({64})); }),
            "[grn] x must have 64 channels, got (8, 32, 4, 4)");
  EXPECT_EQ(message_of([] { Grn(GrnOptions{.num_features = 2, .eps = 0}); }), "[grn] eps must be > 0, got 0");
}

}  // namespace
}  // namespace ballast
