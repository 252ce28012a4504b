#include <ballast/train/tta.h>

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include <ballast/base/test_message.h>

namespace ballast {
namespace {

TEST(Tta, ViewsShareThePicturesTheyAreMadeOf) {
  const Pipeline eval = Pipeline::parse("resize(20) | center_crop(16)");
  const TtaPlan none = plan_tta({}, eval);
  EXPECT_TRUE(none.plain());
  EXPECT_EQ(none.pictures.size(), 1U);
  EXPECT_TRUE(plan_tta({"identity"}, eval).plain());
  EXPECT_FALSE(plan_tta({"hflip"}, eval).plain());
  const TtaPlan flips = plan_tta({"identity", "hflip", "vflip", "shift:2"}, eval);
  EXPECT_EQ(flips.pictures.size(), 1U);
  EXPECT_EQ(flips.views.size(), 7U);
  const TtaPlan all = plan_tta({"identity", "five_crop", "ten_crop"}, eval);
  EXPECT_EQ(all.views.size(), 16U);
  EXPECT_EQ(all.pictures.size(), 16U) << "the crops of five_crop and ten_crop are steps of different names";
  EXPECT_EQ(all.pictures[1].text(), "resize(20) | five_crop(16, view=top_left)");
  EXPECT_EQ(plan_tta({"five_crop", "five_crop"}, eval).pictures.size(), 5U);
  EXPECT_EQ(all.views_of(3).size(), 1U);
  // A pipeline that makes views by itself.
  const TtaPlan own = plan_tta({"hflip"}, Pipeline::parse("ten_crop(16)"));
  EXPECT_EQ(own.views.size(), 10U);
}

TEST(Tta, MovesWhatItSays) {
  const torch::Tensor x = at::arange(2 * 3 * 4 * 5, at::kFloat).view({2, 3, 4, 5});
  const Pipeline eval = Pipeline::parse("");
  const auto view = [&](const std::string& name, size_t i = 0) { return seen(plan_tta({name}, eval).views[i], x); };
  EXPECT_TRUE(at::equal(view("identity"), x));
  EXPECT_TRUE(at::equal(view("hflip").select(3, 0), x.select(3, 4)));
  EXPECT_TRUE(at::equal(view("vflip").select(2, 0), x.select(2, 3)));
  // Up, down, left, right; the border is repeated.
  EXPECT_TRUE(at::equal(view("shift:1", 0).select(2, 0), x.select(2, 1)));
  EXPECT_TRUE(at::equal(view("shift:1", 0).select(2, 3), x.select(2, 3)));
  EXPECT_TRUE(at::equal(view("shift:1", 1).select(2, 3), x.select(2, 2)));
  EXPECT_TRUE(at::equal(view("shift:1", 2).select(3, 0), x.select(3, 1)));
  EXPECT_TRUE(at::equal(view("shift:1", 3).select(3, 4), x.select(3, 3)));
}

TEST(Tta, MeanIsThatOfProbabilities) {
  at::manual_seed(3);
  const torch::Tensor a = at::randn({6, 4}), b = at::randn({6, 4}) * 300;
  TtaMean mean;
  mean.add(a);
  mean.add(b);
  const torch::Tensor want = ((a.to(at::kDouble).softmax(1) + b.to(at::kDouble).softmax(1)) / 2).to(at::kFloat);
  EXPECT_TRUE(at::allclose(mean.scores().exp(), want, 1e-6, 1e-7));
  TtaMean sure;
  sure.add(at::tensor({0.0F, 500.0F}).view({1, 2}));
  EXPECT_EQ(sure.scores()[0][0].item<float>(), -100);
}

TEST(Tta, ErrorsSayWhatIsRequired) {
  const Pipeline whole = Pipeline::parse("resize([28, 28])");
  for (const std::string name : {"mirror", "shift:", "shift:0", "shift:1001", "shift:2x", ""}) {
    EXPECT_EQ(message_of([&] { plan_tta({name}, whole); }),
              "[predict] a view of --tta must be identity, hflip, vflip, shift:N, five_crop or ten_crop, got \"" + name + "\"");
  }
  EXPECT_EQ(message_of([&] { plan_tta({"ten_crop"}, whole); }),
            "[ten_crop] needs a center_crop, whose place it takes, got \"resize([28, 28])\"");
}

}  // namespace
}  // namespace ballast
