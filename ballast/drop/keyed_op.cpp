#include <ballast/drop/keyed_op.h>

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/autograd.h>

#include <algorithm>
#include <vector>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>

namespace ballast::detail {
namespace {

// Half of a second-level cache.
constexpr size_t kAheadBytes = 512 << 10;

struct Again : torch::CustomClassHolder {
  std::function<torch::Tensor(const torch::Tensor&)> call;
};

struct DrawnAgain : torch::autograd::Function<DrawnAgain> {
  static torch::Tensor forward(torch::autograd::AutogradContext* ctx, const torch::Tensor& x,
                               const std::function<torch::Tensor(const torch::Tensor&)>& run,
                               const std::function<torch::Tensor(const torch::Tensor&)>& again) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    auto holder = c10::make_intrusive<Again>();
    holder->call = again;
    ctx->saved_data["again"] = c10::IValue::make_capsule(std::move(holder));
    return run(x);
  }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* ctx,
                                               const torch::autograd::tensor_list& gradients) {
    const auto holder = ctx->saved_data["again"].toCapsule();
    return {static_cast<Again&>(*holder).call(gradients[0]), torch::Tensor(), torch::Tensor()};
  }
};

}  // namespace

torch::Tensor drawn_again(const torch::Tensor& x, const std::function<torch::Tensor(const torch::Tensor&)>& forward,
                          const std::function<torch::Tensor(const torch::Tensor&)>& again) {
  return DrawnAgain::apply(x, forward, again);
}

torch::Tensor Walk::result(const torch::Tensor& given) const {
  return y.scalar_type() == given.scalar_type() ? y : y.to(given.scalar_type());
}

Walk walk(const torch::Tensor& given) {
  Walk w;
  w.x = given.scalar_type() == torch::kHalf ? given.to(torch::kFloat) : given;
  const bool usual = w.x.is_contiguous();
  const bool channels_last = !usual && ((w.x.dim() == 4 && w.x.is_contiguous(at::MemoryFormat::ChannelsLast)) ||
                                        (w.x.dim() == 5 && w.x.is_contiguous(at::MemoryFormat::ChannelsLast3d)));
  if (!usual && !channels_last) {
    w.x = w.x.contiguous(w.x.suggest_memory_format());
    return walk(w.x);
  }
  w.channels_last = channels_last;
  w.y = at::empty_like(w.x);
  w.rows = w.x.dim() == 0 ? 1 : w.x.size(0);
  w.channels = w.x.dim() >= 2 ? w.x.size(1) : 1;
  w.positions = w.x.numel() == 0 ? 0 : w.x.numel() / (w.rows * w.channels);
  return w;
}

void apply_rows(const Walk& w, const std::function<size_t(int64_t row, uint16_t* words, Ahead ahead)>& keep,
                const std::function<KeepValues(int64_t row, const uint16_t* words, size_t offset)>& values) {
  if (w.x.numel() == 0) return;
  const auto size = static_cast<size_t>(w.row_size());
  const auto channels = static_cast<size_t>(w.channels), positions = static_cast<size_t>(w.positions);
  const auto run = [&](auto* x, auto* y, const auto& flat, const auto& nhwc) {
    at::parallel_for(0, w.rows, 1, [&](int64_t begin, int64_t end) {
      std::vector<uint16_t> words(keep_words(size));
      for (int64_t row = begin; row < end; ++row) {
        const size_t at = static_cast<size_t>(row) * size;
        const size_t offset = keep(row, words.data(), {x + at, std::min(size * sizeof(*x), kAheadBytes)});
        KeepValues v = values(row, words.data(), offset);
        v.stream = w.streams();
        if (w.channels_last) {
          nhwc(x + at, y + at, channels, positions, words.data(), offset, v);
        } else {
          flat(x + at, y + at, size, words.data(), offset, v);
        }
      }
      end_stream();
    });
  };
  const auto flat = [](auto... a) { apply_keep(a...); };
  const auto nhwc = [](auto... a) { apply_keep_nhwc(a...); };
  if (w.x.scalar_type() == torch::kDouble) {
    run(static_cast<const double*>(w.x.data_ptr()), static_cast<double*>(w.y.data_ptr()), flat, nhwc);
  } else if (w.x.scalar_type() == torch::kFloat) {
    run(static_cast<const float*>(w.x.data_ptr()), static_cast<float*>(w.y.data_ptr()), flat, nhwc);
  } else {
    run(static_cast<const uint16_t*>(w.x.data_ptr()), static_cast<uint16_t*>(w.y.data_ptr()),
        [](auto... a) { apply_keep_bf16(a...); }, [](auto... a) { apply_keep_nhwc_bf16(a...); });
  }
}

torch::Tensor drop_groups(const torch::Tensor& x, bool per_channel, bool one, DropRate rate, KeepValues values, Key key,
                          int64_t first_row) {
  const Walk w = walk(x);
  if (x.numel() == 0) return w.result(x);
  values.stream = w.streams();
  const int64_t per_row = per_channel ? w.channels : 1, groups = w.rows * per_row;
  std::vector<uint16_t> keep(keep_words(static_cast<size_t>(groups)));
  size_t offset = 0;
  if (one) {
    offset = draw_keep(key, 0, 1, rate, keep.data());
  } else {
    offset = draw_keep(key, static_cast<uint64_t>(first_row) * static_cast<uint64_t>(per_row), static_cast<size_t>(groups),
                       rate, keep.data());
  }
  const auto run = [&](auto* x_data, auto* y_data, const auto& apply) {
    if (w.channels_last && per_channel) {
      const int64_t c = w.channels;
      at::parallel_for(0, w.rows * w.positions, std::max<int64_t>(1, 8192 / c), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          apply(x_data + i * c, y_data + i * c, static_cast<size_t>(c), keep.data(),
                offset + static_cast<size_t>(i / w.positions * c), values);
        }
        end_stream();
      });
      return;
    }
    // A group in pieces, each under bits that are all alike. What is dropped is not read.
    constexpr int64_t kPiece = 8192;
    const int64_t size = w.row_size() / per_row, pieces = (size + kPiece - 1) / kPiece;
    const std::vector<uint16_t> ones(keep_words(kPiece), 0xffff), zeros(keep_words(kPiece), 0);
    at::parallel_for(0, groups * pieces, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t group = i / pieces, from = i % pieces * kPiece, at = group * size + from;
        const auto count = static_cast<size_t>(std::min(kPiece, size - from));
        if (kept(keep.data(), offset + (one ? 0 : static_cast<size_t>(group)))) {
          apply(x_data + at, y_data + at, count, ones.data(), 0, values);
        } else if (values.fill == 0) {
          store_zeros(y_data + at, count * sizeof(*y_data), values.stream);
        } else {
          apply(x_data + at, y_data + at, count, zeros.data(), 0, values);
        }
      }
      end_stream();
    });
  };
  if (w.x.scalar_type() == torch::kDouble) {
    run(static_cast<const double*>(w.x.data_ptr()), static_cast<double*>(w.y.data_ptr()), [](auto... a) { apply_keep(a...); });
  } else if (w.x.scalar_type() == torch::kFloat) {
    run(static_cast<const float*>(w.x.data_ptr()), static_cast<float*>(w.y.data_ptr()), [](auto... a) { apply_keep(a...); });
  } else {
    run(static_cast<const uint16_t*>(w.x.data_ptr()), static_cast<uint16_t*>(w.y.data_ptr()),
        [](auto... a) { apply_keep_bf16(a...); });
  }
  return w.result(x);
}

void check_input(std::string_view stem, const torch::Tensor& x, int64_t dims) {
  check(x.is_floating_point(), stem, "x must be floating point, got ", x.scalar_type());
  const std::vector<int64_t> sizes = x.sizes().vec();
  check(x.dim() >= dims, stem, "x must have at least ", dims, dims == 1 ? " dimension" : " dimensions", ", got ",
        shape_text(sizes));
}

void check_rate(std::string_view stem, std::string_view name, double p, bool open) {
  check(p >= 0 && (open ? p < 1 : p <= 1), stem, name, " must be in [0, 1", open ? ")" : "]", ", got ", p);
}

}  // namespace ballast::detail
