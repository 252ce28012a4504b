#include <ballast/base/check.h>
#include <ballast/base/sha256.h>
#include <ballast/base/test_message.h>
#include <ballast/data/loader.h>
#include <ballast/data/pack.h>
#include <ballast/data/packed_file.h>
#include <ballast/data/test_data.h>
#include <ballast/image/jpeg_baseline.h>
#include <ballast/image/resize.h>
#include <ballast/image/test_files.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cerrno>
#include <cstring>
#include <random>

namespace ballast {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// SHA-256 over everything that two epochs of training give.
std::string digest(const DataSet& data, Role role = Role::train) {
  Pipeline pipeline = Pipeline::parse("random_crop(8, padding=1) | hflip");
  pipeline.set_normalize(data.normalize);
  Loader loader(data.role(role), pipeline, {.batch_size = 7, .seed = 5, .max_bad = 1, .workers = 2});
  Sha256 hash;
  for (int epoch = 0; epoch < 2; ++epoch) {
    loader.start_epoch(epoch);
    while (BatchSlot* batch = loader.next()) {
      const auto n = static_cast<size_t>(batch->n);
      hash.update(std::as_bytes(std::span(batch->data, n * static_cast<size_t>(batch->sample_size()))));
      hash.update(std::as_bytes(std::span(batch->label).first(n)));
      hash.update(std::as_bytes(std::span(batch->id).first(n)));
    }
  }
  return hex(hash.finish());
}

void expect_equal(const DataSet& a, const DataSet& b) {
  EXPECT_EQ(a.classes, b.classes);
  EXPECT_EQ(a.split_csv(), b.split_csv());
  EXPECT_EQ(a.channels, b.channels);
  EXPECT_EQ(a.height, b.height);
  EXPECT_EQ(a.width, b.width);
  EXPECT_EQ(a.normalize, b.normalize);
  EXPECT_EQ(digest(a), digest(b));
}

/// A folder with JPEG of every kind, PNG, gray, duplicates and broken files.
void write_mixed(const TempFolder& folder) {
  write_classes(folder.str(), {{"a", 9}, {"b", 9}});
  const test::JpegKind kinds[] = {
      {.name = "baseline"},
      {.name = "progressive", .progressive = true},
      {.name = "progressive444", .h_factor = 1, .v_factor = 1, .progressive = true},
      {.name = "progressive422", .h_factor = 2, .v_factor = 1, .progressive = true, .restart = 2},
      {.name = "progressivegray", .progressive = true, .components = 1},
      {.name = "cmyk", .progressive = true, .components = 4},
      {.name = "ycck", .progressive = true, .components = 4, .ycck = true}};
  for (const auto& kind : kinds) {
    write_bytes(folder / ("a/" + std::string(kind.name) + ".jpg"),
                test::make_jpeg(test::picture(37, 29, kind.components), kind));
  }
  fs::copy_file(folder / "a/03.png", folder / "b/copy.png");
  write_text(folder / "b/broken.jpg", "no picture");
  write_text(folder / "b/none.png", "");
  const auto whole = encode_jpeg(test_picture(3, 60, 60));
  write_bytes(folder / "b/cut.jpg", std::span(whole).first(whole.size() / 2));
}

TEST(Pack, ARunOnThePackedCacheRepeatsTheRunOnTheFolder) {
  TempFolder folder;
  TempFolder out;
  write_mixed(folder);
  const PackReport report = pack(*open_source({.source = folder.str()}), out / "x.bpk", {});
  EXPECT_EQ(report.pictures, 29);
  EXPECT_EQ(report.made_baseline, 6);
  ASSERT_EQ(report.bad.size(), 3U);
  EXPECT_EQ(report.bad[0].reason, BadReason::not_an_image);
  EXPECT_EQ(report.bad[1].reason, BadReason::truncated);
  EXPECT_EQ(report.bad[2].reason, BadReason::empty);
  const DataSet a = open_data({.source = folder.str()}, Key(3));
  const DataSet b = open_data({.source = out / "x.bpk"}, Key(3));
  EXPECT_EQ(b.format, "packed");
  EXPECT_THAT(b.source->notes(), IsEmpty());
  EXPECT_EQ(a.source->identical(), b.source->identical());
  expect_equal(a, b);
  // The bad samples are the same, too.
  for (int64_t i = 0; i < a.source->size(); ++i) {
    std::vector<std::byte> buffer;
    const auto outcome = [&](const Source& s) {
      try {
        decode(s.read(i, buffer).file);
        return std::string("good");
      } catch (const DecodeError& e) {
        return std::string(to_string(e.reason()));
      }
    };
    EXPECT_EQ(outcome(*a.source), outcome(*b.source)) << a.source->name(i);
  }
}

TEST(Pack, PartsStayAndRawPixelsStayRaw) {
  TempFolder folder;
  write_classes(folder / "p/train", {{"a", 12}, {"b", 12}});
  write_classes(folder / "p/val", {{"a", 4}, {"b", 3}}, 1);
  write_classes(folder / "p/test", {{"b", 5}}, 2);
  std::string pixels;
  std::string labels;
  for (int i = 0; i < 40; ++i) {
    labels += static_cast<char>(i % 4);
    for (int k = 0; k < 100; ++k) {
      pixels += static_cast<char>(7 * i + 3 * k);
    }
  }
  write_text(folder / "idx/train-images-idx3-ubyte", idx_text({40, 10, 10}, pixels));
  write_text(folder / "idx/train-labels-idx1-ubyte", idx_text({40}, labels));
  for (const std::string set : {"p", "idx"}) {
    for (const std::string store : {"keep", "raw"}) {
      const std::string out = folder / (set + store + ".bpk");
      pack(*open_source({.source = folder / set}), out, {.store = store});
      expect_equal(open_data({.source = folder / set}, Key(1)), open_data({.source = out}, Key(1)));
    }
    const auto shards = folder / (set + "-shards");
    const PackReport report = write_shards(*open_source({.source = folder / set}), shards, {.shard_bytes = 8192});
    EXPECT_GT(report.files.size(), 3U);
    const DataSet a = open_data({.source = folder / set}, Key(1));
    const DataSet b = open_data({.source = shards}, Key(1));
    EXPECT_EQ(a.classes, b.classes);
    EXPECT_EQ(a.split_digest(), b.split_digest());
    if (set == "p") {
      EXPECT_EQ(digest(a), digest(b));
      EXPECT_EQ(digest(a, Role::test), digest(b, Role::test));
    }
  }
  // The same data give the same file.
  pack(*open_source({.source = folder / "p"}), folder / "again.bpk", {.threads = 1});
  pack(*open_source({.source = folder / "p"}), folder / "more.bpk", {.threads = 3});
  EXPECT_EQ(read_file(folder / "again.bpk"), read_file(folder / "more.bpk"));
  const std::vector<std::byte> whole = read_file(folder / "again.bpk");
  EXPECT_EQ(open_source({.source = folder / "again.bpk"})->digest(),
            sha256_hex(std::span<const std::byte>(whole).first(whole.size() - 32)));
}

TEST(Pack, ShrinksToAShorterSideAndSaysSo) {
  TempFolder folder;
  write_bytes(folder / "d/a/0.png", encode_png(test::picture(40, 60, 3)));
  write_bytes(folder / "d/b/0.png", encode_png(test::picture(90, 30, 4)));
  write_bytes(folder / "d/b/1.png", encode_png(test::picture(10, 12, 3)));
  const auto source = open_source({.source = folder / "d"});
  for (const std::string store : {"raw", "jpeg"}) {
    pack(*source, folder / "x.bpk", {.store = store, .short_side = 20});
    const auto packed = open_source({.source = folder / "x.bpk"});
    EXPECT_THAT(packed->notes(), ElementsAre(HasSubstr("shrunk to a shorter side of 20 pixels: not the pixels of the original files")));
    std::vector<std::string> sizes;
    std::vector<std::byte> buffer;
    for (int64_t i = 0; i < 3; ++i) {
      const Stored s = packed->read(i, buffer);
      const Image image = s.encoded() ? decode(s.file) : copy_image(s.pixels);
      sizes.push_back(std::to_string(image.h()) + "x" + std::to_string(image.w()) + "x" + std::to_string(image.c()));
      if (store == "raw" && i == 0) {
        EXPECT_TRUE(equal_pixels(image, resize(test::picture(40, 60, 3), 20, 30)));
      }
    }
    EXPECT_THAT(sizes, ElementsAre("20x30x3", store == "raw" ? "60x20x4" : "60x20x3", "10x12x3"));
  }
}

TEST(Pack, ProgressiveJpegsBecomeBaselineWithTheSamePixels) {
  for (const int h : {1, 2}) {
    for (const int v : {1, 2}) {
      for (const int components : {1, 3, 4}) {
        const test::JpegKind kind{.name = "x", .h_factor = h, .v_factor = v, .progressive = true, .components = components};
        for (const auto& [rows, columns] : {std::pair{1, 1}, {7, 5}, {33, 64}, {40, 17}}) {
          const auto file = test::make_jpeg(test::picture(rows, columns, components), kind);
          const auto baseline = jpeg_to_baseline(file);
          ASSERT_FALSE(baseline.empty());
          EXPECT_TRUE(equal_pixels(decode(file), decode(baseline)));
          EXPECT_FALSE(read_info(baseline).progressive);
          EXPECT_EQ(read_info(baseline).cmyk, read_info(file).cmyk);
          EXPECT_THAT(jpeg_to_baseline(baseline), IsEmpty());
        }
      }
    }
  }
  EXPECT_THAT(jpeg_to_baseline({}), IsEmpty());
  const auto file = test::make_jpeg(test::picture(40, 40, 3), {.name = "x", .progressive = true});
  for (size_t n = 0; n < file.size(); n += 11) {
    jpeg_to_baseline(std::span(file).first(n));  // no crash
  }
}

TEST(Pack, DamageIsFound) {
  TempFolder folder;
  write_classes(folder / "d", {{"a", 3}, {"b", 3}});
  pack(*open_source({.source = folder / "d"}), folder / "x.bpk", {});
  const std::vector<std::byte> good = read_file(folder / "x.bpk");
  const auto error_of = [](std::vector<std::byte> bytes) {
    return message_of<DataError>([&] { open_packed(std::move(bytes), "x.bpk"); });
  };
  EXPECT_EQ(error_of(good), "nothing thrown");
  for (size_t n = 0; n < good.size(); ++n) {
    ASSERT_THAT(error_of({good.begin(), good.begin() + static_cast<ptrdiff_t>(n)}), testing::StartsWith("[packed] x.bpk: ")) << n;
  }
  uint64_t index = 0;
  std::memcpy(&index, good.data() + good.size() - 72, sizeof index);
  uint64_t header = 0;
  std::memcpy(&header, good.data() + 8, sizeof header);
  std::vector<std::byte> buffer;
  for (size_t at = 0; at < good.size() - 32; ++at) {
    auto bad = good;
    bad[at] ^= std::byte{0x10};
    const bool in_blobs = at >= 16 + header && at < index;
    const bool unused = at >= good.size() - 72 + 28 && at < good.size() - 72 + 32;
    if (!in_blobs) {
      EXPECT_EQ(error_of(bad) == "nothing thrown", unused) << at;
      continue;
    }
    const auto source = open_packed(bad, "x.bpk");
    int corrupt = 0;
    for (int64_t i = 0; i < source->size(); ++i) {
      try {
        source->read(i, buffer);
      } catch (const DecodeError& e) {
        corrupt += e.reason() == BadReason::corrupt;
      }
    }
    EXPECT_LE(corrupt, 1);  // a byte between two blobs belongs to none
  }
  // One that is crafted: every field of the index and the end, with sums that are right.
  std::mt19937 random(1);
  for (int i = 0; i < 3000; ++i) {
    auto bad = good;
    const size_t end = good.size() - 72;
    for (int k = 0; k < 2; ++k) {
      const size_t span = end + 24 - index;
      bad[index + random() % span] = static_cast<std::byte>(random());
    }
    uint64_t now = 0;
    std::memcpy(&now, bad.data() + end, sizeof now);
    uLong crc = crc32_z(0, reinterpret_cast<const unsigned char*>(bad.data()), 16 + header);
    if (now <= end) {
      crc = crc32_z(crc, reinterpret_cast<const unsigned char*>(bad.data()) + now, end - now);
    }
    const auto sum = static_cast<uint32_t>(crc);
    std::memcpy(bad.data() + end + 24, &sum, sizeof sum);
    try {
      const auto source = open_packed(bad, "x.bpk");
      for (int64_t p = 0; p < source->size(); ++p) {
        try {
          const Stored s = source->read(p, buffer);
          s.encoded() ? decode(s.file) : copy_image(s.pixels);
        } catch (const DecodeError&) {
        }
      }
    } catch (const DataError&) {
    }
  }
}

TEST(Pack, AFaultLeavesNothingBehind) {
  TempFolder folder;
  write_classes(folder / "d", {{"a", 2}, {"b", 2}});
  const auto source = open_source({.source = folder / "d"});
  for (int64_t call = 1;; ++call) {
    fs::create_directories(folder / "out");
    FaultFs faults(real_fs(), {.call = call, .error_number = ENOSPC, .forever = true});
    bool failed = false;
    try {
      pack(*source, folder / "out/x.bpk", {}, faults);
    } catch (const StorageError&) {
      failed = true;
    }
    if (!faults.hit()) {
      break;
    }
    EXPECT_TRUE(failed);
    EXPECT_EQ(fs::is_empty(folder / "out"), faults.failed_call() != "fsync_dir") << faults.failed_call();
    fs::remove_all(folder / "out");
  }
}

TEST(Pack, RefusesWrongOptions) {
  TempFolder folder;
  write_classes(folder / "d", {{"a", 2}, {"b", 2}});
  const auto source = open_source({.source = folder / "d"});
  const auto error = [&](const PackOptions& o) {
    return message_of<std::invalid_argument>([&] { pack(*source, folder / "x", o); });
  };
  EXPECT_EQ(error({.store = "png"}), "[pack] store must be keep, raw or jpeg, got \"png\"");
  EXPECT_EQ(error({.store = "keep", .short_side = 9}), "[pack] short_side needs store jpeg or raw, got keep");
  EXPECT_EQ(error({.store = "raw", .short_side = -1}), "[pack] short_side must be in [0, 16384], got -1");
  EXPECT_EQ(error({.quality = 0}), "[pack] quality must be in [1, 100], got 0");
  EXPECT_EQ(error({.threads = -1}), "[pack] threads must be >= 0, got -1");
  EXPECT_FALSE(fs::exists(folder / "x"));
  EXPECT_THROW(write_shards(*source, folder / "s", {.store = "raw"}), std::invalid_argument);
  write_shards(*source, folder / "s", {});
  EXPECT_THAT(message_of<std::invalid_argument>([&] { write_shards(*source, folder / "s", {}); }),
              HasSubstr("must hold no shards yet, got data-000000.tar"));
}

}  // namespace
}  // namespace ballast
