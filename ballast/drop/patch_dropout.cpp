#include <ballast/drop/patch_dropout.h>

#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <ostream>
#include <tuple>
#include <utility>
#include <vector>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>
#include <ballast/drop/keyed_op.h>

namespace ballast {
namespace {

// Places of the kept patches, behind the prefix: (N, kept), in order.
int64_t kept_patches(int64_t patches, double p) {
  return std::max<int64_t>(1, static_cast<int64_t>(std::floor(static_cast<double>(patches) * (1 - p))));
}
torch::Tensor patch_places(const torch::Tensor& x, double p, int64_t prefix, int64_t key, int64_t first_row) {
  const int64_t n = x.size(0), patches = x.size(1) - prefix, count = kept_patches(patches, p);
  const torch::Tensor indices = torch::empty({n, count}, torch::kLong);
  int64_t* out = indices.data_ptr<int64_t>();
  std::vector<std::pair<uint32_t, int64_t>> order(static_cast<size_t>(patches));
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t l = 0; l < patches; ++l) {
      const auto i = static_cast<uint64_t>((first_row + row) * patches + l);
      order[static_cast<size_t>(l)] = {bits32(detail::to_key(key), i), l};
    }
    std::nth_element(order.begin(), order.begin() + (count - 1), order.end());
    for (int64_t k = 0; k < count; ++k) out[row * count + k] = order[static_cast<size_t>(k)].second;
    std::sort(out + row * count, out + (row + 1) * count);
  }
  return indices.to(x.device());
}

// Of other operators, which have gradients and shapes.
std::tuple<torch::Tensor, torch::Tensor> take_patches(const torch::Tensor& x, double p, int64_t prefix, int64_t key, int64_t first_row) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("ballast::patch_places", "")
                             .typed<torch::Tensor(const torch::Tensor&, double, int64_t, int64_t, int64_t)>();
  const torch::Tensor places = op.call(x, p, prefix, key, first_row);
  const torch::Tensor kept = x.gather(1, (places + prefix).unsqueeze(2).expand({x.size(0), places.size(1), x.size(2)}));
  return {prefix == 0 ? kept : at::cat({x.narrow(1, 0, prefix), kept}, 1), places};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(ballast, m) {
  m.def("patch_places(Tensor x, float p, int num_prefix_tokens, int key, int first_row=0) -> Tensor");
  m.def("patch_dropout(Tensor x, float p, int num_prefix_tokens, int key, int first_row=0) -> (Tensor, Tensor)", take_patches);
}
TORCH_LIBRARY_IMPL(ballast, CPU, m) { m.impl("patch_places", patch_places); }
TORCH_LIBRARY_IMPL(ballast, CUDA, m) { m.impl("patch_places", patch_places); }
TORCH_LIBRARY_IMPL(ballast, Meta, m) {
  m.impl("patch_places", [](const torch::Tensor& x, double p, int64_t prefix, int64_t, int64_t) {
    return at::empty({x.size(0), kept_patches(x.size(1) - prefix, p)}, x.options().dtype(torch::kLong));
  });
}

PatchDropoutResult patch_dropout(const torch::Tensor& x, const PatchDropoutOptions& o, bool training, Key key,
                                 int64_t first_row) {
  detail::check_rate("patch_dropout", "p", o.p, true);
  detail::check_input("patch_dropout", x, 0);
  check(x.dim() == 3, "patch_dropout", "x must be (N, L, D), got ", shape_text(x.sizes().vec()));
  check(o.num_prefix_tokens >= 0, "patch_dropout", "num_prefix_tokens must be >= 0, got ", o.num_prefix_tokens);
  check(o.num_prefix_tokens < x.size(1), "patch_dropout", "num_prefix_tokens must be < ", x.size(1), ", got ",
        o.num_prefix_tokens);
  if (!training || o.p == 0) return {x, {}};
  auto [kept, places] = take_patches(x, o.p, o.num_prefix_tokens, detail::to_int(key), first_row);
  return {kept, places};
}

PatchDropoutImpl::PatchDropoutImpl(PatchDropoutOptions o) : options(o) {
  detail::check_rate("patch_dropout", "p", o.p, true);
}

torch::Tensor PatchDropoutImpl::forward(const torch::Tensor& x) {
  if (!drops(is_training()) || options.p == 0) return x;
  const Draw draw = next_draw(options.key);
  return patch_dropout(x, options, true, draw.key, draw.first_row).x;
}

void PatchDropoutImpl::set_drop_rate(double p) {
  detail::check_rate("patch_dropout", "p", p, true);
  options.p = p;
}

void PatchDropoutImpl::pretty_print(std::ostream& stream) const {
  stream << "ballast::PatchDropout(" << options.p << ')';
}

}  // namespace ballast
