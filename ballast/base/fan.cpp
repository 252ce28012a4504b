#include <ballast/base/fan.h>

#include <sstream>
#include <string>

#include <ballast/base/check.h>

namespace ballast {
namespace {

std::string text(std::span<const int64_t> shape) {
  std::ostringstream out;
  out << '(';
  for (size_t i = 0; i < shape.size(); ++i) out << (i ? ", " : "") << shape[i];
  out << ')';
  return out.str();
}

}  // namespace

Fans fans(std::span<const int64_t> shape, FanOptions options) {
  check(shape.size() >= 2, "fan", "weight must have at least 2 dimensions, got ", text(shape));
  check(options.groups >= 1 && shape[0] % options.groups == 0, "fan", "groups must divide dimension 0, got groups ",
        options.groups, " and ", text(shape));
  check(options.stacked >= 1, "fan", "stacked must be >= 1, got ", options.stacked);
  double rf = 1;
  for (int64_t k : shape.subspan(2)) rf *= static_cast<double>(k);
  const double d0 = static_cast<double>(shape[0]), d1 = static_cast<double>(shape[1]);
  const double groups = static_cast<double>(options.groups), stacked = static_cast<double>(options.stacked);
  if (options.transposed) return {d0 * rf / groups, d1 * rf / stacked};
  return {d1 * rf, d0 * rf / groups / stacked};
}

}  // namespace ballast
