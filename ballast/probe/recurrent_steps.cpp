#include <ballast/probe/recurrent_steps.h>

#include <ATen/Functions.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include <ballast/base/key.h>
#include <ballast/ops/l2_norm.h>

namespace ballast {
namespace {

struct State {
  torch::Tensor h, c;
};

// One step of a cell; c only of lstm.
State step_of(const std::string& op, const torch::Tensor& x, const State& s, const std::vector<torch::Tensor>& w) {
  const torch::Tensor none, &b_ih = w.size() > 2 ? w[2] : none, &b_hh = w.size() > 2 ? w[3] : none;
  if (op == "aten::lstm") {
    const auto [h, c] = at::lstm_cell(x, {s.h, s.c}, w[0], w[1], b_ih, b_hh);
    return {h, c};
  }
  if (op == "aten::gru") return {at::gru_cell(x, s.h, w[0], w[1], b_ih, b_hh), {}};
  if (op == "aten::rnn_relu") return {at::rnn_relu_cell(x, s.h, w[0], w[1], b_ih, b_hh), {}};
  return {at::rnn_tanh_cell(x, s.h, w[0], w[1], b_ih, b_hh), {}};
}

// The echo of a small difference at each step, in double.
std::vector<double> echo_of(const std::string& op, int64_t input, int64_t width, int64_t steps, const std::vector<torch::Tensor>& weights) {
  torch::NoGradGuard no_grad;
  constexpr int64_t kRows = 16;
  std::vector<torch::Tensor> w;
  for (const torch::Tensor& t : weights) w.push_back(t.to(torch::kCPU, torch::kDouble));
  const torch::Tensor x = torch::zeros({kRows, input}, torch::kDouble), zero = torch::zeros({kRows, width}, torch::kDouble);
  std::vector<double> normals(static_cast<size_t>(2 * kRows * width));
  fill_normal(Key(0).fold_in("recurrent_steps"), 0, normals);
  const torch::Tensor small = torch::tensor(normals, torch::kDouble).view({2, kRows, width}) * 1e-6;
  State a{zero, zero}, b{small[0], small[1]};
  std::vector<double> echo;
  for (int64_t t = 0; t < steps; ++t) {
    a = step_of(op, x, a, w);
    b = step_of(op, x, b, w);
    echo.push_back((b.h - a.h).square().mean().sqrt().item<double>());
  }
  return echo;
}

}  // namespace

std::vector<RecurrentStep> recurrent_steps(const WatchedLayer& layer) {
  const std::vector<c10::IValue>& a = layer.recurrent_arguments;
  // (input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)
  if (a.size() != 9 || !a[2].isTensorList() || !a[3].isBool() || a[7].toBool()) return {};
  bool any = false;
  for (const torch::Tensor& g : layer.recurrent_gradients) any = any || g.defined();
  if (!any) return {};

  torch::AutoGradMode grad(true);
  const bool lstm = layer.op == "aten::lstm", batch_first = a[8].toBool(), biases = a[3].toBool();
  const int64_t layers = a[4].toInt();
  std::vector<torch::Tensor> weights;
  for (const torch::Tensor& w : a[2].toTensorVector()) weights.push_back(w.detach());
  std::vector<torch::Tensor> start;
  if (lstm) {
    for (const torch::Tensor& t : a[1].toTensorVector()) start.push_back(t.detach());
  } else {
    start.push_back(a[1].toTensor().detach());
  }
  torch::Tensor x = a[0].toTensor().detach();
  if (!batch_first) x = x.transpose(0, 1);
  const int64_t steps = x.size(1);
  const size_t per_layer = static_cast<size_t>(biases ? 4 : 2);
  if (weights.size() != per_layer * static_cast<size_t>(layers)) return {};  // with projections

  std::vector<torch::Tensor> watched, hidden, last_h, last_c;
  torch::Tensor sequence = x;
  std::vector<std::vector<double>> echoes;
  for (int64_t l = 0; l < layers; ++l) {
    const std::vector<torch::Tensor> own(weights.begin() + static_cast<ptrdiff_t>(per_layer) * l,
                                         weights.begin() + static_cast<ptrdiff_t>(per_layer) * (l + 1));
    State s{start[0][l].clone().requires_grad_(), lstm ? start[1][l].clone().requires_grad_() : torch::Tensor()};
    echoes.push_back(echo_of(layer.op, sequence.size(2), start[0].size(2), steps, own));
    std::vector<torch::Tensor> outputs;
    for (int64_t t = 0; t < steps; ++t) {
      s = step_of(layer.op, sequence.select(1, t), s, own);
      outputs.push_back(s.h);
      hidden.push_back(s.h);
      watched.push_back(lstm ? s.c : s.h);
    }
    last_h.push_back(s.h);
    if (lstm) last_c.push_back(s.c);
    sequence = at::stack(outputs, 1);
  }
  std::vector<torch::Tensor> results = {batch_first ? sequence : sequence.transpose(0, 1), at::stack(last_h)};
  if (lstm) results.push_back(at::stack(last_c));
  std::vector<torch::Tensor> roots, gradients;
  for (size_t i = 0; i < results.size() && i < layer.recurrent_gradients.size(); ++i) {
    if (!layer.recurrent_gradients[i].defined()) continue;
    roots.push_back(results[i]);
    gradients.push_back(layer.recurrent_gradients[i]);
  }
  const auto back = torch::autograd::grad(roots, watched, gradients, /*retain_graph=*/false, /*create_graph=*/false,
                                          /*allow_unused=*/true);
  std::vector<RecurrentStep> rows;
  for (size_t i = 0; i < watched.size(); ++i) {
    RecurrentStep row{.layer = static_cast<int64_t>(i) / steps, .step = static_cast<int64_t>(i) % steps};
    row.across = measure_signal(hidden[i], {.channel_dim = -1, .correlations = false}).across;
    if (back[i].defined()) {
      row.gradient = ops::l2_norm(back[i]) / std::sqrt(static_cast<double>(back[i].numel()));
    }
    row.echo = echoes[static_cast<size_t>(row.layer)][static_cast<size_t>(row.step)];
    rows.push_back(row);
  }
  return rows;
}

}  // namespace ballast
