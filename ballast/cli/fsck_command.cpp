#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>

#include <ballast/base/check.h>
#include <ballast/base/sha256.h>
#include <ballast/io/checkpoint_folder.h>
#include <ballast/io/jsonl.h>
#include <ballast/io/safetensors.h>

#include "command.h"
#include "find_run.h"

namespace ballast::cli {
namespace {

namespace stdfs = std::filesystem;
using nlohmann::ordered_json;

struct FsckFlags {
  bool repair = false;
};
template <class Visitor>
void describe(Visitor& visit, FsckFlags& o) {
  visit("repair", o.repair, {.help = "put right what can be put right; nothing is deleted but leftovers of interrupted writes",
                             .flags = "--repair"});
}

/// One look at a run folder. Every finding has a text, and a repair where there is one.
class Inspection {
 public:
  Inspection(stdfs::path run, bool repair) : run_(std::move(run)), repair_(repair), checkpoints_(real_fs(), run_ / "checkpoints") {}

  void all() {
    leftovers(run_);
    leftovers(run_ / "model");
    leftovers(run_ / "predictions");
    leftovers(run_ / "checkpoints");
    for (const char* log : {"metrics.jsonl", "timing.jsonl", "events.jsonl"}) {
      cut_line(log);
    }
    checkpoints();
    pointers();
    record();
    weights();
  }

  int found() const { return found_; }
  int left() const { return found_ - repaired_; }
  bool none_whole() const { return whole_.empty() && bad_ > 0; }
  const std::vector<std::string>& whole() const { return whole_; }
  const ordered_json& rows() const { return rows_; }
  const std::string& text() const { return text_; }

 private:
  void finding(const std::string& what, const std::string& remedy = "", const std::function<void()>& mend = {}) {
    ++found_;
    const bool now = repair_ && mend != nullptr;
    if (now) {
      mend();
      ++repaired_;
    }
    text_ += what + (remedy.empty() ? "" : now ? ": " + remedy : ": --repair: " + remedy) + "\n";
    rows_.push_back({{"what", what}, {"remedy", remedy}, {"repaired", now}});
  }

  // What an interrupted write left behind.
  void leftovers(const stdfs::path& folder) {
    std::vector<FolderEntry> entries;
    if (real_fs().readdir(folder, entries) < 0) {
      return;
    }
    for (const FolderEntry& e : entries) {
      if (e.name.find(".tmp-") != std::string::npos) {
        finding((folder / e.name).string() + " was left by an interrupted write", "removed", [&] {
          if (e.is_folder) {
            checkpoints_.remove_leftovers();
          } else {
            remove_file(folder / e.name);
          }
        });
      }
    }
  }

  // A last line without its end moves to lost/.
  void cut_line(const std::string& log) {
    const stdfs::path path = run_ / log;
    std::error_code ignored;
    if (!stdfs::exists(path, ignored)) {
      return;
    }
    const std::string text = read_text_file(path);
    const size_t end = text.rfind('\n') + 1;  // 0 if there is none
    if (end < text.size()) {
      finding(path.string() + " ends in a cut line of " + std::to_string(text.size() - end) + " bytes", "moved to lost/", [&] {
        make_folders(run_ / "lost");
        write_file_atomic(run_ / "lost" / (log + "-" + std::to_string(end)), std::string_view(text).substr(end));
        AppendFile file(path);
        file.cut(end);
        file.close();
      });
    }
  }

  void checkpoints() {
    for (const std::string& name : checkpoints_.names()) {
      try {
        const Checkpoint c = checkpoints_.read(name);
        if (whole_.empty()) {
          newest_state_ = c.files.contains("state.json") ? text_of(c.file("state.json")) : "";
        }
        whole_.push_back(name);
      } catch (const DataError& e) {
        ++bad_;
        finding(e.what(), "moved to checkpoints/quarantine/", [&] { checkpoints_.quarantine(name); });
      }
    }
  }

  void pointers() {
    if (whole_.empty()) {
      return;
    }
    for (const char* pointer : {"last", "best"}) {
      const stdfs::path path = run_ / "checkpoints" / pointer;
      std::error_code ignored;
      const bool there = stdfs::exists(path, ignored);
      const std::string now = there ? read_text_file(path, 4096) : "";
      const bool dangling = std::none_of(whole_.begin(), whole_.end(), [&](const std::string& n) { return now == n + "\n"; });
      const bool last = std::string_view(pointer) == "last";
      if (last && now != whole_.front() + "\n") {
        finding(path.string() + (there ? " names another than the newest" : " is missing"), "now " + whole_.front(),
                [&] { write_file_atomic(path, whole_.front() + "\n"); });
      } else if (!last && there && dangling) {
        finding(path.string() + " names a checkpoint that is not there", "removed", [&] { remove_file(path); });
      }
    }
  }

  // Rows are whole, steps rise by kind, and the newest checkpoint agrees with them.
  void record() {
    const stdfs::path path = run_ / "metrics.jsonl";
    std::error_code ignored;
    if (!stdfs::exists(path, ignored)) {
      finding(path.string() + " is missing");
      return;
    }
    try {
      std::map<std::string, int64_t> last;
      for (const JsonValue& row : read_jsonl(path).rows) {
        const std::string kind = row.string_or("kind", "") + " " + row.string_or("split", "") + row.string_or("what", "");
        const auto step = static_cast<int64_t>(row.number_or("step", 0));
        const auto [at, is_new] = last.try_emplace(kind, step);
        if (!is_new && step <= at->second) {
          finding(path.string() + ": rows \"" + kind + "\" come to step " + std::to_string(step) + " twice");
        }
        at->second = std::max(at->second, step);
      }
    } catch (const DataError& e) {
      finding(e.what());
    }
    if (newest_state_.empty()) {
      return;
    }
    const JsonValue state = parse_json(newest_state_, "state.json");
    const JsonValue& at = state.at("record");
    std::string text = read_text_file(path);
    const uint64_t bytes = at.at("bytes").unsigned_integer();
    if (text.size() < bytes || sha256_hex(std::string_view(text).substr(0, bytes)) != at.at("sha256").string()) {
      finding(path.string() + " is not what it was when " + whole_.front() + " was saved");
    }
  }

  void weights() {
    const stdfs::path path = run_ / "model" / "model.safetensors";
    std::error_code ignored;
    if (stdfs::exists(path, ignored)) {
      try {
        SafetensorsFile::open(path);
      } catch (const DataError& e) {
        finding(e.what());
      }
    }
  }

  static std::string text_of(const std::vector<std::byte>& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  stdfs::path run_;
  bool repair_;
  CheckpointFolder checkpoints_;
  std::vector<std::string> whole_;  // newest first
  std::string newest_state_;
  int found_ = 0, repaired_ = 0, bad_ = 0;
  std::string text_;
  ordered_json rows_ = ordered_json::array();
};

class FsckCommand : public Command {
 public:
  FsckCommand() { own_.add("fsck", flags_); }
  CommandText text() const override {
    return {
        .name = "fsck",
        .summary = "is a run folder whole? every checkpoint by its digests, logs, pointers",
        .operands = "RUN",
        .about = "Reads every checkpoint and compares each byte's digest with its manifest, looks at the logs (whole lines, "
                 "steps that rise, in agreement with the newest checkpoint), at the pointers and at what interrupted writes "
                 "left behind. With --repair damaged checkpoints move to checkpoints/quarantine/, cut lines to lost/, pointers "
                 "are written again, leftovers go.\n"
                 "\n"
                 "Training needs none of this to go on: it takes the newest checkpoint that is whole.\n"
                 "\n"
                 "Exit code 0: all is well, or was put right. 5: damage. 3: there are checkpoints, and none is whole.",
        .examples =
            {
                {"look", "ballast fsck runs/mine"},
                {"put right", "ballast fsck runs/mine --repair"},
            },
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 1}; }

  int run(const Session& session, const Arguments& arguments) override {
    const stdfs::path run = find_run(arguments.operands[0]);
    const FileLock lock(run / ".lock", "ballast fsck");
    Inspection inspection(run, flags_.repair);
    inspection.all();
    std::string text = inspection.text();
    text += std::to_string(inspection.whole().size()) + " checkpoints are whole" +
            (inspection.whole().empty() ? "" : ", the newest " + inspection.whole().front());
    text += inspection.found() == 0 ? "; nothing is wrong\n"
                                    : "; " + std::to_string(inspection.found()) + " findings, " + std::to_string(inspection.left()) +
                                          " left\n";
    session.print(text);
    session.document({{"run", run.string()}, {"whole", inspection.whole()}, {"findings", inspection.rows()},
                      {"left", inspection.left()}});
    return inspection.none_whole() ? kData : inspection.left() > 0 ? kDamage : kDone;
  }

 private:
  FsckFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_fsck_command() { return std::make_unique<FsckCommand>(); }

}  // namespace ballast::cli
