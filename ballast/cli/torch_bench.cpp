#include "torch_commands.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <unistd.h>

#include <ballast/augment/pipeline.h>
#include <ballast/image/decode.h>
#include <ballast/image/encode.h>
#include <ballast/io/safetensors.h>
#include <ballast/models/model.h>
#include <ballast/report/table.h>
#include <ballast/train/allocator.h>
#include <ballast/train/libtorch.h>
#include <ballast/train/trainer.h>

namespace ballast::cli {
namespace {

constexpr int kRounds = 5;

/// Median over rounds of units of work a second; `work` does some and returns how many.
double rate(const std::function<double()>& work, double seconds) {
  work();  // warm-up
  std::vector<double> rates;
  for (int round = 0; round < kRounds; ++round) {
    double done = 0;
    const auto start = std::chrono::steady_clock::now();
    do {
      done += work();
    } while (seconds_since(start) < seconds / kRounds);
    rates.push_back(done / seconds_since(start));
  }
  std::sort(rates.begin(), rates.end());
  return rates[kRounds / 2];
}

constexpr int64_t kBatch = 128;

std::shared_ptr<Model> resnet20() {
  ModelOptions options;
  options.name = "resnet20";
  const auto model = make_model(options, Key(0));
  model->to(torch::kFloat32);
  for (torch::Tensor& parameter : model->parameters()) {
    if (parameter.dim() == 4) {
      torch::NoGradGuard no_grad;
      parameter.set_data(parameter.contiguous(torch::MemoryFormat::ChannelsLast));
    }
  }
  return model;
}
torch::Tensor pictures() {
  return torch::linspace(-1, 1, kBatch * 3 * 32 * 32).view({kBatch, 3, 32, 32}).contiguous(torch::MemoryFormat::ChannelsLast);
}

double step_rate(double seconds) {
  const auto model = resnet20();
  model->train();
  TrainerOptions training;
  training.total_steps = 1'000'000;
  Trainer trainer(*model, [&](const torch::Tensor& in) { return model->forward(in); }, training);
  const torch::Tensor x = pictures(), y = torch::arange(kBatch).remainder(10);
  return rate([&] { trainer.step(x, y); return double(kBatch); }, seconds);
}

double eval_rate(double seconds) {
  const auto model = resnet20();
  model->eval();
  torch::NoGradGuard no_grad;
  const torch::Tensor x = pictures();
  return rate([&] { model->forward(x); return double(kBatch); }, seconds);
}

Image made_up_picture(int32_t height, int32_t width) {
  Image picture(height, width, 3);
  for (int32_t y = 0; y < height; ++y) {
    for (int32_t x = 0; x < 3 * width; ++x) {
      picture.row_u8(y)[x] = static_cast<uint8_t>(128 + 60 * std::sin(0.05 * x) * std::cos(0.07 * y) + (x * 7 + y * 13) % 16);
    }
  }
  return picture;
}

double decode_rate(double seconds) {
  const std::vector<std::byte> file = encode_jpeg(made_up_picture(375, 500), 90);
  Image storage;
  return rate([&] { decode_into(file, {}, storage); return 1.0; }, seconds);
}

/// One thread: decode, pad and crop, flip, normalize.
double loader_rate(double seconds) {
  const std::vector<std::byte> file = encode_jpeg(made_up_picture(32, 32), 75);
  const Pipeline pipeline = Pipeline::parse("random_crop(32, padding=4) | horizontal_flip");
  BatchSlot slot(kBatch, 3, 32, 32, Layout::hwc);
  Scratch scratch;
  uint64_t epoch = 0;
  return rate([&] {
    const Key key = Key(0).fold_in("augment").fold_in(epoch++);
    for (int64_t row = 0; row < kBatch; ++row) {
      pipeline.run_encoded(file, key.fold_in(static_cast<uint64_t>(row)), slot, row, scratch);
    }
    return double(kBatch);
  }, seconds);
}

/// MB a second of a durable write of 45 MB.
double save_rate(double seconds) {
  const std::filesystem::path file = std::filesystem::current_path() / (".ballast-bench-" + std::to_string(getpid()) + ".safetensors");
  const std::vector<std::byte> bytes(45'000'000, std::byte{1});
  const std::vector<SafetensorsTensor> tensors = {
      {"weight", SafetensorsDType::f32, {static_cast<int64_t>(bytes.size() / 4)}, bytes}};
  try {
    const double result = rate([&] { write_safetensors(file, tensors); return double(bytes.size()) / 1e6; }, seconds);
    std::filesystem::remove(file);
    return result;
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(file, ignored);
    throw;
  }
}

struct Measurement {
  const char* name;
  const char* what;
  const char* unit;
  double (*run)(double seconds);
};
constexpr Measurement kMeasurements[] = {
    {"step", "training step of resnet20, batch 128, channels_last", "images/s", step_rate},
    {"eval", "forward pass of resnet20, batch 128", "images/s", eval_rate},
    {"decode", "JPEG of 500 x 375 at quality 90, one thread", "images/s", decode_rate},
    {"loader", "JPEG of 32 x 32: decode, pad, crop, flip, normalize, one thread", "images/s", loader_rate},
    {"save", "durable write of 45 MB of weights here", "MB/s", save_rate},
};

}  // namespace

int bench_with_torch(const Session& session, const BenchRequest& request) {
  using nlohmann::ordered_json;
  at::set_num_threads(request.threads);
  install_caching_allocator();
  ordered_json all = ordered_json::array();
  for (const Measurement& m : kMeasurements) {
    if (std::find(request.names.begin(), request.names.end(), m.name) == request.names.end()) {
      continue;
    }
    if (session.stop_signal() != 0) {
      return exit_code_of_signal(session.stop_signal());
    }
    const double value = m.run(request.seconds);
    std::string head = m.name;
    head.resize(9, ' ');
    std::string figure = format_count(std::llround(value)) + " " + m.unit;
    figure.resize(std::max<size_t>(figure.size(), 18), ' ');
    session.print(head + figure + m.what + "\n");
    all.push_back({{"name", m.name}, {"value", value}, {"unit", m.unit}, {"what", m.what}, {"threads", request.threads},
                   {"libtorch", libtorch_version()}});
  }
  session.document(all);
  return kDone;
}

}  // namespace ballast::cli
