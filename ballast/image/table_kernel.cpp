#include <ballast/image/table_kernel.h>

#if defined(__x86_64__)
#ifndef BALLAST_TABLE_KERNEL_VBMI
#define BALLAST_TABLE_KERNEL_VBMI
#include <immintrin.h>

namespace ballast::detail {
namespace {

// Look-ups of 256 entries in four registers: AVX-512 VBMI, which no target of Highway stands for alone.
#define BALLAST_VBMI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi")))

bool has_vbmi() {
  static const bool has = __builtin_cpu_supports("avx512vbmi") != 0;
  return has;
}

struct Entries {
  __m512i a, b, c, d;
};
BALLAST_VBMI inline Entries load_entries(const uint8_t* table) {
  return {_mm512_loadu_si512(table), _mm512_loadu_si512(table + 64), _mm512_loadu_si512(table + 128),
          _mm512_loadu_si512(table + 192)};
}
BALLAST_VBMI inline __m512i look_up(const Entries& e, __m512i x) {
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), _mm512_permutex2var_epi8(e.a, x, e.b),
                                _mm512_permutex2var_epi8(e.c, x, e.d));
}
BALLAST_VBMI inline __mmask64 first(size_t n) { return n >= 64 ? ~__mmask64{0} : (__mmask64{1} << n) - 1; }

BALLAST_VBMI void table_vbmi(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* table) {
  const Entries e = load_entries(table);
  for (size_t i = 0; i < n; i += 64) {
    const __mmask64 some = first(n - i);
    _mm512_mask_storeu_epi8(out + i, some, look_up(e, _mm512_maskz_loadu_epi8(some, in + i)));
  }
}

BALLAST_VBMI void tables3_vbmi(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* tables) {
  const Entries r = load_entries(tables), g = load_entries(tables + 256), b = load_entries(tables + 512);
  // Bytes 0, 3, 6, ... of a vector; 64 = 21 * 3 + 1, so that the next begins one channel later.
  constexpr __mmask64 kThirds = 0x9249249249249249;
  const __mmask64 of[3] = {kThirds, kThirds << 2, kThirds << 1};
  for (size_t i = 0, phase = 0; i < 3 * n; i += 64, phase = (phase + 1) % 3) {
    const __mmask64 some = first(3 * n - i);
    const __m512i x = _mm512_maskz_loadu_epi8(some, in + i);
    // Byte p holds channel (p + phase) % 3.
    const __m512i rg = _mm512_mask_blend_epi8(of[phase], look_up(g, x), look_up(r, x));
    _mm512_mask_storeu_epi8(out + i, some, _mm512_mask_blend_epi8(of[(phase + 1) % 3], rg, look_up(b, x)));
  }
}
#undef BALLAST_VBMI

}  // namespace
}  // namespace ballast::detail
#endif
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ballast/image/table_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ballast::detail {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR

void Table(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* table) { apply_table_reference(in, out, n, table); }
void Tables3(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* tables) {
  apply_tables3_reference(in, out, n, tables);
}

#else

using DT = hn::ScalableTag<uint8_t>;

/// Byte-wise look-up in 256 entries: sixteen shuffles, each for the bytes of one high nibble; the others have their top
/// bit set, for which the shuffle gives 0.
HWY_INLINE hn::Vec<DT> LookUp(hn::Vec<DT> x, const uint8_t* table) {
  const DT d;
  auto out = hn::Zero(d);
  const auto lift = hn::Set(d, uint8_t{0x70});
  for (size_t k = 0; k < 16; ++k) {
    const auto high = hn::Set(d, static_cast<uint8_t>(k << 4));
    const auto index = hn::SaturatedAdd(hn::Xor(x, high), lift);
    out = hn::Or(out, hn::TableLookupBytesOr0(hn::LoadDup128(d, table + 16 * k), index));
  }
  return out;
}

void Table(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* table) {
#if HWY_TARGET == HWY_AVX3
  if (has_vbmi()) return table_vbmi(in, out, n, table);
#endif
  const DT d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(LookUp(hn::LoadU(d, in + i), table), d, out + i);
  for (; i < n; ++i) out[i] = table[in[i]];
}

void Tables3(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* tables) {
#if HWY_TARGET == HWY_AVX3
  if (has_vbmi()) return tables3_vbmi(in, out, n, tables);
#endif
  const DT d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    auto r = hn::Undefined(d), g = r, b = r;
    hn::LoadInterleaved3(d, in + 3 * i, r, g, b);
    hn::StoreInterleaved3(LookUp(r, tables), LookUp(g, tables + 256), LookUp(b, tables + 512), d, out + 3 * i);
  }
  apply_tables3_reference(in + 3 * i, out + 3 * i, n - i, tables);
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace ballast::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ballast::detail {

HWY_EXPORT(Table);
HWY_EXPORT(Tables3);

void apply_table_reference(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* table) {
  for (size_t i = 0; i < n; ++i) out[i] = table[in[i]];
}

void apply_tables3_reference(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* tables) {
  for (size_t i = 0; i < n; ++i, in += 3, out += 3) {
    for (size_t j = 0; j < 3; ++j) out[j] = tables[256 * j + in[j]];
  }
}

void apply_table(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* table) {
  HWY_DYNAMIC_DISPATCH(Table)(in, out, n, table);
}
void apply_tables3(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* tables) {
  HWY_DYNAMIC_DISPATCH(Tables3)(in, out, n, tables);
}

}  // namespace ballast::detail
#endif
