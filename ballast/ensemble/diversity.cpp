#include <ballast/ensemble/diversity.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include <ballast/base/check.h>
#include <ballast/base/cpu.h>
#include <ballast/base/detmath.h>
#include <ballast/base/thread_pool.h>

namespace ballast {
namespace {

double ratio(double a, double b) { return b == 0 ? 0 : a / b; }

double entropy(std::span<const double> p) {
  double h = 0;
  for (const double x : p) h -= x > 0 ? x * det_log(x) : 0;
  return h;
}

/// log p of a row in double; of probability inputs that of max(p, 1e-7).
void log_row(const Predictions& m, int64_t i, std::span<double> out) {
  const float* row = m.row(i);
  if (!m.is_logit) {
    for (size_t c = 0; c < out.size(); ++c) out[c] = det_log(std::max(row[c], kMinProbability));
  }
  double top = m.is_logit ? row[0] : out[0], sum = 0;
  for (size_t c = 0; c < out.size(); ++c) {
    if (m.is_logit) out[c] = row[c];
    top = std::max(top, out[c]);
  }
  for (const double l : out) sum += det_exp(l - top);
  const double norm = top + det_log(sum);
  for (double& l : out) l -= norm;
}

}  // namespace

double PairDiversity::disagreement() const { return ratio(static_cast<double>(n10 + n01), static_cast<double>(n11 + n10 + n01 + n00)); }
double PairDiversity::double_fault() const { return ratio(static_cast<double>(n00), static_cast<double>(n11 + n10 + n01 + n00)); }
double PairDiversity::q() const {
  const double same = static_cast<double>(n11) * static_cast<double>(n00), other = static_cast<double>(n01) * static_cast<double>(n10);
  return ratio(same - other, same + other);
}
double PairDiversity::kappa() const {
  const auto a = static_cast<double>(n11), b = static_cast<double>(n10), c = static_cast<double>(n01), d = static_cast<double>(n00);
  return ratio(2 * (a * d - c * b), (a + b) * (b + d) + (a + c) * (c + d));
}

std::vector<PairDiversity> pair_counts(std::span<const std::vector<uint8_t>> right, int threads) {
  const size_t members = right.size();
  const size_t n = members == 0 ? 0 : right[0].size(), words = (n + 63) / 64;
  std::vector<uint64_t> bits(members * words);
  std::vector<int64_t> count(members);
  for (size_t m = 0; m < members; ++m) {
    check(right[m].size() == n, "diversity", "members must have equal rows, got ", n, " and ", right[m].size(), " (member ", m, ")");
    for (size_t i = 0; i < n; ++i) {
      const uint64_t bit = right[m][i] != 0;
      bits[m * words + i / 64] |= bit << (i % 64);
      count[m] += static_cast<int64_t>(bit);
    }
  }
  std::vector<PairDiversity> out;
  for (size_t i = 0; i < members; ++i) {
    for (size_t j = i + 1; j < members; ++j) out.push_back({.i = static_cast<int32_t>(i), .j = static_cast<int32_t>(j)});
  }
  ThreadPool pool(threads > 0 ? threads : usable_cores());
  pool.run(static_cast<int64_t>(out.size()), [&](int64_t at, int) {
    PairDiversity& p = out[static_cast<size_t>(at)];
    const uint64_t* a = bits.data() + static_cast<size_t>(p.i) * words;
    const uint64_t* b = bits.data() + static_cast<size_t>(p.j) * words;
    int64_t both = 0;
    for (size_t w = 0; w < words; ++w) both += std::popcount(a[w] & b[w]);
    p.n11 = both;
    p.n10 = count[static_cast<size_t>(p.i)] - both;
    p.n01 = count[static_cast<size_t>(p.j)] - both;
    p.n00 = static_cast<int64_t>(n) - p.n11 - p.n10 - p.n01;
  });
  return out;
}

Diversity diversity(std::span<const Predictions> members, std::span<const int32_t> label, int threads) {
  check_members("diversity", members);
  const int64_t n = members[0].n;
  const auto k = static_cast<size_t>(members[0].k), count = members.size();
  check_labels("diversity", label, n, members[0].k);
  for (size_t m = 0; m < count; ++m) check_scores("diversity", members[m], static_cast<int64_t>(m));
  Diversity out;
  std::vector<std::vector<uint8_t>> right(count, std::vector<uint8_t>(static_cast<size_t>(n)));
  for (size_t m = 0; m < count; ++m) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) {
      const bool ok = top_class(members[m].row(i), members[m].k) == label[static_cast<size_t>(i)];
      right[m][static_cast<size_t>(i)] = ok;
      sum += ok;
    }
    out.accuracy.push_back(ratio(sum, static_cast<double>(n)));
  }
  out.pairs = pair_counts(right, threads);
  if (n == 0) return out;
  const auto all = static_cast<double>(count), total = static_cast<double>(n);
  for (const PairDiversity& p : out.pairs) out.mean_disagreement += p.disagreement() / static_cast<double>(out.pairs.size());

  struct Sums {
    double split = 0, information = 0, brier_mean = 0, brier = 0, ambiguity = 0, geometric = 0, nll = 0, divergence = 0;
  };
  constexpr int64_t kChunk = 1024;
  std::vector<Sums> chunks(static_cast<size_t>((n + kChunk - 1) / kChunk));
  ThreadPool pool(threads > 0 ? threads : usable_cores());
  pool.run(static_cast<int64_t>(chunks.size()), [&](int64_t chunk, int) {
    Sums s;
    std::vector<double> logs(count * k), p(count * k), mean(k), geometric(k);
    for (int64_t i = chunk * kChunk; i < std::min(n, (chunk + 1) * kChunk); ++i) {
      const auto y = static_cast<size_t>(label[static_cast<size_t>(i)]);
      std::ranges::fill(mean, 0.0);
      std::ranges::fill(geometric, 0.0);
      double c = 0, entropies = 0;
      for (size_t m = 0; m < count; ++m) {
        const std::span<double> l(logs.data() + m * k, k), q(p.data() + m * k, k);
        log_row(members[m], i, l);
        for (size_t j = 0; j < k; ++j) {
          q[j] = det_exp(l[j]);
          mean[j] += q[j] / all;
          geometric[j] += l[j] / all;
        }
        entropies += entropy(q) / all;
        c += right[m][static_cast<size_t>(i)];
        s.nll -= l[y] / all;
      }
      double norm = 0, squares = 0;
      for (const double l : geometric) norm += det_exp(l);
      const double log_norm = det_log(norm);
      for (size_t j = 0; j < k; ++j) {
        const double hot = j == y, log_g = geometric[j] - log_norm, g = det_exp(log_g);
        squares += (mean[j] - hot) * (mean[j] - hot);
        for (size_t m = 0; m < count; ++m) {
          const double q = p[m * k + j];
          s.brier += (q - hot) * (q - hot) / all;
          s.ambiguity += (q - mean[j]) * (q - mean[j]) / all;
          s.divergence += g * (log_g - logs[m * k + j]) / all;
        }
      }
      s.brier_mean += squares;
      s.geometric -= geometric[y] - log_norm;
      s.split += c * (all - c);
      s.information += entropy(mean) - entropies;
    }
    chunks[static_cast<size_t>(chunk)] = s;
  });
  double split = 0, a = 0;
  for (const Sums& s : chunks) {
    split += s.split / total;
    out.mutual_information += s.information / total;
    out.brier_of_mean += s.brier_mean / total;
    out.mean_brier += s.brier / total;
    out.ambiguity += s.ambiguity / total;
    out.nll_of_geometric += s.geometric / total;
    out.mean_nll += s.nll / total;
    out.log_ambiguity += s.divergence / total;
  }
  for (const double x : out.accuracy) a += x / all;
  out.kohavi_wolpert = split / (all * all);
  const double chance = all * (all - 1) * a * (1 - a);
  out.group_kappa = chance > 0 ? 1 - split / chance : 0;
  return out;
}

std::vector<double> row_information(std::span<const Predictions> members, int threads) {
  check_members("diversity", members);
  const int64_t n = members[0].n;
  const auto k = static_cast<size_t>(members[0].k);
  const auto all = static_cast<double>(members.size());
  std::vector<double> out(static_cast<size_t>(n));
  constexpr int64_t kChunk = 1024;
  ThreadPool pool(threads > 0 ? threads : usable_cores());
  pool.run((n + kChunk - 1) / kChunk, [&](int64_t chunk, int) {
    std::vector<double> p(k), mean(k);
    for (int64_t i = chunk * kChunk; i < std::min(n, (chunk + 1) * kChunk); ++i) {
      std::ranges::fill(mean, 0.0);
      double entropies = 0;
      for (const Predictions& m : members) {
        log_row(m, i, p);
        for (size_t j = 0; j < k; ++j) {
          p[j] = det_exp(p[j]);
          mean[j] += p[j] / all;
        }
        entropies += entropy(p) / all;
      }
      out[static_cast<size_t>(i)] = std::max(0.0, entropy(mean) - entropies);
    }
  });
  return out;
}

double jensen_shannon(const Predictions& a, const Predictions& b) {
  const Predictions both[] = {a, b};
  check_members("diversity", both);
  const auto k = static_cast<size_t>(a.k);
  std::vector<double> p(k), q(k), mean(k);
  double sum = 0;
  for (int64_t i = 0; i < a.n; ++i) {
    log_row(a, i, p);
    log_row(b, i, q);
    for (size_t c = 0; c < k; ++c) {
      p[c] = det_exp(p[c]);
      q[c] = det_exp(q[c]);
      mean[c] = (p[c] + q[c]) / 2;
    }
    sum += entropy(mean) - (entropy(p) + entropy(q)) / 2;
  }
  return ratio(sum, static_cast<double>(a.n));
}

std::vector<PairDiversity> identical_pairs(std::span<const Predictions> members) {
  std::vector<PairDiversity> out;
  if (members.empty() || members[0].n == 0) return out;
  for (size_t i = 0; i < members.size(); ++i) {
    for (size_t j = i + 1; j < members.size(); ++j) {
      const size_t bytes = static_cast<size_t>(members[i].n) * static_cast<size_t>(members[i].k) * sizeof(float);
      if (members[i].is_logit == members[j].is_logit && std::memcmp(members[i].scores, members[j].scores, bytes) == 0) {
        out.push_back({.i = static_cast<int32_t>(i), .j = static_cast<int32_t>(j)});
      }
    }
  }
  return out;
}

}  // namespace ballast
