#include <ballast/ensemble/lbfgs.h>

#include <lbfgs.h>

#include <exception>

namespace ballast::detail {

LbfgsResult minimize_lbfgs(const std::function<double(std::span<const double>, std::span<double>)>& f, std::vector<double>& x,
                           double epsilon, int max_iterations) {
  struct Call {
    const std::function<double(std::span<const double>, std::span<double>)>* f;
    LbfgsResult result;
    std::exception_ptr error;
  } call{&f, {}, nullptr};
  lbfgs_parameter_t options;
  lbfgs_parameter_init(&options);
  options.m = 10;
  options.epsilon = epsilon;
  options.max_iterations = max_iterations;
  options.max_linesearch = 60;
  const auto evaluate = [](void* instance, const lbfgsfloatval_t* at, lbfgsfloatval_t* gradient, int n, lbfgsfloatval_t) {
    auto& c = *static_cast<Call*>(instance);
    ++c.result.evaluations;
    try {
      const auto size = static_cast<size_t>(n);
      return (*c.f)({at, size}, {gradient, size});
    } catch (...) {  // not through C code
      c.error = std::current_exception();
      return lbfgsfloatval_t{0};
    }
  };
  const auto progress = [](void* instance, const lbfgsfloatval_t*, const lbfgsfloatval_t*, lbfgsfloatval_t, lbfgsfloatval_t,
                           lbfgsfloatval_t, lbfgsfloatval_t, int, int, int) {
    return static_cast<Call*>(instance)->error == nullptr ? 0 : 1;
  };
  const int status = lbfgs(static_cast<int>(x.size()), x.data(), &call.result.value, evaluate, progress, &call, &options);
  if (call.error != nullptr) std::rethrow_exception(call.error);
  call.result.converged = status == LBFGS_SUCCESS || status == LBFGS_ALREADY_MINIMIZED;
  return call.result;
}

}  // namespace ballast::detail
