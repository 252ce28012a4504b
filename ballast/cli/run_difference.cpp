#include "run_difference.h"

#include <algorithm>
#include <cstring>
#include <set>

#include <ballast/io/file.h>
#include <ballast/io/json.h>
#include <ballast/io/jsonl.h>
#include <ballast/io/safetensors.h>

namespace ballast::cli {
namespace {

namespace stdfs = std::filesystem;

// What depends on the clock.
bool is_repeatable(const std::string& name) { return name != "session.json" && name != "MANIFEST.json"; }

std::string row_name(const JsonValue& row) {
  const std::string kind = row.string_or("kind", "row");
  const JsonValue* step = row.find("step");
  return (step != nullptr && step->is_integer() ? "step " + std::to_string(step->integer()) + ", " : "") + kind;
}

// The first member that differs, by path: "loss", "ids.digest".
FileDifference member_difference(const JsonValue& a, const JsonValue& b, const std::string& path) {
  if (a.is_object() && b.is_object()) {
    for (const auto& [name, value] : a.members()) {
      const JsonValue* other = b.find(name);
      if (other == nullptr || !(value == *other)) {
        const std::string below = path + (path.empty() ? "" : ".") + name;
        return other == nullptr ? FileDifference{"", below, value.text(), "missing"} : member_difference(value, *other, below);
      }
    }
    for (const auto& [name, value] : b.members()) {
      if (a.find(name) == nullptr) {
        return {"", path + (path.empty() ? "" : ".") + name, "missing", value.text()};
      }
    }
  }
  return {"", path, a.text(), b.text()};
}

std::optional<FileDifference> tensor_difference(const stdfs::path& a, const stdfs::path& b) {
  const SafetensorsFile x = SafetensorsFile::open(a), y = SafetensorsFile::open(b);
  for (const SafetensorsEntry& entry : x.entries()) {
    const SafetensorsEntry* other = y.find(entry.name);
    if (other == nullptr) {
      return FileDifference{"", entry.name, "there", "missing"};
    }
    if (entry.dtype != other->dtype || entry.shape != other->shape) {
      return FileDifference{"", entry.name + ", type or shape", "", ""};
    }
    const std::span<const std::byte> p = x.bytes(entry), q = y.bytes(*other);
    const auto at = std::mismatch(p.begin(), p.end(), q.begin()).first;
    if (at != p.end()) {
      const auto number = static_cast<uint64_t>(at - p.begin()) * 8 / safetensors_dtype_bits(entry.dtype);
      FileDifference d{"", entry.name + " at number " + std::to_string(number), "", ""};
      if (entry.dtype == SafetensorsDType::f32) {
        float u = 0, v = 0;
        std::memcpy(&u, p.data() + 4 * number, 4);
        std::memcpy(&v, q.data() + 4 * number, 4);
        d.a = shortest_text(u);
        d.b = shortest_text(v);
      }
      return d;
    }
  }
  for (const SafetensorsEntry& entry : y.entries()) {
    if (x.find(entry.name) == nullptr) {
      return FileDifference{"", entry.name, "missing", "there"};
    }
  }
  return {};
}

}  // namespace

std::optional<FileDifference> first_record_difference(const stdfs::path& a, const stdfs::path& b, bool prefix) {
  const std::vector<JsonValue> x = read_jsonl(a).rows, y = read_jsonl(b).rows;
  const size_t common = std::min(x.size(), y.size());
  for (size_t i = 0; i < common; ++i) {
    if (!(x[i] == y[i])) {
      FileDifference d = member_difference(x[i], y[i], "");
      d.file = a.filename().string();
      d.place = row_name(x[i]) + ": " + d.place;
      return d;
    }
  }
  if (x.size() == y.size() || prefix) {
    return {};
  }
  const bool longer = x.size() > y.size();
  const std::string row = row_name((longer ? x : y)[common]);
  return FileDifference{a.filename().string(), row, longer ? "there" : "missing", longer ? "missing" : "there"};
}

std::optional<FileDifference> first_difference(const stdfs::path& a, const stdfs::path& b) {
  const std::vector<std::byte> x = read_file(a), y = read_file(b);
  if (x == y) {
    return {};
  }
  std::optional<FileDifference> d;
  const std::string extension = a.extension().string();
  if (extension == ".jsonl") {
    d = first_record_difference(a, b);
  } else if (extension == ".safetensors") {
    d = tensor_difference(a, b);
  } else if (extension == ".json") {
    const std::string u = read_text_file(a), v = read_text_file(b);
    d = member_difference(parse_json(u, a.string()), parse_json(v, b.string()), "");
  }
  if (!d) {
    const size_t common = std::min(x.size(), y.size());
    const auto at = std::mismatch(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(common), y.begin()).first;
    d = FileDifference{"", "byte " + std::to_string(at - x.begin()), std::to_string(x.size()) + " bytes",
                       std::to_string(y.size()) + " bytes"};
  }
  d->file = a.filename().string();
  return d;
}

std::string newest_checkpoint(const stdfs::path& run) {
  std::string newest;
  std::error_code error;
  for (stdfs::directory_iterator it(run / "checkpoints", error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.starts_with("step-") && name > newest) {
      newest = name;
    }
  }
  return newest.empty() ? "" : "checkpoints/" + newest;
}

std::vector<std::string> repeatable_files(const stdfs::path& run) {
  std::vector<std::string> files;
  std::error_code error;
  for (const char* name : {"metrics.jsonl", "result.json", "metrics.csv", "split.csv", "bad_samples.csv"}) {
    if (stdfs::is_regular_file(run / name, error)) {
      files.emplace_back(name);
    }
  }
  for (const std::string& folder : {std::string("model"), std::string("predictions"), newest_checkpoint(run)}) {
    if (folder.empty()) {
      continue;
    }
    for (stdfs::directory_iterator it(run / folder, error), end; !error && it != end; it.increment(error)) {
      const std::string name = it->path().filename().string();
      if (it->is_regular_file(error) && is_repeatable(name)) {
        files.push_back(folder + "/" + name);
      }
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<FileDifference> run_differences(const stdfs::path& a, const stdfs::path& b) {
  const std::vector<std::string> x = repeatable_files(a), y = repeatable_files(b);
  std::set<std::string> all(x.begin(), x.end());
  all.insert(y.begin(), y.end());
  std::vector<FileDifference> out;
  for (const std::string& file : all) {
    const bool in_a = std::binary_search(x.begin(), x.end(), file), in_b = std::binary_search(y.begin(), y.end(), file);
    std::optional<FileDifference> d;
    if (in_a && in_b) {
      d = first_difference(a / file, b / file);
    } else {
      d = FileDifference{"", "the file", in_a ? "there" : "missing", in_b ? "there" : "missing"};
    }
    if (d) {
      d->file = file;
      out.push_back(std::move(*d));
    }
  }
  // The record tells the step, so it comes first.
  std::stable_partition(out.begin(), out.end(), [](const FileDifference& d) { return d.file == "metrics.jsonl"; });
  return out;
}

}  // namespace ballast::cli
