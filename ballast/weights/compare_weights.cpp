#include <ballast/weights/compare_weights.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

namespace ballast {
namespace {

// The place of a float among all of its type, rising; both zeros are 0.
template <class Bits>
int64_t place(Bits bits) {
  const auto x = static_cast<int64_t>(bits);
  return x >= 0 ? x : static_cast<int64_t>(std::numeric_limits<Bits>::min()) - x;
}

uint64_t distance(int64_t a, int64_t b) {
  return a > b ? static_cast<uint64_t>(a) - static_cast<uint64_t>(b) : static_cast<uint64_t>(b) - static_cast<uint64_t>(a);
}

// Compares as integers of the same width; `places`: they are floats.
template <class Bits>
void compare_bits(const torch::Tensor& a, const torch::Tensor& b, bool places, std::vector<int64_t>& differing, int64_t& ulps) {
  const auto* pa = static_cast<const Bits*>(a.data_ptr());
  const auto* pb = static_cast<const Bits*>(b.data_ptr());
  uint64_t most = 0;
  for (int64_t i = 0; i < a.numel(); ++i) {
    if (pa[i] == pb[i]) continue;
    differing.push_back(i);
    if (places) most = std::max(most, distance(place(pa[i]), place(pb[i])));
  }
  if (places && !differing.empty()) {
    ulps = static_cast<int64_t>(std::min(most, static_cast<uint64_t>(std::numeric_limits<int64_t>::max())));
  }
}

void compare_values(const torch::Tensor& a, const torch::Tensor& b, TensorDifference& d) {
  const torch::Tensor ca = a.detach().to(torch::kCPU).contiguous(), cb = b.detach().to(torch::kCPU).contiguous();
  d.numbers = ca.numel();
  std::vector<int64_t> differing;
  // Complex numbers as pairs.
  const bool complex = ca.is_complex() || cb.is_complex();
  const torch::Tensor da = complex ? torch::view_as_real(ca.to(torch::kComplexDouble)) : ca.to(torch::kDouble);
  const torch::Tensor db = complex ? torch::view_as_real(cb.to(torch::kComplexDouble)) : cb.to(torch::kDouble);
  const double* va = da.data_ptr<double>();
  const double* vb = db.data_ptr<double>();
  const bool whole = ca.scalar_type() == torch::kLong;  // doubles do not hold all of these
  if (ca.scalar_type() != cb.scalar_type() || complex) {
    for (int64_t i = 0; i < da.numel(); ++i) {
      if (va[i] != vb[i] && !(std::isnan(va[i]) && std::isnan(vb[i]))) differing.push_back(complex ? i / 2 : i);
    }
    differing.erase(std::unique(differing.begin(), differing.end()), differing.end());
  } else {
    const bool places = ca.is_floating_point();
    switch (ca.element_size()) {
      case 1: compare_bits<int8_t>(ca, cb, places, differing, d.ulps); break;
      case 2: compare_bits<int16_t>(ca, cb, places, differing, d.ulps); break;
      case 4: compare_bits<int32_t>(ca, cb, places, differing, d.ulps); break;
      default: compare_bits<int64_t>(ca, cb, places, differing, d.ulps); break;
    }
  }
  d.differing = static_cast<int64_t>(differing.size());
  for (const int64_t i : differing) {
    for (int64_t j = complex ? 2 * i : i; j <= (complex ? 2 * i + 1 : i); ++j) {
      double gap = std::abs(va[j] - vb[j]);
      if (whole) gap = static_cast<double>(distance(ca.data_ptr<int64_t>()[j], cb.data_ptr<int64_t>()[j]));
      if (std::isnan(va[j]) || std::isnan(vb[j])) d.ulps = -1;
      d.largest = std::max(d.largest, std::isfinite(gap) ? gap : HUGE_VAL);
    }
  }
  if (differing.empty()) return;
  int64_t rest = differing[0];
  d.first_a = va[complex ? 2 * rest : rest];
  d.first_b = vb[complex ? 2 * rest : rest];
  d.first.resize(static_cast<size_t>(ca.dim()));
  for (int64_t k = ca.dim(); k-- > 0;) {
    d.first[static_cast<size_t>(k)] = rest % ca.size(k);
    rest /= ca.size(k);
  }
}

}  // namespace

std::string_view difference_name(DifferenceKind kind) {
  switch (kind) {
    case DifferenceKind::only_a: return "only in A";
    case DifferenceKind::only_b: return "only in B";
    case DifferenceKind::shape: return "other shape";
    case DifferenceKind::type: return "other type";
    case DifferenceKind::values: return "other values";
  }
  return "";
}

CompareReport compare_weights(const StateDict& a, const StateDict& b) {
  CompareReport report;
  report.tensors_a = static_cast<int64_t>(a.size());
  report.tensors_b = static_cast<int64_t>(b.size());
  std::set<std::string> names;
  for (const auto& [name, tensor] : a) names.insert(name);
  for (const auto& [name, tensor] : b) names.insert(name);
  for (const std::string& name : names) {
    const auto in_a = a.find(name), in_b = b.find(name);
    TensorDifference d;
    d.name = name;
    const auto describe = [](const torch::Tensor& t, std::vector<int64_t>& shape, std::string& type) {
      shape = t.sizes().vec();
      type = c10::toString(t.scalar_type());
    };
    if (in_a != a.end()) describe(in_a->second, d.shape_a, d.type_a);
    if (in_b != b.end()) describe(in_b->second, d.shape_b, d.type_b);
    if (in_b == b.end()) {
      d.kind = DifferenceKind::only_a;
    } else if (in_a == a.end()) {
      d.kind = DifferenceKind::only_b;
    } else if (d.shape_a != d.shape_b) {
      d.kind = DifferenceKind::shape;
    } else {
      d.kind = d.type_a != d.type_b ? DifferenceKind::type : DifferenceKind::values;
      compare_values(in_a->second, in_b->second, d);
      if (d.kind == DifferenceKind::values && d.differing == 0) {
        ++report.equal;
        continue;
      }
      report.largest = std::max(report.largest, d.largest);
      report.ulps = std::max(report.ulps, d.ulps);
    }
    report.differences.push_back(std::move(d));
  }
  return report;
}

}  // namespace ballast
