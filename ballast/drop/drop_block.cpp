#include <ballast/drop/drop_block.h>

#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <ostream>
#include <vector>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>
#include <ballast/drop/keyed_op.h>

namespace ballast {
namespace {

using Sides = std::array<int64_t, 3>;  // depth, height, width; 1 where x has no such axis

struct Geometry {
  Sides side{1, 1, 1}, block{1, 1, 1}, corners{1, 1, 1};
  int64_t positions = 1, seeds = 1;
};

Geometry geometry(std::span<const int64_t> sides, int64_t block_size) {
  Geometry g;
  for (size_t k = 0; k < sides.size(); ++k) {
    const size_t axis = 3 - sides.size() + k;
    g.side[axis] = sides[k];
    g.block[axis] = std::min(block_size, sides[k]);
    g.corners[axis] = g.side[axis] - g.block[axis] + 1;
  }
  for (size_t axis = 0; axis < 3; ++axis) {
    g.positions *= g.side[axis];
    g.seeds *= g.corners[axis];
  }
  return g;
}

// covers[k]: how many positions of the map k blocks can cover.
std::map<int64_t, double> covers(const Geometry& g) {
  std::map<int64_t, double> all{{1, 1.0}};
  for (size_t axis = 0; axis < 3; ++axis) {
    const int64_t n = g.side[axis], b = g.block[axis];
    std::map<int64_t, double> line, next;
    for (int64_t r = 0; r < n; ++r) ++line[std::min(r, n - b) - std::max<int64_t>(0, r - b + 1) + 1];
    for (const auto& [k, count] : all) {
      for (const auto& [j, times] : line) next[k * j] += count * times;
    }
    all = std::move(next);
  }
  return all;
}

double exact_gamma(const Geometry& g, double p) {
  const std::map<int64_t, double> cover = covers(g);
  // Mean kept share for gamma = 1 - exp(-a): falls with a.
  const auto kept_share = [&](double a) {
    double sum = 0;
    for (const auto& [k, count] : cover) sum += count * std::exp(-a * static_cast<double>(k));
    return sum / static_cast<double>(g.positions);
  };
  double low = 0, high = 1;
  while (kept_share(high) > 1 - p && high < 1e6) high *= 2;
  for (int i = 0; i < 200 && low < high; ++i) {
    const double middle = 0.5 * (low + high);
    if (middle <= low || middle >= high) break;
    (kept_share(middle) > 1 - p ? low : high) = middle;
  }
  return -std::expm1(-0.5 * (low + high));
}

double cached_gamma(const Geometry& g, double p, Gamma rule) {
  if (rule == Gamma::paper) {
    double b = 1;
    for (const int64_t side : g.block) b *= static_cast<double>(side);
    return std::min(1.0, p * static_cast<double>(g.positions) / (b * static_cast<double>(g.seeds)));
  }
  static std::mutex mutex;
  static std::map<std::tuple<Sides, Sides, double>, double> known;
  const std::scoped_lock lock(mutex);
  const auto [at, fresh] = known.try_emplace({g.side, g.block, p}, 0);
  if (fresh) at->second = exact_gamma(g, p);
  return at->second;
}

std::vector<int64_t> sides_of(const torch::Tensor& x) { return x.sizes().slice(2).vec(); }

torch::Tensor call_drop_block(const torch::Tensor& x, double p, int64_t block, bool per_channel, int64_t gamma, int64_t rescale,
                              int64_t key, int64_t first_row) {
  static const auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("ballast::drop_block", "")
          .typed<torch::Tensor(const torch::Tensor&, double, int64_t, bool, int64_t, int64_t, int64_t, int64_t)>();
  return op.call(x, p, block, per_channel, gamma, rescale, key, first_row);
}

// The bits of one sample: (channels, positions).
class SampleMask {
 public:
  SampleMask(const Geometry& g, int64_t channels, bool per_channel, DropRate rate, Key key)
      : g_(g), channels_(channels), maps_(per_channel ? channels : 1), rate_(rate), key_(key) {}

  void draw(int64_t row, uint16_t* keep, std::vector<uint16_t>& seeds, Ahead ahead = {}) const {
    const auto per_map = static_cast<size_t>(g_.seeds), positions = static_cast<size_t>(g_.positions);
    const size_t total = per_map * static_cast<size_t>(maps_);
    std::fill_n(keep, keep_words(positions * static_cast<size_t>(channels_)), uint16_t{0xffff});
    seeds.resize(keep_words(total));
    const size_t offset = draw_keep(key_, static_cast<uint64_t>(row) * total, total, rate_, seeds.data(), ahead);
    const size_t end = offset + total;
    for (size_t word = offset / 64; word * 64 < end; ++word) {
      uint64_t kept_seeds;
      std::memcpy(&kept_seeds, seeds.data() + word * 4, 8);
      for (uint64_t dropped = ~kept_seeds; dropped != 0; dropped &= dropped - 1) {
        const size_t bit = word * 64 + static_cast<size_t>(std::countr_zero(dropped));
        if (bit < offset || bit >= end) continue;
        const size_t v = (bit - offset) % per_map, map = (bit - offset) / per_map;
        if (maps_ == channels_) {
          clear_block(keep, map * positions, v);
        } else {
          for (size_t c = 0; c < static_cast<size_t>(channels_); ++c) clear_block(keep, c * positions, v);
        }
      }
    }
  }

 private:
  void clear_block(uint16_t* keep, size_t base, size_t v) const {
    const auto width = static_cast<size_t>(g_.side[2]), height = static_cast<size_t>(g_.side[1]);
    const size_t columns = static_cast<size_t>(g_.corners[2]), lines = static_cast<size_t>(g_.corners[1]);
    const size_t w = v % columns, h = v / columns % lines, d = v / (columns * lines);
    const auto across = static_cast<size_t>(g_.block[2]);
    for (size_t i = 0; i < static_cast<size_t>(g_.block[0]); ++i) {
      for (size_t j = 0; j < static_cast<size_t>(g_.block[1]); ++j) {
        const size_t begin = base + ((d + i) * height + h + j) * width + w;
        if (across <= 48) {  // within the 64 bits that start at a word
          uint64_t bits;
          std::memcpy(&bits, keep + begin / 16, 8);
          bits &= ~(((uint64_t{1} << across) - 1) << begin % 16);
          std::memcpy(keep + begin / 16, &bits, 8);
        } else {
          clear_bits(keep, begin, begin + across);
        }
      }
    }
  }

  Geometry g_;
  int64_t channels_, maps_;
  DropRate rate_;
  Key key_;
};

size_t count_kept(const uint16_t* keep, size_t n) {
  size_t count = 0;
  for (size_t i = 0; i < n / 16; ++i) count += static_cast<size_t>(std::popcount(keep[i]));
  for (size_t i = n / 16 * 16; i < n; ++i) count += kept(keep, i) ? 1 : 0;
  return count;
}

torch::Tensor drop_block_on_cpu(const torch::Tensor& x, double p, int64_t block, bool per_channel, int64_t gamma, int64_t rescale,
                                int64_t key, int64_t first_row) {
  const detail::Walk w = detail::walk(x);
  if (x.numel() == 0) return w.result(x);
  const Geometry g = geometry(sides_of(x), block);
  const SampleMask mask(g, w.channels, per_channel, corner_rate(cached_gamma(g, p, static_cast<Gamma>(gamma))),
                        detail::to_key(key));
  const auto size = static_cast<size_t>(w.row_size());
  const auto factor = [&](size_t count, size_t of) {
    return count == 0 ? 0 : static_cast<double>(of) / static_cast<double>(count);
  };
  const auto kind = static_cast<Rescale>(rescale);
  double all = kind == Rescale::none ? 1 : 1 / (1 - p);
  if (kind == Rescale::batch) {
    std::vector<size_t> counts(static_cast<size_t>(w.rows));
    at::parallel_for(0, w.rows, 1, [&](int64_t begin, int64_t end) {
      std::vector<uint16_t> keep(keep_words(size)), seeds;
      for (int64_t row = begin; row < end; ++row) {
        mask.draw(first_row + row, keep.data(), seeds);
        counts[static_cast<size_t>(row)] = count_kept(keep.data(), size);
      }
    });
    size_t sum = 0;
    for (const size_t c : counts) sum += c;
    all = factor(sum, size * static_cast<size_t>(w.rows));
  }
  detail::apply_rows(
      w,
      [&](int64_t row, uint16_t* words, Ahead ahead) {
        thread_local std::vector<uint16_t> seeds;
        mask.draw(first_row + row, words, seeds, ahead);
        return size_t{0};
      },
      [&](int64_t, const uint16_t* words, size_t) {
        return KeepValues{.scale = kind == Rescale::sample ? factor(count_kept(words, size), size) : all};
      });
  return w.result(x);
}

torch::Tensor drop_block_elsewhere(const torch::Tensor& x, double p, int64_t block, bool per_channel, int64_t gamma, int64_t rescale,
                                   int64_t key, int64_t first_row) {
  return call_drop_block(x.cpu(), p, block, per_channel, gamma, rescale, key, first_row).to(x.device());
}

torch::Tensor drop_block_with_gradient(const torch::Tensor& x, double p, int64_t block, bool per_channel, int64_t gamma,
                                       int64_t rescale, int64_t key, int64_t first_row) {
  const auto run = [=](const torch::Tensor& t) { return call_drop_block(t, p, block, per_channel, gamma, rescale, key, first_row); };
  return detail::drawn_again(x, run, run);
}

void check_block(int64_t block_size) {
  check(block_size >= 1, "drop_block", "block_size must be >= 1, got ", block_size);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(ballast, m) {
  m.def(
      "drop_block(Tensor x, float p, int block_size, bool per_channel, int gamma, int rescale, int key, int first_row=0) "
      "-> Tensor");
}
TORCH_LIBRARY_IMPL(ballast, CPU, m) { m.impl("drop_block", drop_block_on_cpu); }
TORCH_LIBRARY_IMPL(ballast, CUDA, m) { m.impl("drop_block", drop_block_elsewhere); }
TORCH_LIBRARY_IMPL(ballast, Meta, m) {
  m.impl("drop_block", [](const torch::Tensor& x, double, int64_t, bool, int64_t, int64_t, int64_t, int64_t) {
    return at::empty_like(x);
  });
}
TORCH_LIBRARY_IMPL(ballast, Autograd, m) { m.impl("drop_block", drop_block_with_gradient); }

double drop_block_gamma(std::span<const int64_t> sides, int64_t block_size, double p, Gamma rule) {
  detail::check_rate("drop_block", "p", p, true);
  check_block(block_size);
  check(!sides.empty() && sides.size() <= 3 && std::all_of(sides.begin(), sides.end(), [](int64_t s) { return s >= 1; }),
        "drop_block", "sides must be 1 to 3 numbers >= 1, got ", shape_text(sides));
  return p == 0 ? 0 : cached_gamma(geometry(sides, block_size), p, rule);
}

torch::Tensor drop_block(const torch::Tensor& x, const DropBlockOptions& o, bool training, Key key, int64_t first_row) {
  detail::check_rate("drop_block", "p", o.p, true);
  check_block(o.block_size);
  detail::check_input("drop_block", x, 0);
  check(x.dim() >= 3 && x.dim() <= 5, "drop_block", "x must be (N, C, H, W), got ", shape_text(x.sizes().vec()));
  if (!training || o.p == 0) return x;
  return call_drop_block(x, o.p, o.block_size, o.per_channel, static_cast<int64_t>(o.gamma), static_cast<int64_t>(o.rescale),
              detail::to_int(key), first_row);
}

DropBlockImpl::DropBlockImpl(DropBlockOptions o) : options(o) {
  detail::check_rate("drop_block", "p", o.p, true);
  check_block(o.block_size);
}

torch::Tensor DropBlockImpl::forward(const torch::Tensor& x) {
  if (!drops(is_training()) || options.p == 0) return x;
  const Draw draw = next_draw(options.key);
  // One factor for the whole batch needs all its rows at once.
  const auto* rows = options.rescale == Rescale::batch ? nullptr : draw.rows;
  return detail::by_rows(x, draw.first_row, rows, [&](const torch::Tensor& t, int64_t first_row) {
    return drop_block(t, options, true, draw.key, first_row);
  });
}

void DropBlockImpl::set_drop_rate(double p) {
  detail::check_rate("drop_block", "p", p, true);
  options.p = p;
}

void DropBlockImpl::pretty_print(std::ostream& stream) const {
  stream << "ballast::DropBlock(" << options.p << ", block " << options.block_size << (options.per_channel ? "" : ", shared")
         << ')';
}

}  // namespace ballast
