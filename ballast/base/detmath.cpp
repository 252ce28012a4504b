#include <ballast/base/detmath.h>

#include <ballast/base/as241.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>

// Compiled with -ffp-contract=off: the error-free transformations below and the promise of equal
// bits need it.

namespace ballast {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// ln 2 = kLn2Hi + kLn2Lo; the high part has 32 bits, so k * kLn2Hi is exact for |k| < 2^20.
constexpr double kLn2Hi = 0x1.62e42feep-1;
constexpr double kLn2Lo = 0x1.a39ef35793c76p-33;
constexpr double kInvLn2 = 0x1.71547652b82fep+0;

// pi/2 in three parts of 33, 33 and 53 bits.
constexpr double kPio2A = 0x1.921fb544p+0;
constexpr double kPio2B = 0x1.0b4611a6p-34;
constexpr double kPio2C = 0x1.3198a2e037073p-69;
constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;

/// x * 2^k with one rounding, also into the subnormals.
double scale(double x, int k) {
  const auto power = [](int e) {
    return std::bit_cast<double>(static_cast<uint64_t>(e + 1023) << 52);
  };
  if (k > 1023) {
    return x * 0x1p1023 * power(k - 1023);
  }
  if (k < -1022) {
    return x * power(k + 128) * 0x1p-128;
  }
  return x * power(k);
}

/// A sum of two doubles, about 106 bits.
struct Pair {
  double hi, lo;
};

Pair two_sum(double a, double b) {
  const double s = a + b;
  const double t = s - a;
  return {s, (a - (s - t)) + (b - t)};
}
Pair quick_two_sum(double a, double b) {  // |a| >= |b| or a == 0
  const double s = a + b;
  return {s, b - (s - a)};
}
Pair two_product(double a, double b) {
  const auto split = [](double x) {
    const double t = 134217729.0 * x;
    const double hi = t - (t - x);
    return Pair{hi, x - hi};
  };
  const Pair x = split(a);
  const Pair y = split(b);
  const double p = a * b;
  return {p, ((x.hi * y.hi - p) + x.hi * y.lo + x.lo * y.hi) + x.lo * y.lo};
}
Pair operator+(Pair a, Pair b) {
  const Pair s = two_sum(a.hi, b.hi);
  const Pair t = two_sum(a.lo, b.lo);
  const Pair u = quick_two_sum(s.hi, s.lo + t.hi);
  return quick_two_sum(u.hi, u.lo + t.lo);
}
Pair operator*(Pair a, Pair b) {
  const Pair p = two_product(a.hi, b.hi);
  return quick_two_sum(p.hi, p.lo + (a.hi * b.lo + a.lo * b.hi));
}
Pair operator/(Pair a, Pair b) {
  const double q = a.hi / b.hi;
  const Pair p = two_product(q, b.hi);
  const double rest = ((a.hi - p.hi) - p.lo) + a.lo - q * b.lo;
  return quick_two_sum(q, rest / b.hi);
}

/// x = m * 2^k with m in [sqrt(1/2), sqrt(2)); x positive and finite.
struct Split {
  double m;
  int k;
};
Split split_exponent(double x) {
  int k = 0;
  if (x < 0x1p-1022) {
    x *= 0x1p54;
    k = -54;
  }
  uint64_t bits = std::bit_cast<uint64_t>(x);
  k += static_cast<int>(bits >> 52) - 1023;
  bits = (bits & 0x000fffffffffffff) | 0x3ff0000000000000;
  double m = std::bit_cast<double>(bits);
  if (m >= 0x1.6a09e667f3bcdp+0) {
    m *= 0.5;
    ++k;
  }
  return {m, k};
}

/// e^(r + r_lo) * 2^k for |r| <= 0.35, |r_lo| <= ulp(r).
double exp_reduced(double r, double r_lo, int k) {
  // Taylor terms from r^3/3! on; the first two are added last, with the rest's rounding far below
  // an ulp.
  double q = 1.0 / 87178291200.0;
  for (const double factorial : {6227020800.0, 479001600.0, 39916800.0, 3628800.0, 362880.0,
                                 40320.0, 5040.0, 720.0, 120.0, 24.0, 6.0}) {
    q = q * r + 1.0 / factorial;
  }
  const double tail = r * r * (0.5 + r * q);
  const Pair s = quick_two_sum(1.0, r);
  return scale(s.hi + (s.lo + (tail + (r_lo + r * r_lo))), k);
}

double exp_pair(Pair x) {
  if (x.hi > 710.0) {
    return kInfinity;
  }
  if (x.hi < -746.0) {
    return 0.0;
  }
  const double n = std::nearbyint(x.hi * kInvLn2);
  const double hi = x.hi - n * kLn2Hi;
  const Pair r = two_sum(hi, x.lo - n * kLn2Lo);
  return exp_reduced(r.hi, r.lo, static_cast<int>(n));
}

/// ln x to about 100 bits; x positive and finite.
Pair log_pair(double x) {
  const Split s = split_exponent(x);
  // ln m = 2 atanh(z), z = (m - 1) / (m + 1), |z| < 0.172.
  const Pair z = Pair{s.m - 1.0, 0.0} / two_sum(s.m, 1.0);
  const Pair z2 = z * z;
  Pair sum{0.0, 0.0};
  for (int n = 41; n >= 1; n -= 2) {
    sum = sum * z2 + Pair{1.0, 0.0} / Pair{static_cast<double>(n), 0.0};
  }
  const Pair log_m = sum * Pair{2.0 * z.hi, 2.0 * z.lo};
  const double k = s.k;
  // The third part keeps k ln 2 good to 2^-95.
  const Pair k_ln2 =
      two_sum(k * kLn2Hi, 0.0) + two_product(k, kLn2Lo) + Pair{k * 0x1.cc01f97b57a08p-87, 0.0};
  return k_ln2 + log_m;
}

/// x - n pi/2 as a pair and n mod 4.
struct Reduced {
  double r, r_lo;
  int quadrant;
};
Reduced reduce(double x) {
  const double n = std::nearbyint(x * kTwoOverPi);
  const Pair a =
      two_sum(x - n * kPio2A, -(n * kPio2B));  // both products and the difference are exact
  const Pair b = two_product(n, kPio2C);
  const Pair r = a + Pair{-b.hi, -b.lo};
  return {r.hi, r.lo, static_cast<int>(static_cast<int64_t>(n) & 3)};
}

double sin_reduced(double r, double r_lo) {  // |r| <= pi/4
  const double z = r * r;
  double q = 1.0 / 355687428096000.0;
  for (const double factorial :
       {-1307674368000.0, 6227020800.0, -39916800.0, 362880.0, -5040.0, 120.0}) {
    q = q * z + 1.0 / factorial;
  }
  return r + (r * z * (-1.0 / 6.0 + z * q) + r_lo * (1.0 - 0.5 * z));
}

double cos_reduced(double r, double r_lo) {
  const double z = r * r;
  double q = -1.0 / 6402373705728000.0;
  for (const double factorial :
       {20922789888000.0, -87178291200.0, 479001600.0, -3628800.0, 40320.0, -720.0, 24.0}) {
    q = q * z + 1.0 / factorial;
  }
  const double half = 0.5 * z;
  const Pair s = quick_two_sum(1.0, -half);
  return s.hi + (s.lo + (z * z * q - r * r_lo));
}

constexpr double kLargestAngle = 0x1p20;

template <size_t N>
double horner(const double (&c)[N], double r) {
  double sum = c[N - 1];
  for (size_t i = N - 1; i-- > 0;) {
    sum = sum * r + c[i];
  }
  return sum;
}

}  // namespace

double det_exp(double x) {
  if (std::isnan(x)) {
    return x;
  }
  return exp_pair({x, 0.0});
}

double det_log(double x) {
  if (!(x > 0.0)) {
    return x == 0.0 ? -kInfinity : kNaN;
  }
  if (x == kInfinity) {
    return x;
  }
  const Split s = split_exponent(x);
  const double f = s.m - 1.0;
  const double z = f / (2.0 + f);
  const double z2 = z * z;
  double q = 2.0 / 25.0;
  for (const double odd : {23.0, 21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0}) {
    q = q * z2 + 2.0 / odd;
  }
  // ln m = 2z + z^3 q and 2z = f - z f, so that the division's error is scaled down by f. With h =
  // f^2/2, z f = h - z h, whose leading term is split off exactly enough.
  const double h = 0.5 * f * f;
  const double rest = z * (h + z2 * q);
  const double k = s.k;
  if (s.k == 0) {
    const Pair t = quick_two_sum(f, -h);
    return t.hi + (t.lo + rest);
  }
  const Pair head = quick_two_sum(k * kLn2Hi, f);
  return head.hi + (head.lo + (k * kLn2Lo + rest - h));
}

double det_sin(double x) {
  if (!(std::abs(x) <= kLargestAngle)) {
    return kNaN;
  }
  if (std::abs(x) < 0x1p-27) {
    return x;  // keeps the sign of zero
  }
  const Reduced a = reduce(x);
  const double v = a.quadrant % 2 == 0 ? sin_reduced(a.r, a.r_lo) : cos_reduced(a.r, a.r_lo);
  return a.quadrant < 2 ? v : -v;
}

double det_cos(double x) {
  if (!(std::abs(x) <= kLargestAngle)) {
    return kNaN;
  }
  const Reduced a = reduce(x);
  const double v = a.quadrant % 2 == 0 ? cos_reduced(a.r, a.r_lo) : sin_reduced(a.r, a.r_lo);
  return a.quadrant == 0 || a.quadrant == 3 ? v : -v;
}

double det_pow(double x, double y) {
  if (y == 0.0 || x == 1.0) {
    return 1.0;
  }
  if (std::isnan(x) || std::isnan(y)) {
    return kNaN;
  }
  const double magnitude = std::abs(x);
  const bool integral = std::abs(y) >= 0x1p53 || y == std::trunc(y);
  const bool odd = integral && std::abs(y) < 0x1p53 && (static_cast<int64_t>(y) & 1) != 0;
  const double sign = odd && std::signbit(x) ? -1.0 : 1.0;
  if (magnitude == 1.0 && std::isinf(y)) {
    return 1.0;
  }
  if (magnitude == 0.0 || std::isinf(magnitude) || std::isinf(y)) {
    const bool grows =
        std::isinf(y) ? (magnitude > 1.0) == (y > 0.0) : (magnitude != 0.0) == (y > 0.0);
    return sign * (grows ? kInfinity : 0.0);
  }
  if (x < 0.0 && !integral) {
    return kNaN;
  }
  const Pair log_x = log_pair(magnitude);
  if (std::abs(y) > 0x1p64) {  // |y ln x| > 746 for every x but 1; keeps the products below finite
    return sign * ((log_x.hi > 0.0) == (y > 0.0) ? (magnitude == 1.0 ? 1.0 : kInfinity)
                                                 : (magnitude == 1.0 ? 1.0 : 0.0));
  }
  const Pair product = two_product(log_x.hi, y);
  return sign * exp_pair(quick_two_sum(product.hi, product.lo + log_x.lo * y));
}

double normal_quantile(double u) {
  using namespace detail::as241;
  const double q = u - 0.5;
  if (std::abs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return q * horner(kA, r) / horner(kB, r);
  }
  double r = q < 0.0 ? u : 1.0 - u;
  if (!(r > 0.0)) {
    return r == 0.0 ? (q < 0.0 ? -kInfinity : kInfinity) : kNaN;
  }
  r = std::sqrt(-det_log(r));
  const double z = r <= 5.0 ? horner(kC, r - 1.6) / horner(kD, r - 1.6)
                            : horner(kE, r - 5.0) / horner(kF, r - 5.0);
  return q < 0.0 ? -z : z;
}

}  // namespace ballast
