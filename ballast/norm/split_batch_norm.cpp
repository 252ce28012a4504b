#include <ballast/norm/split_batch_norm.h>

#include <ostream>

#include <ballast/base/check.h>
#include <ballast/norm/channel_state.h>

namespace ballast {

torch::Tensor split_batch_norm(const torch::Tensor& x, int64_t num_splits,
                               const std::function<torch::Tensor(const torch::Tensor& part, int64_t split)>& norm) {
  check(num_splits >= 2, "split_batch_norm", "num_splits must be >= 2, got ", num_splits);
  check(x.dim() >= 1 && x.size(0) % num_splits == 0, "split_batch_norm", "batch must be divisible by num_splits, got ",
        x.dim() ? x.size(0) : 1, " and ", num_splits);
  std::vector<torch::Tensor> parts;
  for (int64_t j = 0; j < num_splits; ++j) {
    const int64_t rows = x.size(0) / num_splits;
    parts.push_back(norm(x.narrow(0, j * rows, rows), j));
  }
  return at::cat(parts);
}

detail::BatchNormList::BatchNormList(BatchNormOptions given, int64_t n) : options(given), count(n) { reset(); }

void detail::BatchNormList::reset() {
  for (int64_t j = 0; j < count; ++j) register_module(std::to_string(j), std::make_shared<BatchNormImpl>(options));
}

std::shared_ptr<BatchNormImpl> detail::BatchNormList::at(int64_t j) const {
  return std::dynamic_pointer_cast<BatchNormImpl>(named_children()[std::to_string(j)]);
}

SplitBatchNormImpl::SplitBatchNormImpl(SplitBatchNormOptions given) : options(given) {
  check(options.num_splits >= 2, "split_batch_norm", "num_splits must be >= 2, got ", options.num_splits);
  reset();
}

void SplitBatchNormImpl::reset() {
  const BatchNormOptions& o = options.norm;
  register_module("aux_bn", std::make_shared<detail::BatchNormList>(o, options.num_splits - 1));
  detail::register_channel_state(*this, o);
}

std::shared_ptr<BatchNormImpl> SplitBatchNormImpl::aux(int64_t j) const {
  return std::dynamic_pointer_cast<detail::BatchNormList>(named_children()["aux_bn"])->at(j);
}

torch::Tensor SplitBatchNormImpl::forward(const torch::Tensor& x) {
  const auto main = [&](const torch::Tensor& part) {
    return batch_norm_tracked(part, {}, weight, bias, {running_mean, running_var, num_batches_tracked}, is_training(),
                              options.norm);
  };
  if (!is_training()) return main(x);
  return split_batch_norm(x, options.num_splits, [&](const torch::Tensor& part, int64_t split) {
    return split == 0 ? main(part) : aux(split - 1)->forward(part);
  });
}

void SplitBatchNormImpl::pretty_print(std::ostream& stream) const {
  stream << "ballast::SplitBatchNorm(" << options.norm.num_features << ", " << options.num_splits << " splits)";
}

}  // namespace ballast
