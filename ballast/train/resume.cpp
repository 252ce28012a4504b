#include <ballast/train/resume.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string_view>

#include <ballast/base/check.h>
#include <ballast/base/config_file.h>

namespace ballast {
namespace {

// Keys that decide no result, or that name the run itself.
constexpr std::array<std::string_view, 8> kFree = {"run.name", "run.out", "run.overwrite", "run.grace", "run.threads", "run.workers",
                                                   "run.max_time", "run.session_time"};
// What may change while a run goes on: its length, how it is watched, saved and stopped, and the rate.
constexpr std::array<std::string_view, 4> kEditableSections = {"stop", "save", "log", "schedule"};
constexpr std::array<std::string_view, 5> kEditable = {"train.epochs", "eval.every", "eval.batch_size", "optim.lr",
                                                       "optim.weight_decay"};

template <size_t n>
bool holds(const std::array<std::string_view, n>& list, std::string_view key) {
  return std::find(list.begin(), list.end(), key) != list.end();
}

bool may_change(const OptionRow& row) { return holds(kEditableSections, row.section()) || holds(kEditable, row.key); }

std::string text_of_cause(const std::vector<std::string>& passed_over) {
  return passed_over.empty() ? "" : " (newest: " + passed_over.front() + ")";
}

std::set<std::string> lines_of(std::string_view text) {
  std::set<std::string> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.emplace(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

void remove_temporaries(FileSystem& fs, const std::filesystem::path& folder) {
  std::vector<FolderEntry> entries;
  if (fs.readdir(folder, entries) < 0) {
    return;
  }
  for (const FolderEntry& e : entries) {
    if (!e.is_folder && e.name.starts_with(".") && e.name.find(".tmp-") != std::string::npos) {
      fs.unlink(folder / e.name);
    }
  }
}

JsonValue json_file(const Checkpoint& c, const char* name) {
  const std::vector<std::byte>& bytes = c.file(name);
  return parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, c.name + "/" + name);
}

}  // namespace

RunFolderOptions folder_options(const RunOptions& options) {
  RunFolderOptions f;
  f.name = options.run.name;
  f.out = options.run.out;
  f.overwrite = options.run.overwrite;
  return f;
}

JsonValue deciding_values(const RunOptions& options) {
  RunOptions copy = options;
  const OptionTable table = option_table(copy);
  JsonValue values = JsonValue::object();
  for (const OptionRow& row : table.rows()) {
    if (!holds(kFree, row.key)) {
      values[row.key] = row.text();
    }
  }
  return values;
}

RecordPosition record_position(const JsonValue& state, const JsonValue& session) {
  RecordPosition position;
  const JsonValue& record = state.at("record");
  position.metrics = record.at("bytes").unsigned_integer();
  position.metrics_sha256 = record.at("sha256").string();
  position.timing = session.at("timing_bytes").unsigned_integer();
  position.step = state.at("position").at("step").integer();
  return position;
}

std::optional<Resume> Resume::find(const RunOptions& options, FileSystem& fs) {
  const RunFolderOptions f = folder_options(options);
  if (options.dry_run || options.run.overwrite || !RunFolder::is_run(f)) {
    check<DataError>(!options.resume, "run", (f.out.empty() ? f.runs / f.name : f.out).string(), " holds no run to go on with");
    return {};
  }
  Resume out;
  out.folder_ = std::make_unique<RunFolder>(fs, f);
  out.fs_ = &fs;
  out.path_ = out.folder_->path();
  const std::filesystem::path& path = out.path_;
  for (const char* sub : {"", "model", "predictions"}) {
    remove_temporaries(fs, path / sub);
  }
  out.checkpoints_ = std::make_shared<CheckpointFolder>(fs, path / "checkpoints");
  out.checkpoints_->remove_leftovers();
  out.candidates_ = out.checkpoints_->names();
  if (options.restart) {
    out.start_anew();
    return out;
  }
  std::error_code ignored;
  if (std::filesystem::exists(path / "result.json", ignored)) {
    out.result_ = parse_json(read_text_file(fs, path / "result.json"), (path / "result.json").string());
  }
  if (!out.candidates_.empty()) {
    out.take_next();
  }
  return out;
}

void Resume::start_anew() {
  for (const std::string& name : candidates_) {
    checkpoints_->quarantine(name);
  }
  candidates_.clear();
  checkpoint_.reset();
  remove_file(*fs_, path_ / "result.json");
}

void Resume::take_next() {
  while (!candidates_.empty()) {
    const std::string name = candidates_.front();
    candidates_.erase(candidates_.begin());
    try {
      checkpoint_ = checkpoints_->read(name);
      state_ = json_file(*checkpoint_, "state.json");
      session_ = json_file(*checkpoint_, "session.json");
      record_ = record_position(state_, session_);
      check<DataError>(record_is_at(*fs_, path_, record_), "run", "metrics.jsonl is not what it was when ", name,
                       " was saved");
      return;
    } catch (const DataError& e) {
      passed_over_.push_back("checkpoints/" + name + ": " + e.what());
    }
  }
  checkpoint_.reset();
  fail<DataError>("run", "a checkpoint of ", path_.string(), " must be whole, none is", text_of_cause(passed_over_),
                  "; --restart trains anew");
}

void Resume::pass_over(const std::string& why) {
  passed_over_.push_back("checkpoints/" + checkpoint_->name + ": " + why);
  take_next();
}

std::vector<Resume::Edit> Resume::edits(const RunOptions& now) const {
  const std::filesystem::path path = path_ / "config.toml";
  RunOptions before, after = now;
  OptionTable before_table = option_table(before), after_table = option_table(after);
  const std::string text = read_text_file(*fs_, path);
  const std::vector<OptionProblem> problems = apply_toml(before_table, text, path.string());
  check<DataError>(problems.empty(), "run", path.string(), " must be a configuration, got ",
                   problems.empty() ? "" : problems.front().place + ": " + problems.front().text);
  std::vector<Edit> out;
  for (size_t i = 0; i < after_table.rows().size(); ++i) {
    const OptionRow& a = before_table.rows()[i];
    const OptionRow& b = after_table.rows()[i];
    if (!holds(kFree, a.key) && a.text() != b.text()) {
      out.push_back({a.key, a.plain(), b.plain(), may_change(a)});
    }
  }
  return out;
}

void Resume::check_edits(const RunOptions& now) const {
  std::string differ, forbidden;
  for (const Edit& e : edits(now)) {
    const std::string text = e.key + " " + e.before + " there and " + e.now + " now";
    differ += (differ.empty() ? "" : ", ") + text;
    if (!e.allowed) {
      forbidden += (forbidden.empty() ? "" : ", ") + text;
    }
  }
  const std::string path = path_.string();
  check(now.resume || differ.empty(), "run", path, " holds a run of another configuration: ", differ, "; --resume ", path,
        " goes on with changes, --overwrite moves it aside, another --name keeps both");
  check(forbidden.empty(), "run", "while a run goes on these cannot change: ", forbidden, "; start a new one: --pretrained ",
        path, "/model begins with its weights");
}

void Resume::check_data(const RunOptions& now, const std::string& split_csv) const {
  std::error_code ignored;
  const std::filesystem::path path = path_ / "split.csv";
  if (now.accept_data_change || !std::filesystem::exists(path, ignored)) {
    return;
  }
  const std::string old_text = read_text_file(*fs_, path);
  if (old_text == split_csv) {
    return;
  }
  const std::set<std::string> before = lines_of(old_text), after = lines_of(split_csv);
  std::string names;
  int shown = 0;
  int64_t changed = 0;
  for (const auto* lines : {&before, &after}) {
    const std::set<std::string>& other = lines == &before ? after : before;
    for (const std::string& line : *lines) {
      if (!other.contains(line)) {
        ++changed;
        if (++shown <= 10) {
          names += (names.empty() ? "" : "; ") + std::string(lines == &before ? "gone: " : "new: ") + line;
        }
      }
    }
  }
  fail<DataError>("run", "the data must be what it was when the run began, ", changed, " rows of split.csv differ: ", names,
                  shown > 10 ? "; ..." : "", "; --accept-data-change goes on all the same");
}

}  // namespace ballast
