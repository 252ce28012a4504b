// Files to normalized rows on one thread: images per second of CPU time.
//
//   BALLAST_BENCH_DATA     folder of pictures, searched recursively (its sub-folder train/, if it has one)
//   BALLAST_BENCH_IMAGES   how many of them, evenly spread [1024]

#include <benchmark/benchmark.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include <ballast/augment/mix.h>
#include <ballast/augment/pipeline.h>
#include <ballast/image/decode.h>
#include <ballast/image/encode.h>
#include <ballast/image/resize.h>

namespace {

using namespace ballast;
namespace fs = std::filesystem;

std::vector<std::string> files() {
  const char* folder = std::getenv("BALLAST_BENCH_DATA");
  if (folder == nullptr) return {};
  fs::path root = folder;
  if (fs::is_directory(root / "train")) root /= "train";
  std::vector<std::string> all;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_regular_file() && entry.path().extension() == ".jpg") all.push_back(entry.path());
  }
  std::sort(all.begin(), all.end());
  const char* text = std::getenv("BALLAST_BENCH_IMAGES");
  const size_t count = std::min(all.size(), text != nullptr ? std::stoul(text) : size_t{1024});
  std::vector<std::string> chosen;
  for (size_t i = 0; i < count; ++i) chosen.push_back(all[i * all.size() / count]);
  return chosen;
}

bool read(const std::string& path, std::vector<std::byte>& bytes) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  struct stat info;
  bool ok = fstat(fd, &info) == 0;
  if (ok) {
    bytes.resize(static_cast<size_t>(info.st_size));
    ok = ::read(fd, bytes.data(), bytes.size()) == info.st_size;
  }
  close(fd);
  return ok;
}

void run(benchmark::State& state, const char* text, int32_t side) {
  const auto paths = files();
  if (paths.empty()) {
    state.SkipWithError("set BALLAST_BENCH_DATA to a folder of JPEG files");
    return;
  }
  Pipeline pipeline = Pipeline::parse(text);
  BatchSlot slot(128, 3, side, side, Layout::chw);
  Scratch scratch;
  std::vector<std::byte> bytes;
  uint64_t epoch = 0;
  for (auto _ : state) {
    const Key key = Key(0).fold_in("augment").fold_in(epoch++);
    for (size_t i = 0; i < paths.size(); ++i) {
      if (!read(paths[i], bytes)) {
        state.SkipWithError(paths[i].c_str());
        return;
      }
      pipeline.run_encoded(bytes, key.fold_in(i), slot, static_cast<int64_t>(i % 128), scratch);
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(paths.size()));
}

void pipeline_cifar(benchmark::State& state) {
  run(state, "random_crop(32, padding=4) | horizontal_flip | normalize(imagenet)", 32);
}
BENCHMARK(pipeline_cifar)->Name("pipeline/cifar")->Unit(benchmark::kMillisecond);

void pipeline_photos(benchmark::State& state) {
  run(state, "random_resized_crop(224) | horizontal_flip | normalize(imagenet)", 224);
}
BENCHMARK(pipeline_photos)->Name("pipeline/photos")->Unit(benchmark::kMillisecond);

void decode_files(benchmark::State& state) {
  const auto paths = files();
  if (paths.empty()) {
    state.SkipWithError("set BALLAST_BENCH_DATA to a folder of JPEG files");
    return;
  }
  Image storage;
  std::vector<std::byte> bytes;
  for (auto _ : state) {
    for (const auto& path : paths) {
      if (read(path, bytes)) benchmark::DoNotOptimize(decode_into(bytes, {.channels = 3}, storage));
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(paths.size()));
}
BENCHMARK(decode_files)->Name("decode/full")->Unit(benchmark::kMillisecond);

/// A picture in memory, without decoding: range(0) x range(1) to 224 x 224 rows in a batch.
void run_memory(benchmark::State& state, const char* text, int32_t h, int32_t w, int32_t c, int32_t side) {
  Image image(h, w, c);
  for (int32_t y = 0; y < h; ++y) {
    for (int32_t x = 0; x < w * c; ++x) image.row_u8(y)[x] = static_cast<uint8_t>(x * 7 + y * 3);
  }
  const Pipeline pipeline = Pipeline::parse(text);
  BatchSlot slot(16, c, side, side, Layout::chw);
  Scratch scratch;
  uint64_t i = 0;
  for (auto _ : state) {
    pipeline.run_image(image, Key(i), slot, static_cast<int64_t>(i % 16), scratch);
    ++i;
  }
  state.SetItemsProcessed(state.iterations());
}
void memory_idx(benchmark::State& s) { run_memory(s, "random_crop(28, padding=4) | hflip", 28, 28, 1, 28); }
BENCHMARK(memory_idx)->Name("memory/idx28");
void memory_cifar(benchmark::State& s) { run_memory(s, "random_crop(32, padding=4) | hflip", 32, 32, 3, 32); }
BENCHMARK(memory_cifar)->Name("memory/cifar32");
void memory_resize(benchmark::State& s) { run_memory(s, "resize([224, 224])", 533, 400, 3, 224); }
BENCHMARK(memory_resize)->Name("memory/resize_533x400_224");
void memory_copy(benchmark::State& s) { run_memory(s, "", 224, 224, 3, 224); }
BENCHMARK(memory_copy)->Name("memory/normalize_224");

/// A ready batch of 128 x 3 x 224 x 224, mixed in place; every picture takes part.
void mix(benchmark::State& state, const MixOptions& options) {
  constexpr int32_t kSide = 224;
  constexpr int64_t kRows = 128;
  BatchSlot slot(kRows, 3, kSide, kSide, Layout::chw);
  std::fill_n(slot.data, kRows * slot.sample_size(), 0.5F);
  std::ranges::fill(slot.weight, 1.0F);
  std::vector<float> saved;
  uint64_t i = 0;
  for (auto _ : state) mix_batch(slot, options, Key(i++), saved);
  state.SetItemsProcessed(state.iterations() * kRows);
}
BENCHMARK_CAPTURE(mix, mixup, MixOptions{.mixup_alpha = 1})->Name("mix/mixup")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(mix, cutmix, MixOptions{.cutmix_alpha = 1})->Name("mix/cutmix")->Unit(benchmark::kMillisecond);
/// What the mix is held against: the same bytes copied once.
void mix_copy(benchmark::State& state) {
  std::vector<float> from(size_t{128} * 3 * 224 * 224, 0.5F), to(from.size());
  for (auto _ : state) {
    std::memcpy(to.data(), from.data(), from.size() * sizeof(float));
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * 128);
}
BENCHMARK(mix_copy)->Name("mix/copy")->Unit(benchmark::kMillisecond);

}  // namespace
