#include <ballast/init/skip_init.h>

#include <cmath>
#include <ostream>

#include <ballast/base/check.h>

namespace ballast {

ScalarGateImpl::ScalarGateImpl(ScalarGateOptions given) : options(given) {
  check(std::isfinite(options.init), "skip_init", "init must be finite, got ", options.init);
  reset();
}

void ScalarGateImpl::reset() {
  alpha = register_parameter("alpha", torch::full({1}, options.init));
}

void ScalarGateImpl::pretty_print(std::ostream& stream) const {
  stream << "ScalarGate(init " << options.init << ')';
}

}  // namespace ballast
