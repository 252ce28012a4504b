#include <ballast/augment/policy_space.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>

#include <ballast/base/check.h>
#include <ballast/base/nearest_name.h>

namespace ballast::detail {

namespace {

using P = PolicyOp;
using Kind = TimmPolicy::Kind;
using Set = TimmPolicy::Set;

struct Weighted {
  P op;
  double weight;
};

constexpr std::array<Weighted, 15> kRand = {{{P::auto_contrast, 1}, {P::equalize, 1}, {P::invert, 1}, {P::rotate, 1},
    {P::posterize, 1}, {P::solarize, 1}, {P::solarize_add, 1}, {P::color, 1}, {P::contrast, 1}, {P::brightness, 1},
    {P::sharpness, 1}, {P::shear_x, 1}, {P::shear_y, 1}, {P::translate_x, 1}, {P::translate_y, 1}}};
constexpr std::array<Weighted, 15> kWeights = {{{P::rotate, 3}, {P::shear_x, 2}, {P::shear_y, 2}, {P::translate_x, 1},
    {P::translate_y, 1}, {P::color, .25}, {P::sharpness, .25}, {P::auto_contrast, .25}, {P::solarize, .05},
    {P::solarize_add, .05}, {P::contrast, .05}, {P::brightness, .05}, {P::equalize, .05}, {P::posterize, .05},
    {P::invert, .05}}};
constexpr std::array<Weighted, 3> kThree = {{{P::solarize, 1}, {P::desaturate, 1}, {P::blur, 1}}};
constexpr std::array<Weighted, 14> kThreeWeights = {{{P::solarize, 6}, {P::desaturate, 6}, {P::blur, 6}, {P::rotate, 3},
    {P::shear_x, 2}, {P::shear_y, 2}, {P::auto_contrast, 1}, {P::equalize, 1}, {P::invert, 1}, {P::posterize, 1},
    {P::color, 1}, {P::contrast, 1}, {P::brightness, 1}, {P::sharpness, 1}}};
constexpr std::array<Weighted, 13> kAugMix = {{{P::auto_contrast, 1}, {P::color, 1}, {P::contrast, 1}, {P::brightness, 1},
    {P::sharpness, 1}, {P::equalize, 1}, {P::rotate, 1}, {P::posterize, 1}, {P::solarize, 1}, {P::shear_x, 1},
    {P::shear_y, 1}, {P::translate_x, 1}, {P::translate_y, 1}}};

std::string_view stem(Kind kind) {
  return kind == Kind::augmix ? "augmix" : kind == Kind::rand ? "rand_augment" : "auto_augment";
}

/// timm's arguments of an operation at level l in [0, 1].
double argument(P op, double l, bool negative, const TimmPolicy& t, double radius, int32_t h, int32_t w) {
  const double sign = negative ? -1 : 1;
  // timm's other sets are made of the increasing operations.
  const bool inc = t.inc || t.kind == Kind::augmix || t.set != Set::standard;
  switch (op) {
    case P::rotate: return sign * 30 * l;
    case P::shear_x:
    case P::shear_y: return sign * 0.3 * l;
    case P::translate_x: return sign * (t.kind == Kind::augmix ? 0.3 : 0.45) * l * w;
    case P::translate_y: return sign * (t.kind == Kind::augmix ? 0.3 : 0.45) * l * h;
    case P::color:
    case P::contrast:
    case P::brightness:
    case P::sharpness: return inc ? std::max(0.1, 1 + sign * 0.9 * l) : 0.1 + 1.8 * l;
    case P::posterize: {
      const double n = std::trunc(4 * l);
      return std::clamp(t.kind == Kind::original ? 4 + n : inc || t.kind == Kind::originalr ? 4 - n : n, 0.0, 8.0);
    }
    case P::solarize: {
      const double n = std::min(256.0, std::trunc(256 * l));
      return inc ? 256 - n : n;
    }
    case P::solarize_add: return std::min(128.0, std::trunc(110 * l));
    case P::desaturate: return 0.5 - 0.5 * l;
    case P::blur: return t.kind == Kind::three ? 0.1 + (2 * l - 0.1) * radius : 0.1 + 1.9 * l;
    default: return 0;
  }
}

/// Draws and does one operation; its slots begin at `slot`: u < p, level, sign, interpolation, radius.
void apply(Planner& plan, Key key, uint32_t slot, P op, double p, double m, const TimmPolicy& t) {
  if (!slot_bernoulli(key, slot, p)) return;
  double level = m;
  if (std::isinf(t.mstd)) {
    level = m * slot_uniform(key, slot + 1);
  } else if (t.mstd > 0) {
    level = m + t.mstd * slot_normal(key, slot + 1);
  }
  const double l = std::clamp(level, 0.0, t.mmax) / 10;
  const bool negative = slot_bernoulli(key, slot + 2, 0.5);
  Resampling r = kPolicyResampling;
  r.interpolation = slot_below(key, slot + 3, 2) == 0 ? Interpolation::bilinear : Interpolation::bicubic;
  r.fill = plan.facts().mean;
  apply_policy_op(plan, op, argument(op, l, negative, t, slot_uniform(key, slot + 4), plan.h(), plan.w()), r);
}

void draw_rand(const TimmPolicy& t, Key key, Planner& plan) {
  std::vector<Weighted> ops;
  switch (t.set) {
    case Set::standard: ops.assign(kRand.begin(), kRand.end()); break;
    case Set::weights: ops.assign(kWeights.begin(), kWeights.end()); break;
    case Set::three: ops.assign(kThree.begin(), kThree.end()); break;
    case Set::three_weights: ops.assign(kThreeWeights.begin(), kThreeWeights.end()); break;
  }
  // timm's plain "3a" set has no weights, and draws with replacement as the standard one does.
  const bool replace = t.set == Set::standard || t.set == Set::three;
  for (uint32_t k = 0; k < static_cast<uint32_t>(t.n) && !ops.empty(); ++k) {
    double sum = 0;
    for (const Weighted& o : ops) sum += o.weight;
    double u = slot_uniform(key, 1 + 8 * k) * sum;
    size_t i = 0;
    for (; i + 1 < ops.size() && (u -= ops[i].weight) >= 0; ++i) {
    }
    const P op = ops[i].op;
    if (!replace) ops.erase(ops.begin() + static_cast<ptrdiff_t>(i));
    apply(plan, key, 2 + 8 * k, op, t.p, t.m, t);
  }
}

void draw_mix(const TimmPolicy& t, Key key, Planner& plan) {
  Blend blend;
  blend.m = slot_beta(key, 1, t.alpha, t.alpha);
  blend.weights = dirichlet(key, 2, t.alpha, t.w);
  blend.chains.resize(static_cast<size_t>(t.w));
  plan.note("augmix", {blend.m});
  for (uint32_t i = 0; i < static_cast<uint32_t>(t.w); ++i) {
    const Key own = key.fold_in("chain").fold_in(uint64_t{i});
    const int depth = t.d > 0 ? t.d : 1 + static_cast<int>(slot_below(own, 0, 3));
    Planner chain(plan.h(), plan.w(), plan.facts(), blend.chains[i], plan.notes());
    for (uint32_t k = 0; k < static_cast<uint32_t>(depth); ++k) {
      const P op = kAugMix[slot_below(own, 1 + 8 * k, kAugMix.size())].op;
      apply(chain, own, 2 + 8 * k, op, 1, t.m, t);
    }
    chain.finish();
  }
  plan.blend() = std::move(blend);
}

}  // namespace

bool begins_timm(std::string_view text) {
  const auto word = text.substr(0, text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_"));
  const bool dash = word.size() < text.size() && text[word.size()] == '-';
  if (word == "rand") return true;
  if (word == "augmix" || word == "v0" || word == "v0r") return dash || word != "augmix";
  return word == "original" || word == "originalr" || word == "3a";
}

TimmPolicy parse_timm(std::string_view text) {
  TimmPolicy t;
  const size_t dash = std::min(text.find('-'), text.size());
  const std::string_view name = text.substr(0, dash);
  t.kind = name == "augmix" ? Kind::augmix : name == "original" ? Kind::original : name == "originalr" ? Kind::originalr
           : name == "3a"   ? Kind::three  : Kind::rand;
  check(name != "v0" && name != "v0r", "auto_augment", "\"", name, "\" comes from no paper and is not offered; use original");
  if (t.kind == Kind::augmix) {
    t.m = 3;
    t.mstd = std::numeric_limits<double>::infinity();
  }
  std::vector<std::string_view> known;
  switch (t.kind) {
    case Kind::rand: known = {"m", "n", "p", "mstd", "mmax", "inc", "t"}; break;
    case Kind::augmix: known = {"m", "w", "d", "a", "b", "mstd"}; break;
    default: known = {"mstd"};
  }
  std::set<std::string_view> seen;
  for (size_t at = dash; at < text.size();) {
    const size_t begin = at + 1, end = std::min(text.find('-', begin), text.size());
    const std::string_view section = text.substr(begin, end - begin);
    at = end;
    const auto wrong = [&](const auto&... what) {
      fail(stem(t.kind), what..., " at column ", begin + 1, " of \"", text, "\"");
    };
    size_t letters = 0;
    while (letters < section.size() && section[letters] >= 'a' && section[letters] <= 'z') ++letters;
    std::string_view key = section.substr(0, letters), value = section.substr(letters);
    // tweights, t3a, mstdinf: the value has letters too.
    if (key.size() > 1 && key[0] == 't' && std::find(known.begin(), known.end(), "t") != known.end()) {
      value = section.substr(1);
      key = section.substr(0, 1);
    }
    if (key == "mstdinf") {
      key = section.substr(0, 4);
      value = section.substr(4);
    }
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      const std::string near = nearest_name(key, known);
      fail(stem(t.kind), "unknown section \"", section, "\" at column ", begin + 1, " of \"", text, "\"",
           near.empty() ? "" : ", did you mean \"" + near + std::string(value) + "\"?");
    }
    if (!seen.insert(key).second) wrong("section \"", key, "\" stands twice, again");
    if (key == "t") {
      if (value == "weights") {
        t.set = Set::weights;
      } else if (value == "3a") {
        t.set = Set::three;
      } else if (value == "3aw") {
        t.set = Set::three_weights;
      } else {
        wrong("t must be weights, 3a or 3aw, got \"", value, "\"");
      }
      continue;
    }
    double x = 0;
    const auto r = std::from_chars(value.data(), value.data() + value.size(), x);
    if (value == "inf") {
      x = std::numeric_limits<double>::infinity();
    } else if (r.ec != std::errc() || r.ptr != value.data() + value.size()) {
      wrong("section \"", section, "\" needs a number");
    }
    const auto in = [&](double low, double high, bool whole = false) {
      if (!(x >= low && x <= high) || (whole && x != std::floor(x))) {
        wrong(key, " must be ", whole ? "a whole number " : "", "in [", low, ", ", high, "], got ", value);
      }
    };
    if (key == "m") {
      in(0, 30);
      t.m = x;
    } else if (key == "n") {
      in(1, 16, true);
      t.n = static_cast<int>(x);
    } else if (key == "p") {
      in(0, 1);
      t.p = x;
    } else if (key == "mstd") {
      in(0, std::numeric_limits<double>::infinity());
      t.mstd = x > 100 ? std::numeric_limits<double>::infinity() : x;
    } else if (key == "mmax") {
      in(1, 30);
      t.mmax = x;
    } else if (key == "inc" || key == "b") {
      in(0, 1, true);
      if (key == "inc") t.inc = x != 0;
    } else if (key == "w") {
      in(1, 10, true);
      t.w = static_cast<int>(x);
    } else if (key == "d") {
      in(1, 10, true);
      t.d = static_cast<int>(x);
    } else {
      in(0.01, 100);
      t.alpha = x;
    }
  }
  check(t.m <= t.mmax, stem(t.kind), "m must be at most mmax (", t.mmax, "), got ", t.m, " in \"", text, "\"");
  return t;
}

void draw_timm(const Step& s, Key key, Planner& plan) {
  const TimmPolicy t = parse_timm(s.text);
  switch (t.kind) {
    case Kind::rand: return draw_rand(t, key, plan);
    case Kind::augmix: return draw_mix(t, key, plan);
    case Kind::three: {
      const auto which = slot_below(key, 1, 3);
      if (which == 0) return apply_policy_op(plan, P::solarize, 128, kPolicyResampling);
      if (which == 1) return apply_policy_op(plan, P::desaturate, 0, kPolicyResampling);
      return apply(plan, key, 2, P::blur, 1, 10, t);
    }
    default: {
      const auto policy = auto_augment_policy(0);
      const auto& pair = policy[slot_below(key, 1, policy.size())];
      for (uint32_t k = 0; k < 2; ++k) apply(plan, key, 2 + 8 * k, pair[k].op, pair[k].p, pair[k].magnitude, t);
    }
  }
}

}  // namespace ballast::detail
