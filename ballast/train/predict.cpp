#include <ballast/train/predict.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include <ATen/Functions.h>

#include <ballast/augment/pipeline.h>
#include <ballast/base/check.h>
#include <ballast/base/cpu.h>
#include <ballast/base/thread_pool.h>
#include <ballast/io/file.h>
#include <ballast/train/ensemble_model.h>
#include <ballast/train/tensor_batch.h>

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

// The classes whose sigmoid of logit / temperature is above the threshold, the most probable first.
void fill_labels(Prediction& p, const float* z, int64_t classes, double threshold, double temperature) {
  std::vector<std::pair<double, int64_t>> found;
  for (int64_t c = 0; c < classes; ++c) {
    const double probability = 1 / (1 + std::exp(-z[c] / temperature));
    if (probability > threshold) found.emplace_back(probability, c);
  }
  std::ranges::stable_sort(found, [](const auto& a, const auto& b) { return a.first > b.first; });
  for (const auto& [probability, c] : found) {
    p.classes.push_back(c);
    p.probabilities.push_back(probability);
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
  std::optional<Ensemble> ensemble;
  std::vector<Pipeline> pipelines;  // of each input
  /// The input whose pictures serve for this one, which differs in normalization or layout alone; its own number: none.
  std::vector<size_t> source;
  std::unique_ptr<ThreadPool> pool;
  std::vector<Scratch> scratch;

  torch::Tensor from_source(size_t input, const torch::Tensor& x) const;
  void fill(std::span<Prediction> rows, const std::vector<torch::Tensor>& x, int64_t first_row) const;
};

Predictor::Predictor(const std::filesystem::path& model, const PredictOptions& options) : state_(std::make_unique<State>()) {
  check(options.batch_size >= 1, "predict", "batch_size must be at least 1, got ", options.batch_size);
  check(options.topk >= 1, "predict", "topk must be at least 1, got ", options.topk);
  check(options.threshold >= 0 && options.threshold < 1, "predict", "threshold must be in [0, 1), got ", options.threshold);
  check(options.workers >= -1, "predict", "workers must be >= -1, got ", options.workers);
  State& s = *state_;
  s.options = options;
  s.pool = std::make_unique<ThreadPool>(options.workers < 0 ? usable_cores() : std::max(1, options.workers));
  s.scratch.resize(static_cast<size_t>(s.pool->size()));
  s.ensemble = load_ensemble(model, {.device = options.device, .threads = options.threads, .tta = options.tta, .mc = options.mc});
  const auto inputs = s.ensemble->inputs();
  for (size_t i = 0; i < inputs.size(); ++i) {
    s.pipelines.push_back(Pipeline::parse(inputs[i].pipeline));
    s.pipelines.back().set_normalize(inputs[i].normalize);
    const auto same = std::ranges::find_if(inputs, [&](const NetInput& other) {
      return other.pipeline == inputs[i].pipeline && other.channels == inputs[i].channels &&
          other.height == inputs[i].height && other.width == inputs[i].width;
    });
    s.source.push_back(static_cast<size_t>(same - inputs.begin()));
  }
}

Predictor::~Predictor() = default;
Predictor::Predictor(Predictor&&) noexcept = default;
Predictor& Predictor::operator=(Predictor&&) noexcept = default;

const std::vector<std::string>& Predictor::classes() const { return state_->ensemble->classes(); }
bool Predictor::several_labels() const { return state_->ensemble->several_labels(); }
int64_t Predictor::members() const { return state_->ensemble->members(); }

torch::Tensor Predictor::State::from_source(size_t input, const torch::Tensor& x) const {
  const Normalize& from = pipelines[source[input]].normalize();
  const Normalize& to = pipelines[input].normalize();
  const auto values = [](const std::vector<float>& v) {
    return at::tensor(v, at::kFloat).view({1, static_cast<int64_t>(v.size()), 1, 1});
  };
  torch::Tensor y = x;
  if (!(from == to)) y = (x * values(from.std) + (values(from.mean) - values(to.mean))) / values(to.std);
  return y.contiguous(ensemble->inputs()[input].layout == Layout::hwc ? at::MemoryFormat::ChannelsLast
                                                                      : at::MemoryFormat::Contiguous);
}

void Predictor::State::fill(std::span<Prediction> rows, const std::vector<torch::Tensor>& x, int64_t first_row) const {
  const auto classes = static_cast<int64_t>(ensemble->classes().size());
  const int64_t k = std::min(options.topk, classes);
  const bool several = ensemble->several_labels();
  const bool one = ensemble->single() || several;
  EnsembleOutput out;
  torch::Tensor z;
  if (several) {
    z = ensemble->label_logits(x);
  } else if (one) {
    z = ensemble->logits(x[0]);
  } else {
    out = ensemble->predict_inputs(x, first_row);
    z = out.probability.log().clamp_min_(-100);
  }
  // label_logits() has been divided by it.
  const double temperature = one && !several ? ensemble->net_temperature() : 1;
  for (size_t i = 0; i < rows.size(); ++i) {
    Prediction& p = rows[i];
    if (!p.error.empty()) continue;
    const auto row = static_cast<int64_t>(i);
    const float* scores = z.data_ptr<float>() + row * classes;
    if (several) {
      fill_labels(p, scores, classes, options.threshold, temperature);
    } else {
      fill_classes(p, scores, classes, k, temperature);
    }
    if (options.logits) p.logits.assign(scores, scores + classes);
    if (one) continue;
    // Ties of the rule are broken by more than the probability.
    const int64_t label = out.label[row].item<int64_t>();
    if (p.classes[0] != label) {
      const auto at = std::ranges::find(p.classes, label);
      if (at != p.classes.end()) {
        const auto place = at - p.classes.begin();
        std::rotate(p.classes.begin(), at, at + 1);
        std::rotate(p.probabilities.begin(), p.probabilities.begin() + place, p.probabilities.begin() + place + 1);
      }
    }
    p.members_agree = out.members_agree[row].item<int64_t>();
    p.mutual_information = out.mutual_information[row].item<float>();
  }
}

std::vector<Prediction> Predictor::predict(std::span<const std::filesystem::path> files,
                                           const std::function<bool(size_t done)>& on_batch) const {
  State& s = *state_;
  const torch::NoGradGuard no_grad;
  const auto inputs = s.ensemble->inputs();
  std::vector<Prediction> all(files.size());
  const auto batch = static_cast<size_t>(s.options.batch_size);
  std::vector<BatchSlot> slots(inputs.size());
  for (size_t begin = 0; begin < files.size(); begin += batch) {
    const size_t n = std::min(batch, files.size() - begin);
    for (size_t j = 0; j < inputs.size(); ++j) {
      if (s.source[j] != j) continue;
      slots[j].reset(static_cast<int64_t>(n), static_cast<int32_t>(inputs[j].channels), static_cast<int32_t>(inputs[j].height),
                     static_cast<int32_t>(inputs[j].width), inputs[j].layout);
    }
    s.pool->run(static_cast<int64_t>(n), [&](int64_t i, int thread) {
      Prediction& p = all[begin + static_cast<size_t>(i)];
      p.file = files[begin + static_cast<size_t>(i)];
      try {
        const std::vector<std::byte> bytes = read_file(p.file, uint64_t{1} << 30);
        for (size_t j = 0; j < inputs.size(); ++j) {
          if (s.source[j] == j) s.pipelines[j].run_encoded(bytes, Key(0), slots[j], i, s.scratch[static_cast<size_t>(thread)]);
        }
      } catch (const std::exception& e) {
        p.error = without_stem(e.what());
        for (size_t j = 0; j < inputs.size(); ++j) {
          if (s.source[j] == j) std::fill_n(slots[j].row(i), slots[j].sample_size(), 0.0F);
        }
      }
    });
    std::vector<torch::Tensor> x;
    for (size_t j = 0; j < inputs.size(); ++j) {
      x.push_back(s.source[j] == j ? batch_pixels(slots[j]) : s.from_source(j, x[s.source[j]]));
    }
    s.fill(std::span(all).subspan(begin, n), x, static_cast<int64_t>(begin));
    if (on_batch && !on_batch(begin + n)) {
      all.resize(begin + n);
      break;
    }
  }
  return all;
}

}  // namespace ballast
