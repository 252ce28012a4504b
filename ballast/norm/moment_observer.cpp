#include <ballast/norm/moment_observer.h>

#include <utility>

namespace ballast::detail {
namespace {
thread_local const MomentObserver::Callback* g_current = nullptr;
thread_local const NormCallObserver::Callback* g_calls = nullptr;
}  // namespace

MomentObserver::MomentObserver(Callback callback)
    : callback_(std::move(callback)), previous_(std::exchange(g_current, &callback_)) {}

MomentObserver::~MomentObserver() { g_current = previous_; }

const MomentObserver::Callback* MomentObserver::current() { return g_current; }

NormCallObserver::NormCallObserver(Callback callback)
    : callback_(std::move(callback)), previous_(std::exchange(g_calls, &callback_)) {}

NormCallObserver::~NormCallObserver() { g_calls = previous_; }

NormCall::NormCall(const void* norm, const torch::Tensor& x) : norm_(norm) {
  if (g_calls != nullptr) (*g_calls)(norm_, &x);
}

NormCall::~NormCall() {
  if (g_calls != nullptr) (*g_calls)(norm_, nullptr);
}

}  // namespace ballast::detail
