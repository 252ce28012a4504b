#include <ballast/io/event_file.h>

#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <protozero/pbf_writer.hpp>
#include <string>

#include <ballast/base/check.h>

namespace ballast {
namespace {

// Field numbers of TensorFlow's event.proto and summary.proto.
enum class EventField : protozero::pbf_tag_type {
  wall_time = 1,
  step = 2,
  file_version = 3,
  summary = 5,
  session_log = 7
};
constexpr protozero::pbf_tag_type kSummaryValue = 1;
constexpr protozero::pbf_tag_type kValueTag = 1;
constexpr protozero::pbf_tag_type kValueSimple = 2;
constexpr protozero::pbf_tag_type kSessionStatus = 1;
constexpr int32_t kSessionStart = 1;

constexpr protozero::pbf_tag_type tag(EventField field) {
  return static_cast<protozero::pbf_tag_type>(field);
}

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ ((c & 1) != 0 ? 0x82f63b78U : 0);
    table[i] = c;
  }
  return table;
}
constexpr auto kCrcTable = make_crc_table();

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 && name[0] != 0 ? name : "localhost";
}

template <class T>
std::string little_endian(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

}  // namespace

uint32_t crc32c(std::span<const std::byte> bytes) {
  uint32_t c = 0xffffffffU;
  for (const std::byte b : bytes) {
    c = kCrcTable[(c ^ std::to_integer<uint32_t>(b)) & 0xff] ^ (c >> 8);
  }
  return c ^ 0xffffffffU;
}

uint32_t masked_crc32c(std::span<const std::byte> bytes) {
  const uint32_t c = crc32c(bytes);
  return ((c >> 15) | (c << 17)) + 0xa282ead8U;
}

EventFileWriter::EventFileWriter(FileSystem& fs, const std::filesystem::path& folder,
                                 const EventFileOptions& options) {
  static std::atomic<int> counter{0};
  const double now = options.wall_time != 0 ? options.wall_time : seconds_now();
  const std::string name = "events.out.tfevents." + std::to_string(static_cast<int64_t>(now)) +
                           "." + host_name() + "." + std::to_string(::getpid()) + "." +
                           std::to_string(counter++);
  file_ = std::make_unique<AppendFile>(fs, folder / name);
  check(file_->size() == 0, "event_file", "a new file is required, got ", file_->path().string());

  std::string event;
  protozero::pbf_writer first(event);
  first.add_double(tag(EventField::wall_time), now);
  first.add_string(tag(EventField::file_version), "brain.Event:2");
  add_record(event);
  if (options.resume_step >= 0) {
    std::string session;
    protozero::pbf_writer(session).add_enum(kSessionStatus, kSessionStart);
    event.clear();
    protozero::pbf_writer start(event);
    start.add_double(tag(EventField::wall_time), now);
    start.add_int64(tag(EventField::step), options.resume_step);
    start.add_message(tag(EventField::session_log), session);
    add_record(event);
  }
  file_->flush();
}

EventFileWriter::EventFileWriter(const std::filesystem::path& folder,
                                 const EventFileOptions& options)
    : EventFileWriter(real_fs(), folder, options) {}

void EventFileWriter::add_record(std::string_view event) {
  const std::string length = little_endian(static_cast<uint64_t>(event.size()));
  std::string record = length;
  record += little_endian(masked_crc32c(std::as_bytes(std::span(length))));
  record += event;
  record += little_endian(masked_crc32c(std::as_bytes(std::span(event))));
  file_->append(record);
}

void EventFileWriter::add_scalar(std::string_view name, int64_t step, double value,
                                 double wall_time) {
  const auto last = last_step_.find(name);
  check(last == last_step_.end() || step > last->second, "event_file", "steps of ", name,
        " must rise, got ", step, " after ", last == last_step_.end() ? 0 : last->second);
  // Also a double beyond the range of float, in which values are stored, has no place on a chart.
  if (!std::isfinite(static_cast<float>(value))) return;
  last_step_.insert_or_assign(std::string(name), step);

  std::string point;
  protozero::pbf_writer writer(point);
  writer.add_string(kValueTag, name.data(), name.size());
  writer.add_float(kValueSimple, static_cast<float>(value));
  std::string summary;
  protozero::pbf_writer(summary).add_message(kSummaryValue, point);
  std::string event;
  protozero::pbf_writer out(event);
  out.add_double(tag(EventField::wall_time), wall_time != 0 ? wall_time : seconds_now());
  out.add_int64(tag(EventField::step), step);
  out.add_message(tag(EventField::summary), summary);
  add_record(event);
}

void EventFileWriter::flush() { file_->flush(); }

void EventFileWriter::close() { file_->close(); }

}  // namespace ballast
