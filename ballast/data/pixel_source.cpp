#include <ballast/base/check.h>
#include <ballast/base/sha256.h>
#include <ballast/data/pixel_source.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>

namespace ballast {
namespace {

/// 64 bits of the content, to find candidates that are then compared.
uint64_t hash_bytes(std::span<const std::byte> bytes) {
  uint64_t hash = 0x9e3779b97f4a7c15 ^ bytes.size();
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, 8);
    hash = (hash ^ word) * 0xff51afd7ed558ccd;
    hash ^= hash >> 32;
  }
  for (; i < bytes.size(); ++i) {
    hash = (hash ^ std::to_integer<uint64_t>(bytes[i])) * 0xff51afd7ed558ccd;
    hash ^= hash >> 32;
  }
  return hash;
}

}  // namespace

PixelSource::PixelSource(std::string_view format, int32_t h, int32_t w, int32_t c,
                         std::vector<PixelPart> parts, std::vector<std::string> classes,
                         std::vector<std::string> notes)
    : format_(format),
      h_(h),
      w_(w),
      c_(c),
      parts_(std::move(parts)),
      classes_(std::move(classes)),
      notes_(std::move(notes)) {
  starts_.push_back(0);
  for (const PixelPart& part : parts_) {
    starts_.push_back(starts_.back() + static_cast<int64_t>(part.labels.size()));
  }
}

PixelSource::Place PixelSource::place(int64_t i) const {
  size_t part = 0;
  while (i >= starts_[part + 1]) {
    ++part;
  }
  return {part, i - starts_[part]};
}

std::span<const std::byte> PixelSource::pixels(int64_t i) const {
  const Place at = place(i);
  const auto bytes = static_cast<size_t>(int64_t{h_} * w_ * c_);
  return std::span(parts_[at.part].pixels).subspan(static_cast<size_t>(at.row) * bytes, bytes);
}

int64_t PixelSource::label(int64_t i) const {
  const Place at = place(i);
  return parts_[at.part].labels[static_cast<size_t>(at.row)];
}

std::string PixelSource::name(int64_t i) const {
  const Place at = place(i);
  return parts_[at.part].name + ' ' + std::to_string(at.row);
}

std::string PixelSource::path(int64_t i) const { return parts_[place(i).part].path; }

std::optional<Role> PixelSource::role(int64_t i) const { return parts_[place(i).part].role; }

Stored PixelSource::read(int64_t i, std::vector<std::byte>&) const {
  // Views are not const; nothing writes through the pictures of a source.
  auto* data = const_cast<std::byte*>(pixels(i).data());
  return {.file = {}, .pixels = {data, h_, w_, c_, ptrdiff_t{w_} * c_, DType::u8}};
}

std::string PixelSource::digest() const {
  Sha256 hash;
  for (const PixelPart& part : parts_) {
    hash.update(part.name);
    hash.update(part.pixels);
    hash.update(std::as_bytes(std::span(part.labels)));
  }
  return hex(hash.finish());
}

std::vector<int64_t> PixelSource::identical() const {
  std::vector<int64_t> first(static_cast<size_t>(size()));
  std::unordered_multimap<uint64_t, int64_t> seen;
  seen.reserve(first.size());
  for (int64_t i = 0; i < size(); ++i) {
    const auto here = pixels(i);
    const uint64_t hash = hash_bytes(here);
    int64_t same = i;
    const auto [begin, end] = seen.equal_range(hash);
    for (auto it = begin; it != end; ++it) {
      if (std::memcmp(pixels(it->second).data(), here.data(), here.size()) == 0) {
        same = it->second;
        break;
      }
    }
    if (same == i) {
      seen.emplace(hash, i);
    }
    first[static_cast<size_t>(i)] = same;
  }
  return first;
}

}  // namespace ballast
