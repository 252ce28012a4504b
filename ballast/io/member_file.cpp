#include <ballast/io/member_file.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <numeric>
#include <unordered_map>

#include <ballast/base/check.h>
#include <ballast/io/json.h>
#include <ballast/io/safetensors.h>

namespace ballast {
namespace {

namespace fs = std::filesystem;

constexpr const char* kStem = "member_file";

bool number(std::string_view text, double& value) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  if (!text.empty() && text.front() == '+') text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

/// Fields of a CSV text, quoted ones as RFC 4180 has them.
std::vector<std::vector<std::string>> csv_rows(std::string_view text, const std::string& path) {
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> row;
  std::string field;
  bool quoted = false, any = false;
  const auto end_row = [&] {
    if (any || !row.empty() || !field.empty()) {
      row.push_back(std::move(field));
      rows.push_back(std::move(row));
    }
    row.clear();
    field.clear();
    any = false;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
        field += '"';
        ++i;
      } else if (c == '"') {
        quoted = false;
      } else {
        field += c;
      }
    } else if (c == '"' && field.empty()) {
      quoted = any = true;
    } else if (c == ',') {
      row.push_back(std::move(field));
      field.clear();
      any = true;
    } else if (c == '\n') {
      end_row();
    } else if (c != '\r') {
      field += c;
    }
  }
  check<DataError>(!quoted, kStem, path, ": a quoted field is not closed");
  end_row();
  return rows;
}

bool is_header(const std::vector<std::string>& row) {
  double value = 0;
  return std::ranges::any_of(row, [&](const std::string& f) { return !number(f, value); });
}

/// float32 of a double; what it cannot hold becomes infinite and is refused where scores are checked.
float narrow(double x) { return static_cast<float>(x); }

void find_kind(MemberTable& t) {
  for (int64_t i = 0; i < t.n; ++i) {
    double sum = 0;
    for (int32_t c = 0; c < t.k; ++c) {
      const float x = t.scores[static_cast<size_t>(i * t.k + c)];
      sum += x >= 0 ? static_cast<double>(x) : 1e9;
    }
    if (!(std::abs(sum - 1) <= 1e-3)) return;
  }
  t.is_logit = false;
}

// -- .npy

struct Npy {
  std::string descr;
  std::vector<int64_t> shape;
  std::span<const std::byte> data;
};

std::string quoted_value(std::string_view header, std::string_view key, const std::string& path) {
  const size_t at = header.find("'" + std::string(key) + "'");
  const size_t colon = at == std::string_view::npos ? at : header.find(':', at);
  check<DataError>(colon != std::string_view::npos, kStem, path, ": the .npy header lacks ", key);
  size_t begin = colon + 1;
  while (begin < header.size() && header[begin] == ' ') ++begin;
  const char close = begin < header.size() && header[begin] == '(' ? ')' : ',';
  const size_t end = header.find(close, begin);
  check<DataError>(end != std::string_view::npos, kStem, path, ": the .npy header is cut at ", key);
  return std::string(header.substr(begin, end - begin));
}

Npy parse_npy(std::span<const std::byte> bytes, const std::string& path) {
  const auto byte = [&](size_t i) { return static_cast<size_t>(bytes[i]); };
  check<DataError>(bytes.size() >= 12 && std::memcmp(bytes.data(), "\x93NUMPY", 6) == 0, kStem, path, ": no .npy file");
  const bool old = byte(6) == 1;
  const size_t start = old ? 10 : 12;
  const size_t length = old ? byte(8) | byte(9) << 8 : byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24;
  check<DataError>(byte(6) >= 1 && byte(6) <= 3 && start + length <= bytes.size(), kStem, path, ": the .npy header is cut");
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + start, length);
  Npy npy;
  npy.descr = quoted_value(header, "descr", path);
  check<DataError>(quoted_value(header, "fortran_order", path) == "False", kStem, path,
                   ": the array must be in C order; numpy.ascontiguousarray makes one");
  const std::string shape = quoted_value(header, "shape", path).substr(1);
  for (size_t i = 0; i < shape.size();) {
    int64_t size = 0;
    const auto [end, error] = std::from_chars(shape.data() + i, shape.data() + shape.size(), size);
    check<DataError>(error == std::errc() && size >= 0 && size < (int64_t{1} << 40), kStem, path, ": the shape must be numbers, got (", shape, ")");
    npy.shape.push_back(size);
    i = static_cast<size_t>(end - shape.data());
    while (i < shape.size() && (shape[i] == ',' || shape[i] == ' ')) ++i;
  }
  npy.data = bytes.subspan(start + length);
  return npy;
}

size_t npy_elements(const Npy& npy, size_t width, const std::string& path) {
  size_t count = 1;
  for (const int64_t s : npy.shape) {
    check<DataError>(s == 0 || count <= npy.data.size() / static_cast<size_t>(s), kStem, path, ": the array is cut");
    count *= static_cast<size_t>(s);
  }
  check<DataError>(npy.data.size() == count * width, kStem, path, ": the array must have ", count * width, " bytes, got ", npy.data.size());
  return count;
}

MemberTable read_npy(const fs::path& path) {
  const std::string name = path.string();
  const MappedFile file(path);
  const Npy npy = parse_npy(file.bytes(), name);
  check<DataError>(npy.shape.size() == 2 && npy.shape[1] >= 1, kStem, name, ": the array must have rows and classes (n, k), got ",
                   npy.shape.size(), " dimensions");
  const bool wide = npy.descr == "'<f8'";
  check<DataError>(wide || npy.descr == "'<f4'", kStem, name, ": scores must be float32 or float64, got ", npy.descr);
  MemberTable t;
  t.n = npy.shape[0];
  t.k = static_cast<int32_t>(npy.shape[1]);
  const size_t count = npy_elements(npy, wide ? 8 : 4, name);
  t.scores.resize(count);
  if (wide) {
    std::vector<double> values(count);
    if (count > 0) std::memcpy(values.data(), npy.data.data(), count * 8);
    std::ranges::transform(values, t.scores.begin(), narrow);
  } else if (count > 0) {
    std::memcpy(t.scores.data(), npy.data.data(), count * 4);
  }
  find_kind(t);
  return t;
}

// -- .csv

MemberTable read_csv(const fs::path& path) {
  const std::string name = path.string();
  auto rows = csv_rows(read_text_file(path), name);
  check<DataError>(!rows.empty(), kStem, name, ": the file is empty");
  std::vector<std::string> header;
  if (is_header(rows[0])) {
    header = rows[0];
    rows.erase(rows.begin());
  }
  MemberTable t;
  const size_t width = header.empty() ? rows[0].size() : header.size();
  size_t id = width, label = width;
  std::vector<size_t> columns;
  const bool logits = std::ranges::any_of(header, [](const std::string& h) { return h.starts_with("logit:"); });
  for (size_t c = 0; c < width; ++c) {
    const std::string h = header.empty() ? "" : header[c];
    if (h == "id" || h == "file") {
      id = c;
    } else if (h == "label" || h == "target") {
      label = c;
    } else if (!logits || h.starts_with("logit:")) {
      columns.push_back(c);
      if (!h.empty()) t.classes.push_back(logits ? h.substr(6) : h);
    }
  }
  check<DataError>(!columns.empty(), kStem, name, ": no column of scores");
  t.n = static_cast<int64_t>(rows.size());
  t.k = static_cast<int32_t>(columns.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const size_t line = i + (header.empty() ? 1 : 2);
    check<DataError>(rows[i].size() == width, kStem, name, ": line ", line, " must have ", width, " fields, got ", rows[i].size());
    double value = 0;
    for (const size_t c : columns) {
      check<DataError>(number(rows[i][c], value), kStem, name, ": line ", line, " must have a number in column ", c + 1, ", got \"", rows[i][c], "\"");
      t.scores.push_back(narrow(value));
    }
    if (id < width) t.id.push_back(rows[i][id]);
    if (label < width) {
      const auto known = std::ranges::find(t.classes, rows[i][label]);
      if (!number(rows[i][label], value)) {
        check<DataError>(known != t.classes.end(), kStem, name, ": line ", line, " must have a class as label, got \"", rows[i][label], "\"");
        value = static_cast<double>(known - t.classes.begin());
      }
      check<DataError>(value >= 0 && value < t.k && value == std::floor(value), kStem, name, ": line ", line, ": a label must be in [0, ", t.k, "), got ", rows[i][label]);
      t.label.push_back(static_cast<int32_t>(value));
    }
  }
  find_kind(t);
  return t;
}

// -- .safetensors

template <class T>
std::vector<T> values_of(const SafetensorsFile& file, const char* name, SafetensorsDType dtype, int64_t rows, int64_t columns) {
  const SafetensorsEntry& e = file.at(name);
  check<DataError>(e.dtype == dtype, kStem, file.label(), ": tensor ", name, " must be ", safetensors_dtype_name(dtype), ", got ", safetensors_dtype_name(e.dtype));
  const std::vector<int64_t> shape = columns < 0 ? std::vector<int64_t>{rows} : std::vector<int64_t>{rows, columns};
  check<DataError>(e.shape == shape, kStem, file.label(), ": tensor ", name, " has another shape than the others");
  const auto bytes = file.bytes(e);
  std::vector<T> out(bytes.size() / sizeof(T));
  if (!out.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

MemberTable read_safetensors(const fs::path& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  MemberTable t;
  t.metadata = file.metadata();
  check<DataError>(!t.metadata.contains("labels"), kStem, file.label(),
                   ": pictures must have one label, they have several; ensembles and calibration are not made for that");
  const bool of_run = file.find("index") != nullptr;
  const char* scores = of_run ? "logits" : "scores";
  check<DataError>(file.find(scores) != nullptr, kStem, file.label(), ": tensor ", scores, " is required: the predictions were kept without scores");
  const SafetensorsEntry& e = file.at(scores);
  check<DataError>(e.shape.size() == 2 && e.shape[1] >= 1 && e.shape[1] < (1 << 24), kStem, file.label(), ": ", scores, " must have rows and classes");
  t.n = e.shape[0];
  t.k = static_cast<int32_t>(e.shape[1]);
  t.scores = values_of<float>(file, scores, SafetensorsDType::f32, t.n, t.k);
  if (of_run) {
    for (const int64_t i : values_of<int64_t>(file, "index", SafetensorsDType::i64, t.n, -1)) t.id.push_back(std::to_string(i));
    t.label = values_of<int32_t>(file, "target", SafetensorsDType::i32, t.n, -1);
  } else {
    if (file.find("id") != nullptr) {
      for (const uint64_t i : values_of<uint64_t>(file, "id", SafetensorsDType::u64, t.n, -1)) t.id.push_back(std::to_string(i));
    }
    if (file.find("label") != nullptr) t.label = values_of<int32_t>(file, "label", SafetensorsDType::i32, t.n, -1);
    t.is_logit = !t.metadata.contains("is_logit") || t.metadata["is_logit"] != "false";
    if (const auto names = t.metadata.find("class_names"); names != t.metadata.end()) {
      const JsonValue list = parse_json(names->second, file.label());
      for (const JsonValue& c : list.elements()) t.classes.push_back(c.string());
    }
  }
  for (const int32_t y : t.label) {
    check<DataError>(y >= 0 && y < t.k, kStem, file.label(), ": a label must be in [0, ", t.k, "), got ", y);
  }
  return t;
}

std::string some(const std::vector<std::string>& names) {
  std::string out;
  for (size_t i = 0; i < std::min<size_t>(3, names.size()); ++i) out += (i == 0 ? "" : ", ") + names[i];
  return out + (names.size() > 3 ? ", ..." : "");
}

}  // namespace

MemberTable read_member_table(const fs::path& path) {
  const std::string extension = path.extension().string();
  MemberTable t;
  if (extension == ".npy") {
    t = read_npy(path);
  } else if (extension == ".csv") {
    t = read_csv(path);
  } else if (extension == ".safetensors") {
    t = read_safetensors(path);
  } else {
    check<DataError>(fs::exists(path), kStem, path.string(), ": no such file");
    fail<DataError>(kStem, path.string(), ": predictions are read from .safetensors, .npy or .csv, got \"", extension, "\"");
  }
  t.source = path.string();
  check<DataError>(t.classes.empty() || t.classes.size() == static_cast<size_t>(t.k), kStem, t.source, ": ", t.classes.size(), " class names for ", t.k, " classes");
  return t;
}

LabelTable read_label_table(const fs::path& path) {
  const std::string extension = path.extension().string(), name = path.string();
  LabelTable out;
  const auto add = [&](double value) {
    check<DataError>(value >= 0 && value < (1 << 24) && value == std::floor(value), kStem, name, ": a label must be a whole number from 0, got ", value);
    out.label.push_back(static_cast<int32_t>(value));
  };
  if (extension == ".npy") {
    const MappedFile file(path);
    const Npy npy = parse_npy(file.bytes(), name);
    check<DataError>(npy.shape.size() == 1, kStem, name, ": labels must have one dimension, got ", npy.shape.size());
    const auto read = [&]<class T>(T) {
      std::vector<T> values(npy_elements(npy, sizeof(T), name));
      if (!values.empty()) std::memcpy(values.data(), npy.data.data(), values.size() * sizeof(T));
      for (const T v : values) add(static_cast<double>(v));
    };
    if (npy.descr == "'<i8'") {
      read(int64_t{});
    } else if (npy.descr == "'<i4'") {
      read(int32_t{});
    } else if (npy.descr == "'|u1'") {
      read(uint8_t{});
    } else {
      fail<DataError>(kStem, name, ": labels must be int64, int32 or uint8, got ", npy.descr);
    }
    return out;
  }
  if (extension == ".safetensors") {
    const MemberTable t = read_member_table(path);
    check<DataError>(!t.label.empty() || t.n == 0, kStem, name, ": there are no labels in it");
    return {t.id, t.label};
  }
  auto rows = csv_rows(read_text_file(path), name);
  size_t id = SIZE_MAX, label = 0;
  if (!rows.empty() && is_header(rows[0])) {
    label = SIZE_MAX;
    for (size_t c = 0; c < rows[0].size(); ++c) {
      if (rows[0][c] == "id" || rows[0][c] == "file") id = c;
      if (rows[0][c] == "label" || rows[0][c] == "target") label = c;
    }
    check<DataError>(label != SIZE_MAX, kStem, name, ": a column \"label\" is required, got ", some(rows[0]));
    rows.erase(rows.begin());
  }
  for (const auto& row : rows) {
    double value = 0;
    check<DataError>(label < row.size() && number(row[label], value), kStem, name, ": labels must be numbers, got \"", label < row.size() ? row[label] : "", "\"");
    add(value);
    if (id < row.size()) out.id.push_back(row[id]);
  }
  check<DataError>(out.id.empty() || out.id.size() == out.label.size(), kStem, name, ": an id is missing");
  return out;
}

void write_member_table(const fs::path& path, const MemberTable& t) {
  const auto n = static_cast<size_t>(t.n);
  check(t.scores.size() == n * static_cast<size_t>(t.k), kStem, "scores must have ", t.n, " rows of ", t.k, ", got ", t.scores.size(), " values");
  check(t.label.empty() || t.label.size() == n, kStem, "labels must be one per row, got ", t.label.size(), " for ", n);
  std::vector<uint64_t> id(n);
  for (size_t i = 0; i < n; ++i) {
    id[i] = i;
    if (i < t.id.size()) std::from_chars(t.id[i].data(), t.id[i].data() + t.id[i].size(), id[i]);
  }
  std::vector<SafetensorsTensor> tensors = {
      {"scores", SafetensorsDType::f32, {t.n, t.k}, std::as_bytes(std::span(t.scores))},
      {"id", SafetensorsDType::u64, {t.n}, std::as_bytes(std::span(id))},
  };
  if (!t.label.empty()) tensors.push_back({"label", SafetensorsDType::i32, {t.n}, std::as_bytes(std::span(t.label))});
  auto metadata = t.metadata;
  metadata["is_logit"] = t.is_logit ? "true" : "false";
  metadata["classes"] = std::to_string(t.k);
  if (!t.classes.empty()) metadata["class_names"] = JsonValue(t.classes).text();
  write_safetensors(path, tensors, metadata);
}

void align_member_tables(std::vector<MemberTable>& tables) {
  if (tables.empty()) return;
  const MemberTable& a = tables[0];
  std::unordered_map<std::string, size_t> row_of;
  for (size_t i = 0; i < a.id.size(); ++i) {
    check<DataError>(row_of.emplace(a.id[i], i).second, "members", a.source, " has the row ", a.id[i], " twice");
  }
  for (size_t m = 1; m < tables.size(); ++m) {
    MemberTable& b = tables[m];
    check<DataError>(a.k == b.k, "members", "members must have equal classes, got ", a.k, " in ", a.source, " and ", b.k, " in ", b.source);
    const auto k = static_cast<size_t>(b.k);
    if (!a.id.empty() && !b.id.empty() && a.id != b.id) {
      std::vector<size_t> from(a.id.size(), SIZE_MAX);
      std::vector<std::string> extra, missing;
      for (size_t i = 0; i < b.id.size(); ++i) {
        const auto at = row_of.find(b.id[i]);
        if (at == row_of.end()) {
          extra.push_back(b.id[i]);
        } else {
          check<DataError>(from[at->second] == SIZE_MAX, "members", b.source, " has the row ", b.id[i], " twice");
          from[at->second] = i;
        }
      }
      for (size_t i = 0; i < from.size(); ++i) {
        if (from[i] == SIZE_MAX) missing.push_back(a.id[i]);
      }
      check<DataError>(missing.empty(), "members", b.source, " lacks ", missing.size(), " of the rows of ", a.source, ": ", some(missing));
      check<DataError>(extra.empty(), "members", b.source, " has ", extra.size(), " rows that ", a.source, " lacks: ", some(extra));
      std::vector<float> scores(b.scores.size());
      std::vector<int32_t> label(b.label.size());
      for (size_t i = 0; i < from.size(); ++i) {
        std::copy_n(b.scores.begin() + static_cast<int64_t>(from[i] * k), k, scores.begin() + static_cast<int64_t>(i * k));
        if (!label.empty()) label[i] = b.label[from[i]];
      }
      b.scores = std::move(scores);
      b.label = std::move(label);
      b.id = a.id;
    }
    check<DataError>(a.n == b.n, "members", "members must have equal rows, got ", a.n, " in ", a.source, " and ", b.n, " in ", b.source);
    if (!a.classes.empty() && !b.classes.empty() && a.classes != b.classes) {
      std::vector<size_t> from(k);
      for (size_t c = 0; c < k; ++c) {
        const auto at = std::ranges::find(b.classes, a.classes[c]);
        check<DataError>(at != b.classes.end(), "members", "classes must match: \"", a.classes[c], "\" of ", a.source, " is none of ", b.source);
        from[c] = static_cast<size_t>(at - b.classes.begin());
      }
      std::vector<float> row(k);
      for (int64_t i = 0; i < b.n; ++i) {
        float* scores = b.scores.data() + static_cast<size_t>(i) * k;
        for (size_t c = 0; c < k; ++c) row[c] = scores[from[c]];
        std::ranges::copy(row, scores);
      }
      std::vector<int32_t> to(k);
      for (size_t c = 0; c < k; ++c) to[from[c]] = static_cast<int32_t>(c);
      for (int32_t& y : b.label) y = to[static_cast<size_t>(y)];
      b.classes = a.classes;
    }
  }
  const auto with = std::ranges::find_if(tables, [](const MemberTable& t) { return !t.label.empty(); });
  if (with == tables.end()) return;
  for (MemberTable& t : tables) {
    if (t.label.empty()) t.label = with->label;
    const auto [x, y] = std::ranges::mismatch(t.label, with->label);
    check<DataError>(x == t.label.end(), "members", "labels must agree, but row ", x - t.label.begin(), " is ", x == t.label.end() ? 0 : *x, " in ", t.source,
                     " and ", y == with->label.end() ? 0 : *y, " in ", with->source);
  }
}

}  // namespace ballast
