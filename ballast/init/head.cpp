#include <ballast/init/head.h>

#include <cmath>
#include <numeric>

#include <ballast/base/check.h>

namespace ballast {

void head_(torch::Tensor w, torch::Tensor b, const HeadOptions& o) {
  check(o.scale >= 0 && std::isfinite(o.scale), "head", "scale must be >= 0, got ", o.scale);
  check(b.defined() || o.bias == HeadBias::zero, "head", "a layer without bias must take bias zero");
  torch::NoGradGuard no_grad;
  torch::Tensor bias;
  if (o.bias == HeadBias::log_prior) {
    check(static_cast<int64_t>(o.counts.size()) == w.size(0), "head", "counts must have ", w.size(0), " entries, got ",
          o.counts.size());
    for (const int64_t n : o.counts) check(n >= 0, "head", "counts must be >= 0, got ", n);
    const int64_t total = o.samples > 0 ? o.samples : std::accumulate(o.counts.begin(), o.counts.end(), int64_t{0});
    std::vector<double> values;
    for (const int64_t n : o.counts) {
      check(n <= total, "head", "samples must be at least every count, got ", total, " and ", n);
      const auto count = static_cast<double>(n), all = static_cast<double>(total);
      const double pi = (count + 1) / (all + (o.sigmoid ? 2 : static_cast<double>(o.counts.size())));
      values.push_back(o.sigmoid ? std::log(pi / (1 - pi)) : std::log(pi));
    }
    bias = torch::tensor(values, torch::kDouble);
  }
  if (o.scale == 0) {
    w.zero_();
  } else {
    w.mul_(o.scale);
  }
  if (!b.defined()) return;
  if (bias.defined()) {
    b.copy_(bias);
  } else {
    b.fill_(o.bias == HeadBias::value ? o.value : 0);
  }
}

}  // namespace ballast
