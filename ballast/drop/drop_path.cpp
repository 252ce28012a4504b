#include <ballast/drop/drop_path.h>

#include <torch/library.h>

#include <ostream>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>
#include <ballast/drop/keyed_op.h>

namespace ballast {
namespace {

torch::Tensor call_drop_path(const torch::Tensor& x, double p, double scale, bool batch, int64_t key, int64_t first_row) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("ballast::drop_path", "")
                             .typed<torch::Tensor(const torch::Tensor&, double, double, bool, int64_t, int64_t)>();
  return op.call(x, p, scale, batch, key, first_row);
}

torch::Tensor drop_path_on_cpu(const torch::Tensor& x, double p, double scale, bool batch, int64_t key, int64_t first_row) {
  return detail::drop_groups(x, false, batch, event_rate(p), {.scale = scale}, detail::to_key(key), first_row);
}

torch::Tensor drop_path_elsewhere(const torch::Tensor& x, double p, double scale, bool batch, int64_t key, int64_t first_row) {
  return call_drop_path(x.cpu(), p, scale, batch, key, first_row).to(x.device());
}

torch::Tensor drop_path_with_gradient(const torch::Tensor& x, double p, double scale, bool batch, int64_t key, int64_t first_row) {
  const auto run = [=](const torch::Tensor& t) { return call_drop_path(t, p, scale, batch, key, first_row); };
  return detail::drawn_again(x, run, run);
}

// What a kept branch is multiplied by.
double factor(const DropPathOptions& o, bool training) {
  const double kept = 1 - event_rate(o.drop_prob).p();
  return training == o.scale_by_keep ? (training ? 1 / kept : kept) : 1;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(ballast, m) {
  m.def("drop_path(Tensor x, float p, float scale, bool batch, int key, int first_row=0) -> Tensor");
}
TORCH_LIBRARY_IMPL(ballast, CPU, m) { m.impl("drop_path", drop_path_on_cpu); }
TORCH_LIBRARY_IMPL(ballast, CUDA, m) { m.impl("drop_path", drop_path_elsewhere); }
TORCH_LIBRARY_IMPL(ballast, Meta, m) {
  m.impl("drop_path", [](const torch::Tensor& x, double, double, bool, int64_t, int64_t) { return at::empty_like(x); });
}
TORCH_LIBRARY_IMPL(ballast, Autograd, m) { m.impl("drop_path", drop_path_with_gradient); }

torch::Tensor drop_path(const torch::Tensor& x, const DropPathOptions& o, bool training, Key key, int64_t first_row) {
  detail::check_rate("drop_path", "drop_prob", o.drop_prob, true);
  detail::check_input("drop_path", x, 1);
  if (event_rate(o.drop_prob).none()) return x;
  const double scale = factor(o, training);
  if (!training) return scale == 1 ? x : x * scale;
  return call_drop_path(x, o.drop_prob, scale, o.mode == DropPathMode::batch, detail::to_int(key), first_row);
}

torch::Tensor drop_path_add(const torch::Tensor& x, const BranchFunction& branch, const DropPathOptions& o, bool training,
                            Key key, int64_t first_row) {
  return drop_path_add(x, x, branch, o, training, key, first_row);
}

torch::Tensor drop_path_add(const torch::Tensor& shortcut, const torch::Tensor& x, const BranchFunction& branch,
                            const DropPathOptions& o, bool training, Key key, int64_t first_row) {
  detail::check_rate("drop_path", "drop_prob", o.drop_prob, true);
  detail::check_input("drop_path", x, 1);
  const int64_t n = x.size(0);
  check(shortcut.dim() >= 1 && shortcut.size(0) == n, "drop_path", "shortcut must have ", n, " rows, got ",
        shape_text(shortcut.sizes().vec()));
  const DropRate rate = event_rate(o.drop_prob);
  const double scale = rate.none() ? 1 : factor(o, training);
  std::vector<int64_t> rows;  // kept
  bool all = !training || rate.none();
  if (!all) {
    const bool batch = o.mode == DropPathMode::batch;
    std::vector<uint16_t> keep(keep_words(static_cast<size_t>(n)));
    const size_t offset = batch ? draw_keep(key, 0, 1, rate, keep.data())
                                : draw_keep(key, static_cast<uint64_t>(first_row), static_cast<size_t>(n), rate, keep.data());
    for (int64_t i = 0; i < n; ++i) {
      if (kept(keep.data(), offset + (batch ? 0 : static_cast<size_t>(i)))) rows.push_back(i);
    }
    if (rows.empty()) return shortcut;
    all = static_cast<int64_t>(rows.size()) == n;
  }
  torch::Tensor index;
  if (!all) index = torch::tensor(rows, torch::kLong).to(x.device());
  torch::Tensor y;
  if (all) {
    y = branch(x);
  } else {
    const RowsScope places(rows);
    y = branch(x.index_select(0, index));
  }
  const int64_t count = all ? n : static_cast<int64_t>(rows.size());
  std::vector<int64_t> wanted = shortcut.sizes().vec();
  wanted[0] = count;
  check(y.sizes() == wanted, "drop_path", "branch must keep the shape, got ", shape_text(y.sizes().vec()), " for ",
        shape_text(wanted));
  if (all) return at::add(shortcut, y, scale);
  return shortcut.index_add(0, index, y, scale);
}

std::vector<double> drop_path_rates(double rate, int64_t blocks, DropPathRule rule) {
  detail::check_rate("drop_path", "rate", rate, true);
  check(blocks >= 0, "drop_path", "blocks must be >= 0, got ", blocks);
  std::vector<double> rates(static_cast<size_t>(blocks), rate);
  for (int64_t l = 0; l < blocks; ++l) {
    const double share = rule == DropPathRule::paper ? static_cast<double>(l + 1) / static_cast<double>(blocks)
                         : blocks == 1               ? 1.0
                                                     : static_cast<double>(l) / static_cast<double>(blocks - 1);
    rates[static_cast<size_t>(l)] = rate * share;
  }
  return rates;
}

DropPathImpl::DropPathImpl(DropPathOptions o) : options(o) {
  detail::check_rate("drop_path", "drop_prob", o.drop_prob, true);
}

torch::Tensor DropPathImpl::forward(const torch::Tensor& x) {
  if (mode() == DropMode::never) return x;
  if (!drops(is_training()) || options.drop_prob == 0) return drop_path(x, options, false, Key());
  const Draw draw = next_draw(options.key);
  return drop_path(x, options, true, draw.key, draw.first_row);
}

torch::Tensor DropPathImpl::add(const torch::Tensor& shortcut, const torch::Tensor& x, const BranchFunction& branch) {
  if (mode() == DropMode::never) return drop_path_add(shortcut, x, branch, {}, false, Key());
  if (!drops(is_training()) || options.drop_prob == 0) return drop_path_add(shortcut, x, branch, options, false, Key());
  const Draw draw = next_draw(options.key);
  return drop_path_add(shortcut, x, branch, options, true, draw.key, draw.first_row);
}

double DropPathImpl::batch_factor() {
  check<std::logic_error>(options.mode == DropPathMode::batch, "drop_path", "mode must be batch, got row");
  const DropRate rate = event_rate(options.drop_prob);
  if (mode() == DropMode::never || rate.none()) return 1;
  if (!drops(is_training())) return factor(options, false);
  const Draw draw = next_draw(options.key);
  return event(draw.key, 0, options.drop_prob) ? 0 : factor(options, true);
}

void DropPathImpl::set_drop_rate(double p) {
  detail::check_rate("drop_path", "drop_prob", p, true);
  options.drop_prob = p;
}

void DropPathImpl::pretty_print(std::ostream& stream) const {
  stream << "ballast::DropPath(" << options.drop_prob << (options.mode == DropPathMode::batch ? ", batch" : "") << ')';
}

}  // namespace ballast
