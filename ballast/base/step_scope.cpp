#include <ballast/base/step_scope.h>

#include <atomic>

namespace ballast {
namespace {

thread_local const StepScope* innermost = nullptr;
std::atomic<uint64_t> last_serial{0};

}  // namespace

StepScope::StepScope(uint64_t seed, uint64_t attempt, uint64_t step, int64_t first_row)
    : StepScope(attempt > 0 ? Key(seed).fold_in("attempt").fold_in(attempt) : Key(seed), step, first_row) {}

StepScope::StepScope(Key key, uint64_t step, int64_t first_row)
    : key_(key), step_(step), first_row_(first_row), serial_(++last_serial), outer_(innermost) {
  innermost = this;
}

StepScope::~StepScope() { innermost = outer_; }

const StepScope* StepScope::current() { return innermost; }

}  // namespace ballast
