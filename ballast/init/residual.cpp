#include <ballast/init/residual.h>

#include <ballast/base/check.h>
#include <ballast/init/constant.h>

namespace ballast {

void zero_gamma_(const HasBranches& model) {
  const std::vector<Branch> branches = model.branches();
  for (const Branch& branch : branches) {
    check(branch.last_norm_weight.defined(), "zero_gamma", "every branch must end in a norm with a weight, got ",
          branch.name);
  }
  for (const Branch& branch : branches) zeros_(branch.last_norm_weight);
}

}  // namespace ballast
