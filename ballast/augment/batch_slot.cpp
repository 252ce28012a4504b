#include <ballast/augment/batch_slot.h>

#include <sys/mman.h>

#include <cstdlib>
#include <new>

#include <ballast/base/check.h>

namespace ballast {

std::string_view to_string(Layout layout) { return layout == Layout::chw ? "chw" : "hwc"; }

void BatchSlot::Free::operator()(float* p) const { std::free(p); }

void BatchSlot::reset(int64_t samples, int32_t channels, int32_t height, int32_t width, Layout order) {
  check(samples >= 0 && height >= 0 && width >= 0, "batch_slot", "sizes must not be negative, got ", samples,
        "x", channels, "x", height, "x", width);
  check(channels == 1 || channels == 3 || channels == 4, "batch_slot", "channels must be 1, 3 or 4, got ", channels);
  constexpr int64_t kMost = int64_t{1} << 40;
  const int64_t sample = int64_t{channels} * height * width;
  check(sample <= kMost && (sample == 0 || samples <= kMost / sample), "batch_slot",
        "at most 2^40 values, got ", samples, "x", channels, "x", height, "x", width);
  constexpr size_t kHuge = size_t{2} << 20;
  size_t bytes = static_cast<size_t>(samples * sample) * sizeof(float) + 64;
  if (bytes > bytes_) {
    const bool huge = bytes >= 2 * kHuge;
    const size_t alignment = huge ? kHuge : 64;
    bytes = (bytes + alignment - 1) / alignment * alignment;
    auto* p = static_cast<float*>(std::aligned_alloc(alignment, bytes));
    if (p == nullptr) throw std::bad_alloc();
    // Advice only: without huge pages everything works, with more page faults.
    if (huge) (void)madvise(p, bytes, MADV_HUGEPAGE);
    memory_.reset(p);
    bytes_ = bytes;
  }
  set(memory_.get(), samples, channels, height, width, order);
}

void BatchSlot::borrow(float* values, int64_t samples, int32_t channels, int32_t height, int32_t width, Layout order) {
  set(values, samples, channels, height, width, order);
}

void BatchSlot::set(float* values, int64_t samples, int32_t channels, int32_t height, int32_t width, Layout order) {
  data = values;
  n = capacity = samples;
  c = channels;
  h = height;
  w = width;
  layout = order;
  const auto count = static_cast<size_t>(samples);
  label.assign(count, 0);
  id.assign(count, 0);
  weight.assign(count, 1.0F);
  mixed = false;
  partner.assign(count, 0);
  lambda.assign(count, 1.0F);
}

}  // namespace ballast
