#include <ballast/drop/mask_kernel.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <ballast/base/cpu.h>

namespace ballast {
namespace {

class MaskKernel : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_simd_target(GetParam()); }
  void TearDown() override { force_simd_target(""); }
};
INSTANTIATE_TEST_SUITE_P(Targets, MaskKernel, testing::ValuesIn(simd_targets()));

TEST_P(MaskKernel, DrawsAreThoseOfKey) {
  for (double p : {0.0, 1e-3, 0.1, 0.5, 0.9, 0.999, 1.0}) {
    for (DropRate rate : {element_rate(p), event_rate(p), corner_rate(p)}) {
      for (uint64_t first : {uint64_t{0}, uint64_t{5}, uint64_t{127}, uint64_t{128}, (uint64_t{1} << 36) - 70, (uint64_t{3} << 40) + 3}) {
        for (size_t n : {0u, 1u, 15u, 16u, 17u, 63u, 64u, 65u, 127u, 128u, 129u, 300u}) {
          std::vector<uint16_t> got(keep_words(n)), want(keep_words(n));
          const size_t offset = draw_keep(Key(42), first, n, rate, got.data());
          ASSERT_EQ(offset, draw_keep_reference(Key(42), first, n, rate, want.data()));
          for (size_t i = 0; i < n; ++i) ASSERT_EQ(kept(got.data(), offset + i), kept(want.data(), offset + i)) << first << ' ' << i;
        }
      }
    }
  }
}

// Where the upper 16 bits equal those of the threshold, the lower ones decide: each of the draws here that is open, both ways.
TEST_P(MaskKernel, SplitDrawsAreDecidedByTheLowerBitsToo) {
  constexpr size_t kDraws = 20'000;
  const Key key(9);
  size_t dropped = 0, held = 0;
  for (size_t i = 0; i < kDraws; i += 97) {
    const auto upper = static_cast<uint64_t>(bits16(key, i));
    for (uint64_t lower : {uint64_t{0}, uint64_t{1} << 15, uint64_t{0xffff}}) {
      const DropRate rate{.threshold = upper << 16 | lower, .width = 32, .split = true};
      std::vector<uint16_t> keep(keep_words(1));
      const size_t offset = draw_keep(key, i, 1, rate, keep.data());
      const bool want = rate.none() || bits16(key.fold_in("low"), i) >= lower;
      ASSERT_EQ(kept(keep.data(), offset), want) << i;
      ++(want ? held : dropped);
    }
  }
  EXPECT_GT(dropped, 200U);
  EXPECT_GT(held, 200U);
}

template <class T, class Drop>
void expect_dropped(const Drop& drop, KeepValues v, const std::function<double(T)>& read) {
  for (double p : {0.3, 0.001}) {
    const DropRate rate = element_rate(p);
    for (uint64_t first : {uint64_t{0}, uint64_t{3}, uint64_t{128}}) {
      for (size_t n = 0; n <= 300; n += n < 68 ? 1 : 29) {
        for (size_t at : {0u, 1u, 3u}) {
          std::vector<T> x(n + 8), y(n + 8, T(77));
          for (size_t i = 0; i < n; ++i) x[at + i] = static_cast<T>(i + 1);
          drop(x.data() + at, y.data() + at, n, Key(7), first, rate, v);
          std::vector<uint16_t> keep(keep_words(n));
          const size_t offset = draw_keep_reference(Key(7), first, n, rate, keep.data());
          for (size_t i = 0; i < n; ++i) {
            const double want = kept(keep.data(), offset + i) ? v.scale * read(x[at + i]) + v.shift : v.fill;
            ASSERT_EQ(read(y[at + i]), want) << n << ' ' << i;
          }
          for (size_t i = at + n; i < y.size(); ++i) ASSERT_EQ(y[i], T(77)) << "behind the end";
        }
      }
    }
  }
}

TEST_P(MaskKernel, ElementsAreDroppedOfEveryLengthAndOffset) {
  for (KeepValues v : {KeepValues{.scale = 2}, KeepValues{.scale = 0.5, .shift = 3, .fill = -1}}) {
    expect_dropped<float>([](auto... a) { drop_elements(a...); }, v, [](float x) { return double{x}; });
    expect_dropped<double>([](auto... a) { drop_elements(a...); }, v, [](double x) { return x; });
  }
  // The bits of a bfloat16 are the upper half of a float's.
  const auto read = [](uint16_t bits) { return static_cast<double>(std::bit_cast<float>(uint32_t{bits} << 16)); };
  expect_dropped<uint16_t>([](auto... a) { drop_elements_bf16(a...); }, {.scale = 1}, read);
}

TEST_P(MaskKernel, Bfloat16IsRoundedToTheNearestEvenAndKeepsNaN) {
  const std::vector<uint16_t> keep(keep_words(16), 0xffff);
  const auto bits = [](float x) { return static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16); };
  const uint16_t x[4] = {bits(1.0f), bits(3.0f), 0x7fc1, 0xff81};
  const uint16_t want[4] = {bits(1.0f), bits(3.015625f), 0x7fc1, 0xffc1};  // a signalling NaN becomes a quiet one
  uint16_t y[4];
  apply_keep_bf16(x, y, 4, keep.data(), 0, {.scale = 1.00390625});  // 1 + 2^-8: half way between two bfloat16
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(y[i], want[i]) << i;
  // Drawn and applied at once: the same of each bit pattern, also where the upper half of the blocks' counter changes.
  std::vector<uint16_t> all(1 << 16), dropped(all.size()), plain(all.size()), masks(keep_words(all.size() + 128));
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  for (uint64_t first : {uint64_t{0}, (uint64_t{1} << 35) - 3 * 128, (uint64_t{5} << 35) - 4 * 128, (uint64_t{1} << 35) - 5}) {
    for (double scale : {1 / 0.7, 2.0, 1.00390625, 1e-30, 3e38, 1e300, 0.0, -1.5}) {
      const KeepValues v{.scale = scale};
      drop_elements_bf16(all.data(), dropped.data(), all.size(), Key(2), first, element_rate(0.3), v);
      apply_keep_bf16(all.data(), plain.data(), all.size(), masks.data(),
                      draw_keep_reference(Key(2), first, all.size(), element_rate(0.3), masks.data()), v);
      ASSERT_EQ(dropped, plain) << first << ' ' << scale;
    }
  }
}

TEST_P(MaskKernel, ChannelsLastUsesTheBitsOfChannelsFirst) {
  for (size_t channels : {1u, 5u, 16u, 33u}) {
    for (size_t positions : {1u, 7u, 16u, 37u}) {
      const size_t n = channels * positions;
      std::vector<uint16_t> keep(keep_words(n));
      const size_t offset = draw_keep(Key(1), 77, n, element_rate(0.5), keep.data());
      const std::vector<float> x(n, 1.0f);
      std::vector<float> y(n + 1, -3.0f);
      apply_keep_nhwc(x.data(), y.data(), channels, positions, keep.data(), offset, {.scale = 2});
      for (size_t c = 0; c < channels; ++c) {
        for (size_t s = 0; s < positions; ++s) {
          ASSERT_EQ(y[s * channels + c], kept(keep.data(), offset + c * positions + s) ? 2.0f : 0.0f);
        }
      }
      EXPECT_EQ(y[n], -3.0f);
    }
  }
}

// Past the caches or not, aligned or not: the same bytes, and none beside them.
template <class T, class Apply>
void expect_stream_changes_nothing(const Apply& apply) {
  constexpr size_t kSize = 1500;
  alignas(64) T x[kSize], plain[kSize], streamed[kSize];
  for (size_t i = 0; i < kSize; ++i) x[i] = static_cast<T>(i % 211);
  for (size_t start : {0u, 1u, 8u, 16u, 32u}) {
    for (KeepValues v : {KeepValues{.scale = 2}, KeepValues{.scale = 0.5, .shift = 3, .fill = -1}}) {
      std::fill_n(plain, kSize, T{77});
      std::fill_n(streamed, kSize, T{77});
      apply(x + start, plain + start, v);
      v.stream = true;
      apply(x + start, streamed + start, v);
      ASSERT_EQ(std::memcmp(plain, streamed, sizeof plain), 0) << start;
    }
  }
}

TEST_P(MaskKernel, StreamedResultsAreTheSame) {
  std::vector<uint16_t> keep(keep_words(1400));
  const size_t offset = draw_keep(Key(5), 37, 1400, element_rate(0.5), keep.data());
  for (size_t n : {0u, 1u, 15u, 64u, 130u, 1400u}) {
    expect_stream_changes_nothing<float>([&](auto x, auto y, KeepValues v) { apply_keep(x, y, n, keep.data(), offset, v); });
    expect_stream_changes_nothing<double>([&](auto x, auto y, KeepValues v) { apply_keep(x, y, n, keep.data(), offset, v); });
    expect_stream_changes_nothing<uint16_t>([&](auto x, auto y, KeepValues v) { apply_keep_bf16(x, y, n, keep.data(), offset, v); });
    for (uint64_t first : {0u, 5u, 128u}) {
      expect_stream_changes_nothing<float>(
          [&](auto x, auto y, KeepValues v) { drop_elements(x, y, n, Key(2), first, element_rate(0.3), v); });
      expect_stream_changes_nothing<uint16_t>(
          [&](auto x, auto y, KeepValues v) { drop_elements_bf16(x, y, n, Key(2), first, element_rate(0.3), v); });
    }
    expect_stream_changes_nothing<uint8_t>([&](auto, auto y, KeepValues v) { store_zeros(y, n, v.stream); });
  }
  for (size_t channels : {7u, 16u, 32u, 40u}) {
    expect_stream_changes_nothing<float>(
        [&](auto x, auto y, KeepValues v) { apply_keep_nhwc(x, y, channels, 33, keep.data(), offset, v); });
    expect_stream_changes_nothing<uint16_t>(
        [&](auto x, auto y, KeepValues v) { apply_keep_nhwc_bf16(x, y, channels, 33, keep.data(), offset, v); });
  }
}

TEST_P(MaskKernel, DotAndAxpyTakeTheKeptOnly) {
  for (size_t n : {0u, 1u, 15u, 16u, 33u, 100u}) {
    std::vector<uint16_t> keep(keep_words(n));
    const size_t offset = draw_keep(Key(3), 21, n, element_rate(0.5), keep.data());
    std::vector<float> w(n), x(n), out(n, 1.0f);
    double want = 0;
    for (size_t i = 0; i < n; ++i) {
      w[i] = static_cast<float>(i % 7) - 3;
      x[i] = static_cast<float>(i % 5) - 2;
      if (kept(keep.data(), offset + i)) want += double{w[i]} * x[i];
    }
    EXPECT_EQ(keep_dot(w.data(), x.data(), n, keep.data(), offset), want);  // small integers are exact
    keep_axpy(2, w.data(), out.data(), n, keep.data(), offset);
    for (size_t i = 0; i < n; ++i) EXPECT_EQ(out[i], kept(keep.data(), offset + i) ? 1 + 2 * w[i] : 1);
  }
}

TEST(ClearBits, ClearsARunAndNothingElse) {
  for (size_t begin = 0; begin < 40; ++begin) {
    for (size_t end = begin; end < 48; ++end) {
      std::vector<uint16_t> keep(4, 0xffff);
      clear_bits(keep.data(), begin, end);
      for (size_t i = 0; i < 64; ++i) ASSERT_EQ(kept(keep.data(), i), i < begin || i >= end);
    }
  }
}

}  // namespace
}  // namespace ballast
