#include <ballast/base/check.h>
#include <ballast/base/cpu.h>
#include <ballast/base/sha256.h>
#include <ballast/base/thread_pool.h>
#include <ballast/data/pack.h>
#include <ballast/data/packed_file.h>
#include <ballast/image/decode.h>
#include <ballast/image/encode.h>
#include <ballast/image/jpeg_baseline.h>
#include <ballast/image/resize.h>
#include <ballast/io/json.h>
#include <ballast/io/tar_shards.h>

#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

namespace ballast {
namespace {

static_assert(std::endian::native == std::endian::little, "the packed cache is written as it lies in memory");

using Bytes = std::span<const std::byte>;

// Pictures that are made at once and then written.
constexpr int64_t kChunk = 256;

uint32_t crc_of(Bytes bytes, uint32_t before = 0) {
  return static_cast<uint32_t>(
      crc32_z(before, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
}

/// A picture as it will be written.
struct Made {
  std::vector<std::byte> bytes;
  int32_t w = 0, h = 0, c = 0;
  Codec codec = Codec::unknown;
  bool baseline = false;
  int64_t bytes_in = 0;
  std::optional<BadReason> bad;
  std::string detail;
};

void check_options(const PackOptions& o) {
  check(o.store == "keep" || o.store == "raw" || o.store == "jpeg", "pack", "store must be keep, raw or jpeg, got \"", o.store, '"');
  check(o.short_side >= 0 && o.short_side <= 16384, "pack", "short_side must be in [0, 16384], got ", o.short_side);
  check(o.short_side == 0 || o.store != "keep", "pack", "short_side needs store jpeg or raw, got keep");
  check(o.quality >= 1 && o.quality <= 100, "pack", "quality must be in [1, 100], got ", o.quality);
  check(o.threads >= 0, "pack", "threads must be >= 0, got ", o.threads);
  check(o.shard_bytes >= 1, "pack", "shard_bytes must be >= 1, got ", o.shard_bytes);
}

void take_pixels(Made& made, ImageView image) {
  made.bytes.clear();
  for (int32_t y = 0; y < image.h; ++y) {
    made.bytes.insert(made.bytes.end(), image.row(y), image.row(y) + ptrdiff_t{image.w} * image.c);
  }
}

/// Shrinks and encodes pixels; `png`: raw pixels become a PNG file.
void encode(Made& made, ImageView pixels, const PackOptions& o, bool png) {
  Image small;
  const int32_t side = std::min(pixels.h, pixels.w);
  if (o.short_side > 0 && side > o.short_side) {
    const double scale = static_cast<double>(o.short_side) / side;
    const auto of = [&](int32_t n) {
      return n == side ? o.short_side : std::max(1, static_cast<int32_t>(std::lround(scale * n)));
    };
    small = resize(pixels, of(pixels.h), of(pixels.w));
    pixels = small;
  }
  made.h = pixels.h;
  made.w = pixels.w;
  made.c = pixels.c;
  if (o.store == "jpeg") {
    made.bytes = encode_jpeg(pixels, o.quality);
    made.codec = Codec::jpeg;
  } else if (png) {
    made.bytes = encode_png(pixels);
    made.codec = Codec::png;
  } else {
    take_pixels(made, pixels);
    made.codec = Codec::unknown;
  }
}

Made make(const Source& source, int64_t i, const PackOptions& o, bool png, std::vector<std::byte>& buffer, Image& storage) {
  Made made;
  try {
    const Stored stored = source.read(i, buffer);
    if (!stored.encoded()) {
      made.bytes_in = int64_t{stored.pixels.h} * stored.pixels.w * stored.pixels.c;
      encode(made, stored.pixels, o, png);
      return made;
    }
    made.bytes_in = static_cast<int64_t>(stored.file.size());
    if (o.store == "keep") {
      made.bytes.assign(stored.file.begin(), stored.file.end());
    }
    DecodeReport report;
    const ImageInfo info = read_info(stored.file);
    const int32_t channels = o.store == "jpeg" && info.c == 4 ? 3 : 0;
    const ImageView pixels = decode_into(stored.file, {.channels = channels, .roi = {}, .limits = {}}, storage, &report);
    if (o.store != "keep") {
      encode(made, pixels, o, png);
      return made;
    }
    made.h = info.h;
    made.w = info.w;
    made.c = info.c;
    made.codec = info.codec;
    // A file whose decoder had to correct something is left alone.
    if (info.progressive && report.warnings == 0) {
      std::vector<std::byte> baseline = jpeg_to_baseline(stored.file);
      if (!baseline.empty()) {
        made.bytes = std::move(baseline);
        made.baseline = true;
      }
    }
  } catch (const DecodeError& e) {
    made.bad = e.reason();
    made.detail = e.detail();
    made.codec = Codec::unknown;
  }
  return made;
}

/// Makes all pictures, many at once, and hands them over in order.
template <class Use>
void make_all(const Source& source, const PackOptions& o, bool png, PackReport& report, Use use) {
  ThreadPool pool(o.threads > 0 ? o.threads : usable_cores());
  const auto threads = static_cast<size_t>(pool.size());
  std::vector<std::vector<std::byte>> buffers(threads);
  std::vector<Image> storages(threads);
  std::vector<Made> made;
  for (int64_t first = 0; first < source.size(); first += kChunk) {
    const int64_t n = std::min(kChunk, source.size() - first);
    made.clear();
    made.resize(static_cast<size_t>(n));
    pool.run(n, [&](int64_t k, int thread) {
      const auto t = static_cast<size_t>(thread);
      made[static_cast<size_t>(k)] = make(source, first + k, o, png, buffers[t], storages[t]);
    });
    for (int64_t k = 0; k < n; ++k) {
      const Made& m = made[static_cast<size_t>(k)];
      const int64_t i = first + k;
      if (m.bad) {
        report.bad.push_back({.id = static_cast<uint64_t>(i),
                              .path = source.name(i),
                              .role = source.role(i).value_or(Role::train),
                              .reason = *m.bad,
                              .detail = m.detail,
                              .bytes = m.bytes_in,
                              .action = "",
                              .substitute_id = {}});
      }
      report.bytes_in += m.bytes_in;
      report.made_baseline += m.baseline;
      use(i, m);
    }
  }
}

std::string store_note(const PackOptions& o) {
  return std::string(o.store == "raw" ? "packed as pixels" : "packed as JPEG of quality " + std::to_string(o.quality)) +
         (o.short_side > 0 ? ", shrunk to a shorter side of " + std::to_string(o.short_side) + " pixels" : "") +
         ": not the pixels of the original files";
}

/// Writes and keeps the SHA-256 of what was written.
class Writer {
 public:
  Writer(FileSystem& fs, const std::filesystem::path& path) : file_(fs, path) {}
  void write(Bytes bytes) {
    file_.write(bytes);
    hash_.update(bytes);
  }
  void pad() {
    static constexpr std::array<std::byte, kPackAlignment> kZeros{};
    write(Bytes(kZeros).first((kPackAlignment - file_.size() % kPackAlignment) % kPackAlignment));
  }
  template <class T>
  void number(T value, uint32_t* crc = nullptr) {
    const Bytes bytes = std::as_bytes(std::span(&value, 1));
    write(bytes);
    if (crc != nullptr) {
      *crc = crc_of(bytes, *crc);
    }
  }
  void text(std::string_view value) { write(std::as_bytes(std::span(value))); }
  uint64_t size() const { return file_.size(); }
  void finish() {
    const Sha256::Digest digest = hash_.finish();
    file_.write(std::as_bytes(std::span(digest)));
    file_.finish();
  }

 private:
  StagedFile file_;
  Sha256 hash_;
};

}  // namespace

PackReport pack(const Source& source, const std::filesystem::path& out, const PackOptions& options, FileSystem& fs) {
  check_options(options);
  check(source.size() > 0 && source.size() < UINT32_MAX, "pack", "the source must hold 1 to 2^32 - 2 pictures, got ", source.size());
  const bool pixels = source.channels() > 0;
  PackReport report;
  report.pictures = source.size();
  report.files.push_back(out);
  JsonValue header = JsonValue::object();
  header["format"] = 1;
  header["count"] = source.size();
  header["classes"] = JsonValue(source.classes());
  // Where all pictures are pixels of one kind, a run measures all of them, as it does with the source.
  header["channels"] = pixels && options.store != "jpeg" ? source.channels() : 0;
  header["store"] = pixels && options.store == "keep" ? "raw" : options.store;
  header["short_side"] = options.short_side;
  header["source_format"] = source.format();
  header["source_digest"] = source.digest();
  std::vector<std::string> notes = source.notes();
  if (options.store == "jpeg" || options.short_side > 0) {
    notes.push_back(store_note(options));
  }
  header["notes"] = JsonValue(notes);
  std::vector<double> weights;
  for (int64_t i = 0; i < source.size(); ++i) weights.push_back(source.weight(i));
  if (std::ranges::any_of(weights, [](double w) { return w != 1; })) {
    header["weights"] = JsonValue(weights);
  }
  if (source.several_labels()) {
    JsonValue sets = JsonValue::array();
    for (const std::vector<int32_t>& set : source.label_sets()) {
      sets.push_back(std::vector<int64_t>(set.begin(), set.end()));
    }
    header["label_sets"] = std::move(sets);
  }
  const std::string text = header.text();

  const std::vector<int64_t> same = source.identical();
  Writer writer(fs, out);
  writer.text(kPackMagic);
  writer.number(uint64_t{text.size()});
  writer.text(text);
  uint32_t crc = crc_of(std::as_bytes(std::span(kPackMagic)));
  const uint64_t length = text.size();
  crc = crc_of(std::as_bytes(std::span(&length, 1)), crc);
  crc = crc_of(std::as_bytes(std::span(text)), crc);
  std::vector<PackedRow> rows(static_cast<size_t>(source.size()));
  make_all(source, options, false, report, [&](int64_t i, const Made& m) {
    writer.pad();
    PackedRow& row = rows[static_cast<size_t>(i)];
    check<DataError>(m.bytes.size() <= UINT32_MAX, "pack", source.name(i), ": must have less than 4 GiB, got ", m.bytes.size());
    row.offset = writer.size();
    row.bytes = static_cast<uint32_t>(m.bytes.size());
    row.crc = crc_of(m.bytes);
    row.label = static_cast<int32_t>(source.label(i));
    row.same = static_cast<uint32_t>(same[static_cast<size_t>(i)]);
    row.w = static_cast<uint16_t>(m.w);
    row.h = static_cast<uint16_t>(m.h);
    row.codec = static_cast<uint8_t>(m.codec);
    row.channels = static_cast<uint8_t>(m.c);
    row.role = source.role(i) ? static_cast<int8_t>(*source.role(i)) : int8_t{-1};
    row.bad = m.bad ? static_cast<uint8_t>(1 + static_cast<int>(*m.bad)) : uint8_t{0};
    writer.write(m.bytes);
    report.bytes_out += static_cast<int64_t>(m.bytes.size());
  });
  writer.pad();
  const uint64_t index = writer.size();
  const Bytes index_bytes = std::as_bytes(std::span(rows));
  writer.write(index_bytes);
  crc = crc_of(index_bytes, crc);
  const uint64_t names = writer.size();
  for (int64_t i = 0; i < source.size(); ++i) {
    const std::string name = source.name(i);
    check<DataError>(name.size() <= UINT16_MAX, "pack", "a name must have at most 65,535 bytes, got ", name.size());
    writer.number(static_cast<uint16_t>(name.size()), &crc);
    writer.text(name);
    crc = crc_of(std::as_bytes(std::span(name)), crc);
  }
  writer.number(index);
  writer.number(names);
  writer.number(static_cast<uint64_t>(source.size()));
  writer.number(crc);
  writer.number(uint32_t{0});
  writer.text(kPackEnd);
  writer.finish();
  return report;
}

PackReport write_shards(const Source& source, const std::filesystem::path& folder, const PackOptions& options, FileSystem& fs) {
  check_options(options);
  check(options.store != "raw", "pack", "shards hold files: store must be keep or jpeg, got raw");
  check(!source.several_labels(), "pack", "shards hold one label a picture: pack a list of several labels into one file, got \"",
        source.several_labels() ? source.label_text(0) : "", '"');
  make_folders(fs, folder);
  std::vector<FolderEntry> entries;
  fs.readdir(folder, entries);
  for (const FolderEntry& entry : entries) {
    check(!entry.name.ends_with(".tar"), "pack", folder.string(), " must hold no shards yet, got ", entry.name);
  }
  for (int64_t i = 0; i < source.size(); ++i) {
    check(source.weight(i) == 1, "pack", "shards cannot hold weights: pack the list into one file, got weight ", source.weight(i),
          " of ", source.name(i));
  }
  PackReport report;
  report.pictures = source.size();
  std::string classes;
  for (const std::string& name : source.classes()) {
    check(name.find_first_of("\r\n") == std::string::npos, "pack", "a class's name must be one line, got \"", name, '"');
    classes += name + '\n';
  }
  write_file_atomic(fs, folder / "classes.txt", classes);
  std::optional<TarWriter> tar;
  std::optional<Role> current;
  uint64_t used = 0;
  int shard = 0;
  make_all(source, options, source.channels() > 0, report, [&](int64_t i, const Made& m) {
    if (m.bad) {
      return;
    }
    const std::optional<Role> role = source.role(i);
    if (tar && (role != current || used >= options.shard_bytes)) {
      tar->finish();
      tar.reset();
      shard = role != current ? 0 : shard + 1;
    }
    if (!tar) {
      current = role;
      used = 0;
      std::string number = std::to_string(shard);
      number.insert(0, number.size() < 6 ? 6 - number.size() : 0, '0');
      report.files.push_back(folder / ((role ? std::string(to_string(*role)) : "data") + "-" + number + ".tar"));
      tar.emplace(fs, report.files.back());
    }
    std::string key = std::to_string(i);
    key.insert(0, key.size() < 9 ? 9 - key.size() : 0, '0');
    const std::string label = std::to_string(source.label(i));
    tar->add(key + (m.codec == Codec::jpeg ? ".jpg" : m.codec == Codec::png ? ".png" : ".webp"), m.bytes);
    tar->add(key + ".cls", std::as_bytes(std::span(label)));
    used = tar->size();
    report.bytes_out += static_cast<int64_t>(m.bytes.size());
  });
  if (tar) {
    tar->finish();
  }
  return report;
}

}  // namespace ballast
