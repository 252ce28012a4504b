#include <ballast/augment/policy_space.h>

#include <algorithm>
#include <cmath>

#include <ballast/base/check.h>

namespace ballast::detail {

namespace {

using P = PolicyOp;

/// torchvision's order of RandAugment and TrivialAugmentWide.
constexpr std::array<P, 14> kRand = {P::identity,   P::shear_x, P::shear_y,  P::translate_x, P::translate_y,
                                     P::rotate,     P::brightness, P::color, P::contrast,    P::sharpness,
                                     P::posterize,  P::solarize, P::auto_contrast, P::equalize};
constexpr std::array<P, 13> kAugMix = {P::shear_x, P::shear_y, P::translate_x, P::translate_y, P::rotate,
                                       P::posterize, P::solarize, P::auto_contrast, P::equalize,
                                       P::brightness, P::color, P::contrast, P::sharpness};

constexpr PolicySpace auto_space(int bins) { return {bins, 0.3, 30, 0.9, 150.0 / 331, false, 8, 4}; }
constexpr PolicySpace kAugMixSpace = {10, 0.3, 30, 0.9, 1.0 / 3, false, 4, 4};

void draw_rand_augment(const Step& s, Key key, Planner& plan) {
  const PolicySpace space = auto_space(s.whole(2));
  for (uint32_t k = 0; k < static_cast<uint32_t>(s.whole(0)); ++k) {
    const P op = kRand[slot_below(key, 1 + 2 * k, kRand.size())];
    const bool negative = slot_bernoulli(key, 2 + 2 * k, 0.5);
    apply_policy_op(plan, op, policy_value(space, op, s.whole(1), negative, plan.h(), plan.w()), kPolicyResampling);
  }
}

void check_rand_augment(const Step& s) {
  check(s.whole(1) < s.whole(2), "rand_augment", "magnitude must be below bins (", s.whole(2), "), got ", s.whole(1));
}

void draw_trivial_augment(const Step& s, Key key, Planner& plan) {
  const int bins = s.whole(0);
  const PolicySpace space = {bins, 0.99, 135, 0.99, 32, true, 8, 6};
  const P op = kRand[slot_below(key, 1, kRand.size())];
  const auto j = static_cast<int>(slot_below(key, 2, static_cast<uint64_t>(bins)));
  apply_policy_op(plan, op, policy_value(space, op, j, slot_bernoulli(key, 3, 0.5), plan.h(), plan.w()), kPolicyResampling);
}

void draw_augmix(const Step& s, Key key, Planner& plan) {
  const auto severity = static_cast<uint64_t>(s.whole(0));
  const int width = s.whole(1), depth = s.whole(2);
  const double alpha = s.num(3), m = slot_beta(key, 1, alpha, alpha);
  const size_t ops = s.truth(4) ? kAugMix.size() : size_t{9};
  std::vector<Plan> chains(static_cast<size_t>(width));
  plan.note("augmix", {m});
  for (uint32_t i = 0; i < static_cast<uint32_t>(width); ++i) {
    const uint32_t slot = 16 + 16 * i;
    const int steps = depth > 0 ? depth : 1 + static_cast<int>(slot_below(key, slot, 3));
    Planner chain(plan.h(), plan.w(), plan.facts(), chains[i], plan.notes());
    for (uint32_t k = 0; k < static_cast<uint32_t>(steps); ++k) {
      const uint32_t at = slot + 1 + 3 * k;
      const P op = kAugMix[slot_below(key, at, ops)];
      const auto j = static_cast<int>(slot_below(key, at + 1, severity));
      const bool negative = slot_bernoulli(key, at + 2, 0.5);
      apply_policy_op(chain, op, policy_value(kAugMixSpace, op, j, negative, plan.h(), plan.w()), kPolicyResampling);
    }
    chain.finish();
  }
  Blend& blend = plan.blend();
  blend.m = m;
  blend.weights = dirichlet(key, 2, alpha, width);
  blend.chains = std::move(chains);
}

void draw_three_augment(const Step&, Key key, Planner& plan) {
  switch (slot_below(key, 1, 3)) {
    case 0:
      plan.note("grayscale");
      plan.pixel(PixelOp::Kind::grayscale);
      break;
    case 1:
      plan.note("solarize", {128});
      plan.pixel(PixelOp::Kind::solarize, {128});
      break;
    default: {
      const double sigma = 0.1 + 1.9 * slot_uniform(key, 2);
      plan.note("gaussian_blur", {sigma});
      plan.pixel(PixelOp::Kind::gaussian_blur, {sigma, 2 * std::ceil(3 * sigma) + 1});
    }
  }
  // color_jitter(0.3, 0.3, 0.3), its order and factors from own slots.
  std::array<PixelOp::Kind, 3> kinds = {PixelOp::Kind::brightness, PixelOp::Kind::contrast, PixelOp::Kind::saturation};
  for (uint64_t n = slot_below(key, 3, 6); n > 0; --n) std::next_permutation(kinds.begin(), kinds.end());
  for (const PixelOp::Kind kind : kinds) {
    const double f = 0.7 + 0.6 * slot_uniform(key, 4 + static_cast<uint32_t>(kind));
    constexpr std::array<std::string_view, 3> names = {"brightness", "contrast", "saturation"};
    plan.note(names[static_cast<size_t>(kind)], {f});
    plan.pixel(kind, {f});
  }
}

}  // namespace

bool has_sign(PolicyOp op) { return op >= P::shear_x && op <= P::sharpness; }

double policy_value(const PolicySpace& space, PolicyOp op, int j, bool negative, int32_t h, int32_t w) {
  const double t = static_cast<double>(j) / (space.bins - 1), sign = negative ? -1 : 1;
  switch (op) {
    case P::shear_x:
    case P::shear_y: return sign * t * space.shear;
    case P::translate_x: return sign * t * (space.translate_pixels ? space.translate : space.translate * w);
    case P::translate_y: return sign * t * (space.translate_pixels ? space.translate : space.translate * h);
    case P::rotate: return sign * t * space.rotate;
    case P::brightness:
    case P::color:
    case P::contrast:
    case P::sharpness: return 1 + sign * t * space.enhance;
    case P::posterize: return std::nearbyint(space.bits_from - space.bits_span * t);
    case P::solarize: return 255 * (1 - t);
    default: return 0;
  }
}

void apply_policy_op(Planner& plan, PolicyOp op, double v, const Resampling& r) {
  using Kind = PixelOp::Kind;
  const auto pixel = [&](std::string_view name, Kind kind, std::array<double, 4> values) {
    plan.note(name, {values[0]});
    plan.pixel(kind, values);
  };
  switch (op) {
    case P::identity: plan.note("identity"); break;
    case P::shear_x:
      plan.note("shear_x", {v});
      shear_x(plan, v, r);
      break;
    case P::shear_y:
      plan.note("shear_y", {v});
      shear_y(plan, v, r);
      break;
    case P::translate_x:
      plan.note("translate_x", {std::trunc(v)});
      plan.shift(static_cast<int32_t>(v), 0, r.border, r.fill);
      break;
    case P::translate_y:
      plan.note("translate_y", {std::trunc(v)});
      plan.shift(0, static_cast<int32_t>(v), r.border, r.fill);
      break;
    case P::rotate:
      plan.note("rotate", {v});
      rotate(plan, v, r);
      break;
    case P::brightness: pixel("brightness", Kind::brightness, {v}); break;
    case P::color:
    case P::desaturate: pixel("saturation", Kind::saturation, {v}); break;
    case P::contrast: pixel("contrast", Kind::contrast, {v}); break;
    case P::sharpness: pixel("sharpness", Kind::sharpness, {v}); break;
    case P::posterize: pixel("posterize", Kind::posterize, {v}); break;
    case P::solarize: pixel("solarize", Kind::solarize, {v}); break;
    case P::solarize_add: pixel("solarize_add", Kind::solarize_add, {v, 128}); break;
    case P::auto_contrast:
      plan.note("autocontrast");
      plan.pixel(Kind::autocontrast);
      break;
    case P::equalize:
      plan.note("equalize");
      plan.pixel(Kind::equalize);
      break;
    case P::invert:
      plan.note("invert");
      plan.pixel(Kind::invert);
      break;
    case P::blur: pixel("gaussian_blur", Kind::gaussian_blur, {v, 2 * std::ceil(3 * v) + 1}); break;
  }
}

std::vector<double> dirichlet(Key key, uint32_t slot, double alpha, int n) {
  std::vector<double> w;
  double rest = 1;
  for (int i = 0; i + 1 < n; ++i) {
    const double part = slot_beta(key, slot + static_cast<uint32_t>(i), alpha, alpha * (n - 1 - i));
    w.push_back(rest * part);
    rest *= 1 - part;
  }
  w.push_back(rest);
  return w;
}

void add_policies(std::vector<Operation>& out) {
  constexpr auto G = AugmentGroup::policy;
  const auto whole = whole_arg;
  out.push_back({"rand_augment", "", 70, G, "num_ops operations of one magnitude (1909.13719)", true,
                 {whole("num_ops", 2, 1, 64), whole("magnitude", 9, 0, 999), whole("bins", 31, 2, 1000), p_arg()},
                 draw_rand_augment, check_rand_augment});
  out.push_back({"trivial_augment", "", 71, G, "one operation of random strength (2103.10158, wide)", true,
                 {whole("bins", 31, 2, 1000), p_arg()}, draw_trivial_augment});
  Arg policy = choice_arg("policy", "imagenet|cifar10|svhn");
  policy.positional = true;
  out.push_back({"auto_augment", "", 72, G, "one of 25 learned pairs of operations (1805.09501)", true, {policy, p_arg()},
                 draw_auto_augment});
  out.push_back({"augmix", "", 73, G, "chains of operations, blended (1912.02781)", true,
                 {whole("severity", 3, 1, 10), whole("width", 3, 1, 10), whole("depth", -1, -1, 5),
                  number_arg("alpha", 1, 0.01, 100), truth_arg("all_ops", true), p_arg()},
                 draw_augmix});
  out.push_back({"three_augment", "", 74, G, "gray, solarize or blur, then colour jitter (2204.07118)", true, {p_arg()},
                 draw_three_augment});
  out.push_back({"timm", "", 75, G, "timm's strings, written as they are: rand-m9-mstd0.5-inc1, augmix-m5-w4-d2, original, originalr, 3a",
                 true, {}, draw_timm});
}

}  // namespace ballast::detail
