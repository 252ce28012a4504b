#include <ballast/train/ensemble_model.h>

#include <algorithm>
#include <cmath>

#include <ATen/Functions.h>

#include <ballast/base/check.h>
#include <ballast/base/sha256.h>
#include <ballast/drop/mc_dropout.h>
#include <ballast/models/model.h>
#include <ballast/train/machine.h>
#include <ballast/train/saved_model.h>
#include <ballast/train/trainer.h>
#include <ballast/train/tta.h>
#include <ballast/weights/state_dict.h>

namespace ballast {
namespace {

/// Where the classes of the ensemble stand among a net's; empty: in the same places.
std::vector<int64_t> class_order(const std::vector<std::string>& wanted,
                                 const std::vector<std::string>& has, const std::string& net) {
  if (wanted == has) return {};
  check<DataError>(wanted.size() == has.size(), "ensemble", "members must have equal classes, got ",
                   wanted.size(), " and ", has.size(), " in ", net);
  std::vector<int64_t> out;
  for (const std::string& name : wanted) {
    const auto at = std::ranges::find(has, name);
    check<DataError>(at != has.end(), "ensemble", "classes must match: \"", name, "\" is none of ",
                     net);
    out.push_back(at - has.begin());
  }
  return out;
}

}  // namespace

struct Ensemble::State {
  struct Net {
    SavedModel saved;
    TtaPlan tta;
    std::vector<size_t> inputs;    ///< of each of its pictures
    std::vector<int64_t> classes;  ///< class_order()
  };

  EnsembleOptions options;
  torch::Device device = torch::kCPU;
  EnsembleRule rule;
  std::vector<std::vector<Net>> members;
  std::vector<NetInput> inputs;
  std::vector<std::string> classes;
  /// Each net's own temperature counts: there is no rule that was made without it.
  bool own_temperatures = false;
  bool several_labels = false;

  void open(const std::vector<std::vector<std::filesystem::path>>& nets);
  void add(Net& net, const std::filesystem::path& path);
  torch::Tensor forward(const Net& net, std::span<const torch::Tensor> x, int64_t first_row) const;
  EnsembleOutput combined(const std::vector<torch::Tensor>& scores, bool is_logit) const;
};

void Ensemble::State::add(Net& net, const std::filesystem::path& path) {
  net.saved = load_saved_model(path);
  const SavedModelInfo& info = net.saved.info;
  Model& model = *net.saved.model;
  if (!device.is_cpu()) model.to(device);
  if (classes.empty()) classes = info.classes;
  if (info.several_labels) {
    check<DataError>(members.size() == 1 && members[0].size() == 1 && own_temperatures, "ensemble",
                     "members must be of one label a picture, got several in ", path.string());
    check(options.mc == 0, "predict", "mc must be 0 for a model of several labels a picture, got ", options.mc);
    several_labels = true;
  } else {
    check<DataError>(!several_labels, "ensemble", "members must be of one label a picture, got several in the first");
  }
  net.classes = class_order(classes, info.classes, path.string());
  NetInput input{.pipeline = {},
                 .normalize = info.normalize,
                 .channels = info.model.in_channels,
                 .height = info.model.height,
                 .width = info.model.width,
                 .layout = Layout::chw};
  if (model.prefers_channels_last()) {
    to_channels_last(model);
    input.layout = Layout::hwc;
  }
  net.tta = plan_tta(options.tta, Pipeline::parse(info.eval_pipeline));
  for (const Pipeline& picture : net.tta.pictures) {
    input.pipeline = picture.text();
    const auto same = std::ranges::find_if(inputs, [&](const NetInput& i) {
      return i.pipeline == input.pipeline && i.normalize == input.normalize &&
             i.channels == input.channels && i.height == input.height && i.width == input.width &&
             i.layout == input.layout;
    });
    net.inputs.push_back(static_cast<size_t>(same - inputs.begin()));
    if (same == inputs.end()) inputs.push_back(input);
  }
  if (options.mc > 0) {
    const auto places = drop_places(model);
    check(std::ranges::any_of(places, [](const DropPlace& p) { return p.p > 0; }), "predict",
          "--mc needs a drop layer with p > 0, there is none in ", path.string());
  }
}

void Ensemble::State::open(const std::vector<std::vector<std::filesystem::path>>& nets) {
  check(options.mc >= 0, "predict", "mc must be at least 0, got ", options.mc);
  device = find_device(options.device);
  for (const auto& member : nets) {
    members.emplace_back();
    for (const auto& path : member) add(members.back().emplace_back(), path);
  }
}

/// (N, K): logits, or, of several views or passes, log of the mean of their probabilities (of several labels its logit).
torch::Tensor Ensemble::State::forward(const Net& net, std::span<const torch::Tensor> x,
                                       int64_t first_row) const {
  Model& model = *net.saved.model;
  const auto once = [&](const torch::Tensor& input) {
    torch::Tensor z = model.forward(input).to(torch::kCPU, torch::kFloat).contiguous();
    if (!net.classes.empty()) {
      z = z.index_select(1, at::tensor(net.classes, at::kLong)).contiguous();
    }
    return own_temperatures && net.saved.info.temperature != 1 ? z / net.saved.info.temperature : z;
  };
  if (net.tta.plain() && options.mc == 0) return once(x[net.inputs[0]]);
  TtaMean mean(several_labels);
  for (const TtaView& view : net.tta.views) {
    const torch::Tensor input = seen(view, x[net.inputs[view.picture]]);
    if (options.mc == 0) {
      mean.add(once(input));
      continue;
    }
    const McDropout mc(model);
    for (int64_t t = 0; t < options.mc; ++t) {
      mean.add(mc.pass(
          t, Key(options.seed), [&] { return once(input); }, first_row));
    }
  }
  return mean.scores();
}

EnsembleOutput Ensemble::State::combined(const std::vector<torch::Tensor>& scores,
                                         bool is_logit) const {
  const int64_t n = scores[0].size(0);
  const auto k = static_cast<int32_t>(scores[0].size(1));
  std::vector<Predictions> views_of;
  for (const torch::Tensor& z : scores) views_of.push_back({z.data_ptr<float>(), n, k, is_logit});
  const Combined raw = rule.apply(views_of, 1);
  const Combined c = rule.tempered(raw, scores.size(), 1);
  EnsembleOutput out;
  out.members_used = static_cast<int64_t>(scores.size());
  out.probability = at::empty({n, k}, at::kFloat);
  std::copy(c.probability.begin(), c.probability.end(), out.probability.data_ptr<float>());
  out.label = at::empty({n}, at::kLong);
  std::copy(c.label.begin(), c.label.end(), out.label.data_ptr<int64_t>());
  out.members_agree = at::zeros({n}, at::kLong);
  auto* agree = out.members_agree.data_ptr<int64_t>();
  torch::Tensor mean = at::zeros({n, k}, at::kDouble), entropy = at::zeros({n}, at::kDouble);
  for (size_t m = 0; m < scores.size(); ++m) {
    const auto own = top_classes(views_of[m]);
    for (int64_t i = 0; i < n; ++i)
      agree[i] += own[static_cast<size_t>(i)] == c.label[static_cast<size_t>(i)] ? 1 : 0;
    const torch::Tensor p = scores[m].to(torch::kDouble).softmax(1);
    mean += p / static_cast<double>(scores.size());
    entropy -= at::xlogy(p, p).sum(1) / static_cast<double>(scores.size());
  }
  out.mutual_information =
      (-at::xlogy(mean, mean).sum(1) - entropy).clamp_min_(0).to(torch::kFloat);
  return out;
}

Ensemble::Ensemble(std::unique_ptr<State> state) : state_(std::move(state)) {}
Ensemble::~Ensemble() = default;
Ensemble::Ensemble(Ensemble&&) noexcept = default;
Ensemble& Ensemble::operator=(Ensemble&&) noexcept = default;

const std::vector<std::string>& Ensemble::classes() const { return state_->classes; }
int64_t Ensemble::members() const { return static_cast<int64_t>(state_->members.size()); }
const EnsembleRule& Ensemble::rule() const { return state_->rule; }
std::span<const NetInput> Ensemble::inputs() const { return state_->inputs; }

std::vector<std::vector<EnsembleNet>> Ensemble::nets() const {
  std::vector<std::vector<EnsembleNet>> out;
  for (const std::vector<State::Net>& member : state_->members) {
    out.emplace_back();
    for (const State::Net& net : member) out.back().push_back({net.saved.model, net.inputs[0], net.classes});
  }
  return out;
}

std::string Ensemble::digest() const {
  const State& s = *state_;
  Sha256 sha;
  const auto add = [&](const auto& values) { sha.update(std::as_bytes(std::span(values))); };
  const auto add_one = [&](double value) { sha.update(std::as_bytes(std::span(&value, 1))); };
  for (const std::vector<State::Net>& member : s.members) {
    add_one(static_cast<double>(member.size()));
    for (const State::Net& net : member) {
      for (const auto& [name, tensor] : state_dict(*net.saved.model)) {
        const torch::Tensor t = tensor.to(torch::kCPU).contiguous();
        sha.update(name);
        sha.update(std::span(static_cast<const std::byte*>(t.data_ptr()), t.nbytes()));
      }
      if (s.own_temperatures) add_one(net.saved.info.temperature);
    }
  }
  add_one(static_cast<double>(s.rule.rule));
  add_one(s.rule.temperature);
  add(s.rule.weights);
  add(s.rule.member_temperature);
  if (s.rule.stack) {
    add(s.rule.stack->weights);
    add(s.rule.stack->bias);
  }
  return hex(sha.finish()).substr(0, 16);
}

bool Ensemble::single() const {
  const State& s = *state_;
  return s.members.size() == 1 && s.members[0].size() == 1 && s.own_temperatures &&
         s.options.mc == 0 && s.options.tta.empty() && s.members[0][0].tta.plain();
}

torch::Tensor Ensemble::logits(const torch::Tensor& x) const {
  check(single(), "ensemble", "logits must be those of one net, got ", members(), " members");
  const torch::NoGradGuard no_grad;
  return state_->members[0][0]
      .saved.model->forward(x.to(state_->device))
      .to(torch::kCPU, torch::kFloat)
      .contiguous();
}

bool Ensemble::several_labels() const { return state_->several_labels; }

torch::Tensor Ensemble::label_logits(std::span<const torch::Tensor> x) const {
  const State& s = *state_;
  check(s.several_labels, "ensemble", "label_logits must be those of a model of several labels a picture, got one label");
  check(x.size() == s.inputs.size(), "ensemble", "there must be a batch for each input, got ", x.size(), " for ", s.inputs.size());
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> on_device;
  for (const torch::Tensor& t : x) on_device.push_back(t.to(s.device));
  return s.forward(s.members[0][0], on_device, 0);
}

double Ensemble::net_temperature() const { return state_->members[0][0].saved.info.temperature; }

EnsembleOutput Ensemble::predict_inputs(std::span<const torch::Tensor> x, int64_t first_row) const {
  const State& s = *state_;
  check(x.size() == s.inputs.size(), "ensemble", "there must be a batch for each input, got ",
        x.size(), " for ", s.inputs.size());
  check(!s.several_labels, "ensemble", "a model must be of one label a picture to predict one, got several; label_logits() has its scores");
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> on_device, scores;
  for (const torch::Tensor& t : x) on_device.push_back(t.to(s.device));
  for (const std::vector<State::Net>& member : s.members) {
    std::vector<torch::Tensor> nets;
    for (const State::Net& net : member) nets.push_back(s.forward(net, on_device, first_row));
    if (nets.size() == 1) {
      scores.push_back(nets[0]);
      continue;
    }
    // As the rows were when the rule was fitted: the mean of the nets' probabilities.
    std::vector<Predictions> views_of;
    for (const torch::Tensor& z : nets)
      views_of.push_back({z.data_ptr<float>(), z.size(0), static_cast<int32_t>(z.size(1)), true});
    const auto p = combine(views_of, {.threads = 1}).probability;
    torch::Tensor mean = at::empty_like(nets[0]);
    std::copy(p.begin(), p.end(), mean.data_ptr<float>());
    scores.push_back(mean.clamp_min_(1e-7).log_());
  }
  return s.combined(scores, true);
}

EnsembleOutput Ensemble::predict(const torch::Tensor& x) const {
  return predict(x, {{0.0F}, {1.0F}});
}

EnsembleOutput Ensemble::predict(const torch::Tensor& x, const Normalize& from) const {
  const torch::NoGradGuard no_grad;
  for (const auto& member : state_->members) {
    for (const State::Net& net : member) {
      check(net.tta.pictures.size() == 1, "ensemble",
            "five_crop and ten_crop need picture files, got a tensor of pictures that are cut already");
    }
  }
  std::vector<torch::Tensor> all;
  for (const NetInput& i : state_->inputs) {
    check(x.dim() == 4 && x.size(1) == i.channels && x.size(2) == i.height && x.size(3) == i.width,
          "ensemble", "x must be (N, ", i.channels, ", ", i.height, ", ", i.width, "), got ",
          x.sizes());
    const auto values = [](const std::vector<float>& v) {
      return at::tensor(v, at::kFloat).view({1, static_cast<int64_t>(v.size()), 1, 1});
    };
    const Normalize& to = i.normalize;
    torch::Tensor t = x.to(torch::kCPU, torch::kFloat);
    if (!(from == to))
      t = (t * values(from.std) + (values(from.mean) - values(to.mean))) / values(to.std);
    all.push_back(t.contiguous(i.layout == Layout::hwc ? at::MemoryFormat::ChannelsLast
                                                       : at::MemoryFormat::Contiguous));
  }
  return predict_inputs(all);
}

Ensemble load_ensemble(const std::filesystem::path& path, const EnsembleOptions& options) {
  if (!is_ensemble_folder(path))
    return load_ensemble(std::vector<std::filesystem::path>{path}, options);
  const EnsembleFile file = read_ensemble_file(path);
  auto state = std::make_unique<Ensemble::State>();
  state->options = options;
  state->rule = file.rule;
  state->classes = file.classes;
  std::vector<std::vector<std::filesystem::path>> nets;
  for (const EnsembleMember& m : file.members) {
    check<DataError>(!m.nets.empty(), "ensemble", (path / "ensemble.json").string(), ": member ",
                     m.id, " (", m.name, ") names no nets; ballast ensemble combine ",
                     path.string(), " makes it anew");
    nets.emplace_back();
    for (const std::string& net : m.nets)
      nets.back().push_back(std::filesystem::path(net).is_absolute() ? std::filesystem::path(net)
                                                                     : path / net);
  }
  set_threads(options.threads);
  state->open(nets);
  return Ensemble(std::move(state));
}

Ensemble load_ensemble(const std::vector<std::filesystem::path>& models,
                       const EnsembleOptions& options) {
  check(!models.empty(), "ensemble", "there must be a model at least");
  auto state = std::make_unique<Ensemble::State>();
  state->options = options;
  state->own_temperatures = true;
  std::vector<std::vector<std::filesystem::path>> nets;
  for (const auto& model : models) nets.push_back({model});
  set_threads(options.threads);
  state->open(nets);
  return Ensemble(std::move(state));
}

}  // namespace ballast
