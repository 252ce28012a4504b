#include <ballast/io/checkpoint_folder.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <system_error>

#include <ballast/base/check.h>
#include <ballast/base/key.h>
#include <ballast/io/json.h>
#include <ballast/io/test_disk.h>
#include <ballast/io/test_folder.h>

namespace ballast {
namespace {

namespace stdfs = std::filesystem;

std::vector<std::byte> content(int64_t step, size_t size) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>(Key(static_cast<uint64_t>(step)).fold_in(i).bits());
  }
  return bytes;
}

// Three files whose every byte depends on the step.
std::vector<CheckpointFile> files_of(int64_t step) {
  return {{"model.safetensors", content(step, 1700)}, {"optimizer.safetensors", content(step + 1000, 600)},
          {"state.json", content(step + 2000, 90)}};
}

CheckpointInfo info_of(int64_t step) {
  CheckpointInfo info;
  info.step = step;
  info.epoch = static_cast<double>(step) / 7;
  info.facts = {{"fingerprint", "0123456789abcdef"}};
  return info;
}

void expect_is(const Checkpoint& c, int64_t step) {
  EXPECT_EQ(c.info.step, step);
  for (const CheckpointFile& file : files_of(step)) EXPECT_EQ(c.file(file.name) == file.bytes, true) << file.name;
  EXPECT_EQ(c.files.size(), 3U);
}

// The newest that is whole, as a run would find it.
std::optional<Checkpoint> newest(CheckpointFolder& folder, int* skipped = nullptr) {
  for (const std::string& name : folder.names()) {
    try {
      return folder.read(name);
    } catch (const DataError&) {
      if (skipped != nullptr) ++*skipped;
    }
  }
  return {};
}

std::string text_of(const stdfs::path& path) { return read_text_file(path); }
void overwrite(const stdfs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc).write(text.data(), static_cast<std::streamsize>(text.size()));
}

TEST(CheckpointFolder, WhatIsSavedIsRead) {
  const TestFolder dir;
  CheckpointFolder folder(real_fs(), dir / "checkpoints");
  EXPECT_TRUE(folder.names().empty());
  CheckpointInfo info = info_of(7);
  info.monitor = "val/loss";
  info.value = 0.1;
  EXPECT_EQ(folder.save(info, files_of(7)), "step-000000007");
  const Checkpoint c = folder.read("step-000000007");
  expect_is(c, 7);
  EXPECT_EQ(c.info.epoch, 1.0);
  EXPECT_EQ(c.info.monitor, "val/loss");
  EXPECT_EQ(c.info.value, 0.1);
  EXPECT_EQ(c.info.facts.at("fingerprint"), "0123456789abcdef");
  EXPECT_EQ(c.parent, "");
  folder.save(info_of(8), files_of(8));
  EXPECT_EQ(folder.read("step-000000008").parent, c.self);
  EXPECT_EQ(text_of(dir / "checkpoints/last"), "step-000000008\n");
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"step-000000008", "step-000000007"}));
  EXPECT_THROW(c.file("ema.safetensors"), DataError);
}

TEST(CheckpointFolder, NamesAreOrderedByNumber) {
  EXPECT_EQ(checkpoint_name(12), "step-000000012");
  EXPECT_EQ(checkpoint_name(12'345'678'901), "step-12345678901");
  EXPECT_EQ(checkpoint_step("step-12345678901"), 12'345'678'901);
  for (const char* other : {"step-12", "step-00000001x", "step--00000001", "step-0000000012", "last", ".tmp-step-000000001"}) {
    EXPECT_FALSE(checkpoint_step(other)) << other;
  }
  const TestFolder dir;
  CheckpointFolder folder(real_fs(), dir / "c");
  folder.save(info_of(999'999'999), files_of(1));
  folder.save(info_of(1'000'000'000), files_of(2));
  EXPECT_EQ(folder.names().front(), "step-1000000000");
}

TEST(CheckpointFolder, TheLastAndTheBestStay) {
  const TestFolder dir;
  CheckpointFolder folder(real_fs(), dir / "c");
  const std::array<double, 6> values = {5, 1, 3, 2, 4, 6};
  for (int64_t step = 1; step <= 6; ++step) {
    CheckpointInfo info = info_of(step);
    info.value = values[static_cast<size_t>(step - 1)];
    folder.save(info, files_of(step));
    folder.prune({.last = 2, .best = 1});
  }
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"step-000000006", "step-000000005", "step-000000002"}));
  EXPECT_EQ(text_of(dir / "c/best"), "step-000000002\n");
  folder.prune({.last = 0, .best = 1, .maximize = true});  // two good ones stay, whatever is asked for
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"step-000000006", "step-000000005"}));
  std::vector<FolderEntry> entries;
  real_fs().readdir(dir / "c", entries);
  for (const FolderEntry& e : entries) EXPECT_FALSE(e.name.starts_with(".tmp")) << e.name;
}

TEST(CheckpointFolder, OnlyCheckpointsKnownToBeGoodPushOthersOut) {
  const TestFolder dir;
  {
    CheckpointFolder folder(real_fs(), dir / "c");
    for (int64_t step = 1; step <= 3; ++step) folder.save(info_of(step), files_of(step));
  }
  CheckpointFolder folder(real_fs(), dir / "c");  // another process: it has seen none of them
  folder.prune({.last = 1});
  EXPECT_EQ(folder.names().size(), 3U);
  folder.save(info_of(4), files_of(4));
  folder.prune({.last = 1});
  EXPECT_EQ(folder.names().size(), 4U);
  folder.save(info_of(5), files_of(5));
  folder.prune({.last = 1});
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"step-000000005", "step-000000004"}));
}

TEST(CheckpointFolder, OneThatIsNotFiniteIsKeptApart) {
  const TestFolder dir;
  CheckpointFolder folder(real_fs(), dir / "c");
  folder.save(info_of(1), files_of(1));
  for (const int64_t step : {2, 3}) {
    CheckpointInfo info = info_of(step);
    info.finite = false;
    folder.save(info, files_of(step));
  }
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"step-000000001"}));
  EXPECT_FALSE(stdfs::exists(dir / "c/quarantine/nonfinite-step-000000002"));
  EXPECT_TRUE(stdfs::exists(dir / "c/quarantine/nonfinite-step-000000003/MANIFEST.json"));
  EXPECT_EQ(text_of(dir / "c/last"), "step-000000001\n");
}

TEST(CheckpointFolder, ADamagedOneIsPassedOverMovedAsideAndReplaced) {
  const TestFolder dir;
  CheckpointFolder folder(real_fs(), dir / "c");
  folder.save(info_of(1), files_of(1));
  folder.save(info_of(2), files_of(2));
  overwrite(dir / "c/step-000000002/state.json", "{}");
  int skipped = 0;
  expect_is(*newest(folder, &skipped), 1);
  EXPECT_EQ(skipped, 1);
  folder.save(info_of(2), files_of(2));  // training came to that step again
  expect_is(*newest(folder), 2);
  EXPECT_TRUE(stdfs::exists(folder.quarantine("step-000000002") / "state.json"));
  EXPECT_EQ(folder.names().size(), 1U);
  folder.save(info_of(2), files_of(2));
  EXPECT_EQ(folder.quarantine("step-000000002").filename(), "step-000000002-2");
}

TEST(CheckpointFolder, EveryKindOfDamageIsNamed) {
  const TestFolder dir;
  CheckpointFolder folder(real_fs(), dir / "c");
  folder.save(info_of(1), files_of(1));
  const stdfs::path at = dir / "c/step-000000001";
  const auto damage = [&](const char* expected, const auto& change) {
    const stdfs::path saved = dir / "saved";
    stdfs::remove_all(saved);
    stdfs::copy(at, saved);
    change();
    try {
      folder.read("step-000000001");
      ADD_FAILURE() << expected;
    } catch (const DataError& e) {
      EXPECT_NE(std::string(e.what()).find(expected), std::string::npos) << e.what();
    }
    stdfs::remove_all(at);
    stdfs::copy(saved, at);
  };
  damage("state.json is missing", [&] { stdfs::remove(at / "state.json"); });
  damage("extra does not belong to it", [&] { overwrite(at / "extra", "x"); });
  damage("must have 90 bytes, got 1", [&] { overwrite(at / "state.json", "x"); });
  damage("SHA-256 differs", [&] { overwrite(at / "state.json", std::string(90, 'x')); });
  damage("No such file", [&] { stdfs::remove(at / "MANIFEST.json"); });
  damage("not as it was written", [&] {
    std::string text = text_of(at / "MANIFEST.json");
    text.replace(text.find("\"epoch\":"), 9, "\"epoch\":9");
    overwrite(at / "MANIFEST.json", text);
  });
  damage("must be at most 1, got 2", [&] {
    std::string text = text_of(at / "MANIFEST.json");
    text.replace(text.find("checkpoint\":1"), 13, "checkpoint\":2");
    overwrite(at / "MANIFEST.json", text);
  });
  damage("must be that of a checkpoint", [&] { overwrite(at / "MANIFEST.json", "{}"); });
  stdfs::copy(at, dir / "c/step-000000009");
  EXPECT_THROW(folder.read("step-000000009"), DataError);  // a copy under another step's name
  expect_is(folder.read("step-000000001"), 1);
}

TEST(CheckpointFolder, EveryFlippedBitAndEveryTruncationIsFound) {
  const TestFolder dir;
  CheckpointFolder folder(real_fs(), dir / "c");
  folder.save(info_of(1), files_of(1));
  folder.save(info_of(2), files_of(2));
  const stdfs::path at = dir / "c/step-000000002";
  const Key key(17);
  uint64_t flips = 0, cuts = 0;
  for (const char* name : {"model.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json"}) {
    const std::string whole = text_of(at / name);
    for (uint64_t i = 0; i < 1250; ++i) {
      std::string text = whole;
      const uint64_t bit = key.fold_in(name).fold_in(i).bits() % (8 * whole.size());
      text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << (bit % 8)));
      overwrite(at / name, text);
      int skipped = 0;
      const std::optional<Checkpoint> found = newest(folder, &skipped);
      ASSERT_TRUE(found && found->info.step == 1 && skipped == 1) << name << " bit " << bit;
      ++flips;
    }
    for (size_t size = 0; size < std::min<size_t>(whole.size(), 4096); ++size) {
      overwrite(at / name, whole.substr(0, size));
      ASSERT_THROW(folder.read("step-000000002"), DataError) << name << " cut to " << size;
      ++cuts;
    }
    overwrite(at / name, whole);
  }
  EXPECT_EQ(flips, 5000U);
  EXPECT_GT(cuts, 2390U);
  expect_is(folder.read("step-000000002"), 2);
}

// What a crash may leave, after every single call of a run of saves and prunes: the newest checkpoint whose save had
// ended, or the one that was being saved, whole; and a new save goes well.
struct CrashCount {
  int64_t states = 0, lost = 0, wrong = 0;
};
CrashCount enumerate_crashes(int per_call, bool lose_fsync, bool lose_fsync_dir) {
  CrashCount count;
  TestDisk disk;
  disk.mkdir("/run");
  disk.fsync_dir("/");
  disk.lose_fsync = lose_fsync;
  disk.lose_fsync_dir = lose_fsync_dir;
  int64_t completed = 0, call = 0;
  disk.on_change = [&] {
    ++call;
    for (int kind = 0; kind < per_call; ++kind) {
      ++count.states;
      TestDisk after = disk.crash(kind, Key(5).fold_in(static_cast<uint64_t>(call)).fold_in(static_cast<uint64_t>(kind)));
      CheckpointFolder folder(after, "/run/checkpoints");
      folder.remove_leftovers();
      const std::optional<Checkpoint> found = newest(folder);
      const int64_t step = found ? found->info.step : 0;
      count.lost += step < completed ? 1 : 0;
      if (!found) continue;
      for (const CheckpointFile& file : files_of(step)) count.wrong += found->file(file.name) != file.bytes ? 1 : 0;
      folder.loaded(*found);
      folder.save(info_of(step + 1), files_of(step + 1));
      folder.prune({.last = 2});
      const std::optional<Checkpoint> next = newest(folder);
      count.wrong += !next || next->info.step != step + 1 ? 1 : 0;
    }
  };
  CheckpointFolder folder(disk, "/run/checkpoints");
  for (int64_t step = 1; step <= 6; ++step) {
    CheckpointInfo info = info_of(step);
    info.value = static_cast<double>(7 - step);
    folder.save(info, files_of(step));
    completed = step;
    folder.prune({.last = 2, .best = 1});
  }
  folder.save(info_of(6), files_of(6));  // replaced
  return count;
}

TEST(CheckpointFolder, NoCrashLosesACheckpointOrMixesTwo) {
  const CrashCount count = enumerate_crashes(64, false, false);
  EXPECT_GE(count.states, 10'000);
  EXPECT_EQ(count.lost, 0);
  EXPECT_EQ(count.wrong, 0);
}

TEST(CheckpointFolder, TheCrashTestFindsPlantedFaults) {
  EXPECT_GT(enumerate_crashes(16, true, false).lost, 0);
  EXPECT_GT(enumerate_crashes(16, false, true).lost, 0);
}

// The n-th call fails, for every n: a StorageError (or, while reading, a DataError) that names path and cause, and what was
// saved before loads.
TEST(CheckpointFolder, NoFailingCallAbortsOrHarmsTheOlderOnes) {
  int64_t faults = 0;
  for (const int64_t before : {0, 2}) {
    for (const int error : {ENOSPC, EIO, EDQUOT, EINTR, EMFILE}) {
      for (const bool forever : {false, true}) {
        for (const uint64_t short_bytes : {0, 100}) {
          for (int64_t call = 1;; ++call) {
            ASSERT_LT(call, 2000);
            const TestFolder dir;
            CheckpointFolder good(real_fs(), dir / "c");
            for (int64_t step = 1; step <= before; ++step) good.save(info_of(step), files_of(step));
            FaultFs fs(real_fs(), {.call = call, .error_number = error, .forever = forever, .short_bytes = short_bytes});
            CheckpointFolder folder(fs, dir / "c");
            std::string told;
            int64_t saved = before;
            try {
              folder.remove_leftovers();
              for (int64_t step = before + 1; step <= before + 2; ++step) {
                folder.save(info_of(step), files_of(step));
                saved = step;
                folder.prune({.last = 1});
              }
              newest(folder);
            } catch (const StorageError& e) {
              told = e.what();
            } catch (const DataError& e) {
              told = e.what();
            }
            if (!fs.hit()) break;
            ++faults;
            if (!told.empty()) {
              EXPECT_NE(told.find(std::generic_category().message(error)), std::string::npos) << told;
              EXPECT_NE(told.find(dir.path().string()), std::string::npos) << told;
            }
            CheckpointFolder later(real_fs(), dir / "c");
            const std::optional<Checkpoint> found = newest(later);
            ASSERT_GE(found ? found->info.step : 0, saved) << "call " << call << " " << fs.failed_call();
            if (found) expect_is(*found, found->info.step);
            later.remove_leftovers();
            for (const auto& entry : stdfs::directory_iterator(dir.path())) {
              for (const auto& inner : stdfs::directory_iterator(entry)) {
                EXPECT_FALSE(inner.path().filename().string().starts_with(".tmp")) << inner.path();
              }
            }
          }
        }
      }
    }
  }
  EXPECT_GE(faults, 3000);
  RecordProperty("faults", static_cast<int>(faults));
}

TEST(CheckpointFolder, ADiskWithoutRoomIsToldBeforeAnythingIsWritten) {
  struct Full final : public FileSystem {
    // Only what require_space needs differs from the disk below.
    explicit Full(TestDisk& base) : disk(base) {}
    TestDisk& disk;
    int open(const stdfs::path& p, OpenMode m) override { return disk.open(p, m); }
    int64_t read(int f, std::span<std::byte> b) override { return disk.read(f, b); }
    int64_t pwrite(int f, std::span<const std::byte> b, uint64_t o) override { return disk.pwrite(f, b, o); }
    int fallocate(int f, uint64_t s) override { return disk.fallocate(f, s); }
    int truncate(int f, uint64_t s) override { return disk.truncate(f, s); }
    int64_t size(int f) override { return disk.size(f); }
    int fsync(int f) override { return disk.fsync(f); }
    int close(int f) override { return disk.close(f); }
    int rename(const stdfs::path& a, const stdfs::path& b) override { return disk.rename(a, b); }
    int mkdir(const stdfs::path& p) override { return disk.mkdir(p); }
    int unlink(const stdfs::path& p) override { return disk.unlink(p); }
    int readdir(const stdfs::path& p, std::vector<FolderEntry>& e) override { return disk.readdir(p, e); }
    int fsync_dir(const stdfs::path& p) override { return disk.fsync_dir(p); }
    int statvfs(const stdfs::path&, DiskSpace& s) override {
      s = {.free_bytes = free, .total_bytes = uint64_t{1} << 40, .free_inodes = 100};
      return 0;
    }
    int lock(int) override { return 0; }
    uint64_t free = 64 << 20;
  };
  TestDisk disk;
  disk.mkdir("/run");
  Full fs(disk);
  CheckpointFolder folder(fs, "/run/c");
  try {
    folder.save(info_of(1), files_of(1));
    FAIL();
  } catch (const StorageError& e) {
    EXPECT_EQ(e.error_number, ENOSPC);
    EXPECT_NE(std::string(e.what()).find("no room for a checkpoint in /run/c: No space left on device"), std::string::npos)
        << e.what();
  }
  fs.free = 65 << 20;
  EXPECT_EQ(folder.save(info_of(1), files_of(1)), "step-000000001");
}

}  // namespace
}  // namespace ballast
