#include <ballast/train/tensor_augment.h>

#include <cstring>
#include <functional>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

namespace ballast {
namespace {

torch::Tensor pictures(int64_t n, int64_t c, int64_t h, int64_t w) {
  const torch::Tensor i = at::arange(n * c * h * w, torch::kLong);
  return i.mul(7919).remainder(251).to(torch::kByte).view({n, c, h, w});
}

const char* const kRecipe = "random_crop(16, padding=2) | hflip | jitter(0.4, 0.4, 0.4, 0.1) | rotate(10) | erase(0.5)";

TEST(TensorAugment, RowsAreThoseOfThePipelineInBothLayouts) {
  for (const int64_t c : {int64_t{1}, int64_t{3}, int64_t{4}}) {
    const torch::Tensor x = pictures(5, c, 20, 18), last = x.contiguous(torch::MemoryFormat::ChannelsLast);
    Pipeline p = Pipeline::parse(kRecipe);
    p.set_normalize(imagenet_normalize());
    const std::vector<int64_t> ids = {9, 3, 8, 1, 7};
    const torch::Tensor y = augment(x, p, Key(4), ids), z = augment(last, p, Key(4), ids);
    ASSERT_EQ(y.sizes(), (std::vector<int64_t>{5, c, 16, 16}));
    EXPECT_TRUE(y.is_contiguous());
    EXPECT_TRUE(c == 1 || z.is_contiguous(torch::MemoryFormat::ChannelsLast));
    EXPECT_TRUE(at::equal(y, z));
    const torch::Tensor hwc = x.permute({0, 2, 3, 1}).contiguous();
    BatchSlot slot(1, static_cast<int32_t>(c), 16, 16, Layout::chw);
    Scratch scratch;
    for (int64_t i = 0; i < 5; ++i) {
      auto* at = static_cast<std::byte*>(hwc[i].data_ptr());
      p.run_image({at, 20, 18, static_cast<int32_t>(c), 18 * static_cast<ptrdiff_t>(c), DType::u8},
                  Key(4).fold_in(static_cast<uint64_t>(ids[static_cast<size_t>(i)])), slot, 0, scratch);
      EXPECT_EQ(std::memcmp(slot.data, y[i].data_ptr(), static_cast<size_t>(c) * 256 * sizeof(float)), 0) << i;
    }
  }
}

TEST(TensorAugment, SameBitsForAnyThreadsStridesAndSplit) {
  const torch::Tensor x = pictures(17, 3, 24, 24);
  const Pipeline p = Pipeline::parse(kRecipe);
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const torch::Tensor one = augment(x, p, Key(1));
  for (const int threads : {2, 4}) {
    at::set_num_threads(threads);
    EXPECT_TRUE(at::equal(one, augment(x, p, Key(1))));
  }
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(one.slice(0, 3, 5), augment(x.slice(0, 3, 5), p, Key(1), {3, 4})));
  // A view with other strides.
  const torch::Tensor turned = x.transpose(2, 3).contiguous().transpose(2, 3);
  EXPECT_TRUE(at::equal(one, augment(turned, p, Key(1))));
  EXPECT_FALSE(at::equal(one, augment(x, p, Key(2))));
}

TEST(TensorAugment, EmptyBatchAndNoSteps) {
  const Pipeline p = Pipeline::parse("");
  EXPECT_EQ(augment(pictures(0, 3, 8, 6), p, Key(0)).sizes(), (std::vector<int64_t>{0, 3, 8, 6}));
  const torch::Tensor x = pictures(2, 3, 8, 6);
  EXPECT_TRUE(at::allclose(augment(x, p, Key(0)), x.to(torch::kFloat) / 255));
}

TEST(TensorAugment, Errors) {
  const auto message = [](const std::function<void()>& f) -> std::string {
    try {
      f();
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
    return "no error";
  };
  const Pipeline p = Pipeline::parse("hflip");
  EXPECT_EQ(message([&] { augment(at::zeros({2, 3, 4, 4}), p, Key(0)); }),
            "[augment] x must be uint8 (N, C, H, W) with C 1, 3 or 4, got Float [2, 3, 4, 4]");
  EXPECT_EQ(message([&] { augment(pictures(2, 2, 4, 4), p, Key(0)); }),
            "[augment] x must be uint8 (N, C, H, W) with C 1, 3 or 4, got Byte [2, 2, 4, 4]");
  EXPECT_EQ(message([&] { augment(pictures(2, 3, 4, 4), p, Key(0), {1}); }),
            "[augment] ids must be as many as pictures (2), got 1");
}

}  // namespace
}  // namespace ballast
