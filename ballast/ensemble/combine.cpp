#include <ballast/ensemble/combine.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include <ballast/base/check.h>
#include <ballast/base/cpu.h>
#include <ballast/base/detmath.h>
#include <ballast/base/nearest_name.h>
#include <ballast/base/thread_pool.h>
#include <ballast/ensemble/combine_kernel.h>
#include <ballast/ensemble/vote.h>

namespace ballast {
namespace {

constexpr std::array kRules = {Rule::mean_probability, Rule::mean_logit, Rule::geometric, Rule::median,
                               Rule::trimmed_mean,     Rule::hard_vote,  Rule::borda,     Rule::instant_runoff};
constexpr std::array<std::string_view, 8> kNames = {"mean_probability", "mean_logit", "geometric", "median",
                                                    "trimmed_mean",     "hard_vote",  "borda",     "instant_runoff"};

std::vector<double> checked_weights(const CombineOptions& o, size_t members) {
  if (o.weights.empty()) return std::vector<double>(members, 1.0);
  check(takes_weights(o.rule), "combine", to_string(o.rule), " takes no weights");
  double sum = 0;
  bool good = o.weights.size() == members;
  for (const double w : o.weights) {
    good = good && w >= 0 && std::isfinite(w);
    sum += w;
  }
  if (o.weights.size() != members) {
    fail("combine", "weights must be >= 0, sum > 0, one per member, got ", o.weights.size(), " for ", members);
  }
  check(good && sum > 0, "combine", "weights must be >= 0, sum > 0, one per member, got a sum of ", sum);
  return o.weights;
}

/// What is known of the members after those of weight 0 have left.
struct Plan {
  Rule rule = Rule::mean_probability;
  std::vector<Predictions> members;
  std::vector<size_t> id;             // numbers in the caller's list
  std::vector<double> weight;         // as given: integers stay integers
  std::vector<float> share;           // times a power of two that brings the largest near 1: ties stay exact
  float unit = 1;                     // 1 / sum of the shares
  std::vector<float> inv_t;
  size_t k = 0;
};

Plan make_plan(std::span<const Predictions> members, const CombineOptions& o) {
  const std::vector<double> weights = checked_weights(o, members.size());
  check(o.member_temperature.empty() || o.member_temperature.size() == members.size(), "combine",
        "member_temperature must be one per member, got ", o.member_temperature.size(), " for ", members.size());
  const double scale = std::ldexp(1.0, -std::ilogb(*std::ranges::max_element(weights)));
  Plan plan;
  plan.rule = o.rule;
  plan.k = static_cast<size_t>(members[0].k);
  for (size_t m = 0; m < members.size(); ++m) {
    if (weights[m] == 0) continue;
    const double t = o.member_temperature.empty() ? 1 : o.member_temperature[m];
    check(t > 0 && std::isfinite(t), "combine", "a member's temperature must be > 0, got ", t, " for member ", m);
    plan.members.push_back(members[m]);
    plan.id.push_back(m);
    plan.weight.push_back(weights[m]);
    plan.share.push_back(static_cast<float>(weights[m] * scale));
    plan.inv_t.push_back(static_cast<float>(1 / t));
  }
  plan.unit = static_cast<float>(1 / std::accumulate(plan.share.begin(), plan.share.end(), 0.0));
  return plan;
}

/// Works on one tile of rows at a time; one for each thread.
class Tile {
 public:
  explicit Tile(const Plan& plan) : plan_(plan), scratch_(16 * plan.k), mean_(plan.k), row_(plan.k), points_(plan.k) {}

  void run(int64_t first, size_t rows, Combined& out) {
    first_ = first;
    rows_ = rows;
    p_ = out.probability.data() + static_cast<size_t>(first) * k();
    label_ = out.label.data() + first;
    tie_ = out.tie_level.data() + first;
    for (size_t m = 0; m < plan_.members.size(); ++m) check_probabilities(m);
    switch (plan_.rule) {
      case Rule::mean_probability: return mean_probability();
      case Rule::mean_logit:
      case Rule::geometric: return mean_logit();
      case Rule::median:
      case Rule::trimmed_mean: return order_statistic();
      default: return votes();
    }
  }

 private:
  size_t k() const { return plan_.k; }
  const float* scores(size_t m, size_t r = 0) const { return plan_.members[m].row(first_ + static_cast<int64_t>(r)); }

  // Finite values and sums; what the sums of logits cannot show.
  void check_probabilities(size_t m) const {
    if (plan_.members[m].is_logit) return;
    const float* x = scores(m);
    for (size_t r = 0; r < rows_; ++r) {
      float sum = 0, low = 0;
      for (size_t c = 0; c < k(); ++c) {
        sum += x[r * k() + c];
        low = std::min(low, x[r * k() + c]);
      }
      if (!(std::abs(sum - 1) <= 1e-3F && low >= 0)) [[unlikely]] fail_scores();
    }
  }
  [[noreturn]] void fail_scores() const {
    for (size_t m = 0; m < plan_.members.size(); ++m) {
      Predictions part = plan_.members[m];
      for (size_t r = 0; r < rows_; ++r) {
        Predictions row{part.row(first_ + static_cast<int64_t>(r)), 1, part.k, part.is_logit};
        try {
          check_scores("combine", row, static_cast<int64_t>(plan_.id[m]));
        } catch (const std::invalid_argument&) {
          // Once more with the row's number in the whole.
          check_scores("combine", {part.scores, first_ + static_cast<int64_t>(r) + 1, part.k, part.is_logit},
                       static_cast<int64_t>(plan_.id[m]));
        }
      }
    }
    fail("combine", "the sum of the members' scores must be finite, got an overflow in rows ", first_, " to ",
         first_ + static_cast<int64_t>(rows_) - 1);
  }

  // Logits of rows [r, r + count) of member m: its scores, or the log of its probabilities.
  const float* logits(size_t m, size_t r, size_t count, std::vector<float>& room) const {
    const float* x = scores(m, r);
    if (plan_.members[m].is_logit) return x;
    room.resize(count * k());
    for (size_t i = 0; i < room.size(); ++i) room[i] = static_cast<float>(det_log(std::max(x[i], kMinProbability)));
    return room.data();
  }
  // acc[c * stride + r] += w p.
  void add_probability(size_t m, size_t r, size_t count, float w, float* acc, size_t stride) {
    if (plan_.members[m].is_logit || plan_.inv_t[m] != 1) {
      const float* z = logits(m, r, count, logs_);
      if (!add_softmax(z, count, k(), plan_.inv_t[m], w, acc, stride, scratch_.data())) fail_scores();
      return;
    }
    const float* x = scores(m, r);
    for (size_t c = 0; c < k(); ++c) {
      for (size_t i = 0; i < count; ++i) acc[c * stride + i] += w * x[i * k() + c];
    }
  }
  // The mean probability of one row: the same operations, so the same bits, as in a whole tile.
  std::span<const float> mean_of(size_t r) {
    if (mean_row_ == r) return mean_;
    std::ranges::fill(mean_, 0.0F);
    for (size_t m = 0; m < plan_.members.size(); ++m) add_probability(m, r, 1, plan_.share[m], mean_.data(), 1);
    for (float& x : mean_) x *= plan_.unit;
    mean_row_ = r;
    return mean_;
  }

  // The label of row r by its scores.
  template <class T>
  void decide(size_t r, const T* score) {
    size_t best = 0;
    bool tied = false;
    for (size_t c = 1; c < k(); ++c) {
      if (score[c] > score[best]) {
        best = c;
        tied = false;
      } else if (score[c] == score[best]) {
        tied = true;
      }
    }
    tie_[r] = 0;
    if (tied) [[unlikely]] {
      const auto mean = mean_of(r);
      const T top = score[best];
      tie_[r] = 1;
      for (size_t c = best + 1; c < k(); ++c) {
        if (score[c] != top) continue;
        if (mean[c] > mean[best]) {
          best = c;
          tie_[r] = 1;
        } else if (mean[c] == mean[best]) {
          tie_[r] = 2;
        }
      }
    }
    label_[r] = static_cast<int32_t>(best);
  }

  void mean_probability() {
    sum_.assign(rows_ * k(), 0.0F);
    mean_row_ = SIZE_MAX;
    for (size_t m = 0; m < plan_.members.size(); ++m) add_probability(m, 0, rows_, plan_.share[m], sum_.data(), rows_);
    for (size_t r = 0; r < rows_; ++r) {
      for (size_t c = 0; c < k(); ++c) p_[r * k() + c] = sum_[c * rows_ + r] * plan_.unit;
      decide(r, p_ + r * k());
    }
  }

  void mean_logit() {
    sum_.assign(rows_ * k(), 0.0F);
    mean_row_ = SIZE_MAX;
    std::array<const float*, 4> z{};
    std::array<float, 4> w{};
    for (size_t m = 0; m < plan_.members.size(); m += 4) {
      const size_t group = std::min<size_t>(4, plan_.members.size() - m);
      for (size_t g = 0; g < group; ++g) {
        z[g] = logits(m + g, 0, rows_, group_logs_[g]);
        w[g] = plan_.share[m + g] * plan_.inv_t[m + g];
      }
      add_weighted(z.data(), w.data(), group, sum_.data(), rows_ * k());
    }
    transposed_.assign(rows_ * k(), 0.0F);
    if (!add_softmax(sum_.data(), rows_, k(), plan_.unit, 1, transposed_.data(), rows_, scratch_.data())) fail_scores();
    for (size_t r = 0; r < rows_; ++r) {
      for (size_t c = 0; c < k(); ++c) p_[r * k() + c] = transposed_[c * rows_ + r];
      decide(r, sum_.data() + r * k());
    }
  }

  void order_statistic() {
    const size_t members = plan_.members.size(), size = rows_ * k();
    each_.assign(members * size, 0.0F);
    mean_row_ = SIZE_MAX;
    for (size_t m = 0; m < members; ++m) add_probability(m, 0, rows_, 1, each_.data() + m * size, rows_);
    std::vector<float> values(members);
    const size_t cut = plan_.rule == Rule::trimmed_mean ? members / 10 : (members - 1) / 2;
    for (size_t r = 0; r < rows_; ++r) {
      float sum = 0;
      for (size_t c = 0; c < k(); ++c) {
        for (size_t m = 0; m < members; ++m) values[m] = each_[m * size + c * rows_ + r];
        std::ranges::sort(values);
        float s = 0;
        for (size_t m = cut; m < members - cut; ++m) s += values[m];
        row_[c] = s / static_cast<float>(members - 2 * cut);
        sum += row_[c];
      }
      float* p = p_ + r * k();
      if (sum > 0) {
        for (size_t c = 0; c < k(); ++c) p[c] = row_[c] / sum;
        decide(r, row_.data());
      } else {
        std::ranges::copy(mean_of(r), p);
        decide(r, p);
      }
    }
  }

  void votes() {
    mean_row_ = SIZE_MAX;
    const size_t members = plan_.members.size();
    std::vector<const float*> row(members);
    for (size_t m = 0; m < members; ++m) {
      const float* x = scores(m);
      float bad = 0;
      for (size_t i = 0; i < rows_ * k(); ++i) bad += x[i] * 0.0F;
      if (!(bad == 0)) fail_scores();
    }
    for (size_t r = 0; r < rows_; ++r) {
      for (size_t m = 0; m < members; ++m) row[m] = scores(m, r);
      if (plan_.rule == Rule::instant_runoff) {
        const RunoffResult result = instant_runoff(row, plan_.weight, static_cast<int32_t>(k()),
                                                   [&] { return mean_of(r); }, points_);
        label_[r] = result.winner;
        tie_[r] = result.tie_level;
      } else {
        (plan_.rule == Rule::borda ? borda_points : hard_votes)(row, plan_.weight, static_cast<int32_t>(k()), points_);
        decide(r, points_.data());
      }
      const double sum = std::accumulate(points_.begin(), points_.end(), 0.0);
      // One class alone has no points.
      for (size_t c = 0; c < k(); ++c) p_[r * k() + c] = sum > 0 ? static_cast<float>(points_[c] / sum) : 1.0F;
    }
  }

  const Plan& plan_;
  int64_t first_ = 0;
  size_t rows_ = 0, mean_row_ = SIZE_MAX;
  float* p_ = nullptr;
  int32_t* label_ = nullptr;
  uint8_t* tie_ = nullptr;
  std::vector<float> scratch_, mean_, row_, sum_, transposed_, each_, logs_;
  std::array<std::vector<float>, 4> group_logs_;
  std::vector<double> points_;
};

}  // namespace

std::string_view to_string(Rule rule) { return kNames[static_cast<size_t>(rule)]; }

Rule parse_rule(std::string_view name) {
  std::string all;
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return kRules[i];
    all += (i == 0 ? "" : ", ") + std::string(kNames[i]);
  }
  fail("combine", "rule must be one of ", all, ", got \"", name, "\"", did_you_mean(name, kNames));
}

std::span<const Rule> all_rules() { return kRules; }

bool takes_weights(Rule rule) { return rule != Rule::median && rule != Rule::trimmed_mean; }

Combined combine(std::span<const Predictions> members, const CombineOptions& options) {
  check_members("combine", members);
  const Plan plan = make_plan(members, options);
  const int64_t n = members[0].n;
  Combined out;
  out.k = members[0].k;
  out.probability.resize(static_cast<size_t>(n) * plan.k);
  out.label.resize(static_cast<size_t>(n));
  out.tie_level.resize(static_cast<size_t>(n));

  // A tile's sums stay in the second cache; those of all members, where a rule needs them, in the third.
  const bool all = plan.rule == Rule::median || plan.rule == Rule::trimmed_mean;
  const size_t floats = all ? std::max<size_t>(1, (size_t{1} << 18) / plan.members.size()) : size_t{1} << 14;
  const auto rows = static_cast<int64_t>(std::clamp<size_t>(floats / plan.k / 16 * 16, 16, 4096));
  ThreadPool pool(options.threads > 0 ? options.threads : usable_cores());
  std::vector<Tile> tiles(static_cast<size_t>(pool.size()), Tile(plan));
  pool.run((n + rows - 1) / rows, [&](int64_t tile, int thread) {
    const int64_t first = tile * rows;
    tiles[static_cast<size_t>(thread)].run(first, static_cast<size_t>(std::min(rows, n - first)), out);
  });
  return out;
}

}  // namespace ballast
