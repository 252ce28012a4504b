#include <ballast/loss/cross_entropy.h>

#include <sstream>

#include <ballast/base/check.h>

namespace ballast {
namespace {

std::string shape_text(const torch::Tensor& x) {
  std::ostringstream out;
  out << '(';
  for (int64_t i = 0; i < x.dim(); ++i) out << (i ? ", " : "") << x.size(i);
  out << ')';
  return out.str();
}

// The place of element `flat` in a tensor of these sizes: (3) or (3, 5).
std::string place_text(int64_t flat, at::IntArrayRef sizes) {
  std::vector<int64_t> place(sizes.size());
  for (size_t d = sizes.size(); d-- > 0;) {
    place[d] = flat % sizes[d];
    flat /= sizes[d];
  }
  std::ostringstream out;
  out << '(';
  for (size_t d = 0; d < place.size(); ++d) out << (d ? ", " : "") << place[d];
  out << ')';
  return out.str();
}

int64_t first_of(const torch::Tensor& flags) {
  return flags.flatten().nonzero()[0][0].item<int64_t>();
}

torch::Tensor reduce(const torch::Tensor& loss, const torch::Tensor& divisor, Reduction reduction, torch::Dtype dtype) {
  if (reduction == Reduction::none) return loss.to(dtype);
  const torch::Tensor sum = loss.sum();
  return (reduction == Reduction::sum ? sum : sum / divisor).to(dtype);
}

// The divisor of the mean, 1 where nothing counts: 0 / 1 is 0 with zero gradients.
torch::Tensor or_one(const torch::Tensor& divisor) {
  return torch::where(divisor == 0, torch::ones_like(divisor), divisor);
}

torch::Tensor class_targets(const torch::Tensor& log_p, const torch::Tensor& target, const torch::Tensor& weight,
                            const CrossEntropyOptions& o, torch::Dtype dtype) {
  const int64_t classes = log_p.size(1);
  const torch::Tensor ignored = target == o.ignore_index;
  const torch::Tensor wrong = ((target < 0) | (target >= classes)) & ~ignored;
  if (wrong.any().item<bool>()) {
    const int64_t at = first_of(wrong);
    fail("cross_entropy", "target must be in [0, ", classes, "), got ", target.flatten()[at].item<int64_t>(), " at ",
         place_text(at, target.sizes()));
  }
  const torch::Tensor index = torch::where(ignored, torch::zeros_like(target), target);
  const torch::Tensor kept = ~ignored;
  torch::Tensor row_weight = kept.to(log_p.scalar_type());
  if (weight.defined()) row_weight = weight.index_select(0, index.flatten()).view(index.sizes()) * row_weight;
  const double e = o.label_smoothing;
  torch::Tensor loss = -log_p.gather(1, index.unsqueeze(1)).squeeze(1);
  // Scores of -infinity (a masked class) times a weight of 0 must not become NaN.
  loss = torch::where(row_weight == 0, torch::zeros_like(loss), loss * row_weight);
  if (e > 0) {
    torch::Tensor even;
    if (weight.defined()) {
      std::vector<int64_t> shape(static_cast<size_t>(log_p.dim()), 1);
      shape[1] = classes;
      even = -(log_p * weight.view(shape)).mean(1);
    } else {
      even = -log_p.mean(1);
    }
    even = torch::where(kept, even, torch::zeros_like(even));
    loss = (1 - e) * loss + e * even;
  }
  return reduce(loss, or_one(row_weight.sum()), o.reduction, dtype);
}

torch::Tensor soft_targets(const torch::Tensor& log_p, const torch::Tensor& target, const torch::Tensor& weight,
                           const CrossEntropyOptions& o, torch::Dtype dtype) {
  torch::Tensor q = target.to(log_p.scalar_type());
  {
    torch::NoGradGuard no_grad;
    const torch::Tensor sums = q.sum(1);
    // NaN is no sum of 1 either.
    const torch::Tensor wrong = ~((sums - 1).abs() <= 1e-3);
    if (wrong.any().item<bool>()) {
      const int64_t at = first_of(wrong);
      fail("cross_entropy", "target rows must sum to 1, got ", sums.flatten()[at].item<double>(), " at ",
           place_text(at, sums.sizes()));
    }
  }
  if (o.label_smoothing > 0) {
    q = (1 - o.label_smoothing) * q + o.label_smoothing / static_cast<double>(log_p.size(1));
  }
  if (weight.defined()) {
    std::vector<int64_t> shape(static_cast<size_t>(log_p.dim()), 1);
    shape[1] = log_p.size(1);
    q = q * weight.view(shape);
  }
  const torch::Tensor terms = torch::where(q == 0, torch::zeros_like(log_p), q * log_p);
  const torch::Tensor loss = -terms.sum(1);
  const torch::Tensor rows = torch::full({}, static_cast<double>(loss.numel()), log_p.options().requires_grad(false));
  return reduce(loss, or_one(rows), o.reduction, dtype);
}

void check_options(const torch::Tensor& logits, const CrossEntropyOptions& o) {
  check(o.label_smoothing >= 0 && o.label_smoothing <= 1, "cross_entropy", "label_smoothing must be in [0, 1], got ",
        o.label_smoothing);
  check(logits.is_floating_point(), "cross_entropy", "logits must be floating point, got ", logits.scalar_type());
  check(logits.dim() >= 2, "cross_entropy", "logits must have at least 2 dimensions, got ", shape_text(logits));
  const int64_t classes = logits.size(1);
  check(!o.weight.defined() || (o.weight.dim() == 1 && o.weight.size(0) == classes), "cross_entropy",
        "weight must have shape (", classes, "), got ", o.weight.defined() ? shape_text(o.weight) : "");
}

// Class targets: one for each row.
void check_rows(const torch::Tensor& logits, const torch::Tensor& target) {
  std::vector<int64_t> rows = logits.sizes().vec();
  rows.erase(rows.begin() + 1);
  check(target.scalar_type() == torch::kLong && target.sizes() == rows, "cross_entropy",
        "target must have the shape of the rows of logits, got ", shape_text(target), " and ", shape_text(logits));
}

}  // namespace

torch::Tensor cross_entropy(const torch::Tensor& logits, const MixTarget& target, const CrossEntropyOptions& o) {
  const torch::Tensor lam = target.lam.detach();
  const torch::Tensor wrong = ~((lam >= 0) & (lam <= 1));
  if (wrong.any().item<bool>()) {
    fail("cross_entropy", "lam must be in [0, 1], got ", lam.masked_select(wrong)[0].item<double>());
  }
  check(logits.dim() == 2 && (lam.dim() == 0 || lam.sizes() == target.a.sizes()), "cross_entropy",
        "lam must be a scalar or have one value for each row of (N, K) logits, got ", shape_text(lam), " and ",
        shape_text(logits));
  CrossEntropyOptions rows = o;
  rows.reduction = Reduction::none;
  rows.ignore_index = -1;  // no class: both must be in [0, K)
  for (const torch::Tensor* t : {&target.a, &target.b}) {
    const torch::Tensor below = *t < 0;
    if (below.any().item<bool>()) {
      const int64_t at = first_of(below);
      fail("cross_entropy", "target must be in [0, ", logits.size(1), "), got ", t->flatten()[at].item<int64_t>(), " at ",
           place_text(at, t->sizes()));
    }
  }
  // The loss is linear in the target: two class losses over one log_softmax, whose own log_softmax is the identity.
  const bool half = logits.scalar_type() == torch::kHalf || logits.scalar_type() == torch::kBFloat16;
  const torch::Tensor log_p = at::log_softmax(half ? logits.to(torch::kFloat) : logits, 1);
  const torch::Tensor weight = o.weight.defined() ? o.weight.to(log_p.scalar_type()) : o.weight;
  check_options(logits, o);
  check_rows(logits, target.a);
  check_rows(logits, target.b);
  const torch::Tensor a = class_targets(log_p, target.a, weight, rows, log_p.scalar_type());
  const torch::Tensor b = class_targets(log_p, target.b, weight, rows, log_p.scalar_type());
  const torch::Tensor l = lam.to(log_p.scalar_type());
  const torch::Tensor loss = l * a + (1 - l) * b;
  const torch::Tensor count = torch::full({}, static_cast<double>(loss.numel()), log_p.options().requires_grad(false));
  return reduce(loss, or_one(count), o.reduction, logits.scalar_type());
}

torch::Tensor cross_entropy(const torch::Tensor& logits, const torch::Tensor& target, const CrossEntropyOptions& o) {
  check_options(logits, o);
  const bool indices = target.scalar_type() == torch::kLong;
  check(indices || target.is_floating_point(), "cross_entropy",
        "target must be int64 classes or floating point probabilities, got ", target.scalar_type());
  if (indices) {
    check_rows(logits, target);
  } else {
    check(target.sizes() == logits.sizes(), "cross_entropy", "target must have the shape of logits, got ",
          shape_text(target), " and ", shape_text(logits));
  }

  const bool half = logits.scalar_type() == torch::kHalf || logits.scalar_type() == torch::kBFloat16;
  const torch::Tensor log_p = at::log_softmax(half ? logits.to(torch::kFloat) : logits, 1);
  const torch::Tensor weight = o.weight.defined() ? o.weight.to(log_p.scalar_type()) : o.weight;
  return indices ? class_targets(log_p, target, weight, o, logits.scalar_type())
                 : soft_targets(log_p, target, weight, o, logits.scalar_type());
}

}  // namespace ballast
