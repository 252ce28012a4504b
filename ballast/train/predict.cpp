#include <ballast/train/predict.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include <ballast/augment/pipeline.h>
#include <ballast/base/check.h>
#include <ballast/base/cpu.h>
#include <ballast/base/thread_pool.h>
#include <ballast/io/file.h>
#include <ballast/models/model.h>
#include <ballast/train/machine.h>
#include <ballast/train/saved_model.h>
#include <ballast/train/tensor_batch.h>
#include <ballast/train/trainer.h>

namespace ballast {
namespace {

// The k classes of the largest logits, with the softmax of logits / temperature.
void fill_classes(Prediction& p, const float* z, int64_t classes, int64_t k, double temperature) {
  std::vector<int64_t> order(static_cast<size_t>(classes));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int64_t a, int64_t b) {
    return z[a] > z[b] || (z[a] == z[b] && a < b);
  });
  const double top = z[order[0]];
  double sum = 0;
  for (int64_t j = 0; j < classes; ++j) {
    sum += std::exp((z[j] - top) / temperature);
  }
  p.classes.assign(order.begin(), order.begin() + k);
  for (const int64_t c : p.classes) {
    p.probabilities.push_back(std::exp((z[c] - top) / temperature) / sum);
  }
}

std::string without_stem(std::string text) {
  // "[jpeg] ...": the file's name stands before it already.
  if (text.rfind('[', 0) == 0) {
    if (const size_t end = text.find("] "); end != std::string::npos) {
      text.erase(0, end + 2);
    }
  }
  return text;
}

}  // namespace

struct Predictor::State {
  PredictOptions options;
  SavedModel saved;
  Pipeline pipeline;
  torch::Device device = torch::kCPU;
  Layout layout = Layout::chw;
  std::unique_ptr<ThreadPool> pool;
  std::vector<Scratch> scratch;
};

Predictor::Predictor(const std::filesystem::path& model, const PredictOptions& options) : state_(std::make_unique<State>()) {
  check(options.batch_size >= 1, "predict", "batch_size must be at least 1, got ", options.batch_size);
  check(options.topk >= 1, "predict", "topk must be at least 1, got ", options.topk);
  State& s = *state_;
  s.options = options;
  s.device = find_device(options.device);
  set_threads(options.threads);
  check(options.workers >= -1, "predict", "workers must be >= -1, got ", options.workers);
  s.pool = std::make_unique<ThreadPool>(options.workers < 0 ? usable_cores() : std::max(1, options.workers));
  s.scratch.resize(static_cast<size_t>(s.pool->size()));
  s.saved = load_saved_model(model);
  s.pipeline = Pipeline::parse(s.saved.info.eval_pipeline);
  s.pipeline.set_normalize(s.saved.info.normalize);
  if (!s.device.is_cpu()) {
    s.saved.model->to(s.device);
  }
  if (s.saved.model->prefers_channels_last()) {
    to_channels_last(*s.saved.model);
    s.layout = Layout::hwc;
  }
}

Predictor::~Predictor() = default;
Predictor::Predictor(Predictor&&) noexcept = default;
Predictor& Predictor::operator=(Predictor&&) noexcept = default;

const std::vector<std::string>& Predictor::classes() const { return state_->saved.info.classes; }

std::vector<Prediction> Predictor::predict(std::span<const std::filesystem::path> files,
                                           const std::function<bool(size_t done)>& on_batch) const {
  State& s = *state_;
  const torch::NoGradGuard no_grad;
  const ModelOptions& m = s.saved.info.model;
  std::vector<Prediction> all(files.size());
  const auto batch = static_cast<size_t>(s.options.batch_size);
  const int64_t k = std::min(s.options.topk, m.num_classes);
  BatchSlot slot;
  for (size_t begin = 0; begin < files.size(); begin += batch) {
    const size_t n = std::min(batch, files.size() - begin);
    slot.reset(static_cast<int64_t>(n), static_cast<int32_t>(m.in_channels), static_cast<int32_t>(m.height),
               static_cast<int32_t>(m.width), s.layout);
    s.pool->run(static_cast<int64_t>(n), [&](int64_t i, int thread) {
      Prediction& p = all[begin + static_cast<size_t>(i)];
      p.file = files[begin + static_cast<size_t>(i)];
      try {
        const std::vector<std::byte> bytes = read_file(p.file, uint64_t{1} << 30);
        s.pipeline.run_encoded(bytes, Key(0), slot, i, s.scratch[static_cast<size_t>(thread)]);
      } catch (const std::exception& e) {
        p.error = without_stem(e.what());
        std::fill_n(slot.row(i), slot.sample_size(), 0.0F);
      }
    });
    torch::Tensor x = batch_pixels(slot);
    const torch::Tensor logits =
        s.saved.model->forward(s.device.is_cpu() ? x : x.to(s.device)).to(torch::kCPU, torch::kFloat).contiguous();
    const float* z = logits.data_ptr<float>();
    for (size_t i = 0; i < n; ++i) {
      Prediction& p = all[begin + i];
      const float* row = z + static_cast<int64_t>(i) * m.num_classes;
      if (p.error.empty()) {
        fill_classes(p, row, m.num_classes, k, s.saved.info.temperature);
        if (s.options.logits) {
          p.logits.assign(row, row + m.num_classes);
        }
      }
    }
    if (on_batch && !on_batch(begin + n)) {
      all.resize(begin + n);
      break;
    }
  }
  return all;
}

}  // namespace ballast
