#include <ballast/augment/pipeline.h>
#include <ballast/base/check.h>
#include <ballast/data/box_set.h>
#include <ballast/data/csv.h>
#include <ballast/data/hostile_files.h>
#include <ballast/data/idx.h>
#include <ballast/data/pack.h>
#include <ballast/data/packed_file.h>
#include <ballast/data/pixel_source.h>
#include <ballast/data/test_data.h>
#include <ballast/image/decode.h>
#include <ballast/image/jpeg_baseline.h>
#include <ballast/io/json.h>
#include <ballast/io/tar_shards.h>
#include <ballast/io/zip_file.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <random>

// Keyed mutations of a kept corpus (tests/golden, hostile_files.h) for every reader of foreign bytes: each gives a result or a
// DataError, nothing else. 300 inputs each; with BALLAST_SLOW_TESTS (./test --all) 60 seconds each.

namespace ballast {
namespace {

using FileBytes = std::vector<std::byte>;

const std::filesystem::path kGolden = std::filesystem::path(BALLAST_TEST_SOURCE_DIR) / "tests/golden";

FileBytes bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}
std::string_view text_of(const FileBytes& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

class Mutator {
 public:
  explicit Mutator(std::vector<FileBytes> corpus) : corpus_(std::move(corpus)) {}

  FileBytes next() {
    FileBytes file = corpus_[random_() % corpus_.size()];
    for (uint64_t k = 1 + random_() % 4; k > 0; --k) {
      change(file);
    }
    return file;
  }

 private:
  std::vector<FileBytes> corpus_;
  std::mt19937_64 random_{11};

  void change(FileBytes& file) {
    static constexpr uint8_t kEdges[] = {0, 1, 0x7f, 0x80, 0xff, '0', '"', ',', '\n', '<', '&', '/', '.', '{', '['};
    const size_t at = file.empty() ? 0 : random_() % file.size();
    const auto place = file.begin() + static_cast<ptrdiff_t>(at);
    switch (file.empty() ? 3 : random_() % 7) {
      case 0: file[at] ^= static_cast<std::byte>(1U << random_() % 8); break;
      case 1: file[at] = static_cast<std::byte>(kEdges[random_() % sizeof kEdges]); break;
      case 2: file.resize(at); break;
      case 3: file.insert(place, 1 + random_() % 16, static_cast<std::byte>(random_())); break;
      case 4: file.erase(place, file.begin() + static_cast<ptrdiff_t>(std::min(file.size(), at + 1 + random_() % 32))); break;
      case 5: {  // a number of 4 bytes at its ends
        for (size_t i = at; i < std::min(file.size(), at + 4); ++i) file[i] = random_() % 2 == 0 ? std::byte{0xff} : std::byte{0};
        break;
      }
      default: {  // a piece of another file
        const FileBytes& other = corpus_[random_() % corpus_.size()];
        const size_t from = other.empty() ? 0 : random_() % other.size();
        const size_t n = std::min<size_t>({other.size() - from, file.size() - at, 64});
        std::copy_n(other.begin() + static_cast<ptrdiff_t>(from), n, place);
      }
    }
  }
};

template <class Target>
void fuzz(std::vector<FileBytes> corpus, Target target) {
  using Clock = std::chrono::steady_clock;
  const bool slow = std::getenv("BALLAST_SLOW_TESTS") != nullptr;
  const auto end = Clock::now() + std::chrono::seconds(60);
  Mutator mutator(corpus);
  int64_t runs = 0;
  int64_t accepted = 0;
  for (; slow ? Clock::now() < end : runs < 300; ++runs) {
    const FileBytes file = mutator.next();
    try {
      target(file);
      ++accepted;
    } catch (const DataError&) {
    }
  }
  for (const FileBytes& file : corpus) {
    try {
      target(file);
      ++accepted;
    } catch (const DataError&) {
    }
  }
  // A target that refuses everything tests nothing.
  EXPECT_GT(accepted, 0);
  testing::Test::RecordProperty("runs", std::to_string(runs));
}

std::vector<FileBytes> files(std::initializer_list<const char*> names) {
  std::vector<FileBytes> result;
  for (const char* name : names) {
    result.push_back(read_file(kGolden / name));
  }
  return result;
}

TEST(Fuzz, Pictures) {
  std::vector<FileBytes> corpus;
  for (test::HostileFile& file : test::HostileFiles().make()) {
    if (file.bytes.size() < 20000) {
      corpus.push_back(std::move(file.bytes));
    }
  }
  Image storage;
  // Small limits keep an input quick; the decoders' paths are the same.
  const DecodeLimits limits{.max_pixels = 1 << 20};
  fuzz(std::move(corpus), [&](const FileBytes& file) {
    const ImageInfo info = read_info(file, limits);
    jpeg_to_baseline(file);
    decode_into(file, {.channels = 3, .roi = Roi{info.w / 4, info.h / 4, info.w, info.h}, .limits = limits}, storage);
    decode_into(file, {.channels = 1, .roi = {}, .limits = limits, .truncated = Truncated::accept}, storage);
  });
}

TEST(Fuzz, Tar) {
  fuzz(files({"tar/ustar.tar", "tar/pax.tar", "tar/gnu.tar", "tar/v7.tar", "tar/ballast.tar"}), [](const FileBytes& file) {
    const TarFile tar = TarFile::from_bytes(file, "x");
    size_t sum = 0;
    for (const TarMember& m : tar.members()) {
      for (const std::byte b : tar.bytes(m)) sum += std::to_integer<size_t>(b);
    }
    EXPECT_LE(sum, 255 * file.size() * 2);
  });
}

TEST(Fuzz, Zip) {
  fuzz(files({"archives/pictures.zip", "archives/up.zip"}), [](const FileBytes& file) {
    const ZipFile zip = ZipFile::from_bytes(file, "x");
    FileBytes buffer;
    for (const ZipEntry& e : zip.entries()) {
      zip.read(e, buffer, 1 << 20);
    }
  });
}

TEST(Fuzz, Packed) {
  TempFolder folder;
  write_classes(folder / "d", {{"a", 3}, {"b", 2}});
  std::vector<FileBytes> corpus;
  for (const std::string store : {"keep", "raw"}) {
    pack(*open_source({.source = folder / "d"}), folder / "x.bpk", {.store = store});
    corpus.push_back(read_file(folder / "x.bpk"));
  }
  fuzz(std::move(corpus), [](const FileBytes& file) {
    const auto source = open_packed(file, "x");
    FileBytes buffer;
    for (int64_t i = 0; i < source->size(); ++i) {
      source->read(i, buffer);
    }
  });
}

TEST(Fuzz, Csv) {
  fuzz({bytes_of("path,label,role\n\"a,\"\"b\"\".png\",cat,train\r\nb.png,\"d\nog\",test\n"), bytes_of("\xef\xbb\xbf" "a,b\n\n1,\n")},
       [](const FileBytes& file) { parse_csv(text_of(file), "x", [](const std::vector<std::string>& row, int64_t) { EXPECT_FALSE(row.empty()); }); });
}

TEST(Fuzz, Idx) {
  TempFolder folder;
  const std::string path = folder / "x-ubyte";
  FileBytes bytes;
  for (const int v : {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4}) bytes.push_back(static_cast<std::byte>(v));
  bytes.resize(16 + 24, std::byte{7});
  fuzz({bytes}, [&](const FileBytes& file) {
    write_bytes(path, file);
    const IdxArray array = read_idx(path);
    int64_t n = 1;
    for (const int64_t size : array.sizes) n *= size;
    EXPECT_LE(n, static_cast<int64_t>(array.bytes.size()));
  });
}

TEST(Fuzz, Cifar) {
  // Two records of each set: labels, then three planes of 1024 bytes.
  for (const int64_t header : {1, 2}) {
    FileBytes bytes(static_cast<size_t>(2 * (header + 3072)));
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7 % 10);
    fuzz({bytes}, [&](const FileBytes& file) {
      PixelPart part{std::nullopt, "x", "x", {}, {}};
      read_cifar_records(file, header, header - 1, header == 1 ? 10 : 100, part);
      const size_t n = file.size() / static_cast<size_t>(header + 3072);
      ASSERT_EQ(part.labels.size(), n);
      ASSERT_EQ(part.pixels.size(), n * 3072);
      for (size_t i = 0; i < n; ++i) {
        const std::byte* record = file.data() + i * static_cast<size_t>(header + 3072);
        EXPECT_EQ(part.labels[i], std::to_integer<int64_t>(record[header - 1]));
        EXPECT_LT(part.labels[i], header == 1 ? 10 : 100);
        EXPECT_EQ(part.pixels[i * 3072 + 3 * 1023 + 2], record[header + 3071]);
      }
    });
  }
}

TEST(Fuzz, Pipelines) {
  // Of the same kind: what reads strings of timm reads them here.
  fuzz({bytes_of("rrc(224, scale=10%..1, ratio=[0.75, 1.33]) | hflip | jitter(0.4, 0.4, 0.4, 0.1) | erase(0.25, mode=pixel)"),
        bytes_of("one_of(rot(15), hflip | invert(1); weights=[1, 2]) | some_of(1, pad(2, fill=mean)) | maybe(0.3, gaussian_blur)"),
        bytes_of("rand-m9-mstd0.5-inc1 | augmix-m5-w4-d2 | original-mstd0.5 | normalize(mean=[0.5], std=[0.25]) | cutout(\"8\")")},
       [](const FileBytes& file) {
         try {
           const Pipeline p = Pipeline::parse(text_of(file));
           const std::string text = p.text();
           EXPECT_EQ(Pipeline::parse(text).text(), text);
         } catch (const std::invalid_argument& e) {
           throw DataError(e.what());
         }
       });
}

TEST(Fuzz, XmlAndJson) {
  fuzz({bytes_of("<?xml version=\"1.0\"?><a b='c'><!-- d --><e>&lt;&#65;<![CDATA[f]]></e><g/></a>")}, [](const FileBytes& file) { parse_xml(text_of(file), "x"); });
  fuzz({bytes_of(R"({"images": [{"id": 7, "w": -1.5e3, "s": "\u00e9\n"}], "x": [true, null, {}]})")}, [](const FileBytes& file) { parse_json(text_of(file), "x"); });
}

}  // namespace
}  // namespace ballast
