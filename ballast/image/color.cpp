#include <ballast/image/color.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <type_traits>

#include <ballast/base/check.h>
#include <ballast/base/detmath.h>
#include <ballast/image/color_kernel.h>
#include <ballast/image/table_kernel.h>

namespace ballast {

namespace {

using Kind = PixelOp::Kind;
using detail::ColorStep;

bool in_chain(Kind k) { return k <= Kind::grayscale; }
bool needs_pixel(Kind k) { return k == Kind::saturation || k == Kind::hue || k == Kind::grayscale; }

uint8_t level(double x) { return static_cast<uint8_t>(std::clamp(x, 0.0, 255.0)); }

/// A table of 256 entries per channel, composed step by step.
struct Tables {
  uint8_t t[3][256];
  bool identity = true;
  bool equal = true;  // the three are one

  Tables() { reset(); }
  void reset() {
    for (auto& table : t) {
      for (int i = 0; i < 256; ++i) table[i] = static_cast<uint8_t>(i);
    }
    identity = equal = true;
  }
  template <class F>
  void each(F&& f) {
    uint8_t step[256];
    for (int i = 0; i < 256; ++i) step[i] = f(static_cast<uint8_t>(i));
    for (auto& table : t) {
      for (uint8_t& v : table) v = step[v];
    }
    identity = false;
  }
  template <class F>
  void channel(size_t j, F&& f) {
    for (uint8_t& v : t[j]) v = f(v);
    identity = equal = false;
  }
};

class Runner {
 public:
  Runner(Image& image, PixelScratch& scratch) : image_(image), s_(scratch) {}

  void run(std::span<const PixelOp> ops) {
    for (size_t i = 0; i < ops.size();) {
      if (in_chain(ops[i].kind)) {
        size_t end = i;
        bool mixes = false;
        for (; end < ops.size() && in_chain(ops[end].kind); ++end) mixes = mixes || needs_pixel(ops[end].kind);
        chain(ops.subspan(i, end - i), mixes && image_.c() >= 3);
        i = end;
      } else {
        single(ops[i++]);
      }
    }
    flush();
  }

 private:
  int32_t colours() const { return image_.c() == 1 ? 1 : 3; }

  void flush() {
    if (tables_.identity) return;
    const auto w = static_cast<size_t>(image_.w());
    for (int32_t y = 0; y < image_.h(); ++y) {
      uint8_t* row = image_.row_u8(y);
      if (image_.c() == 4) {
        for (size_t x = 0; x < w; ++x) {
          for (size_t j = 0; j < 3; ++j) row[4 * x + j] = tables_.t[j][row[4 * x + j]];
        }
      } else if (image_.c() == 1 || tables_.equal) {
        detail::apply_table(row, row, w * static_cast<size_t>(image_.c()), tables_.t[0]);
      } else {
        detail::apply_tables3(row, row, w, tables_.t[0]);
      }
    }
    tables_.reset();
  }

  /// Carries out `steps` and returns the mean gray behind them.
  float mean_gray(const ColorStep* steps, size_t count) {
    uint64_t sum = 0;
    const auto w = static_cast<size_t>(image_.w());
    for (int32_t y = 0; y < image_.h(); ++y) {
      uint8_t* row = image_.row_u8(y);
      if (image_.c() == 1) {
        for (size_t x = 0; x < w; ++x) sum += row[x];
      } else if (count > 0) {
        sum += detail::color_chain_sum(row, row, w, image_.c(), steps, count);
      } else {
        sum += detail::gray_sum(row, w, image_.c(), steps, count);
      }
    }
    return static_cast<float>(static_cast<double>(sum) / (static_cast<double>(w) * image_.h()));
  }

  void chain(std::span<const PixelOp> ops, bool together) {
    if (!together) {
      for (const PixelOp& op : ops) {
        if (op.kind != Kind::brightness && op.kind != Kind::contrast) continue;
        float mean = 0;
        if (op.kind == Kind::contrast) {
          flush();
          mean = mean_gray(nullptr, 0);
        }
        const ColorStep step = color_step(op, mean);
        tables_.each([&](uint8_t x) { return step.table[x]; });
      }
      return;
    }
    flush();
    std::array<ColorStep, 8> steps;
    size_t n = 0;
    for (const PixelOp& op : ops) {
      if (n == steps.size()) {
        run_chain(steps.data(), n);
        n = 0;
      }
      // The mean of what the steps so far make: they are carried out on the way.
      float mean = 0;
      if (op.kind == Kind::contrast) {
        mean = mean_gray(steps.data(), n);
        n = 0;
      }
      steps[n] = color_step(op, mean);
      if (n > 0 && steps[n].kind == ColorStep::Kind::table && steps[n - 1].kind == ColorStep::Kind::table) {
        for (uint8_t& v : steps[n - 1].table) v = steps[n].table[v];
      } else {
        ++n;
      }
    }
    run_chain(steps.data(), n);
  }

  static ColorStep color_step(const PixelOp& op, float mean) {
    switch (op.kind) {
      case Kind::brightness: return detail::brightness_step(op.v[0]);
      case Kind::contrast: return detail::contrast_step(op.v[0], mean);
      case Kind::saturation: return detail::saturation_step(op.v[0]);
      case Kind::hue: return detail::hue_step(op.v[0]);
      default: return detail::grayscale_step();
    }
  }

  void run_chain(const ColorStep* steps, size_t n) {
    for (int32_t y = 0; y < image_.h(); ++y) {
      uint8_t* row = image_.row_u8(y);
      detail::color_chain(row, row, static_cast<size_t>(image_.w()), image_.c(), steps, n);
    }
  }

  using Counts = std::array<uint32_t, 256>;

  /// Counts of each channel, as the tables make them.
  std::array<Counts, 3> histograms() {
    // Two of each: neighbours are often equal, and a count waits for the one before it.
    std::array<std::array<Counts, 2>, 3> raw = {};
    const size_t c = static_cast<size_t>(image_.c()), w = static_cast<size_t>(image_.w());
    for (int32_t y = 0; y < image_.h(); ++y) {
      const uint8_t* p = image_.row_u8(y);
      if (c == 1) {
        for (size_t x = 0; x < w; ++x) ++raw[0][x % 2][p[x]];
        continue;
      }
      size_t x = 0;
      for (; x + 2 <= w; x += 2, p += 2 * c) {
        for (size_t j = 0; j < 3; ++j) {
          ++raw[j][0][p[j]];
          ++raw[j][1][p[c + j]];
        }
      }
      for (size_t j = 0; x < w && j < 3; ++j) ++raw[j][0][p[j]];
    }
    std::array<Counts, 3> out = {};
    for (size_t j = 0; j < static_cast<size_t>(colours()); ++j) {
      for (size_t i = 0; i < 256; ++i) out[j][tables_.t[j][i]] += raw[j][0][i] + raw[j][1][i];
    }
    return out;
  }

  void autocontrast() {
    const auto all = histograms();
    for (size_t j = 0; j < static_cast<size_t>(colours()); ++j) {
      const Counts& counts = all[j];
      int lo = 0, hi = 255;
      while (lo < 255 && counts[static_cast<size_t>(lo)] == 0) ++lo;
      while (hi > 0 && counts[static_cast<size_t>(hi)] == 0) --hi;
      if (hi <= lo) continue;
      const double scale = 255.0 / (hi - lo), offset = -lo * scale;
      tables_.channel(j, [&](uint8_t x) { return level(std::trunc(x * scale + offset)); });
    }
  }

  void equalize() {
    const auto all = histograms();
    for (size_t j = 0; j < static_cast<size_t>(colours()); ++j) {
      const Counts& counts = all[j];
      uint64_t total = 0, last = 0, present = 0;
      for (uint32_t n : counts) {
        total += n;
        if (n != 0) {
          last = n;
          ++present;
        }
      }
      const uint64_t step = (total - last) / 255;
      if (present <= 1 || step == 0) continue;
      uint8_t table[256];
      uint64_t n = step / 2;
      for (size_t i = 0; i < 256; ++i) {
        table[i] = static_cast<uint8_t>(std::min<uint64_t>(255, n / step));
        n += counts[i];
      }
      tables_.channel(j, [&](uint8_t x) { return table[x]; });
    }
  }

  void hue_yiq(double f) {
    if (image_.c() == 1) return;
    // Y stays, (I, Q) turns: T^-1 R T with NTSC's T from RGB to YIQ and its inverse, row by row.
    constexpr double T[3][3] = {{.299, .587, .114}, {.596, -.274, -.322}, {.211, -.523, .312}};
    const double turn = 2 * 3.14159265358979323846 * f, u = det_cos(turn), w = det_sin(turn);
    double inverse[3][3], m[3][3] = {};
    const double det = T[0][0] * (T[1][1] * T[2][2] - T[1][2] * T[2][1]) -
                       T[0][1] * (T[1][0] * T[2][2] - T[1][2] * T[2][0]) +
                       T[0][2] * (T[1][0] * T[2][1] - T[1][1] * T[2][0]);
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) {
        const int a = (j + 1) % 3, b = (j + 2) % 3, c = (i + 1) % 3, d = (i + 2) % 3;
        inverse[i][j] = (T[a][c] * T[b][d] - T[a][d] * T[b][c]) / det;
      }
    }
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) {
        const double turned[3] = {T[0][j], u * T[1][j] - w * T[2][j], w * T[1][j] + u * T[2][j]};
        for (int k = 0; k < 3; ++k) m[i][j] += inverse[i][k] * turned[k];
      }
    }
    for (int32_t y = 0; y < image_.h(); ++y) {
      uint8_t* p = image_.row_u8(y);
      for (int32_t x = 0; x < image_.w(); ++x, p += image_.c()) {
        const double r = p[0], g = p[1], b = p[2];
        for (int j = 0; j < 3; ++j) {
          p[j] = level(std::nearbyint(m[j][0] * r + m[j][1] * g + m[j][2] * b));
        }
      }
    }
  }

  void channel_shuffle(const std::array<double, 4>& v) {
    if (image_.c() == 1) return;
    const std::array<size_t, 3> from = {static_cast<size_t>(v[0]), static_cast<size_t>(v[1]), static_cast<size_t>(v[2])};
    const auto rows = [&](auto step) {
      for (int32_t y = 0; y < image_.h(); ++y) {
        uint8_t* p = image_.row_u8(y);
        for (int32_t x = 0; x < image_.w(); ++x, p += step) {
          const uint8_t a = p[from[0]], b = p[from[1]], c = p[from[2]];
          p[0] = a;
          p[1] = b;
          p[2] = c;
        }
      }
    };
    image_.c() == 3 ? rows(std::integral_constant<int, 3>()) : rows(std::integral_constant<int, 4>());
  }

  void single(const PixelOp& op) {
    const auto& v = op.v;
    switch (op.kind) {
      case Kind::gamma:
        return tables_.each([&](uint8_t x) {
          return level(std::floor(255.999 * std::clamp(v[1] * det_pow(x / 255.0, v[0]), 0.0, 1.0)));
        });
      case Kind::invert: return tables_.each([](uint8_t x) { return static_cast<uint8_t>(255 - x); });
      case Kind::posterize: {
        const int drop = 8 - static_cast<int>(v[0]);
        return tables_.each([&](uint8_t x) { return static_cast<uint8_t>(x & ~((1 << drop) - 1)); });
      }
      case Kind::solarize:
        return tables_.each([&](uint8_t x) { return static_cast<uint8_t>(x >= v[0] ? 255 - x : x); });
      case Kind::solarize_add:
        return tables_.each([&](uint8_t x) { return x < v[1] ? level(std::trunc(x + v[0])) : x; });
      case Kind::rgb_shift:
        for (size_t j = 0; j < static_cast<size_t>(colours()); ++j) {
          tables_.channel(j, [&](uint8_t x) { return level(std::nearbyint(x + v[j])); });
        }
        return;
      case Kind::autocontrast: return autocontrast();
      case Kind::equalize: return equalize();
      default: break;
    }
    flush();
    const auto slot = [&](size_t i) { return static_cast<uint32_t>(v[i]); };
    switch (op.kind) {
      case Kind::hue_yiq: return hue_yiq(v[0]);
      case Kind::channel_shuffle: return channel_shuffle(v);
      case Kind::clahe: return detail::clahe(image_, v[0], static_cast<int32_t>(v[1]), s_);
      case Kind::sharpness: return detail::sharpness(image_, v[0], s_);
      case Kind::gaussian_blur: return detail::gaussian_blur(image_, v[0], static_cast<int32_t>(v[1]), s_);
      case Kind::median_blur: return detail::median_blur(image_, static_cast<int32_t>(v[0]), s_);
      case Kind::motion_blur: return detail::motion_blur(image_, static_cast<int32_t>(v[0]), v[1], s_);
      case Kind::unsharp: return detail::unsharp(image_, v[0], v[1], s_);
      case Kind::downscale: return detail::downscale(image_, v[0], s_);
      case Kind::jpeg: return detail::jpeg_compression(image_, static_cast<int32_t>(v[0]), s_);
      case Kind::gaussian_noise: return detail::gaussian_noise(image_, v[0], v[1], v[2] != 0, op.key, slot(3), s_);
      case Kind::salt_pepper: return detail::salt_pepper(image_, v[0], op.key, slot(1));
      case Kind::pixel_dropout: return detail::pixel_dropout(image_, v[0], op.key, slot(1));
      default: return;
    }
  }

  Image& image_;
  PixelScratch& s_;
  Tables tables_;
};

}  // namespace

void run_pixel_ops(std::span<const PixelOp> ops, Image& image, PixelScratch& scratch) {
  check(image.dtype() == DType::u8 && (image.c() == 1 || image.c() == 3 || image.c() == 4), "color",
        "the picture must be u8 with 1, 3 or 4 channels, got ", to_string(image.dtype()), " with ", image.c());
  if (!image.empty()) Runner(image, scratch).run(ops);
}

}  // namespace ballast
