#pragma once

// Look-ups of bytes in tables of 256 entries; plain pointers, not public.

#include <cstddef>
#include <cstdint>

namespace ballast::detail {

/// out[i] = table[in[i]] for i in [0, n). out may be in.
void apply_table(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* table);
void apply_table_reference(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* table);

/// A table of its own for each of three interleaved channels: channel j of a pixel goes through tables + 256 j.
void apply_tables3(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* tables);
void apply_tables3_reference(const uint8_t* in, uint8_t* out, size_t n, const uint8_t* tables);

}  // namespace ballast::detail
