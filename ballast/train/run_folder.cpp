#include <ballast/train/run_folder.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <vector>

#include <ballast/base/check.h>

namespace ballast {
namespace {

std::string clean(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool good = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
    out += good ? c : '-';
  }
  return out.empty() ? "run" : out;
}

std::string holder() {
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  return "process " + std::to_string(getpid()) + " on " + host.data() + " since " + utc_now();
}

[[noreturn]] void storage_error(std::string_view what, const std::filesystem::path& path, int number) {
  throw StorageError(detail::message("run", what, " ", path.string(), ": ", std::strerror(number)), number);
}

// True if the folder was made by this call.
bool make_new(FileSystem& fs, const std::filesystem::path& path) {
  const int result = fs.mkdir(path);
  if (result < 0 && result != -EEXIST) {
    storage_error("cannot make", path, -result);
  }
  return result == 0;
}

}  // namespace

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

RunFolder::RunFolder(FileSystem& fs, const RunFolderOptions& options) : fs_(fs) {
  namespace stdfs = std::filesystem;
  if (options.name.empty() && options.out.empty()) {
    make_folders(fs, options.runs);
    const std::string stem = clean(options.stem);
    for (int64_t n = 1;; ++n) {
      path_ = options.runs / (stem + "-" + std::to_string(n));
      if (make_new(fs, path_)) {
        break;
      }
    }
    lock_ = std::make_unique<FileLock>(fs, path_ / ".lock", holder());
    return;
  }
  check(options.name.find('/') == std::string::npos && options.name != "." && options.name != "..", "run",
        "name must be the name of a folder in ", options.runs.string(), ", got \"", options.name,
        "\"; --out takes a path");
  path_ = !options.out.empty() ? options.out : options.runs / options.name;
  std::error_code ignored;
  check(!stdfs::exists(path_, ignored) || stdfs::is_directory(path_, ignored), "run", path_.string(),
        " must be a folder, got a file");
  std::vector<FolderEntry> entries;
  const int listed = fs.readdir(path_, entries);
  if (listed < 0 && listed != -ENOENT) {
    storage_error("cannot read", path_, -listed);
  }
  if (!entries.empty()) {
    auto held = std::make_unique<FileLock>(fs, path_ / ".lock", holder());  // in use: say that first
    if (!options.overwrite) {
      holds_run_ = is_run(options);
      // A run that ended before it had written its configuration leaves nothing but hidden names.
      const bool nothing = std::all_of(entries.begin(), entries.end(),
                                       [](const FolderEntry& e) { return e.name == ".lock" || e.name.starts_with(".config.toml.tmp-"); });
      check(holds_run_ || nothing, "run", path_.string(), " must be new, empty or a run, it holds ", entries.size(),
            " other files; --overwrite moves it aside, another --name or --out keeps both");
      lock_ = std::move(held);
      return;
    }
    held.reset();
    for (int64_t n = 1;; ++n) {
      const stdfs::path aside = path_.string() + ".old-" + std::to_string(n);
      if (!stdfs::exists(aside, ignored)) {
        const int moved = fs.rename(path_, aside);
        if (moved < 0) {
          storage_error("cannot move aside", path_, -moved);
        }
        break;
      }
    }
  }
  make_folders(fs, path_);
  lock_ = std::make_unique<FileLock>(fs, path_ / ".lock", holder());
}

bool RunFolder::is_run(const RunFolderOptions& options) {
  if (options.name.empty() && options.out.empty()) {
    return false;
  }
  std::error_code ignored;
  const std::filesystem::path path = !options.out.empty() ? options.out : options.runs / options.name;
  return std::filesystem::is_regular_file(path / "config.toml", ignored);
}

void RunFolder::write(const std::filesystem::path& name, std::string_view text) const {
  write_file_atomic(fs_, path_ / name, text);
}

RunRecord::RunRecord(const RunFolder& folder, bool tensorboard) : RunRecord(folder, tensorboard, {}) {}

RunRecord::RunRecord(const RunFolder& folder, bool tensorboard, const RecordPosition& position)
    : metrics_(folder.fs(), folder.path() / "metrics.jsonl"),
      timing_(folder.fs(), folder.path() / "timing.jsonl"),
      events_(folder.fs(), folder.path() / "events.jsonl") {
  metrics_.cut(position.metrics);
  timing_.cut(std::min(position.timing, timing_.size()));
  if (position.metrics > 0) {
    metrics_sha256_.update(read_text_file(folder.fs(), folder.path() / "metrics.jsonl"));
  }
  if (tensorboard) {
    const EventFileOptions options{.resume_step = position.step > 0 ? position.step : -1};
    tensorboard_ = std::make_unique<EventFileWriter>(folder.fs(), folder.path(), options);
  }
}

RecordPosition RunRecord::position(int64_t step) {
  sync();
  Sha256 copy = metrics_sha256_;
  return {.metrics = metrics_.size(), .metrics_sha256 = hex(copy.finish()), .timing = timing_.size(), .step = step};
}

void RunRecord::metrics(const JsonValue& row) {
  metrics_sha256_.update(row.text() + "\n");
  metrics_.append(row);
}

bool record_is_at(FileSystem& fs, const std::filesystem::path& folder, const RecordPosition& position) {
  std::string text = read_text_file(fs, folder / "metrics.jsonl");
  if (text.size() < position.metrics) {
    return false;
  }
  text.resize(position.metrics);
  return sha256_hex(text) == position.metrics_sha256;
}

void RunRecord::event(std::string_view kind, int64_t step, std::string_view message) {
  JsonValue row = JsonValue::object();
  row["kind"] = kind;
  row["time"] = utc_now();
  row["step"] = step;
  row["message"] = message;
  events_.append(row);
}

void RunRecord::scalar(const std::string& tag, int64_t step, double value) {
  const auto [last, added] = last_.try_emplace(tag, step);
  if (tensorboard_ != nullptr && (added || step > last->second)) {
    last->second = step;
    tensorboard_->add_scalar(tag, step, value);
  }
}

void RunRecord::sync() {
  metrics_.sync();
  timing_.sync();
  events_.sync();
  if (tensorboard_ != nullptr) {
    tensorboard_->flush();
  }
}

void RunRecord::close() {
  sync();
  metrics_.close();
  timing_.close();
  events_.close();
  if (tensorboard_ != nullptr) {
    tensorboard_->close();
  }
}

}  // namespace ballast
