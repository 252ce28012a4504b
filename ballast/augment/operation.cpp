#include <ballast/augment/operation.h>

#include <algorithm>

#include <ballast/base/check.h>

namespace ballast::detail {

Arg p_arg(double standard, bool positional) {
  Arg a{.name = "p", .standard = {standard}, .low = 0, .high = 1};
  a.positional = positional;
  return a;
}
Arg number_arg(std::string_view name, double standard, double low, double high) {
  return {.name = name, .standard = {standard}, .low = low, .high = high};
}
Arg whole_arg(std::string_view name, double standard, double low, double high) {
  return {.name = name, .kind = ArgKind::whole, .standard = {standard}, .low = low, .high = high};
}
Arg range_arg(std::string_view name, std::vector<double> standard, double low, double high, Widen widen) {
  return {.name = name, .kind = ArgKind::range, .standard = std::move(standard), .low = low, .high = high, .widen = widen};
}
Arg size_arg() {
  return {.name = "size", .kind = ArgKind::size, .standard = {}, .low = 1, .high = 65'535, .required = true};
}
Arg truth_arg(std::string_view name, bool standard) {
  return {.name = name, .kind = ArgKind::truth, .standard = {standard ? 1.0 : 0.0}, .positional = false};
}
Arg choice_arg(std::string_view name, std::string_view choices, double standard) {
  return {.name = name, .kind = ArgKind::choice, .standard = {standard}, .choices = choices, .positional = false};
}
Arg fill_arg() {
  return {.name = "fill", .kind = ArgKind::fill, .standard = {0}, .low = 0, .high = 255, .positional = false};
}
Arg border_arg(std::string_view name) { return choice_arg(name, "constant|edge|reflect|symmetric|wrap"); }

std::array<double, 2> Step::range(size_t i) const {
  const Arg& arg = op->args[i];
  const std::vector<double>& v = list(i);
  if (v.size() >= 2) return {v[0], v[1]};
  switch (arg.widen) {
    case Widen::symmetric: return {-v[0], v[0]};
    case Widen::about_one: return {std::max(0.0, 1 - v[0]), 1 + v[0]};
    default: return {v[0], v[0]};
  }
}

std::array<int32_t, 2> Step::size(size_t i) const {
  const std::vector<double>& v = list(i);
  return {static_cast<int32_t>(v.front()), static_cast<int32_t>(v.back())};
}

double Step::uniform(size_t i, Key key, uint32_t slot, uint32_t attempt) const {
  const auto r = range(i);
  return r[0] == r[1] ? r[0] : r[0] + (r[1] - r[0]) * slot_uniform(key, slot, attempt);
}

const std::vector<Operation>& operations() {
  static const std::vector<Operation> all = [] {
    std::vector<Operation> out;
    add_geometry(out);
    add_crops(out);
    add_color(out);
    add_erasing(out);
    add_combinators(out);
    add_policies(out);
    std::sort(out.begin(), out.end(), [](const Operation& a, const Operation& b) { return a.number < b.number; });
    for (Operation& op : out) {
      for (size_t i = 0; i < op.args.size(); ++i) {
        // photometric_distort's p belongs to its parts.
        if (op.args[i].name == "p" && op.name != "photometric_distort") op.p = static_cast<int>(i);
      }
    }
    return out;
  }();
  return all;
}

const Operation& operation(std::string_view name) {
  for (const Operation& op : operations()) {
    if (op.name == name) return op;
  }
  fail("pipeline", "no operation \"", name, "\"");
}

}  // namespace ballast::detail
