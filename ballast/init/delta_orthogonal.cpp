#include <ballast/init/delta_orthogonal.h>

#include <ballast/base/check.h>
#include <ballast/base/shape.h>
#include <ballast/init/orthogonal.h>

namespace ballast {

torch::Tensor delta_orthogonal_(torch::Tensor w, double gain, Key key) {
  check(w.dim() >= 3 && w.dim() <= 5, "delta_orthogonal", "weight must have 3, 4 or 5 dimensions, got ",
        shape_text(w.sizes()));
  check(w.size(0) >= w.size(1), "delta_orthogonal", "out channels must be >= in channels, got ", w.size(0), " and ",
        w.size(1));
  torch::NoGradGuard no_grad;
  w.zero_();
  if (w.numel() == 0) return w;
  torch::Tensor centre = w;
  while (centre.dim() > 2) centre = centre.select(2, centre.size(2) / 2);
  orthogonal_(centre, gain, 1, key);
  return w;
}

}  // namespace ballast
