#include <ballast/io/jsonl.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include <ballast/base/check.h>
#include <ballast/io/test_folder.h>

namespace ballast {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

JsonValue row(int step) {
  JsonValue value;
  value["step"] = step;
  return value;
}

TEST(JsonlWriter, ARowIsALine) {
  const TestFolder folder;
  JsonlWriter writer(folder / "m.jsonl");
  writer.append(row(1));
  EXPECT_EQ(read_text_file(folder / "m.jsonl"), "{\"step\":1}\n");
  writer.append(row(2));
  EXPECT_EQ(writer.size(), 22U);
  writer.sync();
  writer.close();
  EXPECT_EQ(read_jsonl(folder / "m.jsonl").rows.size(), 2U);
}

TEST(JsonlWriter, GoesOnAfterARestart) {
  const TestFolder folder;
  JsonlWriter(folder / "m.jsonl").append(row(1));
  JsonlWriter(folder / "m.jsonl").append(row(2));
  EXPECT_EQ(read_text_file(folder / "m.jsonl"), "{\"step\":1}\n{\"step\":2}\n");
}

TEST(JsonlWriter, RemovesACutLastLine) {
  const TestFolder folder;
  for (const char* cut : {"", "{\"step\":1}\n"}) {
    write_file_atomic(folder / "m.jsonl", std::string(cut) + "{\"ste");
    JsonlWriter(folder / "m.jsonl").append(row(2));
    EXPECT_EQ(read_text_file(folder / "m.jsonl"), std::string(cut) + "{\"step\":2}\n");
  }
}

TEST(JsonlWriter, CutsToASavedSize) {
  const TestFolder folder;
  JsonlWriter writer(folder / "m.jsonl");
  writer.append(row(1));
  const uint64_t saved = writer.size();
  writer.append(row(2));
  writer.cut(saved);
  writer.append(row(3));
  EXPECT_EQ(read_text_file(folder / "m.jsonl"), "{\"step\":1}\n{\"step\":3}\n");
}

TEST(JsonlWriter, AFullDiskLeavesWholeLines) {
  const TestFolder folder;
  for (int64_t call = 1; call < 40; ++call) {
    const auto path = folder / ("m" + std::to_string(call));
    FaultFs fs(real_fs(),
               {.call = call, .error_number = ENOSPC, .forever = true, .short_bytes = 4});
    try {
      JsonlWriter writer(fs, path);
      for (int i = 0; i < 3; ++i) writer.append(row(i));
    } catch (const StorageError& e) {
      EXPECT_THAT(e.what(), HasSubstr("No space left on device"));
    } catch (const DataError& e) {
      EXPECT_THAT(e.what(), HasSubstr("No space left on device"));
    }
    // Cutting back may fail too on such a disk; then a reader leaves the cut line out.
    if (std::filesystem::exists(path)) {
      for (const JsonValue& value : read_jsonl(path).rows) EXPECT_EQ(value.members().size(), 1U);
    }
  }
}

TEST(ReadJsonl, EachTruncationKeepsTheWholeLines) {
  const std::string text = "{\"step\":1}\n{\"step\":2}\n";
  for (size_t n = 0; n <= text.size(); ++n) {
    const JsonlRows rows = parse_jsonl(std::string_view(text).substr(0, n), "m");
    EXPECT_EQ(rows.rows.size(), n / 11);
    EXPECT_EQ(rows.cut_last_line, n % 11 != 0);
  }
}

TEST(ReadJsonl, EmptyLinesAreSkipped) {
  EXPECT_EQ(parse_jsonl("\n1\n \r\n2\n", "m").rows.size(), 2U);
}

TEST(ReadJsonl, ABadLineIsNamed) {
  EXPECT_THAT([] { parse_jsonl("{}\n\n{\"a\"\n{}\n", "runs/m.jsonl"); },
              ThrowsMessage<DataError>(HasSubstr("[json] runs/m.jsonl:3: must be JSON")));
  EXPECT_THAT([] { read_jsonl("/nonexistent/m.jsonl"); },
              ThrowsMessage<DataError>(HasSubstr("cannot read /nonexistent/m.jsonl")));
}

}  // namespace
}  // namespace ballast
