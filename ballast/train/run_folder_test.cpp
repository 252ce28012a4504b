#include <ballast/train/run_folder.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

#include <ballast/base/check.h>

namespace ballast {
namespace {

namespace stdfs = std::filesystem;

class RunFolders : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = stdfs::temp_directory_path() / ("ballast-run-folder-" + std::to_string(getpid()));
    stdfs::remove_all(root_);
    stdfs::create_directories(root_);
  }
  void TearDown() override { stdfs::remove_all(root_); }
  RunFolderOptions options() const {
    RunFolderOptions result;
    result.runs = root_ / "runs";
    result.stem = "photos-resnet:20";
    return result;
  }
  stdfs::path root_;
};

TEST_F(RunFolders, AreNumberedAndAlwaysNew) {
  const RunFolder first(real_fs(), options());
  const RunFolder second(real_fs(), options());
  EXPECT_EQ(first.path(), root_ / "runs/photos-resnet-20-1");
  EXPECT_EQ(second.path(), root_ / "runs/photos-resnet-20-2");
  EXPECT_TRUE(stdfs::exists(first.path() / ".lock"));
}

TEST_F(RunFolders, AnExistingOneIsRefusedWithTheRemedy) {
  RunFolderOptions o = options();
  o.name = "mine";
  { const RunFolder folder(real_fs(), o); }
  { const RunFolder nothing_yet(real_fs(), o); }
  std::ofstream(root_ / "runs/mine/notes.txt") << "x";
  try {
    const RunFolder again(real_fs(), o);
    FAIL();
  } catch (const std::invalid_argument& e) {
    EXPECT_NE(std::string(e.what()).find("--overwrite moves it aside"), std::string::npos) << e.what();
  }
  o.overwrite = true;
  const RunFolder again(real_fs(), o);
  EXPECT_TRUE(stdfs::exists(root_ / "runs/mine.old-1"));
}

TEST_F(RunFolders, OneInUseIsAnErrorOfItsOwn) {
  RunFolderOptions o = options();
  o.out = root_ / "here";
  const RunFolder folder(real_fs(), o);
  o.overwrite = true;
  EXPECT_THROW(RunFolder(real_fs(), o), InUseError);
}

TEST_F(RunFolders, NamesMustNotLeaveTheFolder) {
  RunFolderOptions o = options();
  for (const char* name : {"../x", "a/b", ".."}) {
    o.name = name;
    EXPECT_THROW(RunFolder(real_fs(), o), std::invalid_argument) << name;
  }
  std::ofstream(root_ / "file") << "x";
  o.name.clear();
  o.out = root_ / "file";
  EXPECT_THROW(RunFolder(real_fs(), o), std::invalid_argument);
}

TEST_F(RunFolders, EveryFailingCallIsNamedAndLeavesNoHalfFile) {
  for (int64_t call = 1;; ++call) {
    FaultFs fs(real_fs(), {.call = call, .error_number = ENOSPC, .forever = true});
    RunFolderOptions o = options();
    o.name = "n" + std::to_string(call);
    try {
      const RunFolder folder(fs, o);
      folder.write("config.toml", "a = 1\n");
      RunRecord record(folder, true);
      record.event("start", 0, "x");
      JsonValue row = JsonValue::object();
      row["kind"] = "train";
      record.metrics(row);
      record.close();
      EXPECT_FALSE(fs.hit());
      break;
    } catch (const StorageError& e) {
      EXPECT_EQ(e.error_number, ENOSPC) << fs.failed_call();
    } catch (const DataError&) {
      // metrics.csv is derived from metrics.jsonl: a record that cannot be read back is a data error.
      EXPECT_TRUE(fs.failed_call() == "read" || fs.failed_call() == "open" || fs.failed_call() == "size") << fs.failed_call();
    }
    const stdfs::path config = root_ / "runs" / o.name / "config.toml";
    if (stdfs::exists(config)) {
      EXPECT_EQ(stdfs::file_size(config), 6U);
    }
    ASSERT_LT(call, 200);
  }
}

TEST_F(RunFolders, RecordsAreJsonLines) {
  const RunFolder folder(real_fs(), options());
  RunRecord record(folder, true);
  record.event("warning", 7, "cold");
  record.scalar("train/loss", 1, 0.5);
  record.scalar("train/loss", 1, 0.5);
  record.scalar("train/loss", 2, 0.25);
  JsonValue row = JsonValue::object();
  row["kind"] = "train";
  row["step"] = 1;
  record.metrics(row);
  record.close();
  EXPECT_EQ(read_text_file(folder.path() / "metrics.jsonl"), "{\"kind\":\"train\",\"step\":1}\n");
  const JsonlRows events = read_jsonl(folder.path() / "events.jsonl");
  ASSERT_EQ(events.rows.size(), 1U);
  EXPECT_EQ(events.rows[0].at("message").string(), "cold");
}

}  // namespace
}  // namespace ballast
