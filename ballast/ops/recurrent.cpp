#include <ballast/ops/recurrent.h>

#include <ATen/ThreadLocalState.h>
#include <torch/autograd.h>

#include <tuple>

#include <ballast/base/check.h>
#include <ballast/ops/pieces.h>
#include <ballast/ops/shown.h>

namespace ballast::ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

// A piece reads all weights again at each step.
constexpr int64_t kLeastRows = 32;

tensor_list whole(const std::string& cell, const Tensor& x, const Tensor& start, const tensor_list& w, bool training) {
  if (cell == "lstm") {
    const auto [y, h, c] = at::lstm(x, {start, start}, w, true, 1, 0.0, training, false, true);
    return {y, h, c};
  }
  std::tuple<Tensor, Tensor> r;
  if (cell == "gru") {
    r = at::gru(x, start, w, true, 1, 0.0, training, false, true);
  } else if (cell == "rnn_tanh") {
    r = at::rnn_tanh(x, start, w, true, 1, 0.0, training, false, true);
  } else {
    check<std::logic_error>(cell == "rnn_relu", "recurrent", "cell must be lstm, gru, rnn_tanh or rnn_relu, got ", cell);
    r = at::rnn_relu(x, start, w, true, 1, 0.0, training, false, true);
  }
  return {std::get<0>(r), std::get<1>(r)};
}

// The rows' dimension in the outputs.
int64_t rows_dim(size_t output) { return output == 0 ? 0 : 1; }

struct Piece {
  Tensor x;
  tensor_list weights, outputs;
};

// The graphs of all pieces, from forward to backward.
struct Pieces : torch::CustomClassHolder {
  std::vector<Piece> all;
};

int64_t rows_of(const Tensor& x) { return std::max(kLeastRows, (x.size(0) + kPieces - 1) / kPieces); }

// Each piece as a graph of its own where `graph`: its inputs are leaves.
std::vector<Piece> run(const std::string& cell, const Tensor& x, const Tensor& start, const tensor_list& weights, bool training, bool graph) {
  const int64_t n = x.size(0), rows = rows_of(x);
  std::vector<Piece> pieces(static_cast<size_t>((n + rows - 1) / rows));
  const at::ThreadLocalState here;  // autocast
  for_pieces(static_cast<int64_t>(pieces.size()), [&](int64_t i) {
    const at::ThreadLocalStateGuard as_here(here);
    const at::DisableRecordFunctionGuard unobserved;
    const at::AutoGradMode grad(graph);
    Piece& p = pieces[static_cast<size_t>(i)];
    const auto leaf = [&](const Tensor& t, const Tensor& of) { return t.detach().requires_grad_(graph && of.requires_grad()); };
    const int64_t begin = i * rows, length = std::min(rows, n - begin);
    p.x = leaf(x.narrow(0, begin, length), x);
    for (const Tensor& w : weights) p.weights.push_back(leaf(w, w));
    p.outputs = whole(cell, p.x, start.narrow(1, begin, length).contiguous(), p.weights, training);
  });
  return pieces;
}

tensor_list joined(const std::vector<Piece>& pieces) {
  tensor_list all;
  for (size_t k = 0; k < pieces[0].outputs.size(); ++k) {
    tensor_list parts;
    for (const Piece& p : pieces) parts.push_back(p.outputs[k].detach());
    all.push_back(at::cat(parts, rows_dim(k)));
  }
  return all;
}

struct Recurrent : torch::autograd::Function<Recurrent> {
  static tensor_list forward(AutogradContext* ctx, const Tensor& x, const Tensor& w_ih, const Tensor& w_hh, const Tensor& b_ih,
                             const Tensor& b_hh, const Tensor& start, const std::string& cell, bool training) {
    auto pieces = c10::make_intrusive<Pieces>();
    pieces->all = run(cell, x, start, {w_ih, w_hh, b_ih, b_hh}, training, true);
    ctx->save_for_backward({x, w_ih, w_hh, b_ih, b_hh, start});
    tensor_list outputs = joined(pieces->all);
    ctx->saved_data["pieces"] = c10::IValue::make_capsule(std::move(pieces));
    ctx->saved_data["cell"] = cell;
    ctx->saved_data["training"] = training;
    ctx->set_materialize_grads(false);
    return outputs;
  }
  static tensor_list backward(AutogradContext* ctx, const tensor_list& gradients) {
    const tensor_list saved = ctx->get_saved_variables();
    std::vector<size_t> wanted, used;  // of the inputs, of the outputs
    for (size_t i = 0; i < 5; ++i) {
      if (ctx->needs_input_grad(i)) wanted.push_back(i);
    }
    for (size_t k = 0; k < gradients.size(); ++k) {
      if (gradients[k].defined()) used.push_back(k);
    }
    tensor_list result(8);
    if (wanted.empty() || used.empty()) return result;
    // A gradient that is itself differentiated is LibTorch's.
    if (at::GradMode::is_enabled()) {
      const tensor_list y = whole(ctx->saved_data["cell"].toStringRef(), saved[0], saved[5], {saved[1], saved[2], saved[3], saved[4]},
                                  ctx->saved_data["training"].toBool());
      tensor_list roots, given, inputs;
      for (const size_t k : used) roots.push_back(y[k]), given.push_back(gradients[k]);
      for (const size_t i : wanted) inputs.push_back(saved[i]);
      const tensor_list all = torch::autograd::grad(roots, inputs, given, /*retain_graph=*/true, /*create_graph=*/true);
      for (size_t j = 0; j < wanted.size(); ++j) result[wanted[j]] = all[j];
      return result;
    }
    const auto holder = c10::static_intrusive_pointer_cast<Pieces>(ctx->saved_data["pieces"].toCapsule());
    const std::vector<Piece>& pieces = holder->all;
    const int64_t rows = rows_of(saved[0]);
    std::vector<tensor_list> parts(pieces.size());
    for_pieces(static_cast<int64_t>(pieces.size()), [&](int64_t i) {
      const at::DisableRecordFunctionGuard unobserved;
      const Piece& p = pieces[static_cast<size_t>(i)];
      tensor_list roots, given, inputs;
      for (const size_t k : used) {
        roots.push_back(p.outputs[k]);
        given.push_back(gradients[k].narrow(rows_dim(k), i * rows, p.x.size(0)));
      }
      for (const size_t j : wanted) inputs.push_back(j == 0 ? p.x : p.weights[j - 1]);
      parts[static_cast<size_t>(i)] = torch::autograd::grad(roots, inputs, given, /*retain_graph=*/true);
    });
    for (size_t j = 0; j < wanted.size(); ++j) {
      tensor_list own;
      for (const tensor_list& part : parts) own.push_back(part[j]);
      if (wanted[j] == 0) {
        result[0] = at::cat(own);
        continue;
      }
      Tensor& sum = result[wanted[j]] = own[0];
      for (size_t i = 1; i < own.size(); ++i) sum = sum + own[i];
    }
    return result;
  }
};

}  // namespace

tensor_list recurrent(const std::string& cell, const Tensor& x, const Tensor& start, const tensor_list& w, bool training) {
  if (!x.is_cpu() || x.size(0) == 0) return whole(cell, x, start, w, training);
  return shown(
      ("aten::" + cell).c_str(),
      [&] {
        return std::vector<c10::IValue>{x,   cell == "lstm" ? c10::IValue(tensor_list{start, start}) : c10::IValue(start), w, true, int64_t{1},
                                        0.0, training, false, true};
      },
      [&] {
        bool graph = x.requires_grad();
        for (const Tensor& t : w) graph = graph || t.requires_grad();
        return graph && at::GradMode::is_enabled() ? Recurrent::apply(x, w[0], w[1], w[2], w[3], start, cell, training)
                                                   : joined(run(cell, x, start, w, training, false));
      });
}

}  // namespace ballast::ops
