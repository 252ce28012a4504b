#include <ballast/io/event_file.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <protozero/pbf_reader.hpp>

#include <ballast/base/check.h>
#include <ballast/io/test_folder.h>

namespace ballast {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST(Crc32c, KnownAnswers) {
  EXPECT_EQ(crc32c(bytes_of(std::string(32, '\0'))), 0x8a9136aaU);
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xe3069283U);
  EXPECT_EQ(crc32c({}), 0U);
  EXPECT_EQ(masked_crc32c(bytes_of("\x1a\x11"
                                   "CRC test, one two")),
            0x5794d08aU);
}

struct Event {
  double wall_time = 0;
  int64_t step = 0;
  std::string version, tag;
  float value = 0;
  int session = 0;
};

// Reads a file as TensorBoard does: both checksums of each record must be right.
std::vector<Event> read_events(const std::filesystem::path& path) {
  std::vector<Event> events;
  std::string text = read_text_file(path);
  const auto masked = [&](size_t at) {
    uint32_t crc = 0;
    std::memcpy(&crc, text.data() + at, 4);
    return crc;
  };
  while (!text.empty()) {
    uint64_t n = 0;
    if (text.size() < 16) throw DataError("cut record");
    std::memcpy(&n, text.data(), 8);
    EXPECT_EQ(masked(8), masked_crc32c(bytes_of(text.substr(0, 8))));
    if (text.size() < 16 + n) throw DataError("cut record");
    const std::string data = text.substr(12, n);
    EXPECT_EQ(masked(12 + n), masked_crc32c(bytes_of(data)));
    text.erase(0, 16 + n);
    Event event;
    protozero::pbf_reader reader(data);
    while (reader.next()) {
      switch (reader.tag()) {
        case 1:
          event.wall_time = reader.get_double();
          break;
        case 2:
          event.step = reader.get_int64();
          break;
        case 3:
          event.version = reader.get_string();
          break;
        case 5: {
          protozero::pbf_reader summary = reader.get_message();
          summary.next(1);
          protozero::pbf_reader value = summary.get_message();
          value.next(1);
          event.tag = value.get_string();
          value.next(2);
          event.value = value.get_float();
          break;
        }
        case 7: {
          protozero::pbf_reader session = reader.get_message();
          session.next(1);
          event.session = session.get_enum();
          break;
        }
        default:
          reader.skip();
      }
    }
    events.push_back(event);
  }
  return events;
}

TEST(EventFile, FirstTheVersionThenThePoints) {
  const TestFolder folder;
  EventFileWriter writer(folder.path(), {.wall_time = 1700000000.5});
  EXPECT_THAT(writer.path().filename().string(),
              testing::StartsWith("events.out.tfevents.1700000000."));
  writer.add_scalar("train/loss", 50, 0.25, 12.5);
  writer.add_scalar("val/top1", 50, 0.5);
  writer.add_scalar("train/loss", 100, 0.125);
  EXPECT_EQ(read_events(writer.path()).size(), 1U);
  writer.flush();
  const auto events = read_events(writer.path());
  ASSERT_EQ(events.size(), 4U);
  EXPECT_EQ(events[0].version, "brain.Event:2");
  EXPECT_EQ(events[0].wall_time, 1700000000.5);
  EXPECT_EQ(events[1].tag, "train/loss");
  EXPECT_EQ(events[1].step, 50);
  EXPECT_EQ(events[1].value, 0.25F);
  EXPECT_EQ(events[1].wall_time, 12.5);
  EXPECT_GT(events[2].wall_time, 1.6e9);
  EXPECT_EQ(events[3].value, 0.125F);
}

TEST(EventFile, NonFiniteValuesAreLeftOut) {
  const TestFolder folder;
  EventFileWriter writer(folder.path());
  for (const double x : {std::nan(""), std::numeric_limits<double>::infinity(), 1e300})
    writer.add_scalar("a", 1, x);
  writer.add_scalar("a", 1, 2.0);
  writer.close();
  EXPECT_EQ(read_events(writer.path()).size(), 2U);
}

TEST(EventFile, StepsRisePerTag) {
  const TestFolder folder;
  EventFileWriter writer(folder.path());
  writer.add_scalar("a", 5, 1);
  writer.add_scalar("b", 1, 1);
  EXPECT_THAT(
      [&] { writer.add_scalar("a", 5, 1); },
      ThrowsMessage<std::invalid_argument>("[event_file] steps of a must rise, got 5 after 5"));
}

TEST(EventFile, ARestartIsANewFileWithASessionStart) {
  const TestFolder folder;
  const EventFileWriter first(folder.path(), {.wall_time = 1});
  const EventFileWriter second(folder.path(), {.resume_step = 200, .wall_time = 1});
  EXPECT_NE(first.path(), second.path());
  const auto events = read_events(second.path());
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[1].session, 1);
  EXPECT_EQ(events[1].step, 200);
}

TEST(EventFile, AFullDiskIsTold) {
  const TestFolder folder;
  int64_t call = 1;
  for (;; ++call) {
    FaultFs fs(real_fs(), {.call = call, .error_number = ENOSPC});
    try {
      EventFileWriter writer(fs, folder.path());
      writer.add_scalar("a", 1, 1);
      writer.close();
    } catch (const StorageError& e) {
      EXPECT_TRUE(fs.hit());
      EXPECT_THAT(e.what(), HasSubstr("events.out.tfevents"));
    }
    if (!fs.hit()) break;
  }
  EXPECT_GE(call, 7);
}

}  // namespace
}  // namespace ballast
