#include "torch_commands.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include <torch/nn/functional/loss.h>
#include <torch/types.h>
#include <ATen/Parallel.h>

#include <ballast/base/check.h>
#include <ballast/base/cpu.h>
#include <ballast/data/source.h>
#include <ballast/image/decode.h>
#include <ballast/image/encode.h>
#include <ballast/io/file.h>
#include <ballast/models/model.h>
#include <ballast/report/table.h>
#include <ballast/train/allocator.h>
#include <ballast/train/libtorch.h>
#include <ballast/train/trainer.h>

namespace ballast::cli {
namespace {

namespace fs = std::filesystem;
enum class Verdict { ok, warn, bad };

struct Finding {
  std::string name;
  Verdict verdict;
  std::string text;
  std::string remedy;
};

Finding check_threads(int threads) {
  const int cores = usable_cores();
  const auto online = static_cast<int>(std::thread::hardware_concurrency());
  Finding f{"threads", Verdict::ok, std::to_string(threads) + " used, " + std::to_string(cores) + " usable of " +
                std::to_string(online) + " cores", ""};
  if (threads > cores) {
    f.verdict = Verdict::warn;
    f.remedy = "more threads than usable cores slow each other down: --threads " + std::to_string(cores);
  }
  return f;
}

Finding check_isa() {
  const std::string target = simd_target();
  Finding f{"instructions", Verdict::ok, target + " on " + cpu_name(), ""};
  if (target == "scalar") {
    f.verdict = Verdict::warn;
    f.remedy = "kernels run without SIMD: unset BALLAST_FORCE_TARGET, or the processor is a very old one";
  }
  return f;
}

/// Bytes that may still be used: what the system has, limited by the cgroup.
double available_memory() {
  double bytes = 0;
  std::ifstream info("/proc/meminfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("MemAvailable:")) {
      bytes = std::stod(line.substr(13)) * 1024;
    }
  }
  std::ifstream limit("/sys/fs/cgroup/memory.max"), used("/sys/fs/cgroup/memory.current");
  double most = 0, now = 0;
  if (limit >> most && used >> now && most > 0) {
    bytes = std::min(bytes, most - now);
  }
  return bytes;
}

Finding check_memory() {
  const double bytes = available_memory();
  Finding f{"memory", Verdict::ok, format_bytes(bytes) + " available", ""};
  if (bytes < 1e9) {
    f.verdict = Verdict::warn;
    f.remedy = "below 1 GB a run may be killed: use a smaller --batch-size or --micro-batch";
  }
  return f;
}

Finding check_disk() {
  const fs::path folder = fs::current_path();
  struct statvfs space {};
  if (statvfs(folder.c_str(), &space) != 0) {
    return {"disk", Verdict::bad, folder.string() + ": cannot be asked for its free space", ""};
  }
  const double free = static_cast<double>(space.f_bavail) * static_cast<double>(space.f_frsize);
  const fs::path file = folder / (".ballast-doctor-" + std::to_string(getpid()));
  try {
    const std::string bytes(16 << 20, 'x');
    const auto start = std::chrono::steady_clock::now();
    write_file_atomic(file, bytes);
    const double speed = static_cast<double>(bytes.size()) / seconds_since(start);
    fs::remove(file);
    Finding f{"disk", Verdict::ok, format_bytes(free) + " free here, writes " + format_bytes(speed) + "/s durably", ""};
    if (free < 1e9) {
      f.verdict = Verdict::warn;
      f.remedy = "a run needs some 100 MB: free space or --out on another disk";
    }
    return f;
  } catch (const std::exception& error) {
    std::error_code ignored;
    fs::remove(file, ignored);
    return {"disk", Verdict::bad, error.what(), "runs are written below the current folder: go elsewhere or use --out"};
  }
}

Finding check_decoding() {
  Image picture(224, 224, 3);
  for (int32_t y = 0; y < 224; ++y) {
    for (int32_t x = 0; x < 224 * 3; ++x) {
      picture.row_u8(y)[x] = static_cast<uint8_t>((x / 3 + y) & 255);
    }
  }
  const std::vector<std::byte> jpeg = encode_jpeg(picture, 90), png = encode_png(picture);
  const Image from_png = decode(png);
  int64_t n = 0;
  const auto start = std::chrono::steady_clock::now();
  while (seconds_since(start) < 0.2) {
    const Image image = decode(jpeg);
    ++n;
    if (image.h() != 224 || image.w() != 224) {
      return {"decoding", Verdict::bad, "a JPEG came back with another size", "libjpeg-turbo may be broken: reinstall it"};
    }
  }
  if (!equal_pixels(from_png, picture)) {
    return {"decoding", Verdict::bad, "a PNG came back with other pixels", "libpng may be broken: reinstall it"};
  }
  return {"decoding", Verdict::ok,
          "JPEG and PNG; " + format_count(static_cast<int64_t>(static_cast<double>(n) / seconds_since(start))) +
              " JPEGs of 224 x 224 a second and core", ""};
}

Finding check_data_set() {
  try {
    const auto source = open_source({});
    return {"data", Verdict::ok, "fashion-mnist: " + format_count(source->size()) + " pictures", ""};
  } catch (const std::exception& error) {
    return {"data", Verdict::warn, error.what(), "apt install dataset-fashion-mnist, or train with --data"};
  }
}

Finding check_matrices() {
  constexpr int64_t kSide = 512;
  const torch::Tensor a = torch::full({kSide, kSide}, 0.5), b = torch::ones({kSide, kSide});
  at::mm(a, b);
  double best = 1e9;
  for (int round = 0; round < 3; ++round) {
    const auto start = std::chrono::steady_clock::now();
    at::mm(a, b);
    best = std::min(best, seconds_since(start));
  }
  const double speed = 2.0 * kSide * kSide * kSide / best / 1e9;
  Finding f{"matrices", Verdict::ok, blas_name() + ": " + format_fixed(speed, speed < 10 ? 1 : 0) + " GFLOP/s", ""};
  if (speed < 8) {
    f.verdict = Verdict::warn;
    f.remedy = "another BLAS makes mlp, lenet and vit_tiny several times faster: apt install libopenblas0-openmp";
  }
  return f;
}

Finding check_steps() {
  ModelOptions options;
  options.name = "resnet8_wide";
  const auto model = make_model(options, Key(0));
  model->train();
  TrainerOptions training;
  training.total_steps = 10;
  Trainer trainer(*model, [&](const torch::Tensor& in) { return model->forward(in); }, training);
  const torch::Tensor x = torch::linspace(-1, 1, 64 * 3 * 32 * 32).view({64, 3, 32, 32});
  const torch::Tensor y = torch::arange(64).remainder(10);
  const auto start = std::chrono::steady_clock::now();
  for (int step = 0; step < 2; ++step) {
    const StepResult result = trainer.step(x, y);
    if (!result.finite) {
      return {"training", Verdict::bad, "step " + std::to_string(step) + " gave a loss that is not finite",
              "memory or processor may be faulty, or LibTorch is not of this machine"};
    }
  }
  return {"training", Verdict::ok, "two steps of resnet8_wide on LibTorch " + libtorch_version() + " in " +
              format_fixed(seconds_since(start), 2) + " s", ""};
}

}  // namespace

int doctor_with_torch(const Session& session, const DoctorRequest& request) {
  using nlohmann::ordered_json;
  at::set_num_threads(request.threads);
  install_caching_allocator();
  using Check = std::function<Finding()>;
  const std::vector<std::pair<const char*, Check>> checks = {
      {"threads", [&] { return check_threads(request.threads); }},
      {"instructions", check_isa}, {"memory", check_memory}, {"disk", check_disk},
      {"decoding", check_decoding}, {"data", check_data_set}, {"matrices", check_matrices}, {"training", check_steps}};
  ordered_json all = ordered_json::array();
  bool fit = true;
  for (const auto& [name, check_one] : checks) {
    Finding f;
    try {
      f = check_one();
    } catch (const std::exception& error) {
      f = {name, Verdict::bad, std::string(error.what()).substr(0, std::string(error.what()).find('\n')), ""};
    }
    fit = fit && f.verdict != Verdict::bad;
    const char* word = f.verdict == Verdict::ok ? "ok  " : f.verdict == Verdict::warn ? "warn" : "FAIL";
    std::string head = f.name;
    head.resize(14, ' ');
    session.print(std::string(word) + "  " + head + f.text + "\n" + (f.remedy.empty() ? "" : "                    " + f.remedy + "\n"));
    all.push_back({{"check", f.name}, {"verdict", f.verdict == Verdict::ok ? "ok" : f.verdict == Verdict::warn ? "warn" : "fail"},
                   {"text", f.text}, {"remedy", f.remedy}});
  }
  session.print(fit ? "this machine is fit\n" : "something must be mended\n");
  session.document({{"fit", fit}, {"checks", all}});
  return fit ? kDone : kDamage;
}

}  // namespace ballast::cli
