// Reads a run folder; what a record answers stands in run_record.cpp.

#include <ballast/report/run_record.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include <ballast/base/check.h>
#include <ballast/io/file.h>
#include <ballast/io/json.h>
#include <ballast/io/prediction_file.h>

namespace ballast {
namespace {

namespace fs = std::filesystem;

// No part of a run folder that is read here comes near it; a damaged one must not fill the memory.
constexpr uint64_t kMaxFileBytes = uint64_t{1} << 30;
constexpr size_t kMaxProblems = 50;

void add_problem(std::vector<std::string>& problems, std::string text) {
  if (problems.size() < kMaxProblems) {
    problems.push_back(std::move(text));
  } else if (problems.size() == kMaxProblems) {
    problems.push_back("more problems of this kind are left out");
  }
}

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t' || s.front() == '\r')) {
    s.remove_prefix(1);
  }
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t' || s.back() == '\r')) {
    s.remove_suffix(1);
  }
  return s;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

int64_t to_integer(double value, int64_t otherwise) {
  return std::isfinite(value) && std::abs(value) < 9e15 ? static_cast<int64_t>(std::llround(value))
                                                        : otherwise;
}

int64_t integer_of(const JsonValue& row, std::string_view name, int64_t otherwise = 0) {
  return to_integer(row.number_or(name, kNone), otherwise);
}

int64_t parse_integer(std::string_view text, int64_t otherwise) {
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : otherwise;
}

bool boolean_of(const JsonValue& row, std::string_view name) {
  const JsonValue* value = row.find(name);
  return value != nullptr && value->kind() == JsonValue::Kind::boolean && value->boolean();
}

std::string text_of(const JsonValue& value) {
  return value.is_string() ? value.string() : value.text();
}

// "loss 0.5, wait 3" from an object without the members that have a place of their own.
std::string rest_of(const JsonValue& row, const std::set<std::string_view>& known) {
  std::string text;
  for (const auto& [name, value] : row.members()) {
    if (!known.contains(name)) {
      text += (text.empty() ? "" : ", ") + name + " " + text_of(value);
    }
  }
  return text;
}

class Reader {
 public:
  explicit Reader(RecordedRun& record) : r_(record) {}

  void read_all() {
    with_text("config.toml", [&](const std::string& text) {
      r_.config = parse_config_with_origins(text, &r_.problems);
    });
    with_rows("metrics.jsonl", [&](const JsonValue& row) { metrics_row(row); });
    with_rows("timing.jsonl", [&](const JsonValue& row) { timing_row(row); });
    with_rows("events.jsonl", [&](const JsonValue& row) { event_row(row); });
    with_json("env.json", [&](const JsonValue& value) {
      flatten(value, "");
      r_.command = value.string_or("command", "");
    });
    with_json("model/config.json", [&](const JsonValue& value) { model_config(value); });
    with_text("split.csv", [&](const std::string& text) { split_table(text); });
    if (fs::exists(r_.folder / "bad_samples.csv", ignored_)) {  // only written when there are some
      with_text("bad_samples.csv", [&](const std::string& text) { bad_table(text); });
    }
    predictions();
  }

 private:
  template <class F>
  void with_text(const char* name, F use) {
    fs::path path = r_.folder / name;
    if (!fs::exists(path, ignored_)) {
      r_.missing.emplace_back(name);
      return;
    }
    try {
      use(read_text_file(path, kMaxFileBytes));
    } catch (const std::exception& e) {
      add_problem(r_.problems, std::string(name) + ": " + e.what());
    }
  }
  template <class F>
  void with_json(const char* name, F use) {
    with_text(name, [&](const std::string& text) {
      use(parse_json(text, name, {.refuse_duplicates = false}));
    });
  }
  template <class F>
  void with_rows(const char* name, F use) {
    with_text(name, [&](const std::string& text) {
      int64_t number = 0;
      for (std::string_view line : lines_of(text)) {
        ++number;
        if (trim(line).empty()) {
          continue;
        }
        try {
          JsonValue row = parse_json(line, name, {.refuse_duplicates = false});
          if (!row.is_object()) {
            fail<DataError>("run_record", "not an object");
          }
          use(row);
        } catch (const std::exception&) {
          add_problem(r_.problems, std::string(name) + ":" + std::to_string(number) +
                                       ": damaged; the row is left out");
        }
      }
    });
  }

  void metrics_row(const JsonValue& row) {
    std::string kind = row.string_or("kind", "");
    if (kind == "run") {
      run_row(row);
    } else if (kind == "train") {
      TrainRow t;
      t.step = integer_of(row, "step");
      t.epoch = row.number_or("epoch", kNone);
      t.loss = row.number_or("loss", kNone);
      t.lr = row.number_or("lr", kNone);
      t.momentum = row.number_or("momentum", kNone);
      t.grad_norm = row.number_or("grad_norm", kNone);
      t.clipped = integer_of(row, "clipped");
      t.skipped = integer_of(row, "skipped");
      r_.train.push_back(t);
    } else if (kind == "check") {
      check_row(row);
    } else if (kind == "watch") {
      watch_row(row);
    } else if (kind == "norm_drift") {
      norm_drift_row(row);
    } else if (kind == "decision") {
      DecisionRow d;
      d.step = integer_of(row, "step");
      d.what = row.string_or("what", "");
      d.reason = row.string_or("reason", "");
      const JsonValue* values = row.find("values");
      d.values = values && values->is_object() ? rest_of(*values, {})
                                               : rest_of(row, {"kind", "step", "what", "reason"});
      r_.decisions.push_back(d);
    }
  }

  void norm_drift_row(const JsonValue& row) {
    r_.norm_drift.clear();
    const JsonValue* layers = row.find("layers");
    if (!layers || !layers->is_array()) {
      return;
    }
    for (const JsonValue& layer : layers->elements()) {
      if (layer.is_object()) {
        r_.norm_drift.push_back({.name = layer.string_or("name", ""),
                                 .shift = layer.number_or("shift", kNone),
                                 .scale = layer.number_or("scale", kNone)});
      }
    }
  }

  void watch_row(const JsonValue& row) {
    WatchRow w;
    w.step = integer_of(row, "step");
    const JsonValue* layers = row.find("layers");
    if (!layers || !layers->is_array()) {
      return;
    }
    for (const JsonValue& layer : layers->elements()) {
      if (!layer.is_object()) {
        continue;
      }
      WatchedLayerRow l{.name = layer.string_or("name", "")};
      l.mean = layer.number_or("mean", kNone);
      l.std = layer.number_or("std", kNone);
      l.across = layer.number_or("across", kNone);
      l.zeros = layer.number_or("zeros", kNone);
      l.saturated = layer.number_or("saturated", kNone);
      l.gradient = layer.number_or("gradient", kNone);
      l.weight_gradient = layer.number_or("weight_gradient", kNone);
      l.update = layer.number_or("update", kNone);
      w.layers.push_back(std::move(l));
    }
    if (!w.layers.empty()) {
      r_.watch.push_back(std::move(w));
    }
  }

  void run_row(const JsonValue& row) {
    r_.facts.version = row.string_or("version", "");
    r_.facts.fingerprint = row.string_or("fingerprint", "");
    r_.facts.config_digest = row.string_or("config_digest", "");
    if (const JsonValue* seed = row.find("seed"); seed && seed->is_integer()) {
      r_.facts.seed = seed->unsigned_integer();
    }
    r_.facts.steps_per_epoch = integer_of(row, "steps_per_epoch");
    r_.facts.total_steps = integer_of(row, "T");
    if (const JsonValue* classes = row.find("classes")) {
      r_.facts.classes.clear();
      for (const JsonValue& name : classes->elements()) {
        r_.facts.classes.push_back(text_of(name));
      }
    }
  }

  void check_row(const JsonValue& row) {
    static const std::set<std::string_view> kOwn = {"kind",      "step", "epoch",     "split",
                                                    "per_class", "wait", "reference", "best",
                                                    "improved",  "ids",  "n",         "lr"};
    CheckRow c;
    c.step = integer_of(row, "step");
    c.epoch = row.number_or("epoch", kNone);
    c.split = row.string_or("split", "val");
    c.wait = integer_of(row, "wait", -1);
    c.reference = row.number_or("reference", kNone);
    c.best = row.number_or("best", kNone);
    c.improved = boolean_of(row, "improved");
    c.samples = integer_of(row, "n");
    for (const auto& [name, value] : row.members()) {
      if (!kOwn.contains(name) && value.is_number()) {
        c.metrics[name] = value.number();
      }
    }
    if (const JsonValue* classes = row.find("per_class")) {
      for (const JsonValue& item : classes->elements()) {
        ClassRow k;
        if (item.is_array() && item.size() >= 3) {
          k.support = to_integer(item.elements()[0].number(), 0);
          k.predicted = to_integer(item.elements()[1].number(), 0);
          k.correct = to_integer(item.elements()[2].number(), 0);
        } else {
          k.support = integer_of(item, "support");
          k.predicted = integer_of(item, "predicted");
          k.correct = integer_of(item, "correct");
        }
        c.per_class.push_back(k);
      }
    }
    r_.checks.push_back(std::move(c));
  }

  void timing_row(const JsonValue& row) {
    TimingRow t;
    t.step = integer_of(row, "step");
    t.data = row.number_or("data", kNone);
    t.forward = row.number_or("forward", kNone);
    t.backward = row.number_or("backward", kNone);
    t.optimizer = row.number_or("optimizer", kNone);
    t.reduce = row.number_or("reduce", kNone);
    t.check = row.number_or("check", kNone);
    t.save = row.number_or("save", kNone);
    t.images_per_second = row.number_or("images_per_second", kNone);
    t.rss = row.number_or("rss", kNone);
    r_.timing.push_back(t);
  }

  void event_row(const JsonValue& row) {
    EventRow e;
    e.kind = row.string_or("kind", "");
    if (const JsonValue* time = row.find("time")) {
      e.time = text_of(*time);
    }
    e.step = integer_of(row, "step", -1);
    e.text = row.string_or("message", "");
    if (e.text.empty()) {
      e.text = rest_of(row, {"kind", "time", "step", "message"});
    }
    r_.events.push_back(e);
  }

  void flatten(const JsonValue& value, const std::string& prefix) {
    for (const auto& [name, member] : value.members()) {
      std::string key = prefix.empty() ? name : prefix + "." + name;
      if (member.is_object()) {
        flatten(member, key);
      } else {
        r_.env.emplace_back(key, text_of(member));
      }
    }
  }

  void model_config(const JsonValue& value) {
    r_.architecture = value.string_or("architecture", "");
    if (r_.facts.classes.empty()) {
      if (const JsonValue* names = value.find("label_names")) {
        for (const JsonValue& name : names->elements()) {
          r_.facts.classes.push_back(text_of(name));
        }
      }
    }
    const JsonValue* ours = value.find("ballast");
    const JsonValue* layers = ours ? ours->find("layers") : nullptr;
    if (!layers) {
      return;
    }
    for (const JsonValue& item : layers->elements()) {
      ModelLayer layer;
      layer.name = item.string_or("name", "");
      layer.type = item.string_or("type", "");
      const JsonValue* shape = item.find("shape");
      if (shape || (shape = item.find("output"))) {
        if (shape->is_array()) {
          for (const JsonValue& size : shape->elements()) {
            layer.shape += (layer.shape.empty() ? "(" : ", ") + text_of(size);
          }
          layer.shape += layer.shape.empty() ? "()" : ")";
        } else {
          layer.shape = text_of(*shape);
        }
      }
      layer.params = integer_of(item, "params");
      layer.macs = integer_of(item, item.find("macs") ? "macs" : "multiply_adds");
      r_.layers.push_back(std::move(layer));
    }
  }

  // Calls use(column by name) for each row after the header.
  template <class F>
  static void with_csv(std::string_view text, F use) {
    std::vector<std::vector<std::string>> rows = parse_csv(text);
    for (size_t i = 1; i < rows.size(); ++i) {
      use([&](std::string_view column) -> std::string {
        for (size_t c = 0; c < rows[0].size() && c < rows[i].size(); ++c) {
          if (rows[0][c] == column) {
            return rows[i][c];
          }
        }
        return {};
      });
    }
  }

  void split_table(std::string_view text) {
    with_csv(text, [&](auto&& cell) {
      SplitRow row;
      row.index = parse_integer(cell("id"), parse_integer(cell("index"), -1));
      row.split = cell("role");
      if (row.split.empty()) {
        row.split = cell("split");
      }
      row.label = parse_integer(cell("label"), -1);
      row.path = cell("path");
      if (!row.split.empty()) {
        ++r_.split_sizes[row.split];
        r_.split_rows.push_back(std::move(row));
      }
    });
  }

  void bad_table(std::string_view text) {
    with_csv(text, [&](auto&& cell) {
      UnreadableSample bad{cell("path"), cell("reason")};
      if (std::string detail = cell("detail"); !detail.empty()) {
        bad.reason += ": " + detail;
      }
      if (bad.path.empty()) {
        bad.path = "#" + cell("id");
      }
      r_.bad_samples.push_back(std::move(bad));
    });
  }

  void predictions() {
    std::vector<fs::path> files;
    for (fs::directory_iterator it(r_.folder / "predictions", ignored_), end;
         !ignored_ && it != end; it.increment(ignored_)) {
      if (it->path().extension() == ".safetensors") {
        files.push_back(it->path());
      }
    }
    std::sort(files.begin(), files.end());
    for (const fs::path& path : files) {
      try {
        PredictionTable table = read_predictions(path);
        if (table.several_labels) {
          r_.several_labels = true;  // the page's tables of samples are of one label a picture
          continue;
        }
        std::vector<PredictionRow>& rows = r_.predictions[path.stem().string()];
        for (size_t i = 0; i < table.index.size(); ++i) {
          rows.push_back({table.index[i], table.target[i], table.pred[i], table.rank[i],
                          table.loss[i], table.confidence[i]});
        }
      } catch (const std::exception& e) {
        r_.predictions.erase(path.stem().string());
        add_problem(r_.problems, "predictions/" + path.filename().string() + ": " + e.what());
      }
    }
    if (r_.predictions.empty() && !r_.several_labels) {
      r_.missing.emplace_back("predictions/");
    }
  }

  RecordedRun& r_;
  std::error_code ignored_;
};

}  // namespace

std::vector<ConfigValue> parse_config_with_origins(std::string_view text,
                                                   std::vector<std::string>* problems) {
  std::vector<ConfigValue> values;
  std::string section;
  std::string pending;  // a value that goes on over several lines
  std::string pending_key;
  int64_t number = 0;
  for (std::string_view raw : lines_of(text)) {
    ++number;
    // Cut the comment: the first # outside quotes.
    char quote = 0;
    int depth = 0;
    size_t comment = raw.size();
    for (size_t i = 0; i < raw.size(); ++i) {
      char c = raw[i];
      if (quote) {
        if (c == '\\' && quote == '"') {
          ++i;
        } else if (c == quote) {
          quote = 0;
        }
      } else if (c == '"' || c == '\'') {
        quote = c;
      } else if (c == '[') {
        ++depth;
      } else if (c == ']') {
        --depth;
      } else if (c == '#') {
        comment = i;
        break;
      }
    }
    std::string_view line = trim(raw.substr(0, comment));
    std::string_view origin =
        comment < raw.size() ? trim(raw.substr(comment + 1)) : std::string_view();
    if (!pending_key.empty()) {
      pending += " " + std::string(line);
      if (std::count(pending.begin(), pending.end(), '[') <=
          std::count(pending.begin(), pending.end(), ']')) {
        values.push_back({pending_key, pending, std::string(origin)});
        pending_key.clear();
      }
      continue;
    }
    if (line.empty()) {
      continue;
    }
    if (line.front() == '[') {
      size_t first = line.find_first_not_of("[ ");
      size_t last = line.find_last_not_of("] ");
      section = first == std::string_view::npos || last == std::string_view::npos || last < first
                    ? std::string()
                    : std::string(line.substr(first, last - first + 1));
      continue;
    }
    size_t equals = line.find('=');
    if (equals == std::string_view::npos || equals == 0) {
      if (problems) {
        add_problem(*problems, "config.toml:" + std::to_string(number) +
                                   ": not a key and a value; the line is left out");
      }
      continue;
    }
    std::string key(trim(line.substr(0, equals)));
    std::string full = section.empty() ? key : section + "." + key;
    std::string value(trim(line.substr(equals + 1)));
    if (depth > 0 && value.starts_with('[')) {
      pending = value;
      pending_key = full;
      continue;
    }
    values.push_back({full, value, std::string(origin)});
  }
  return values;
}

std::vector<std::vector<std::string>> parse_csv(std::string_view text) {
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> row;
  std::string cell;
  bool quoted = false;
  bool any = false;
  auto end_row = [&] {
    row.push_back(std::move(cell));
    cell.clear();
    rows.push_back(std::move(row));
    row.clear();
    any = false;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (quoted) {
      if (c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
        cell += '"';
        ++i;
      } else if (c == '"') {
        quoted = false;
      } else {
        cell += c;
      }
    } else if (c == '"') {
      quoted = true;
      any = true;
    } else if (c == ',') {
      row.push_back(std::move(cell));
      cell.clear();
      any = true;
    } else if (c == '\n') {
      if (any) {
        end_row();
      }
    } else if (c != '\r') {
      cell += c;
      any = true;
    }
  }
  if (any) {
    end_row();
  }
  return rows;
}

RecordedRun read_run_record(const std::filesystem::path& folder) {
  std::error_code error;
  check<DataError>(fs::is_directory(folder, error), "run_record", "a run folder is required, got ",
                   folder.string());
  RecordedRun record;
  record.folder = folder;
  fs::path whole = fs::absolute(folder, error).lexically_normal();
  record.name =
      whole.has_filename() ? whole.filename().string() : whole.parent_path().filename().string();
  Reader(record).read_all();
  return record;
}

}  // namespace ballast
