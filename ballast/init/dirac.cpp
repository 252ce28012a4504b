#include <ballast/init/dirac.h>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>

namespace ballast {

torch::Tensor dirac_(torch::Tensor w, int64_t groups) {
  check(w.dim() >= 3 && w.dim() <= 5, "dirac", "weight must have 3, 4 or 5 dimensions, got ", shape_text(w.sizes()));
  check(groups >= 1 && w.size(0) % groups == 0, "dirac", "groups must divide dimension 0, got groups ", groups, " and ",
        shape_text(w.sizes()));
  torch::NoGradGuard no_grad;
  w.zero_();
  if (w.numel() == 0) return w;
  torch::Tensor centre = w;
  while (centre.dim() > 2) centre = centre.select(2, centre.size(2) / 2);
  const int64_t out = w.size(0) / groups;
  for (int64_t g = 0; g < groups; ++g) centre.slice(0, g * out, (g + 1) * out).diagonal().fill_(1);
  return w;
}

}  // namespace ballast
