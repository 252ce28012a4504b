#include <ballast/base/check.h>
#include <ballast/base/sha256.h>
#include <ballast/data/packed_file.h>
#include <ballast/data/read_file.h>
#include <ballast/io/json.h>

#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>

namespace ballast {
namespace {

using Bytes = std::span<const std::byte>;

constexpr uint64_t kMostHeader = uint64_t{64} << 20;

uint64_t u64_at(Bytes bytes, uint64_t at) {
  uint64_t value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

uint32_t crc_of(Bytes bytes, uint32_t before = 0) {
  return static_cast<uint32_t>(
      crc32_z(before, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
}

class PackedSource final : public Source {
 public:
  explicit PackedSource(const std::string& path) : path_(path), mapped_(std::in_place, path) { open(); }
  PackedSource(std::vector<std::byte> bytes, const std::string& label)
      : path_(label), owned_(std::move(bytes)) {
    open();
  }

  int64_t size() const override { return static_cast<int64_t>(rows_.size()); }
  int64_t label(int64_t i) const override { return row(i).label; }
  std::string name(int64_t i) const override {
    const auto at = static_cast<size_t>(i);
    return names_.substr(name_starts_[at], name_starts_[at + 1] - name_starts_[at]);
  }
  std::string path(int64_t) const override { return path_; }
  std::optional<Role> role(int64_t i) const override {
    return row(i).role < 0 ? std::nullopt : std::optional(static_cast<Role>(row(i).role));
  }
  double weight(int64_t i) const override { return weights_.empty() ? 1 : weights_[static_cast<size_t>(i)]; }
  Stored read(int64_t i, std::vector<std::byte>& buffer) const override;
  const std::vector<std::string>& classes() const override { return classes_; }
  const LabelSets& label_sets() const override { return label_sets_; }
  std::string_view format() const override { return "packed"; }
  int32_t channels() const override { return channels_; }
  std::string digest() const override { return digest_; }
  std::vector<int64_t> identical() const override {
    std::vector<int64_t> same;
    for (const PackedRow& r : rows_) {
      same.push_back(r.same);
    }
    return same;
  }
  const std::vector<std::string>& notes() const override { return notes_; }

 private:
  Bytes all() const { return mapped_ ? mapped_->bytes() : Bytes(owned_); }
  const PackedRow& row(int64_t i) const { return rows_[static_cast<size_t>(i)]; }
  template <class... Parts>
  void require(bool ok, const Parts&... parts) const {
    check<DataError>(ok, "packed", path_, ": ", parts...);
  }
  void open();
  void read_header(Bytes header, uint64_t count);
  void read_label_set(const JsonValue& set);
  void read_names(Bytes names);
  void check_rows(uint64_t first, uint64_t end) const;

  std::string path_;
  std::optional<MappedFile> mapped_;
  std::vector<std::byte> owned_;
  std::vector<PackedRow> rows_;
  std::vector<double> weights_;  // empty: all 1
  std::string names_;
  std::vector<size_t> name_starts_;
  std::vector<std::string> classes_, notes_;
  LabelSets label_sets_;
  int32_t channels_ = 0;
  std::string digest_;
  // Whether a blob's CRC was compared. A race compares it twice.
  mutable std::vector<std::atomic<uint8_t>> compared_;
};

void PackedSource::open() {
  const Bytes file = all();
  const uint64_t size = file.size();
  require(size >= kPackMagic.size() + 8 + kPackEndBytes && std::memcmp(file.data(), kPackMagic.data(), kPackMagic.size()) == 0,
          "must be a packed cache (", kPackMagic, "), got ", size, " bytes of something else");
  const uint64_t end = size - kPackEndBytes;
  require(std::memcmp(file.data() + end + 32, kPackEnd.data(), kPackEnd.size()) == 0,
          "must end with ", kPackEnd, ", got something else: it is truncated");
  const uint64_t index = u64_at(file, end);
  const uint64_t names = u64_at(file, end + 8);
  const uint64_t count = u64_at(file, end + 16);
  const uint64_t header = u64_at(file, kPackMagic.size());
  const uint64_t header_end = kPackMagic.size() + 8 + header;
  require(header <= kMostHeader && header_end <= end, "must have a header inside the file, got ", header, " bytes");
  require(count <= UINT32_MAX && index <= end && names <= end && index % kPackAlignment == 0 && index >= header_end && names >= index &&
              names - index == count * sizeof(PackedRow),
          "must have an index of ", count, " pictures at byte ", index, ": it is damaged");
  uint32_t stored_crc = 0;
  std::memcpy(&stored_crc, file.data() + end + 24, sizeof stored_crc);
  uint32_t crc = crc_of(file.first(static_cast<size_t>(header_end)));
  crc = crc_of(file.subspan(static_cast<size_t>(index), static_cast<size_t>(end - index)), crc);
  require(crc == stored_crc, "must have a header, index and names with the right CRC-32: it is damaged");
  rows_.resize(static_cast<size_t>(count));
  if (count > 0) {
    std::memcpy(rows_.data(), file.data() + index, rows_.size() * sizeof(PackedRow));
  }
  read_header(file.subspan(kPackMagic.size() + 8, static_cast<size_t>(header)), count);
  read_names(file.subspan(static_cast<size_t>(names), static_cast<size_t>(end - names)));
  check_rows(header_end, index);
  Sha256::Digest digest;
  std::memcpy(digest.data(), file.data() + end + 40, digest.size());
  digest_ = hex(digest);
  compared_ = std::vector<std::atomic<uint8_t>>(rows_.size());
}

void PackedSource::read_header(Bytes header, uint64_t count) {
  const JsonValue doc =
      parse_json({reinterpret_cast<const char*>(header.data()), header.size()}, path_);
  require(doc.at("count").unsigned_integer() == count, "must hold ", count, " pictures as its header says");
  for (const JsonValue& name : doc.at("classes").elements()) {
    classes_.push_back(name.string());
  }
  for (const JsonValue& note : doc.at("notes").elements()) {
    notes_.push_back(note.string());
  }
  if (const JsonValue* weights = doc.find("weights")) {
    for (const JsonValue& weight : weights->elements()) weights_.push_back(weight.number());
    require(weights_.size() == count && std::ranges::all_of(weights_, [](double w) { return std::isfinite(w) && w >= 0; }),
            "must hold ", count, " weights >= 0, got others");
  }
  if (const JsonValue* sets = doc.find("label_sets")) {
    for (const JsonValue& set : sets->elements()) read_label_set(set);
    require(!label_sets_.empty(), "must hold sets of labels, got none");
  }
  const int64_t channels = doc.at("channels").integer();
  require(channels == 0 || channels == 1 || channels == 3, "must have 0, 1 or 3 channels, got ", channels);
  channels_ = static_cast<int32_t>(channels);
}

void PackedSource::read_label_set(const JsonValue& set) {
  label_sets_.emplace_back();
  for (const JsonValue& value : set.elements()) {
    const int64_t c = value.integer();
    std::vector<int32_t>& own = label_sets_.back();
    require(c >= 0 && c < static_cast<int64_t>(classes_.size()) && (own.empty() || c > own.back()),
            "must hold sets of ascending labels in [0, ", classes_.size(), "), got ", c);
    own.push_back(static_cast<int32_t>(c));
  }
}

void PackedSource::read_names(Bytes names) {
  name_starts_.push_back(0);
  size_t at = 0;
  for (size_t i = 0; i < rows_.size(); ++i) {
    require(names.size() - at >= 2, "must hold ", rows_.size(), " names, got ", i);
    const size_t length = std::to_integer<size_t>(names[at]) | std::to_integer<size_t>(names[at + 1]) << 8;
    require(names.size() - at - 2 >= length, "must hold whole names, got a cut one");
    names_.append(reinterpret_cast<const char*>(names.data()) + at + 2, length);
    name_starts_.push_back(names_.size());
    at += 2 + length;
  }
  require(at == names.size(), "must hold nothing behind its names");
}

void PackedSource::check_rows(uint64_t first, uint64_t end) const {
  const size_t labels = label_sets_.empty() ? classes_.size() : label_sets_.size();
  for (size_t i = 0; i < rows_.size(); ++i) {
    const PackedRow& r = rows_[i];
    const bool raw = r.codec == 0 && r.bad == 0;
    const bool ok = r.offset >= first && r.offset <= end && r.bytes <= end - r.offset && r.label >= 0 &&
                    static_cast<size_t>(r.label) < labels && r.same <= i && rows_[r.same].same == r.same && r.role >= -1 &&
                    r.role < static_cast<int8_t>(kRoles) && r.codec <= static_cast<uint8_t>(Codec::webp) &&
                    r.bad <= 1 + static_cast<uint8_t>(BadReason::bad_label) &&
                    (!raw || ((r.channels == 1 || r.channels == 3 || r.channels == 4) && r.w > 0 && r.h > 0 &&
                              uint64_t{r.w} * r.h * r.channels == r.bytes)) &&
                    (channels_ == 0 || (raw && r.channels == channels_));
    require(ok, "must have a sound index, got a wrong row for picture ", i);
  }
}

Stored PackedSource::read(int64_t i, std::vector<std::byte>&) const {
  const PackedRow& r = row(i);
  const Bytes blob = all().subspan(static_cast<size_t>(r.offset), r.bytes);
  if (r.bytes == 0) {
    throw DecodeError(r.bad > 0 ? static_cast<BadReason>(r.bad - 1) : BadReason::empty,
                      "it was so when the data were packed");
  }
  auto& compared = compared_[static_cast<size_t>(i)];
  if (compared.load(std::memory_order_relaxed) == 0) {
    if (crc_of(blob) != r.crc) {
      throw DecodeError(BadReason::corrupt, "its CRC-32 in the packed cache is wrong: the cache is damaged");
    }
    compared.store(1, std::memory_order_relaxed);
  }
  if (r.codec != 0 || r.bad != 0) {
    return {.file = blob, .pixels = {}};
  }
  return {.file = {},
          .pixels = {const_cast<std::byte*>(blob.data()), r.h, r.w, r.channels, ptrdiff_t{r.w} * r.channels, DType::u8}};
}

}  // namespace

bool looks_like_packed(const std::string& path) {
  char start[kPackMagic.size()] = {};
  std::ifstream in(path, std::ios::binary);
  in.read(start, sizeof start);
  return in && std::string_view(start, sizeof start) == kPackMagic;
}

std::shared_ptr<const Source> open_packed(const std::string& path) {
  return std::make_shared<PackedSource>(path);
}

std::shared_ptr<const Source> open_packed(std::vector<std::byte> bytes, const std::string& label) {
  return std::make_shared<PackedSource>(std::move(bytes), label);
}

}  // namespace ballast
