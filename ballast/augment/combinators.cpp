#include <algorithm>
#include <cmath>

#include <ballast/augment/plan.h>
#include <ballast/base/check.h>

namespace ballast::detail {

namespace {

/// The sample key for repetition `times` of one child: the first draws as if it stood alone.
Key repeated(Key key, uint32_t times) { return times == 0 ? key : key.fold_in("repeat").fold_in(uint64_t{times}); }

/// Index drawn by weights; equal ones without.
size_t weighted(const std::vector<double>& weights, size_t n, Key key, uint32_t slot) {
  if (weights.size() != n) return slot_below(key, slot, n);
  double sum = 0;
  for (const double w : weights) sum += w;
  double u = slot_uniform(key, slot) * sum;
  for (size_t i = 0; i < n; ++i) {
    u -= weights[i];
    if (u < 0) return i;
  }
  return n - 1;
}

void draw_one_of(const Step& s, Key key, Planner& plan) {
  const size_t i = weighted(s.list(0), s.children.size(), key, 1);
  plan.run(s.children[i], plan.sample_key());
}

void check_one_of(const Step& s) {
  check(!s.children.empty(), "one_of", "needs at least one pipeline");
  if (!s.values[0].given) return;
  const auto& w = s.list(0);
  check(w.size() == s.children.size(), "one_of", "weights must be as many as pipelines (", s.children.size(), "), got ",
        w.size());
  check(std::any_of(w.begin(), w.end(), [](double x) { return x > 0; }), "one_of", "one weight must be above 0");
}

void draw_some_of(const Step& s, Key key, Planner& plan) {
  const auto range = s.range(0);
  const auto n = static_cast<size_t>(range[0]) +
                 static_cast<size_t>(slot_below(key, 1, static_cast<uint64_t>(range[1] - range[0]) + 1));
  std::vector<uint32_t> times(s.children.size(), 0);
  if (s.truth(1)) {
    for (size_t k = 0; k < n; ++k) {
      const size_t i = slot_below(key, static_cast<uint32_t>(2 + k), s.children.size());
      plan.run(s.children[i], repeated(plan.sample_key(), times[i]++));
    }
    return;
  }
  const Permutation order(key.fold_in("choice"), s.children.size());
  std::vector<size_t> chosen;
  for (size_t k = 0; k < std::min(n, s.children.size()); ++k) chosen.push_back(order(k));
  // In the order of the text.
  std::sort(chosen.begin(), chosen.end());
  for (const size_t i : chosen) plan.run(s.children[i], plan.sample_key());
}

void check_some_of(const Step& s) {
  check(!s.children.empty(), "some_of", "needs at least one pipeline");
  check(s.truth(1) || s.range(0)[1] <= static_cast<double>(s.children.size()), "some_of", "n must be at most ",
        s.children.size(), ", the number of pipelines, got ", s.range(0)[1]);
}

void draw_any_order(const Step& s, Key key, Planner& plan) {
  const Permutation order(key, s.children.size());
  for (size_t i = 0; i < s.children.size(); ++i) plan.run(s.children[order(i)], plan.sample_key());
}

void draw_maybe(const Step& s, Key, Planner& plan) {
  for (const auto& child : s.children) plan.run(child, plan.sample_key());
}

}  // namespace

void add_combinators(std::vector<Operation>& out) {
  constexpr auto G = AugmentGroup::combine;
  const auto combine = [&](Operation op) {
    op.combines = true;
    out.push_back(std::move(op));
  };
  Arg weights{.name = "weights", .kind = ArgKind::numbers, .standard = {}, .low = 0, .high = 1e6, .positional = false,
              .max_count = 256};
  combine({"one_of", "", 62, G, "one of the pipelines", true, {weights, p_arg()}, draw_one_of, check_one_of});
  Arg n = range_arg("n", {}, 0, 256, Widen::fixed);
  n.required = n.integral = true;
  combine({"some_of", "", 63, G, "n of the pipelines, in the order given", true, {n, truth_arg("replace", false), p_arg()},
           draw_some_of, check_some_of});
  combine({"any_order", "", 64, G, "all of the pipelines, in random order", true, {p_arg()}, draw_any_order});
  Arg p = p_arg(0.5, true);
  p.required = true;
  combine({"maybe", "", 65, G, "a pipeline with probability p", true, {p}, draw_maybe});
  out.push_back({"identity", "", 66, G, "nothing", false, {}, [](const Step&, Key, Planner&) {}});
  // Handled by the pipeline itself: the values of the last pass.
  Arg mean{.name = "mean", .kind = ArgKind::stats, .standard = {}, .low = -kInfinite, .high = kInfinite,
           .choices = "dataset|imagenet|none", .max_count = 3};
  Arg std{.name = "std", .kind = ArgKind::numbers, .standard = {}, .low = 0, .high = kInfinite, .max_count = 3};
  std.open = true;
  out.push_back({"normalize", "", 60, AugmentGroup::convert, "(x / 255 - mean) / std per channel; only erasing may follow",
                 false, {mean, std}, [](const Step&, Key, Planner&) {}});
}

}  // namespace ballast::detail
