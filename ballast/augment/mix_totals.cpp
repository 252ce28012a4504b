#include <ballast/augment/mix_totals.h>

#include <ballast/base/detmath.h>

namespace ballast {

void MixTotals::add(const BatchSlot& batch) {
  for (size_t i = 0; i < static_cast<size_t>(batch.n); ++i) {
    if (batch.weight[i] == 0) continue;
    ++pictures;
    const double lam = batch.mixed ? static_cast<double>(batch.lambda[i]) : 1;
    if (!(lam < 1)) continue;
    ++mixed;
    lambda += lam;
    if (batch.label[i] == batch.label[static_cast<size_t>(batch.partner[i])]) continue;
    if (lam > 0) entropy -= lam * det_log(lam) + (1 - lam) * det_log(1 - lam);
  }
}

}  // namespace ballast
