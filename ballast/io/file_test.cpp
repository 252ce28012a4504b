#include <ballast/io/file.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <thread>

#include <ballast/base/check.h>
#include <ballast/io/test_folder.h>

namespace ballast {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<FolderEntry> entries;
  EXPECT_EQ(real_fs().readdir(folder, entries), 0);
  std::vector<std::string> names;
  for (const auto& entry : entries) names.push_back(entry.name);
  return names;
}

std::string pattern(size_t n) {
  std::string text(n, ' ');
  for (size_t i = 0; i < n; ++i) text[i] = static_cast<char>('a' + i % 26);
  return text;
}

const int kErrors[] = {ENOSPC, EIO, EDQUOT, EINTR, EMFILE};

std::string error_name(int e) {
  switch (e) {
    case ENOSPC:
      return "ENOSPC";
    case EIO:
      return "EIO";
    case EDQUOT:
      return "EDQUOT";
    case EINTR:
      return "EINTR";
    default:
      return "EMFILE";
  }
}

TEST(WriteFileAtomic, WritesANewFile) {
  const TestFolder folder;
  write_file_atomic(folder / "a.txt", "hello");
  EXPECT_EQ(read_text_file(folder / "a.txt"), "hello");
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"a.txt"});
}

TEST(WriteFileAtomic, ReplacesAnOldFile) {
  const TestFolder folder;
  write_file_atomic(folder / "a.txt", "a long old content");
  write_file_atomic(folder / "a.txt", "new");
  EXPECT_EQ(read_text_file(folder / "a.txt"), "new");
}

TEST(WriteFileAtomic, AReaderKeepsTheOldContent) {
  const TestFolder folder;
  write_file_atomic(folder / "a.txt", "old");
  const MappedFile old(folder / "a.txt");
  write_file_atomic(folder / "a.txt", "new");
  EXPECT_EQ(std::memcmp(old.bytes().data(), "old", 3), 0);
}

TEST(WriteFileAtomic, WritesNothingAndMuch) {
  const TestFolder folder;
  write_file_atomic(folder / "empty", "");
  EXPECT_EQ(read_text_file(folder / "empty"), "");
  const std::string big = pattern(300'000);
  write_file_atomic(folder / "big", big);
  EXPECT_EQ(read_text_file(folder / "big"), big);
}

TEST(WriteFileAtomic, JoinsParts) {
  const TestFolder folder;
  const std::string a = "one ", b, c = "two";
  const std::vector<std::span<const std::byte>> parts = {
      std::as_bytes(std::span(a)), std::as_bytes(std::span(b)), std::as_bytes(std::span(c))};
  write_file_atomic(real_fs(), folder / "f", parts);
  EXPECT_EQ(read_text_file(folder / "f"), "one two");
}

TEST(WriteFileAtomic, ContinuesShortWrites) {
  const TestFolder folder;
  FaultFs fs(real_fs(), {.short_bytes = 7});
  const std::string text = pattern(1000);
  write_file_atomic(fs, folder / "a", text);
  EXPECT_EQ(read_text_file(folder / "a"), text);
  EXPECT_GT(fs.calls(), 1000 / 7);
}

TEST(WriteFileAtomic, NamesPathAndCauseOfAMissingFolder) {
  const TestFolder folder;
  const auto path = folder / "no" / "a.txt";
  EXPECT_THAT([&] { write_file_atomic(path, "x"); },
              ThrowsMessage<StorageError>("[file] cannot write " + path.string() +
                                          ": No such file or directory (open)"));
}

TEST(WriteFileAtomic, DoesNotReplaceAReadOnlyFile) {
  const TestFolder folder;
  write_file_atomic(folder / "a", "old");
  std::filesystem::permissions(folder / "a", std::filesystem::perms::owner_read);
  EXPECT_THAT([&] { write_file_atomic(folder / "a", "new"); },
              ThrowsMessage<StorageError>(HasSubstr("a: the file is read-only")));
  EXPECT_EQ(read_text_file(folder / "a"), "old");
}

TEST(WriteFileAtomic, DoesNotReplaceAFolder) {
  const TestFolder folder;
  make_folders(folder / "sub");
  EXPECT_THROW(write_file_atomic(folder / "sub", "x"), StorageError);
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"sub"});
}

TEST(WriteFileAtomic, ManyThreadsAtOnceLeaveOneWholeFile) {
  const TestFolder folder;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int k = 0; k < 10; ++k)
        write_file_atomic(folder / "a", std::string(5000, static_cast<char>('a' + i)));
    });
  }
  for (auto& thread : threads) thread.join();
  const std::string text = read_text_file(folder / "a");
  EXPECT_EQ(text, std::string(5000, text.at(0)));
  EXPECT_EQ(names_in(folder.path()).size(), 1U);
}

// ---- faults: each call of a write, each errno, once and for ever, with whole and with short writes ----

struct Fault {
  int error_number;
  bool forever;
  bool old_file;
  uint64_t short_bytes;
};

class WriteFileAtomicFaults : public testing::TestWithParam<Fault> {};

// Without a fault the calls are open, fallocate, pwrite (as often as needed), fsync, close, rename, fsync_dir.
TEST_P(WriteFileAtomicFaults, EachCallInTurn) {
  const Fault fault = GetParam();
  const std::string fresh = pattern(70'000), old = "old content";
  int tried = 0;
  for (int64_t call = 1;; ++call) {
    const TestFolder folder;
    const auto path = folder / "weights";
    if (fault.old_file) write_file_atomic(path, old);
    FaultFs fs(real_fs(), {.call = call,
                           .error_number = fault.error_number,
                           .forever = fault.forever,
                           .short_bytes = fault.short_bytes});
    bool failed = false;
    try {
      write_file_atomic(fs, path, fresh);
    } catch (const StorageError& e) {
      failed = true;
      EXPECT_EQ(e.error_number, fault.error_number);
      EXPECT_THAT(e.what(), HasSubstr(path.string()));
      EXPECT_THAT(e.what(), HasSubstr(std::strerror(fault.error_number)));
    }
    if (!fs.hit()) {
      EXPECT_FALSE(failed);
      break;
    }
    ++tried;
    SCOPED_TRACE(fs.failed_call());
    // Interrupted calls are repeated; an interrupted close has closed.
    const bool survivable = fault.error_number == EINTR && !fault.forever;
    EXPECT_EQ(failed, !survivable);
    const bool in_place = !failed || fs.failed_call() == "fsync_dir";
    if (in_place) {
      EXPECT_EQ(read_text_file(path), fresh);
      EXPECT_EQ(names_in(folder.path()).size(), 1U);
    } else {
      if (fault.old_file) {
        EXPECT_EQ(read_text_file(path), old);
      }
      EXPECT_EQ(names_in(folder.path()).size(), fault.old_file ? 1U : 0U);
    }
  }
  EXPECT_GE(tried, 7);
  RecordProperty("faults", tried);
}

std::vector<Fault> faults() {
  std::vector<Fault> list;
  for (const int e : kErrors) {
    for (const bool forever : {false, true}) {
      for (const bool old_file : {false, true}) {
        for (const uint64_t short_bytes : {0, 9000})
          list.push_back({e, forever, old_file, short_bytes});
      }
    }
  }
  return list;
}

INSTANTIATE_TEST_SUITE_P(All, WriteFileAtomicFaults, testing::ValuesIn(faults()),
                         [](const auto& instance) {
                           const Fault& f = instance.param;
                           return error_name(f.error_number) + (f.forever ? "ForEver" : "Once") +
                                  (f.old_file ? "OverAnOldFile" : "") +
                                  (f.short_bytes != 0 ? "ShortWrites" : "");
                         });

TEST(WriteFileAtomic, AFileSystemThatCannotPreallocateIsFine) {
  for (const int e : {EOPNOTSUPP, ENOSYS, EINVAL}) {
    const TestFolder folder;
    FaultFs fs(real_fs(), {.call = 2, .error_number = e});
    write_file_atomic(fs, folder / "a", pattern(70'000));
    EXPECT_EQ(fs.failed_call(), "fallocate");
    EXPECT_EQ(read_text_file(folder / "a"), pattern(70'000));
  }
}

// ---- reading ----

TEST(ReadFile, NamesPathAndCause) {
  EXPECT_THAT(
      [] { read_file("/nonexistent/a"); },
      ThrowsMessage<DataError>("[file] cannot read /nonexistent/a: No such file or directory"));
}

TEST(ReadFile, RefusesAFolder) {
  const TestFolder folder;
  EXPECT_THAT([&] { read_text_file(folder.path()); },
              ThrowsMessage<DataError>(HasSubstr("Is a directory")));
}

TEST(ReadFile, RefusesMoreThanTheLimit) {
  const TestFolder folder;
  write_file_atomic(folder / "a", "12345");
  EXPECT_EQ(read_text_file(folder / "a", 5), "12345");
  EXPECT_THAT([&] { read_text_file(folder / "a", 4); },
              ThrowsMessage<DataError>(HasSubstr("at most 4 bytes are allowed, got 5")));
}

TEST(ReadFile, ReadsFilesThatDoNotKnowTheirSize) {
  EXPECT_THAT(read_text_file("/proc/self/status"), HasSubstr("Name:"));
  EXPECT_THROW(read_text_file("/proc/self/status", 10), DataError);
}

TEST(ReadFile, EachFaultIsToldOrSurvived) {
  const TestFolder folder;
  const std::string text = pattern(500);
  write_file_atomic(folder / "a", text);
  for (const int e : kErrors) {
    for (const bool forever : {false, true}) {
      for (int64_t call = 1;; ++call) {
        FaultFs fs(real_fs(),
                   {.call = call, .error_number = e, .forever = forever, .short_bytes = 100});
        try {
          EXPECT_EQ(read_text_file(fs, folder / "a"), text);
        } catch (const DataError& error) {
          EXPECT_TRUE(fs.hit());
          EXPECT_THAT(error.what(), HasSubstr(std::strerror(e)));
        }
        if (!fs.hit()) break;
      }
    }
  }
}

TEST(MappedFile, HoldsTheBytesAndMoves) {
  const TestFolder folder;
  write_file_atomic(folder / "a", "abc");
  write_file_atomic(folder / "empty", "");
  MappedFile a(folder / "a");
  MappedFile b(folder / "empty");
  EXPECT_TRUE(b.bytes().empty());
  b = std::move(a);
  const MappedFile c(std::move(b));
  ASSERT_EQ(c.bytes().size(), 3U);
  EXPECT_EQ(c.bytes()[2], std::byte{'c'});
  EXPECT_THAT([&] { MappedFile(folder / "no"); },
              ThrowsMessage<DataError>(HasSubstr("cannot read")));
  EXPECT_THROW(MappedFile(folder.path()), DataError);
}

// ---- folders, removal, space ----

TEST(MakeFolders, MakesWhatIsMissing) {
  const TestFolder folder;
  make_folders(folder / "a" / "b" / "c");
  make_folders(folder / "a" / "b" / "c");
  make_folders(folder / "a" / "." / "d/");
  EXPECT_EQ(names_in(folder / "a"), (std::vector<std::string>{"b", "d"}));
}

TEST(MakeFolders, AFileInTheWayIsNamed) {
  const TestFolder folder;
  write_file_atomic(folder / "a", "x");
  EXPECT_THAT([&] { make_folders(folder / "a" / "b"); },
              ThrowsMessage<StorageError>("[file] cannot make the folder " +
                                          (folder / "a").string() + ": File exists (mkdir)"));
}

TEST(MakeFolders, EachFaultIsToldOrSurvived) {
  for (const int e : kErrors) {
    for (int64_t call = 1;; ++call) {
      const TestFolder folder;
      FaultFs fs(real_fs(), {.call = call, .error_number = e});
      try {
        make_folders(fs, folder / "a" / "b");
        EXPECT_TRUE(std::filesystem::is_directory(folder / "a" / "b"));
      } catch (const StorageError& error) {
        EXPECT_EQ(error.error_number, e);
      }
      if (!fs.hit()) break;
    }
  }
}

TEST(RemoveFile, ToleratesAMissingFileOnly) {
  const TestFolder folder;
  write_file_atomic(folder / "a", "x");
  remove_file(folder / "a");
  remove_file(folder / "a");
  EXPECT_TRUE(names_in(folder.path()).empty());
  make_folders(folder / "sub");
  EXPECT_THAT([&] { remove_file(folder / "sub"); },
              ThrowsMessage<StorageError>(HasSubstr("cannot remove")));
}

TEST(RealFs, TellsTheSpaceAndTheNames) {
  const TestFolder folder;
  DiskSpace space;
  EXPECT_EQ(real_fs().statvfs(folder.path(), space), 0);
  EXPECT_GT(space.total_bytes, 0U);
  EXPECT_LE(space.free_bytes, space.total_bytes);
  EXPECT_EQ(real_fs().statvfs(folder / "no", space), -ENOENT);
  make_folders(folder / "b");
  write_file_atomic(folder / "a", "");
  std::vector<FolderEntry> entries;
  EXPECT_EQ(real_fs().readdir(folder.path(), entries), 0);
  ASSERT_EQ(entries.size(), 2U);
  EXPECT_FALSE(entries[0].is_folder);
  EXPECT_TRUE(entries[1].is_folder);
  EXPECT_EQ(real_fs().readdir(folder / "no", entries), -ENOENT);
  EXPECT_EQ(real_fs().fsync_dir(folder / "no"), -ENOENT);
}

TEST(RealFs, EachCallReturnsMinusErrnoForABadDescriptor) {
  FileSystem& fs = real_fs();
  std::byte b{};
  EXPECT_EQ(fs.read(-1, std::span(&b, 1)), -EBADF);
  EXPECT_EQ(fs.pwrite(-1, std::span(&b, 1), 0), -EBADF);
  EXPECT_EQ(fs.fallocate(-1, 1), -EBADF);
  EXPECT_EQ(fs.truncate(-1, 1), -EBADF);
  EXPECT_EQ(fs.size(-1), -EBADF);
  EXPECT_EQ(fs.fsync(-1), -EBADF);
  EXPECT_EQ(fs.close(-1), -EBADF);
  EXPECT_EQ(fs.lock(-1), -EBADF);
}

TEST(FaultFs, EachCallCanFail) {
  const TestFolder folder;
  const std::vector<std::pair<const char*, std::function<int64_t(FileSystem&)>>> calls = {
      {"open", [&](FileSystem& fs) { return fs.open(folder / "a", OpenMode::update); }},
      {"read", [&](FileSystem& fs) { return fs.read(-1, {}); }},
      {"pwrite", [&](FileSystem& fs) { return fs.pwrite(-1, {}, 0); }},
      {"fallocate", [&](FileSystem& fs) { return fs.fallocate(-1, 1); }},
      {"truncate", [&](FileSystem& fs) { return fs.truncate(-1, 1); }},
      {"size", [&](FileSystem& fs) { return fs.size(-1); }},
      {"fsync", [&](FileSystem& fs) { return fs.fsync(-1); }},
      {"close", [&](FileSystem& fs) { return fs.close(-1); }},
      {"rename", [&](FileSystem& fs) { return fs.rename(folder / "a", folder / "b"); }},
      {"mkdir", [&](FileSystem& fs) { return fs.mkdir(folder / "c"); }},
      {"unlink", [&](FileSystem& fs) { return fs.unlink(folder / "a"); }},
      {"readdir",
       [&](FileSystem& fs) {
         std::vector<FolderEntry> e;
         return fs.readdir(folder.path(), e);
       }},
      {"fsync_dir", [&](FileSystem& fs) { return fs.fsync_dir(folder.path()); }},
      {"statvfs",
       [&](FileSystem& fs) {
         DiskSpace s;
         return fs.statvfs(folder.path(), s);
       }},
      {"lock", [&](FileSystem& fs) { return fs.lock(-1); }},
  };
  for (const auto& [name, call] : calls) {
    FaultFs fs(real_fs(), {.call = 1, .error_number = EDOM});
    EXPECT_EQ(call(fs), -EDOM) << name;
    EXPECT_EQ(fs.failed_call(), name);
    EXPECT_NE(call(fs), -EDOM) << name << ": the second call passes";
    EXPECT_EQ(fs.calls(), 2);
  }
}

// ---- AppendFile ----

TEST(AppendFile, GoesOnAtTheEnd) {
  const TestFolder folder;
  {
    AppendFile file(folder / "log");
    file.append("a\n");
    file.append("b\n");
    EXPECT_EQ(file.size(), 4U);
    EXPECT_EQ(read_text_file(folder / "log"), "");
    file.flush();
    EXPECT_EQ(read_text_file(folder / "log"), "a\nb\n");
  }
  AppendFile file(folder / "log");
  file.append("c\n");
  file.close();
  file.close();
  EXPECT_EQ(read_text_file(folder / "log"), "a\nb\nc\n");
  EXPECT_THROW(file.append("d"), std::logic_error);
}

TEST(AppendFile, WritesWhatIsLeftAtItsEnd) {
  const TestFolder folder;
  { AppendFile(folder / "log").append("a\n"); }
  EXPECT_EQ(read_text_file(folder / "log"), "a\n");
}

TEST(AppendFile, CutsAndGoesOn) {
  const TestFolder folder;
  AppendFile file(folder / "log");
  file.append("one\ntwo\n");
  file.cut(4);
  EXPECT_THAT([&] { file.cut(5); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("at most 4 bytes, got 5")));
  file.append("three\n");
  file.close();
  EXPECT_EQ(read_text_file(folder / "log"), "one\nthree\n");
}

TEST(AppendFile, EachFaultLeavesWholePieces) {
  for (const int e : kErrors) {
    for (int64_t call = 1;; ++call) {
      const TestFolder folder;
      FaultFs fs(real_fs(), {.call = call, .error_number = e, .short_bytes = 5});
      int64_t told = 0;
      try {
        AppendFile file(fs, folder / "log");
        for (int i = 0; i < 3; ++i) {
          file.append("0123456789\n");
          try {
            file.sync();
          } catch (const StorageError& error) {
            EXPECT_EQ(error.error_number, e);
            const std::string text = read_text_file(folder / "log");
            EXPECT_EQ(text.size() % 11, 0U) << fs.failed_call();
            ++told;
          }
        }
        file.close();
        // Nothing is lost: what could not be written was written with the next piece.
        EXPECT_EQ(read_text_file(folder / "log").size(), 33U);
      } catch (const StorageError& error) {
        EXPECT_EQ(error.error_number, e);
        ++told;
      }
      if (!fs.hit()) {
        EXPECT_EQ(told, 0);
        break;
      }
      EXPECT_EQ(told, e == EINTR ? 0 : 1) << fs.failed_call();
    }
  }
}

TEST(AppendFile, ItsDestructorDoesNotThrow) {
  const TestFolder folder;
  FaultFs fs(real_fs(), {.call = 4, .error_number = ENOSPC, .forever = true});
  { AppendFile(fs, folder / "log").append("x"); }
  EXPECT_EQ(fs.failed_call(), "pwrite");
}

// ---- FileLock ----

TEST(FileLock, TheSecondIsToldWhoHoldsIt) {
  const TestFolder folder;
  {
    const FileLock lock(folder / ".lock", "host a, process 7");
    EXPECT_THAT([&] { FileLock(folder / ".lock", "me"); },
                ThrowsMessage<InUseError>("[file] " + (folder / ".lock").string() +
                                          " is in use by host a, process 7"));
  }
  const FileLock again(folder / ".lock", "me");
  EXPECT_EQ(read_text_file(folder / ".lock"), "me\n");
}

TEST(FileLock, EndsWithItsProcess) {
  const TestFolder folder;
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const FileLock lock(folder / ".lock", "child");
    [[maybe_unused]] const auto n = ::write(ready[1], "x", 1);
    ::pause();
    ::_exit(0);
  }
  char c = 0;
  ASSERT_EQ(::read(ready[0], &c, 1), 1);
  EXPECT_THROW(FileLock(folder / ".lock", "me"), InUseError);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_NO_THROW(FileLock(folder / ".lock", "me"));
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST(FileLock, EachFaultIsToldOrSurvived) {
  for (const int e : {EIO, ENOSPC, EINTR}) {
    for (int64_t call = 1;; ++call) {
      const TestFolder folder;
      FaultFs fs(real_fs(), {.call = call, .error_number = e});
      try {
        const FileLock lock(fs, folder / ".lock", "me");
      } catch (const StorageError& error) {
        EXPECT_EQ(error.error_number, e);
      }
      if (!fs.hit()) break;
    }
  }
}

}  // namespace
}  // namespace ballast
