// Statistics of every kind of draw, and geometry followed by its own map.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include <ballast/augment/pipeline.h>
#include <ballast/augment/pipeline_text.h>
#include <ballast/augment/plan.h>
#include <ballast/augment/policy_space.h>

namespace ballast {
namespace {

// False-alarm probability 1e-6 each.
double ks_bound(size_t n) { return std::sqrt(std::log(2e6) / (2.0 * static_cast<double>(n))); }

/// Largest distance between the values' distribution and uniform on [low, high].
double ks_uniform(std::vector<double> v, double low, double high) {
  std::sort(v.begin(), v.end());
  double d = 0;
  const auto n = static_cast<double>(v.size());
  for (size_t i = 0; i < v.size(); ++i) {
    const double f = (v[i] - low) / (high - low);
    d = std::max({d, std::abs(f - static_cast<double>(i) / n), std::abs(f - static_cast<double>(i + 1) / n)});
  }
  return d;
}

/// Wilson and Hilferty's quantile of chi-square at 1 - 1e-6.
double chi2_bound(double k) { return k * std::pow(1 - 2 / (9 * k) + 4.753 * std::sqrt(2 / (9 * k)), 3); }

double chi2(const std::map<std::string, int>& counts, double expected) {
  double sum = 0;
  for (const auto& [name, n] : counts) sum += (n - expected) * (n - expected) / expected;
  return sum;
}

/// Value `index` of the first note `name` in n draws on h x w.
std::vector<double> values(const char* text, const std::string& name, size_t index, int n, int32_t h = 64, int32_t w = 96) {
  const Pipeline p = Pipeline::parse(text);
  std::vector<double> out;
  for (int i = 0; i < n; ++i) {
    for (const DrawNote& note : p.draw(h, w, Key(41).fold_in(static_cast<uint64_t>(i)))) {
      if (note.name == name && note.values.size() > index) {
        out.push_back(note.values[index]);
        break;
      }
    }
  }
  return out;
}

TEST(Draws, RangesAreUniform) {
  const int n = 20'000;
  for (const auto& [text, name, low, high] :
       {std::tuple{"rotate(30)", "rotate", -30.0, 30.0}, {"rotate([10, 80])", "rotate", 10.0, 80.0},
        {"brightness(0.5..1.5)", "brightness", 0.5, 1.5}, {"jitter(contrast=0.4)", "contrast", 0.6, 1.4},
        {"hue(0.3)", "hue", -0.3, 0.3}, {"shear_x(0.2)", "shear_x", -0.2, 0.2}, {"gamma(0.5..2)", "gamma", 0.5, 2.0},
        {"gaussian_blur", "gaussian_blur", 0.1, 2.0}, {"optical_distortion(0.4)", "optical_distortion", -0.4, 0.4}}) {
    const auto v = values(text, name, 0, n);
    ASSERT_EQ(v.size(), static_cast<size_t>(n)) << text;
    EXPECT_LT(ks_uniform(v, low, high), ks_bound(v.size())) << text;
  }
}

TEST(Draws, ProbabilitiesAreMet) {
  const int n = 50'000;
  for (const auto& [text, name, p] : {std::tuple{"hflip(0.3)", "hflip", 0.3}, {"grayscale", "grayscale", 0.1},
                                      {"maybe(0.7, invert(1))", "invert", 0.7}, {"one_of(invert(1), solarize; weights=[1, 3])", "invert", 0.25},
                                      {"some_of(1, invert(1), solarize, vflip(1))", "vflip", 1.0 / 3}}) {
    const Pipeline pipeline = Pipeline::parse(text);
    int count = 0;
    for (int i = 0; i < n; ++i) {
      const auto notes = pipeline.draw(8, 8, Key(7).fold_in(static_cast<uint64_t>(i)));
      count += std::any_of(notes.begin(), notes.end(), [&](const DrawNote& d) { return d.name == name; }) ? 1 : 0;
    }
    EXPECT_NEAR(count, n * p, 4.892 * std::sqrt(n * p * (1 - p))) << text;
  }
}

TEST(Draws, JitterHasAllOrdersEvenly) {
  std::map<std::string, int> orders;
  const Pipeline p = Pipeline::parse("jitter(0.4, 0.4, 0.4, 0.1)");
  const int n = 24'000;
  for (int i = 0; i < n; ++i) {
    std::string order;
    for (const DrawNote& d : p.draw(8, 8, Key(3).fold_in(static_cast<uint64_t>(i)))) order += d.name[0];
    ++orders[order];
  }
  EXPECT_EQ(orders.size(), 24U);
  EXPECT_LT(chi2(orders, n / 24.0), chi2_bound(23));
}

TEST(Draws, PoliciesTakeEachOperationEvenly) {
  const int n = 28'000;
  for (const char* text : {"rand_augment(1)", "trivial_augment"}) {
    std::map<std::string, int> ops;
    const Pipeline p = Pipeline::parse(text);
    for (int i = 0; i < n; ++i) ++ops[p.draw(32, 32, Key(5).fold_in(static_cast<uint64_t>(i)))[0].name];
    EXPECT_EQ(ops.size(), 14U);
    EXPECT_LT(chi2(ops, n / 14.0), chi2_bound(13)) << text;
  }
  EXPECT_EQ(detail::auto_augment_policy(0).size(), 25U);
  EXPECT_EQ(detail::auto_augment_policy(1).size(), 25U);
  EXPECT_EQ(detail::auto_augment_policy(2).size(), 25U);
}

TEST(Draws, CutoutCoversWhatItsLawSays) {
  // Cover of one axis: sum over centres of the clipped length; the two axes are independent.
  const Pipeline p = Pipeline::parse("cutout(16)");
  double axis = 0, square = 0;
  for (int c = 0; c < 32; ++c) {
    const double length = std::min(32, c + 8) - std::max(0, c - 8);
    axis += length / 32;
    square += length * length / 32;
  }
  const double mean = axis * axis / 1024;
  EXPECT_NEAR(mean, 0.191, 0.0005) << "not 25 %";
  const int n = 20'000;
  double sum = 0;
  for (int i = 0; i < n; ++i) {
    const auto v = p.draw(32, 32, Key(2).fold_in(static_cast<uint64_t>(i)))[0].values;
    sum += v[2] * v[3] / 1024;
  }
  const double variance = square * square / (1024.0 * 1024.0) - mean * mean;
  EXPECT_NEAR(sum / n, mean, 5 * std::sqrt(variance / n));
}

TEST(Draws, RandomErasingKeepsItsRanges) {
  // Where every draw fits, area and log ratio are uniform up to the rounding of the sides.
  const int n = 20'000;
  const Pipeline p = Pipeline::parse("erase(1, scale=[0.02, 0.1], ratio=[0.5, 2])");
  std::vector<double> areas, ratios;
  for (int i = 0; i < n; ++i) {
    const auto v = p.draw(1000, 1400, Key(8).fold_in(static_cast<uint64_t>(i)))[0].values;
    ASSERT_TRUE(v[0] >= 0 && v[1] >= 0 && v[0] + v[2] <= 1400 && v[1] + v[3] <= 1000);
    areas.push_back(v[2] * v[3] / 1.4e6);
    ratios.push_back(std::log(v[3] / v[2]));
  }
  EXPECT_LT(ks_uniform(areas, 0.02, 0.1), ks_bound(areas.size()) + 0.01);
  EXPECT_LT(ks_uniform(ratios, std::log(0.5), std::log(2.0)), ks_bound(ratios.size()) + 0.01);
}

TEST(Draws, NeighbouringKeysAreUncorrelated) {
  const auto v = values("rotate(1)", "rotate", 0, 50'000);
  double sum = 0, square = 0;
  for (size_t i = 0; i + 1 < v.size(); ++i) {
    sum += v[i] * v[i + 1];
    square += v[i] * v[i];
  }
  EXPECT_LT(std::abs(sum / square), 4.892 / std::sqrt(50'000.0));
}

TEST(Geometry, PaintedDotsFollowTheMapOfTheirSteps) {
  const int32_t h = 61, w = 83;
  for (const char* text :
       {"hflip(1)", "vflip(1)", "transpose", "rotate90(k=1)", "rotate90(k=3)", "d4", "rotate(60)", "rotate([40, 40], expand=true)",
        "affine(20, 0.1, 0.8..1.2, 10)", "shear_x(0.3)", "shear_y(0.3)", "translate_x(12)", "translate_y(12)",
        "perspective(0.4, p=1)", "resize([90, 70])", "rrc(64, scale=[0.6, 1])", "random_crop([50, 70], padding=3)", "center_crop(58)",
        "pad([3, 1, 4, 2])", "zoom_out(1..2, p=1)", "rrc(64, scale=[0.7, 1]) | hflip | rotate(20)", "rotate(20) | center_crop(58) | vflip(1)",
        "hflip(1) | affine(15) | resize([50, 60]) | rotate90(k=1)", "d4 | rotate(25) | d4"}) {
    const Pipeline p = Pipeline::parse(text);
    const auto steps = detail::parse_steps(text);
    int seen = 0;
    for (uint64_t i = 0; i < 25; ++i) {
      const Key key = Key(19).fold_in(i);
      // A dot of 5 x 5 somewhere in the middle.
      const auto cx = 15 + static_cast<int32_t>(slot_below(key, 90, 53)), cy = 15 + static_cast<int32_t>(slot_below(key, 91, 31));
      Image image(h, w, 1);
      for (int32_t y = 0; y < h; ++y) {
        for (int32_t x = 0; x < w; ++x) image.row_u8(y)[x] = std::abs(x - cx) <= 2 && std::abs(y - cy) <= 2 ? 255 : 0;
      }
      detail::Plan plan;
      detail::draw_plan(steps, h, w, key, {}, plan);
      double px = cx + 0.5, py = cy + 0.5;
      bool inside = true;
      for (const detail::GeometryStep& g : plan.geometry) {
        const auto q = map_point(invert(g.step.g), px, py);
        px = q[0];
        py = q[1];
        inside = inside && px > 6 && py > 6 && px < g.step.out_w - 6 && py < g.step.out_h - 6;
      }
      for (const Semantics semantics : {Semantics::fused, Semantics::sequential}) {
        Pipeline one = p;
        one.set_semantics(semantics);
        const Image out = one.preview(image, key, 1);
        double sum = 0, sx = 0, sy = 0;
        for (int32_t y = 0; y < out.h(); ++y) {
          for (int32_t x = 0; x < out.w(); ++x) {
            const double v = out.row_u8(y)[x];
            sum += v;
            sx += v * (x + 0.5);
            sy += v * (y + 0.5);
          }
        }
        if (!inside) continue;
        ++seen;
        ASSERT_GT(sum, 0) << text;
        // Perspective moves a dot's centre of mass a little off its centre.
        EXPECT_NEAR(sx / sum, px, 0.35) << text << " " << i;
        EXPECT_NEAR(sy / sum, py, 0.35) << text << " " << i;
      }
    }
    EXPECT_GE(seen, 4) << text << ": too few dots stayed inside";
  }
}

TEST(Geometry, FusedEqualsSequentialWhereAtMostOneStepResamples) {
  Image image(70, 90, 3);
  for (int32_t y = 0; y < 70; ++y) {
    for (int32_t x = 0; x < 270; ++x) image.row_u8(y)[x] = static_cast<uint8_t>(x * 5 + y * 11 + x * y / 9);
  }
  for (const char* text : {"rrc(32) | hflip | vflip", "resize(40) | center_crop(32)", "random_crop(40, padding=4) | d4", "translate_x(5) | jitter(0.4, 0.4, 0.4, 0.1) | hflip"}) {
    Pipeline fused = Pipeline::parse(text), sequential = fused;
    sequential.set_semantics(Semantics::sequential);
    for (uint64_t i = 0; i < 20; ++i) {
      EXPECT_TRUE(equal_pixels(fused.preview(image, Key(i)), sequential.preview(image, Key(i)))) << text << " " << i;
    }
  }
}

TEST(Geometry, ATurnBeforeAWarpStaysWithinALevel) {
  Image image(64, 64, 3);
  for (int32_t y = 0; y < 64; ++y) {
    for (int32_t x = 0; x < 192; ++x) image.row_u8(y)[x] = static_cast<uint8_t>(x + y * 2);
  }
  // The maps are multiplied in double, which moves a coordinate by its last bit: a tie may round the other way.
  Pipeline fused = Pipeline::parse("d4 | rotate(30)"), sequential = fused;
  sequential.set_semantics(Semantics::sequential);
  for (uint64_t i = 0; i < 20; ++i) {
    const Image a = fused.preview(image, Key(i)), b = sequential.preview(image, Key(i));
    for (int32_t y = 0; y < 64; ++y) {
      for (int32_t x = 0; x < 192; ++x) ASSERT_NEAR(a.row_u8(y)[x], b.row_u8(y)[x], 1);
    }
  }
}

TEST(Timm, StringsAreReadAsTimmReadsThem) {
  using detail::parse_timm;
  const auto t = parse_timm("rand-m9-mstd0.5-inc1");
  EXPECT_EQ(t.m, 9);
  EXPECT_EQ(t.mstd, 0.5);
  EXPECT_TRUE(t.inc);
  EXPECT_EQ(t.n, 2);
  EXPECT_TRUE(std::isinf(parse_timm("rand-m7-mstd101").mstd));
  EXPECT_TRUE(std::isinf(parse_timm("rand-mstdinf").mstd));
  EXPECT_EQ(parse_timm("rand-n3-p0.25-tweights").set, detail::TimmPolicy::Set::weights);
  EXPECT_EQ(parse_timm("augmix-m5-w4-d2").w, 4);
  EXPECT_EQ(parse_timm("rand-m20-mmax20").mmax, 20);
  for (const char* wrong : {"rand-m99", "rand-m9-m9", "rand-x3", "augmix-w0", "rand-p2", "rand-mfoo", "rand-m20", "v0", "original-m3"}) {
    EXPECT_THROW(parse_timm(wrong), std::invalid_argument) << wrong;
  }
}

}  // namespace
}  // namespace ballast
