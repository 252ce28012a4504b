#pragma once

// The operations that policies draw from; not public.

#include <array>
#include <span>

#include <ballast/augment/geometry.h>

namespace ballast::detail {

enum class PolicyOp : uint8_t {
  identity, shear_x, shear_y, translate_x, translate_y, rotate, brightness, color, contrast, sharpness, posterize,
  solarize, auto_contrast, equalize, invert, solarize_add, desaturate, blur
};

/// Does `op` with the value that its papers give it: shear amount, pixels, degrees, factor, bits, threshold, addition,
/// saturation, sigma.
void apply_policy_op(Planner& plan, PolicyOp op, double value, const Resampling& r);

/// As the policies' papers and libraries resample: bilinear, one sample per pixel, black outside.
inline constexpr Resampling kPolicyResampling = {Interpolation::bilinear, false, Border::constant, {}};

/// torchvision's spaces.
struct PolicySpace {
  int bins;
  double shear, rotate, enhance;
  /// Of the side, or pixels.
  double translate;
  bool translate_pixels;
  /// bits = round(from - span j / (bins - 1)).
  double bits_from, bits_span;
};
/// Value of bin j, negated where the operation has a sign and `negative` is set.
double policy_value(const PolicySpace& space, PolicyOp op, int j, bool negative, int32_t h, int32_t w);
bool has_sign(PolicyOp op);

/// A timm string: rand-m9-mstd0.5-inc1, augmix-m5-w4-d2, original-mstd0.5, originalr, 3a.
struct TimmPolicy {
  enum class Kind : uint8_t { rand, augmix, original, originalr, three } kind = Kind::rand;
  double m = 10, p = 0.5, mstd = 0, mmax = 10, alpha = 1;
  int n = 2, w = 3, d = -1;
  bool inc = false;
  enum class Set : uint8_t { standard, weights, three, three_weights } set = Set::standard;
};
/// True if `name` begins a timm string: "rand-", "augmix-", or is one of the words original, originalr, 3a.
bool begins_timm(std::string_view text);
/// Errors: std::invalid_argument that names section and column.
TimmPolicy parse_timm(std::string_view text);
void draw_timm(const Step& s, Key key, Planner& plan);
void draw_auto_augment(const Step& s, Key key, Planner& plan);
/// One operation of a sub-policy.
struct SubPolicy {
  PolicyOp op;
  double p;
  int magnitude;
};
/// 25 pairs of "imagenet", "cifar10" or "svhn" (0, 1, 2).
std::span<const std::array<SubPolicy, 2>> auto_augment_policy(int which);
/// Shared weights of a blend: Dirichlet(alpha) by breaking a stick.
std::vector<double> dirichlet(Key key, uint32_t slot, double alpha, int n);

}  // namespace ballast::detail
