// The loader alone, one thread, from files to training rows: `loader/cifar` (decode, pad 4, crop 32, flip, normalize),
// `loader/photos` (decode, random resized crop to 224, antialiased, flip, normalize) and `loader/full` (the same with colour jitter
// and random erasing). BALLAST_BENCH_DATA names an image folder of such pictures, BALLAST_BENCH_IMAGES how many are loaded in a
// pass. Rates are per second of this thread's CPU time; those of `loader_one/full` (the caller's own thread) and `loader_two/full` (two) by
// the clock.

#include <cstdlib>
#include <string>

#include <benchmark/benchmark.h>

#include <ballast/base/key.h>
#include <ballast/data/data_set.h>
#include <ballast/data/loader.h>

namespace {

void load(benchmark::State& state, const std::string& pipeline_text, int workers) {
  const char* folder = std::getenv("BALLAST_BENCH_DATA");
  const char* images = std::getenv("BALLAST_BENCH_IMAGES");
  if (folder == nullptr) {
    state.SkipWithError("BALLAST_BENCH_DATA names no folder");
    return;
  }
  ballast::DataOptions options;
  options.source = folder;
  const ballast::DataSet data = ballast::open_data(options, ballast::Key(0));
  ballast::Pipeline pipeline = ballast::Pipeline::parse(pipeline_text);
  pipeline.set_normalize(ballast::imagenet_normalize());
  ballast::Loader loader(data.role(ballast::Role::train), pipeline, {.batch_size = 128, .workers = workers});
  const int64_t wanted = images != nullptr ? std::atoll(images) : 1024;
  int64_t epoch = 0, total = 0;
  const auto pass = [&](int64_t count) {
    int64_t loaded = 0;
    loader.start_epoch(epoch++);
    while (loaded < count) {
      const ballast::BatchSlot* batch = loader.next();
      if (batch == nullptr) {
        loader.start_epoch(epoch++);
        continue;
      }
      loaded += batch->n;
    }
    return loaded;
  };
  // Memory is touched for the first time before the clock runs, as that of the peers is, whose passes share a process.
  pass(8 * 128);
  for (auto _ : state) total += pass(wanted);
  state.SetItemsProcessed(total);
}

constexpr const char* kCifar = "random_crop(32, padding=4) | horizontal_flip";
constexpr const char* kPhotos = "random_resized_crop(224) | horizontal_flip";
constexpr const char* kFull = "random_resized_crop(224) | horizontal_flip | color_jitter(0.4, 0.4, 0.4, 0.1) | random_erasing(0.25)";
BENCHMARK_CAPTURE(load, cifar, kCifar, 0)->Name("loader/cifar")->Iterations(1);
BENCHMARK_CAPTURE(load, photos, kPhotos, 0)->Name("loader/photos")->Iterations(1);
BENCHMARK_CAPTURE(load, full, kFull, 0)->Name("loader/full")->Iterations(1);
BENCHMARK_CAPTURE(load, full_one, kFull, 0)->Name("loader_one/full")->Iterations(1)->UseRealTime();
BENCHMARK_CAPTURE(load, full_two, kFull, 2)->Name("loader_two/full")->Iterations(1)->UseRealTime();

}  // namespace
