#include <ballast/train/tensor_augment.h>

#include <map>
#include <mutex>
#include <string>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <ballast/base/check.h>

namespace ballast {

namespace {

void check_input(const torch::Tensor& x, int64_t ids) {
  const auto c = x.dim() == 4 ? x.size(1) : 0;
  check(x.scalar_type() == torch::kByte && (c == 1 || c == 3 || c == 4), "augment",
        "x must be uint8 (N, C, H, W) with C 1, 3 or 4, got ", c10::toString(x.scalar_type()), " ", x.sizes());
  check(x.size(2) >= 1 && x.size(3) >= 1 && x.size(2) <= 65'535 && x.size(3) <= 65'535, "augment",
        "sides must be in [1, 65535], got ", x.sizes());
  check(ids == 0 || ids == x.size(0), "augment", "ids must be as many as pictures (", x.size(0), "), got ", ids);
}

bool last(const torch::Tensor& x) {
  return !x.is_contiguous() && x.is_contiguous(torch::MemoryFormat::ChannelsLast);
}

torch::Tensor result(const torch::Tensor& x, const Pipeline& pipeline) {
  const auto size = pipeline.output_size();
  const int64_t h = size ? size->first : x.size(2), w = size ? size->second : x.size(3);
  return at::empty({x.size(0), x.size(1), h, w},
                   x.options().dtype(torch::kFloat).memory_format(last(x) ? torch::MemoryFormat::ChannelsLast
                                                                          : torch::MemoryFormat::Contiguous));
}

/// c planes as one interleaved picture.
void interleave(const uint8_t* planes, Image& out) {
  const int32_t h = out.h(), w = out.w(), c = out.c();
  for (int32_t y = 0; y < h; ++y) {
    uint8_t* row = out.row_u8(y);
    for (int32_t j = 0; j < c; ++j) {
      const uint8_t* in = planes + (int64_t{j} * h + y) * w;
      for (int32_t x = 0; x < w; ++x) row[x * c + j] = in[x];
    }
  }
}

}  // namespace

torch::Tensor augment(const torch::Tensor& given, const Pipeline& pipeline, Key key, const std::vector<int64_t>& ids) {
  check_input(given, static_cast<int64_t>(ids.size()));
  const bool channels_last = last(given);
  const torch::Tensor x = channels_last ? given : given.contiguous();
  torch::Tensor y = result(x, pipeline);
  const auto c = static_cast<int32_t>(x.size(1)), h = static_cast<int32_t>(x.size(2)), w = static_cast<int32_t>(x.size(3));
  const int64_t n = x.size(0), picture = int64_t{c} * h * w;
  auto* pixels = static_cast<uint8_t*>(x.data_ptr());
  BatchSlot rows;
  rows.borrow(static_cast<float*>(y.data_ptr()), n, c, static_cast<int32_t>(y.size(2)), static_cast<int32_t>(y.size(3)),
              channels_last ? Layout::hwc : Layout::chw);
  at::parallel_for(0, n, 1, [&](int64_t from, int64_t to) {
    thread_local Scratch scratch;
    thread_local Image image;
    for (int64_t i = from; i < to; ++i) {
      const Key own = key.fold_in(static_cast<uint64_t>(ids.empty() ? i : ids[static_cast<size_t>(i)]));
      uint8_t* at = pixels + i * picture;
      if (channels_last || c == 1) {
        pipeline.run_image({reinterpret_cast<std::byte*>(at), h, w, c, ptrdiff_t{w} * c, DType::u8}, own, rows, i, scratch);
      } else {
        image.reset(h, w, c);
        interleave(at, image);
        pipeline.run_image(image.view(), own, rows, i, scratch);
      }
    }
  });
  return y;
}

namespace {

/// The pipelines of earlier calls: a text is parsed once.
Pipeline parsed(std::string_view text, at::ArrayRef<double> mean, at::ArrayRef<double> std) {
  static std::mutex mutex;
  static std::map<std::string, Pipeline, std::less<>> known;
  const std::lock_guard lock(mutex);
  auto it = known.find(text);
  if (it == known.end()) {
    if (known.size() >= 64) known.clear();
    it = known.emplace(std::string(text), Pipeline::parse(text)).first;
  }
  Pipeline p = it->second;
  if (!mean.empty() || !std.empty()) {
    Normalize n;
    for (const double v : mean) n.mean.push_back(static_cast<float>(v));
    for (const double v : std) n.std.push_back(static_cast<float>(v));
    p.set_normalize(n);
  }
  return p;
}

std::string_view view(c10::string_view text) { return {text.data(), text.size()}; }

torch::Tensor augment_op(const torch::Tensor& x, c10::string_view pipeline, int64_t seed, int64_t epoch, at::IntArrayRef ids,
                         at::ArrayRef<double> mean, at::ArrayRef<double> std) {
  const Key key = Key(static_cast<uint64_t>(seed)).fold_in("augment").fold_in(static_cast<uint64_t>(epoch));
  return augment(x, parsed(view(pipeline), mean, std), key, ids.vec());
}

torch::Tensor augment_meta(const torch::Tensor& x, c10::string_view pipeline, int64_t, int64_t, at::IntArrayRef ids,
                           at::ArrayRef<double> mean, at::ArrayRef<double> std) {
  check_input(x, static_cast<int64_t>(ids.size()));
  return result(x, parsed(view(pipeline), mean, std));
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(ballast, m) {
  m.def("augment(Tensor x, str pipeline, int seed, int epoch=0, int[] ids=[], float[] mean=[], float[] std=[]) -> Tensor");
}
TORCH_LIBRARY_IMPL(ballast, CPU, m) { m.impl("augment", augment_op); }
TORCH_LIBRARY_IMPL(ballast, Meta, m) { m.impl("augment", augment_meta); }

}  // namespace ballast
