#include <ballast/base/sha256.h>
#include <ballast/data/hostile_files.h>
#include <ballast/data/loader.h>
#include <ballast/data/test_data.h>
#include <ballast/image/decode.h>
#include <ballast/io/file.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/resource.h>
#include <time.h>

#include <map>
#include <set>

// More than 300 files made to harm (hostile_files.h): nothing crashes, memory and time are bounded, each is listed with its
// reason in tests/golden/hostile.csv, and a run over all of them goes on and gives the same bits however it is made.

namespace ballast {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(BALLAST_TEST_SOURCE_DIR) / "tests/golden/hostile.csv";

double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// MiB of freed memory that the address sanitizer holds back.
#if defined(__SANITIZE_ADDRESS__)
constexpr int64_t kQuarantine = 256;
#else
constexpr int64_t kQuarantine = 0;
#endif

int64_t peak_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

std::string outcome(const std::vector<std::byte>& file, Image& storage) {
  try {
    decode_into(file, {}, storage);
    return "used";
  } catch (const DecodeError& e) {
    return std::string(to_string(e.reason()));
  }
}

TEST(Hostile, EachFileIsListedWithItsReasonWithinBounds) {
  const auto files = test::HostileFiles().make();
  EXPECT_GE(files.size(), 300U);
  Image storage;
  std::string list = "file,outcome\n";
  std::map<std::string, int> reasons;
  const int64_t before = peak_mib();
  for (const test::HostileFile& file : files) {
    const double start = cpu_seconds();
    const std::string result = outcome(file.bytes, storage);
    const double seconds = cpu_seconds() - start;
    EXPECT_LE(seconds, 1.0) << file.name;
    list += file.name + ',' + result + '\n';
    ++reasons[result];
    // A part, and as much as there is: other ways through the decoders.
    for (const int32_t channels : {1, 3, 4}) {
      try {
        const ImageInfo info = read_info(file.bytes);
        const Roi roi{info.w / 2, info.h / 3, info.w / 2 + 1, info.h};
        decode_into(file.bytes, {.channels = channels, .roi = roi}, storage);
        decode_into(file.bytes, {.channels = channels, .truncated = Truncated::accept}, storage);
      } catch (const DecodeError&) {
      }
    }
  }
  // The decoders' limit, and 64 MiB.
  EXPECT_LE(peak_mib() - before, 256 + 64 + kQuarantine);
  EXPECT_EQ(list, read_text_file(kGolden));
  for (const char* reason : {"used", "truncated", "corrupt", "not_an_image", "unsupported", "too_large", "too_many_scans", "animated", "empty"}) {
    EXPECT_GT(reasons[reason], 0) << reason;
  }
}

// Decoders are reused from file to file and must not remember: libjpeg keeps the tables of the file before.
TEST(Hostile, APictureDoesNotDependOnTheOneBefore) {
  const auto digest = [](const std::vector<std::byte>& before, const std::vector<std::byte>& file) {
    Image storage;
    decode_into(before, {}, storage);
    try {
      const ImageView image = decode_into(file, {}, storage);
      Sha256 hash;
      for (int32_t y = 0; y < image.h; ++y) {
        hash.update({image.row(y), static_cast<size_t>(image.w) * static_cast<size_t>(image.c)});
      }
      return hex(hash.finish());
    } catch (const DecodeError& e) {
      return std::string(e.what());
    }
  };
  const auto coarse = test::make_jpeg(test::picture(64, 64, 3), {.name = "a", .optimized = true, .quality = 5});
  const auto fine = test::make_jpeg(test::picture(40, 90, 3, 7), {.name = "b", .progressive = true, .quality = 99});
  for (const test::HostileFile& file : test::HostileFiles().make()) {
    EXPECT_EQ(digest(coarse, file.bytes), digest(fine, file.bytes)) << file.name;
  }
}

/// Bits of every sample of an epoch, by id.
std::map<uint64_t, std::string> run(const DataSet& data, int workers, int prefetch, int64_t batch_size, std::string* bad_csv) {
  Loader loader(data.role(Role::train), Pipeline::parse("random_resized_crop(16) | hflip"),
                {.batch_size = batch_size, .seed = 3, .channels = 3, .max_bad = 1, .drop_single = false, .workers = workers, .prefetch = prefetch});
  loader.start_epoch(1);
  std::map<uint64_t, std::string> rows;
  while (BatchSlot* batch = loader.next()) {
    for (int64_t i = 0; i < batch->n; ++i) {
      rows[batch->id[static_cast<size_t>(i)]] =
          sha256_hex(std::as_bytes(std::span(batch->row(i), static_cast<size_t>(batch->sample_size())))) + std::to_string(batch->label[static_cast<size_t>(i)]);
    }
  }
  std::vector<BadSample> bad = loader.bad_samples();
  std::sort(bad.begin(), bad.end(), [](const BadSample& a, const BadSample& b) { return a.id < b.id; });
  *bad_csv = bad_samples_csv(bad);
  return rows;
}

TEST(Hostile, ARunGoesOnWithTheSameBits) {
  TempFolder folder;
  write_classes(folder / "d", {{"a", 99}, {"b", 99}});
  const auto files = test::HostileFiles().make();
  Image storage;
  std::map<std::string, std::string> expected;
  for (const test::HostileFile& file : files) {
    const std::string name = (file.name.size() % 2 == 0 ? "a/" : "b/") + ("x-" + file.name) + ".jpg";
    write_bytes(folder / ("d/" + name), file.bytes);
    const std::string result = outcome(file.bytes, storage);
    if (result != "used") {
      expected[name] = result;
    }
  }
  const DataOptions options{.source = folder / "d", .split_val = 0, .split_test = 0};
  const DataSet data = open_data(options, Key(1));
  // A file becomes a folder, and one goes away, after they were listed.
  fs::remove(folder / "d/a/00.png");
  fs::create_directory(folder / "d/a/00.png");
  fs::remove(folder / "d/a/01.png");
  expected["a/00.png"] = "directory";
  expected["a/01.png"] = "missing";
  std::string csv;
  const auto first = run(data, 0, 1, 32, &csv);
  EXPECT_EQ(first.size(), files.size() + 198);
  for (const auto& [workers, prefetch, batch] : {std::tuple{1, 2, 32}, {2, 8, 7}, {4, 1, 64}, {8, 4, 3}}) {
    std::string other_csv;
    EXPECT_EQ(run(data, workers, prefetch, batch, &other_csv), first) << workers;
    EXPECT_EQ(other_csv, csv);
  }
  // Each bad file is named with its reason, and nothing else is.
  std::map<std::string, std::string> named;
  size_t at = csv.find('\n') + 1;
  while (at < csv.size()) {
    const std::string line = csv.substr(at, csv.find('\n', at) - at);
    const size_t path = line.find(',') + 1;
    const size_t role = line.find(",train,", path);
    named[line.substr(path, role - path)] = line.substr(role + 7, line.find(',', role + 7) - role - 7);
    at += line.size() + 1;
  }
  // A file that is damaged beside the part that is used may pass.
  EXPECT_GT(named.size(), expected.size() * 9 / 10);
  for (const auto& [name, reason] : named) {
    ASSERT_TRUE(expected.contains(name)) << name;
    EXPECT_EQ(reason, expected[name]) << name;
  }
  // Good pictures in place of the bad ones change no other sample.
  for (const auto& [name, reason] : expected) {
    fs::remove_all(folder / ("d/" + name));
    write_bytes(folder / ("d/" + name), encode_png(test_picture(1)));
  }
  std::string none;
  const auto mended = run(data, 2, 4, 32, &none);
  EXPECT_EQ(std::count(none.begin(), none.end(), '\n'), 1);
  int64_t same = 0;
  for (const auto& [id, bits] : mended) {
    const bool was_bad = expected.contains(data.source->name(static_cast<int64_t>(id)));
    same += bits == first.at(id);
    if (!was_bad) {
      EXPECT_EQ(bits, first.at(id)) << data.source->name(static_cast<int64_t>(id));
    }
  }
  EXPECT_GE(same, 196);
}

}  // namespace
}  // namespace ballast
