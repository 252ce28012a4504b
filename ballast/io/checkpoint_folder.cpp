#include <ballast/io/checkpoint_folder.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <system_error>

#include <ballast/base/check.h>
#include <ballast/base/sha256.h>
#include <ballast/io/json.h>

namespace ballast {
namespace {

namespace stdfs = std::filesystem;

constexpr const char* kManifest = "MANIFEST.json";
constexpr const char* kStem = "checkpoint";
constexpr uint64_t kMargin = uint64_t{64} << 20;
constexpr uint64_t kMaxManifest = uint64_t{16} << 20;

[[noreturn]] void fail_storage(const char* what, const stdfs::path& path, int error_number) {
  throw StorageError(detail::message(kStem, what, " ", path.string(), ": ",
                                     std::generic_category().message(error_number)),
                     error_number);
}

// Repeats a call that a signal interrupts.
template <class Call>
int call_fs(Call&& call) {
  int result = call();
  for (int i = 0; result == -EINTR && i < 1000; ++i) result = call();
  return result;
}

void require(int result, const char* what, const stdfs::path& path) {
  if (result < 0) fail_storage(what, path, -result);
}

uint64_t total_bytes(const std::vector<CheckpointFile>& files) {
  uint64_t total = 0;
  for (const CheckpointFile& file : files) total += file.bytes.size();
  return total;
}

std::string zeros() { return std::string(64, '0'); }

// The text with the digits of its member "self" as zeros, which is what these digits are the digest of.
std::string without_self(std::string text, const std::string& self) {
  const size_t at = text.find("\"self\":\"" + self);
  if (at != std::string::npos) text.replace(at + 8, self.size(), std::string(self.size(), '0'));
  return text;
}

CheckpointInfo info_of(const JsonValue& manifest) {
  CheckpointInfo info;
  info.step = manifest.at("step").integer();
  info.epoch = manifest.at("epoch").number();
  const JsonValue& health = manifest.at("health");
  info.finite = health.at("finite").boolean();
  info.monitor = health.at("monitor").string();
  if (!health.at("value").is_null()) info.value = health.at("value").number();
  for (const auto& [name, value] : manifest.at("facts").members()) {
    info.facts[name] = value.string();
  }
  return info;
}

}  // namespace

const std::vector<std::byte>& Checkpoint::file(const std::string& file_name) const {
  const auto found = files.find(file_name);
  check<DataError>(found != files.end(), kStem, name, " must hold ", file_name, ", it does not");
  return found->second;
}

std::optional<int64_t> checkpoint_step(const std::string& name) {
  int64_t step = 0;
  if (!name.starts_with("step-") || name.size() < 14) return {};
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + 5, end, step);
  if (error != std::errc() || stop != end || step < 0 || name != checkpoint_name(step)) return {};
  return step;
}

std::string checkpoint_name(int64_t step) {
  std::string digits = std::to_string(step);
  digits.insert(0, 9 - std::min<size_t>(9, digits.size()), '0');
  return "step-" + digits;
}

CheckpointFolder::CheckpointFolder(FileSystem& fs, stdfs::path path)
    : fs_(fs), path_(std::move(path)) {}

std::string CheckpointFolder::save(const CheckpointInfo& info,
                                   const std::vector<CheckpointFile>& files) {
  static std::atomic<uint32_t> counter{0};
  const std::string name = checkpoint_name(info.step);
  const int made = call_fs([&] { return fs_.mkdir(path_); });
  if (made < 0 && made != -EEXIST) fail_storage("cannot make", path_, -made);
  if (made == 0) {
    require(call_fs([&] { return fs_.fsync_dir(path_.parent_path()); }), "cannot make", path_);
  }
  const uint64_t bytes = total_bytes(files);
  require_space(bytes);
  std::array<char, 9> hex{};
  std::snprintf(hex.data(), hex.size(), "%08" PRIx32,
                static_cast<uint32_t>(getpid()) * 0x9e3779b1U + counter++);
  const stdfs::path open = path_ / (".tmp-" + name + "-" + hex.data());
  try {
    require(call_fs([&] { return fs_.mkdir(open); }), "cannot make", open);
    for (const CheckpointFile& file : files) {
      write_new_file(fs_, open / file.name, file.bytes);
    }
    const std::string manifest = manifest_text(info, files);
    write_new_file(fs_, open / kManifest, std::as_bytes(std::span(manifest)));
    require(call_fs([&] { return fs_.fsync_dir(open); }), "cannot make durable", open);
    read_back(open, name);
    put_in_place(open, name, info.finite);
    if (!info.finite) return name;
    parent_ = parse_json(manifest, kManifest).at("self").string();
  } catch (const StorageError&) {
    try {
      remove_folder(open);
    } catch (const StorageError&) {  // the first error tells more
    }
    throw;
  }
  verified_.insert(name);
  if (info.value) values_[name] = *info.value;
  write_pointer("last", name);
  make_spare(bytes);
  return name;
}

void CheckpointFolder::require_space(uint64_t bytes) {
  call_fs([&] { return fs_.unlink(path_ / ".spare"); });
  DiskSpace space;
  require(call_fs([&] { return fs_.statvfs(path_, space); }), "cannot look at", path_);
  // Small disks are small on purpose: the margin is at most a tenth of them.
  const uint64_t needed = bytes + bytes / 20 + std::min(kMargin, space.total_bytes / 10);
  if (space.free_bytes < needed) fail_storage("no room for a checkpoint in", path_, ENOSPC);
}

std::string CheckpointFolder::manifest_text(const CheckpointInfo& info,
                                            const std::vector<CheckpointFile>& files) const {
  JsonValue manifest = JsonValue::object();
  manifest["ballast_checkpoint"] = kCheckpointVersion;
  manifest["self"] = zeros();
  manifest["step"] = info.step;
  manifest["epoch"] = info.epoch;
  manifest["parent"] = parent_;
  JsonValue list = JsonValue::array();
  for (const CheckpointFile& file : files) {
    JsonValue row = JsonValue::object();
    row["name"] = file.name;
    row["bytes"] = static_cast<uint64_t>(file.bytes.size());
    row["sha256"] = sha256_hex(file.bytes);
    list.push_back(std::move(row));
  }
  manifest["files"] = std::move(list);
  JsonValue health = JsonValue::object();
  health["finite"] = info.finite;
  health["monitor"] = info.monitor;
  health["value"] = info.value ? JsonValue(*info.value) : JsonValue();
  manifest["health"] = std::move(health);
  JsonValue facts = JsonValue::object();
  for (const auto& [name, value] : info.facts) facts[name] = value;
  manifest["facts"] = std::move(facts);
  std::string text = manifest.text() + "\n";
  text.replace(text.find(zeros()), 64, sha256_hex(text));
  return text;
}

// What the disk gives back must be what was written.
void CheckpointFolder::read_back(const stdfs::path& folder, const std::string& name) const {
  try {
    read_at(folder, name);
  } catch (const DataError& e) {
    throw StorageError(detail::message(kStem, "what was written cannot be read back: ", e.what()), EIO);
  }
}

void CheckpointFolder::put_in_place(const stdfs::path& from, const std::string& name, bool finite) {
  stdfs::path to = path_ / name;
  if (!finite) {
    const stdfs::path folder = path_ / "quarantine";
    const int made = call_fs([&] { return fs_.mkdir(folder); });
    if (made < 0 && made != -EEXIST) fail_storage("cannot make", folder, -made);
    // One is kept, for whoever wants to look.
    std::vector<FolderEntry> entries;
    call_fs([&] { return fs_.readdir(folder, entries); });
    for (const FolderEntry& e : entries) {
      if (e.name.starts_with("nonfinite-")) remove_folder(folder / e.name);
    }
    to = folder / ("nonfinite-" + name);
  }
  int renamed = call_fs([&] { return fs_.rename(from, to); });
  if (renamed == -EEXIST || renamed == -ENOTEMPTY) {
    const stdfs::path old = path_ / (".tmp-old-" + name);
    remove_folder(old);
    require(call_fs([&] { return fs_.rename(to, old); }), "cannot move aside", to);
    renamed = call_fs([&] { return fs_.rename(from, to); });
    require(renamed, "cannot rename to", to);
    require(call_fs([&] { return fs_.fsync_dir(path_); }), "cannot make durable", path_);
    remove_folder(old);
    return;
  }
  require(renamed, "cannot rename to", to);
  require(call_fs([&] { return fs_.fsync_dir(to.parent_path()); }), "cannot make durable", path_);
}

void CheckpointFolder::write_pointer(const char* pointer, const std::string& name) {
  // A hint: loading looks at the folders themselves.
  try {
    write_file_atomic(fs_, path_ / pointer, name + "\n");
  } catch (const StorageError&) {
  }
}

void CheckpointFolder::make_spare(uint64_t bytes) {
  const int file = call_fs([&] { return fs_.open(path_ / ".spare", OpenMode::create_new); });
  if (file < 0) return;
  const int reserved = call_fs([&] { return fs_.fallocate(file, bytes); });
  fs_.close(file);
  if (reserved < 0) call_fs([&] { return fs_.unlink(path_ / ".spare"); });
}

std::vector<std::string> CheckpointFolder::names() const {
  std::vector<FolderEntry> entries;
  const int listed = call_fs([&] { return fs_.readdir(path_, entries); });
  if (listed < 0 && listed != -ENOENT) fail_storage("cannot read", path_, -listed);
  std::vector<std::string> out;
  for (const FolderEntry& e : entries) {
    if (e.is_folder && checkpoint_step(e.name)) out.push_back(e.name);
  }
  std::ranges::sort(out, [](const std::string& a, const std::string& b) {
    return *checkpoint_step(a) > *checkpoint_step(b);
  });
  return out;
}

Checkpoint CheckpointFolder::read(const std::string& name) const { return read_at(path_ / name, name); }

Checkpoint CheckpointFolder::read_at(const stdfs::path& folder, const std::string& name) const {
  const auto bad = [&]<class... Parts>(bool ok, const Parts&... parts) {
    check<DataError>(ok, kStem, folder.string(), ": ", parts...);
  };
  const std::string text = read_text_file(fs_, folder / kManifest, kMaxManifest);
  const JsonValue manifest = parse_json(text, (folder / kManifest).string());
  bad(manifest.find("ballast_checkpoint") != nullptr, kManifest, " must be that of a checkpoint");
  const int64_t version_found = manifest.at("ballast_checkpoint").integer();
  bad(version_found >= 1 && version_found <= kCheckpointVersion, "the format's version must be at most ",
      kCheckpointVersion, ", got ", version_found, ": a newer ballast wrote it");
  Checkpoint out;
  out.name = name;
  out.self = manifest.at("self").string();
  bad(sha256_hex(without_self(text, out.self)) == out.self, kManifest, " is not as it was written");
  out.parent = manifest.at("parent").string();
  out.info = info_of(manifest);
  bad(checkpoint_name(out.info.step) == name, "must be of the step in its name, it is of step ", out.info.step);
  std::vector<FolderEntry> entries;
  const int listed = call_fs([&] { return fs_.readdir(folder, entries); });
  bad(listed >= 0, "cannot be read: ", std::generic_category().message(-listed));
  std::set<std::string> found;
  for (const FolderEntry& e : entries) found.insert(e.name);
  found.erase(kManifest);
  for (const JsonValue& row : manifest.at("files").elements()) {
    const std::string& file = row.at("name").string();
    bad(found.erase(file) == 1, file, " is missing");
    std::vector<std::byte> bytes = read_file(fs_, folder / file);
    bad(bytes.size() == row.at("bytes").unsigned_integer(), file, " must have ",
        row.at("bytes").unsigned_integer(), " bytes, got ", bytes.size());
    bad(sha256_hex(bytes) == row.at("sha256").string(), file, " is not as it was written (SHA-256 differs)");
    out.files[file] = std::move(bytes);
  }
  bad(found.empty(), found.empty() ? "" : *found.begin(), " does not belong to it");
  return out;
}

void CheckpointFolder::loaded(const Checkpoint& checkpoint) {
  parent_ = checkpoint.self;
  verified_.insert(checkpoint.name);
  if (checkpoint.info.value) values_[checkpoint.name] = *checkpoint.info.value;
}

void CheckpointFolder::prune(const CheckpointKeep& keep) {
  const std::vector<std::string> all = names();
  std::set<std::string> stay;
  size_t good = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const bool verified = verified_.contains(all[i]);
    // Up to the second one that is known to be good, everything stays.
    if (good < 2 || i < static_cast<size_t>(std::max<int64_t>(keep.last, 0))) stay.insert(all[i]);
    good += verified ? 1 : 0;
  }
  if (good < 2) return;
  std::vector<std::pair<double, std::string>> best;
  for (const std::string& name : all) {
    if (const auto value = values_.find(name); value != values_.end()) {
      best.emplace_back(keep.maximize ? -value->second : value->second, name);
    }
  }
  std::ranges::sort(best);
  for (size_t i = 0; i < best.size() && i < static_cast<size_t>(std::max<int64_t>(keep.best, 0)); ++i) {
    if (i == 0) write_pointer("best", best[i].second);
    stay.insert(best[i].second);
  }
  for (const std::string& name : all) {
    if (stay.contains(name)) continue;
    const stdfs::path aside = path_ / (".tmp-prune-" + name);
    remove_folder(aside);
    require(call_fs([&] { return fs_.rename(path_ / name, aside); }), "cannot remove", path_ / name);
    remove_folder(aside);
    verified_.erase(name);
    values_.erase(name);
  }
}

void CheckpointFolder::remove_leftovers() {
  std::vector<FolderEntry> entries;
  const int listed = call_fs([&] { return fs_.readdir(path_, entries); });
  if (listed < 0) {
    if (listed != -ENOENT) fail_storage("cannot read", path_, -listed);
    return;
  }
  const auto exists = [&](const std::string& name) {
    return std::ranges::any_of(entries, [&](const FolderEntry& e) { return e.name == name; });
  };
  for (const FolderEntry& e : entries) {
    // A replacement was interrupted between its two renames.
    if (e.name.starts_with(".tmp-old-") && !exists(e.name.substr(9))) {
      require(call_fs([&] { return fs_.rename(path_ / e.name, path_ / e.name.substr(9)); }), "cannot rename",
              path_ / e.name);
    } else if (e.name.starts_with(".tmp-") && e.is_folder) {
      remove_folder(path_ / e.name);
    } else if (e.name == ".spare" || e.name.starts_with(".last.tmp-") || e.name.starts_with(".best.tmp-")) {
      call_fs([&] { return fs_.unlink(path_ / e.name); });
    }
  }
}

stdfs::path CheckpointFolder::quarantine(const std::string& name) {
  const stdfs::path folder = path_ / "quarantine";
  const int made = call_fs([&] { return fs_.mkdir(folder); });
  if (made < 0 && made != -EEXIST) fail_storage("cannot make", folder, -made);
  for (int n = 1;; ++n) {
    const stdfs::path to = folder / (n == 1 ? name : name + "-" + std::to_string(n));
    std::vector<FolderEntry> entries;
    if (call_fs([&] { return fs_.readdir(to, entries); }) != -ENOENT) continue;
    require(call_fs([&] { return fs_.rename(path_ / name, to); }), "cannot move", path_ / name);
    call_fs([&] { return fs_.fsync_dir(folder); });
    call_fs([&] { return fs_.fsync_dir(path_); });
    verified_.erase(name);
    return to;
  }
}

void CheckpointFolder::remove_folder(const stdfs::path& folder) {
  std::vector<FolderEntry> entries;
  const int listed = call_fs([&] { return fs_.readdir(folder, entries); });
  if (listed == -ENOENT) return;
  require(listed, "cannot remove", folder);
  for (const FolderEntry& e : entries) {
    const int removed = call_fs([&] { return fs_.unlink(folder / e.name); });
    if (removed < 0 && removed != -ENOENT) fail_storage("cannot remove", folder / e.name, -removed);
  }
  const int removed = call_fs([&] { return fs_.unlink(folder); });
  if (removed < 0 && removed != -ENOENT) fail_storage("cannot remove", folder, -removed);
}

}  // namespace ballast
