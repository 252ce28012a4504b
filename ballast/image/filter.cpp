#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include <ballast/base/detmath.h>
#include <ballast/image/color.h>
#include <ballast/image/decode.h>
#include <ballast/image/encode.h>
#include <ballast/image/filter_kernel.h>
#include <ballast/image/noise_kernel.h>
#include <ballast/image/resize.h>

namespace ballast::detail {

namespace {

uint8_t level(float x) { return static_cast<uint8_t>(std::clamp(x, 0.0F, 255.0F)); }
int32_t reflect(int32_t i, int32_t n) {
  if (n == 1) return 0;
  const int32_t period = 2 * (n - 1);
  const int32_t m = ((i % period) + period) % period;
  return m < n ? m : period - m;
}

/// The same pixels, so that `image` can be written.
ImageView kept(const Image& image, PixelScratch& s) {
  s.image.reset(image.h(), image.w(), image.c());
  for (int32_t y = 0; y < image.h(); ++y) {
    std::memcpy(s.image.row_u8(y), image.row_u8(y), static_cast<size_t>(image.w()) * static_cast<size_t>(image.c()));
  }
  return s.image.view();
}

/// Channels that are no alpha.
int32_t colours(const Image& image) { return image.c() == 4 ? 3 : image.c(); }

template <class F>
void each_value(Image& image, F&& f) {
  const int32_t c = image.c(), colour = colours(image);
  for (int32_t y = 0; y < image.h(); ++y) {
    uint8_t* row = image.row_u8(y);
    for (int32_t x = 0; x < image.w(); ++x) {
      for (int32_t j = 0; j < colour; ++j) row[x * c + j] = f(y, x, j);
    }
  }
}

}  // namespace

void sharpness(Image& image, double factor, PixelScratch& s) {
  if (image.h() < 3 || image.w() < 3) return;
  const ImageView in = kept(image, s);
  const auto f = static_cast<float>(factor), g = static_cast<float>(1.0 - factor);
  const size_t c = static_cast<size_t>(image.c()), n = static_cast<size_t>(image.w() - 2) * c;
  for (int32_t y = 1; y + 1 < image.h(); ++y) {
    uint8_t* out = image.row_u8(y) + c;
    sharpen_row(in.row_u8(y - 1) + c, in.row_u8(y) + c, in.row_u8(y + 1) + c, static_cast<ptrdiff_t>(c), n, f, g, out);
    if (c == 4) {
      for (size_t i = 3; i < n; i += 4) out[i] = in.row_u8(y)[c + i];
    }
  }
}

void gaussian_blur(Image& image, double sigma, int32_t size, PixelScratch& s) {
  const int32_t half = size / 2, h = image.h(), w = image.w(), c = image.c();
  s.weights.resize(static_cast<size_t>(size));
  double sum = 0;
  for (int32_t k = -half; k <= half; ++k) sum += det_exp(-k * k / (2 * sigma * sigma));
  for (int32_t k = -half; k <= half; ++k) {
    s.weights[static_cast<size_t>(k + half)] = static_cast<float>(det_exp(-k * k / (2 * sigma * sigma)) / sum);
  }
  // Columns first: a padded row of bytes becomes a row of floats, of which a ring holds what the rows still need.
  const auto n = static_cast<size_t>(w) * static_cast<size_t>(c), pixel = static_cast<size_t>(c);
  const auto margin = static_cast<size_t>(half) * pixel, ring = static_cast<size_t>(size);
  s.floats.resize(n * ring + 16);
  s.bytes.resize(n + 2 * margin + 64);
  s.rows.resize(ring);
  const auto line = [&](int32_t y) { return s.floats.data() + static_cast<size_t>(y) % ring * n; };
  int32_t made = 0;
  for (int32_t y = 0; y < h; ++y) {
    for (; made < std::min(h, y + half + 1); ++made) {
      const uint8_t* row = image.row_u8(made);
      std::memcpy(s.bytes.data() + margin, row, n);
      for (int32_t k = 0; k < half; ++k) {
        std::memcpy(s.bytes.data() + static_cast<size_t>(k) * pixel, row + static_cast<size_t>(reflect(k - half, w)) * pixel, pixel);
        std::memcpy(s.bytes.data() + margin + n + static_cast<size_t>(k) * pixel,
                    row + static_cast<size_t>(reflect(w + k, w)) * pixel, pixel);
      }
      blur_columns(s.bytes.data(), n, pixel, s.weights.data(), ring, line(made));
    }
    for (int32_t k = 0; k < size; ++k) s.rows[static_cast<size_t>(k)] = line(reflect(y + k - half, h));
    uint8_t* out = image.row_u8(y);
    if (c != 4) {
      blur_rows(s.rows.data(), s.weights.data(), ring, n, out);
      continue;
    }
    blur_rows(s.rows.data(), s.weights.data(), ring, n, s.bytes.data());
    for (size_t i = 0; i < n; ++i) {
      if (i % 4 != 3) out[i] = s.bytes[i];
    }
  }
}

namespace {

/// The picture with its border repeated `margin` pixels to the left and right: row_of(y) is where row y, clamped, begins.
class Repeated {
 public:
  Repeated(const Image& image, int32_t margin, std::vector<uint8_t>& bytes)
      : h_(image.h()), pixel_(static_cast<size_t>(image.c())), margin_(static_cast<size_t>(margin) * pixel_),
        stride_(static_cast<size_t>(image.w()) * pixel_ + 2 * margin_) {
    bytes.resize(stride_ * static_cast<size_t>(h_));
    const size_t n = stride_ - 2 * margin_;
    for (int32_t y = 0; y < h_; ++y) {
      const uint8_t* in = image.row_u8(y);
      uint8_t* out = bytes.data() + static_cast<size_t>(y) * stride_;
      std::memcpy(out + margin_, in, n);
      for (size_t k = 0; k < margin_; k += pixel_) {
        std::memcpy(out + k, in, pixel_);
        std::memcpy(out + margin_ + n + k, in + n - pixel_, pixel_);
      }
    }
    start_ = bytes.data() + margin_;
  }
  /// Pixel x of row y; x from -margin to w - 1 + margin.
  const uint8_t* at(int32_t y, int32_t x) const {
    return start_ + static_cast<size_t>(std::clamp(y, 0, h_ - 1)) * stride_ + static_cast<ptrdiff_t>(x) * static_cast<ptrdiff_t>(pixel_);
  }

 private:
  int32_t h_;
  size_t pixel_, margin_, stride_;
  const uint8_t* start_;
};

/// f(y, row) writes whole rows; alpha stays.
template <class F>
void each_row(Image& image, PixelScratch& s, F&& f) {
  const size_t n = static_cast<size_t>(image.w()) * static_cast<size_t>(image.c());
  for (int32_t y = 0; y < image.h(); ++y) {
    uint8_t* row = image.row_u8(y);
    if (image.c() == 4) {
      s.part.reset(1, image.w(), 4);
      uint8_t* made = s.part.row_u8(0);
      f(y, n, made);
      for (size_t i = 3; i < n; i += 4) made[i] = row[i];
      std::memcpy(row, made, n);
    } else {
      f(y, n, row);
    }
  }
}

}  // namespace

void median_blur(Image& image, int32_t size, PixelScratch& s) {
  const int32_t half = size / 2;
  const Repeated in(image, half, s.bytes);
  each_row(image, s, [&](int32_t y, size_t n, uint8_t* out) {
    std::array<const uint8_t*, 5> rows{};
    for (int32_t k = 0; k < size; ++k) rows[static_cast<size_t>(k)] = in.at(y + k - half, -half);
    median_row(rows.data(), static_cast<size_t>(size), static_cast<size_t>(image.c()), n, out);
  });
}

void motion_blur(Image& image, int32_t length, double angle, PixelScratch& s) {
  const Repeated in(image, length / 2, s.bytes);
  const double turn = angle * (3.14159265358979323846 / 180), dx = det_cos(turn), dy = -det_sin(turn);
  s.taps.resize(static_cast<size_t>(length));
  each_row(image, s, [&](int32_t y, size_t n, uint8_t* out) {
    for (int32_t k = 0; k < length; ++k) {
      const double t = k - (length - 1) / 2.0;
      s.taps[static_cast<size_t>(k)] = in.at(y + static_cast<int32_t>(std::nearbyint(t * dy)), static_cast<int32_t>(std::nearbyint(t * dx)));
    }
    mean_row(s.taps.data(), s.taps.size(), n, out);
  });
}

void unsharp(Image& image, double sigma, double amount, PixelScratch& s) {
  Image before = copy_image(image.view());
  gaussian_blur(image, sigma, 2 * static_cast<int32_t>(std::ceil(3 * sigma)) + 1, s);
  const auto a = static_cast<float>(amount);
  each_value(image, [&](int32_t y, int32_t x, int32_t j) {
    const float v = before.row_u8(y)[x * image.c() + j], b = image.row_u8(y)[x * image.c() + j];
    return level(std::nearbyint(v + a * (v - b)));
  });
}

void downscale(Image& image, double scale, PixelScratch& s) {
  const auto side = [&](int32_t n) { return std::max(1, static_cast<int32_t>(n * scale)); };
  const Image small = resize(image, side(image.h()), side(image.w()), {.interpolation = Interpolation::box});
  s.image = resize(small, image.h(), image.w(), {.interpolation = Interpolation::nearest});
  image.swap(s.image);
}

void jpeg_compression(Image& image, int32_t quality, PixelScratch& s) {
  if (image.c() != 4) {
    const auto file = encode_jpeg(image, quality);
    const ImageView out = decode_into(file, {.channels = image.c()}, s.image);
    for (int32_t y = 0; y < image.h(); ++y) {
      std::memcpy(image.row_u8(y), out.row_u8(y), static_cast<size_t>(out.w) * static_cast<size_t>(out.c));
    }
    return;
  }
  Image colour(image.h(), image.w(), 3);
  each_value(colour, [&](int32_t y, int32_t x, int32_t j) { return image.row_u8(y)[4 * x + j]; });
  jpeg_compression(colour, quality, s);
  each_value(image, [&](int32_t y, int32_t x, int32_t j) { return colour.row_u8(y)[3 * x + j]; });
}

void clahe(Image& image, double clip, int32_t tiles, PixelScratch& s) {
  const int32_t h = image.h(), w = image.w(), c = image.c();
  const int32_t ny = std::min(tiles, h), nx = std::min(tiles, w);
  const auto luma = [&](const uint8_t* p) {
    return c == 1 ? p[0] : static_cast<uint8_t>((19595U * p[0] + 38470U * p[1] + 7471U * p[2] + 32768U) >> 16);
  };
  // A table for each tile, then bilinear between the tables of the four nearest tile centres.
  s.floats.assign(static_cast<size_t>(ny) * static_cast<size_t>(nx) * 256, 0.0F);
  for (int32_t ty = 0; ty < ny; ++ty) {
    for (int32_t tx = 0; tx < nx; ++tx) {
      const int32_t y0 = ty * h / ny, y1 = (ty + 1) * h / ny, x0 = tx * w / nx, x1 = (tx + 1) * w / nx;
      std::array<double, 256> counts{};
      for (int32_t y = y0; y < y1; ++y) {
        for (int32_t x = x0; x < x1; ++x) counts[luma(image.row_u8(y) + x * c)] += 1;
      }
      const double n = static_cast<double>(y1 - y0) * (x1 - x0), limit = std::max(1.0, clip * n / 256);
      double over = 0;
      for (double& count : counts) {
        over += std::max(0.0, count - limit);
        count = std::min(count, limit);
      }
      double sum = 0;
      float* table = s.floats.data() + (static_cast<size_t>(ty) * static_cast<size_t>(nx) + static_cast<size_t>(tx)) * 256;
      for (size_t i = 0; i < 256; ++i) {
        sum += counts[i] + over / 256;
        table[i] = static_cast<float>(sum * 255 / n);
      }
    }
  }
  for (int32_t y = 0; y < h; ++y) {
    const float fy = (static_cast<float>(y) + 0.5F) * static_cast<float>(ny) / static_cast<float>(h) - 0.5F;
    const auto y0 = static_cast<int32_t>(std::floor(fy));
    const float wy = fy - static_cast<float>(y0);
    for (int32_t x = 0; x < w; ++x) {
      const float fx = (static_cast<float>(x) + 0.5F) * static_cast<float>(nx) / static_cast<float>(w) - 0.5F;
      const auto x0 = static_cast<int32_t>(std::floor(fx));
      const float wx = fx - static_cast<float>(x0);
      uint8_t* p = image.row_u8(y) + x * c;
      const uint8_t l = luma(p);
      const auto at = [&](int32_t ty, int32_t tx) {
        return s.floats[(static_cast<size_t>(std::clamp(ty, 0, ny - 1)) * static_cast<size_t>(nx) +
                         static_cast<size_t>(std::clamp(tx, 0, nx - 1))) * 256 + l];
      };
      const float top = (1 - wx) * at(y0, x0) + wx * at(y0, x0 + 1);
      const float bottom = (1 - wx) * at(y0 + 1, x0) + wx * at(y0 + 1, x0 + 1);
      const float change = std::nearbyint((1 - wy) * top + wy * bottom) - static_cast<float>(l);
      for (int32_t j = 0; j < colours(image); ++j) p[j] = level(static_cast<float>(p[j]) + change);
    }
  }
}

float field_normal(uint32_t word) {
  // Wichura 1988, AS 241, PPND7.
  const double u = (static_cast<double>(word) + 0.5) * 0x1p-32;
  const auto q = static_cast<float>(u - 0.5);
  if (std::abs(q) <= 0.425F) {
    const float r = 0.180625F - q * q;
    return q * (((59.109374720F * r + 159.29113202F) * r + 50.434271938F) * r + 3.3871327179F) /
           (((67.187563600F * r + 78.757757664F) * r + 17.895169469F) * r + 1.0F);
  }
  float r = static_cast<float>(std::sqrt(-det_log(q < 0 ? u : 1 - u)));
  float z = 0;
  if (r <= 5.0F) {
    r -= 1.6F;
    z = (((0.17023821103F * r + 1.3067284816F) * r + 2.7568153900F) * r + 1.4234372777F) /
        ((0.12021132975F * r + 0.73700164250F) * r + 1.0F);
  } else {
    r -= 5.0F;
    z = (((0.017337203997F * r + 0.42868294337F) * r + 3.0812263860F) * r + 6.6579051150F) /
        ((0.012258202635F * r + 0.24197894225F) * r + 1.0F);
  }
  return q < 0 ? -z : z;
}

void gaussian_noise(Image& image, double mean, double sigma, bool per_channel, Key key, uint32_t slot, PixelScratch& s) {
  const auto m = static_cast<float>(mean), deviation = static_cast<float>(sigma);
  const size_t w = static_cast<size_t>(image.w()), c = static_cast<size_t>(image.c()), n = w * c;
  s.floats.resize(2 * n);
  float *z = s.floats.data(), *one = z + n;
  for (int32_t y = 0; y < image.h(); ++y) {
    uint8_t* row = image.row_u8(y);
    const auto line = static_cast<uint64_t>(y);
    if (per_channel) {
      field_normals(key.bits(), slot, line * n, z, n);
    } else {
      field_normals(key.bits(), slot, line * w, one, w);
      for (size_t i = 0; i < n; ++i) z[i] = one[i / c];
    }
    if (c != 4) {
      add_noise(row, z, n, m, deviation);
      continue;
    }
    s.bytes.resize(n);
    std::memcpy(s.bytes.data(), row, n);
    add_noise(row, z, n, m, deviation);
    for (size_t i = 3; i < n; i += 4) row[i] = s.bytes[i];
  }
}

namespace {
/// out: a value for pixels whose uniform number is below `low` or not below `high`.
void paint_pixels(Image& image, Key key, uint32_t slot, double low, double high) {
  FieldWords words(key, slot);
  const int32_t c = image.c(), colour = colours(image);
  for (int32_t y = 0; y < image.h(); ++y) {
    for (int32_t x = 0; x < image.w(); ++x) {
      const uint64_t pixel = static_cast<uint64_t>(y) * static_cast<uint64_t>(image.w()) + static_cast<uint64_t>(x);
      const double u = (static_cast<double>(words(pixel)) + 0.5) * 0x1p-32;
      if (u >= low && u < high) continue;
      std::fill_n(image.row_u8(y) + x * c, colour, u < low ? uint8_t{0} : uint8_t{255});
    }
  }
}
}  // namespace

void salt_pepper(Image& image, double amount, Key key, uint32_t slot) {
  paint_pixels(image, key, slot, amount / 2, 1 - amount / 2);
}

void pixel_dropout(Image& image, double share, Key key, uint32_t slot) { paint_pixels(image, key, slot, share, 2); }

}  // namespace ballast::detail
