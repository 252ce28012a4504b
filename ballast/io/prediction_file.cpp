#include <ballast/io/prediction_file.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <functional>
#include <numeric>

#include <ballast/base/check.h>
#include <ballast/io/safetensors.h>

namespace ballast {
namespace {

/// Rows of k values in another order; an empty column stays empty.
template <class T>
std::vector<T> permuted(const std::vector<T>& values, const std::vector<size_t>& order, size_t k = 1) {
  std::vector<T> result;
  result.reserve(values.size());
  for (const size_t i : order) {
    if (values.empty()) break;
    const auto row = std::span(values).subspan(i * k, k);
    result.insert(result.end(), row.begin(), row.end());
  }
  return result;
}

void check_table(const PredictionTable& table) {
  const size_t n = table.index.size();
  const size_t of_one_label = table.several_labels ? 0 : n;
  const auto length = [&](const char* name, size_t got) {
    check(got == of_one_label, "prediction_file", "column ", name, " must have ", of_one_label, " rows, got ", got);
  };
  length("target", table.target.size());
  length("pred", table.pred.size());
  length("rank", table.rank.size());
  length("confidence", table.confidence.size());
  check(table.loss.size() == n, "prediction_file", "column loss must have ", n, " rows, got ", table.loss.size());
  check(table.classes >= 0, "prediction_file", "classes must be 0 or more, got ", table.classes);
  const size_t cells = table.several_labels ? n * static_cast<size_t>(table.classes) : 0;
  check(table.targets.size() == cells, "prediction_file", "targets must have ", cells, " values, got ", table.targets.size());
  check(table.logits.empty() || table.logits.size() == n * static_cast<size_t>(table.classes),
        "prediction_file", "logits must have ", n, " rows of ", table.classes, ", got ",
        table.logits.size(), " values");
  const auto wrong = std::ranges::adjacent_find(table.index, std::greater_equal<>());
  check(wrong == table.index.end(), "prediction_file",
        "rows must be sorted by index, each once, got ", wrong == table.index.end() ? 0 : *wrong,
        " before ", wrong == table.index.end() ? 0 : *std::next(wrong));
}

template <class T>
SafetensorsTensor column(const char* name, SafetensorsDType dtype, const std::vector<T>& values,
                         std::vector<int64_t> shape) {
  return {name, dtype, std::move(shape), std::as_bytes(std::span(values))};
}

template <class T>
std::vector<T> read_column(const SafetensorsFile& file, const char* name, SafetensorsDType dtype,
                           const std::vector<int64_t>& shape) {
  const SafetensorsEntry& entry = file.at(name);
  check<DataError>(entry.dtype == dtype, "prediction_file", file.label(), ": column ", name,
                   " must be ", safetensors_dtype_name(dtype), ", got ",
                   safetensors_dtype_name(entry.dtype));
  check<DataError>(entry.shape == shape, "prediction_file", file.label(), ": column ", name,
                   " has another shape than the others");
  const auto bytes = file.bytes(entry);
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

}  // namespace

void PredictionTable::sort() {
  std::vector<size_t> order(index.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) { return index[i]; });
  const auto k = static_cast<size_t>(classes);
  logits = permuted(logits, order, k);
  targets = permuted(targets, order, k);
  index = permuted(index, order);
  target = permuted(target, order);
  pred = permuted(pred, order);
  rank = permuted(rank, order);
  loss = permuted(loss, order);
  confidence = permuted(confidence, order);
}

void write_predictions(FileSystem& fs, const std::filesystem::path& path,
                       const PredictionTable& table) {
  check_table(table);
  const int64_t n = table.size();
  std::vector<SafetensorsTensor> tensors = {column("index", SafetensorsDType::i64, table.index, {n})};
  if (table.several_labels) {
    tensors.push_back(column("targets", SafetensorsDType::u8, table.targets, {n, table.classes}));
    tensors.push_back(column("loss", SafetensorsDType::f64, table.loss, {n}));
  } else {
    tensors.push_back(column("target", SafetensorsDType::i32, table.target, {n}));
    tensors.push_back(column("pred", SafetensorsDType::i32, table.pred, {n}));
    tensors.push_back(column("rank", SafetensorsDType::i32, table.rank, {n}));
    tensors.push_back(column("loss", SafetensorsDType::f64, table.loss, {n}));
    tensors.push_back(column("confidence", SafetensorsDType::f64, table.confidence, {n}));
  }
  if (!table.logits.empty()) {
    tensors.push_back(column("logits", SafetensorsDType::f32, table.logits, {n, table.classes}));
  }
  auto metadata = table.metadata;
  metadata["classes"] = std::to_string(table.classes);
  if (table.several_labels) metadata["labels"] = "several";
  write_safetensors(fs, path, tensors, metadata);
}

void write_predictions(const std::filesystem::path& path, const PredictionTable& table) {
  write_predictions(real_fs(), path, table);
}

PredictionTable read_predictions(const std::filesystem::path& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  PredictionTable table;
  table.metadata = file.metadata();
  table.metadata.erase("format");
  const auto classes = table.metadata.find("classes");
  check<DataError>(classes != table.metadata.end(), "prediction_file", file.label(),
                   ": metadata \"classes\" is required, got none");
  const auto [end, error] = std::from_chars(
      classes->second.data(), classes->second.data() + classes->second.size(), table.classes);
  check<DataError>(error == std::errc() && end == classes->second.data() + classes->second.size() &&
                       table.classes >= 0,
                   "prediction_file", file.label(), ": classes must be a number, got ",
                   classes->second);
  table.metadata.erase(classes);

  const SafetensorsEntry& index = file.at("index");
  check<DataError>(index.shape.size() == 1, "prediction_file", file.label(),
                   ": column index must have one dimension, got ", index.shape.size());
  const std::vector<int64_t> rows = index.shape;
  table.index = read_column<int64_t>(file, "index", SafetensorsDType::i64, rows);
  table.several_labels = table.metadata.erase("labels") > 0;
  table.loss = read_column<double>(file, "loss", SafetensorsDType::f64, rows);
  if (table.several_labels) {
    table.targets = read_column<uint8_t>(file, "targets", SafetensorsDType::u8, {rows[0], table.classes});
    const auto wrong = std::ranges::find_if(table.targets, [](uint8_t t) { return t > 1; });
    check<DataError>(wrong == table.targets.end(), "prediction_file", file.label(), ": targets must be 0 or 1, got ",
                     wrong == table.targets.end() ? 0 : int{*wrong});
  } else {
    table.target = read_column<int32_t>(file, "target", SafetensorsDType::i32, rows);
    table.pred = read_column<int32_t>(file, "pred", SafetensorsDType::i32, rows);
    table.rank = read_column<int32_t>(file, "rank", SafetensorsDType::i32, rows);
    table.confidence = read_column<double>(file, "confidence", SafetensorsDType::f64, rows);
  }
  if (file.find("logits") != nullptr) {
    table.logits =
        read_column<float>(file, "logits", SafetensorsDType::f32, {rows[0], table.classes});
  }
  for (const auto* column : {&table.target, &table.pred}) {
    for (const int32_t value : *column) {
      check<DataError>(value >= 0 && value < table.classes, "prediction_file", file.label(),
                       ": a class must be in [0, ", table.classes, "), got ", value);
    }
  }
  try {
    check_table(table);
  } catch (const std::invalid_argument& e) {
    fail<DataError>("prediction_file", file.label(), ": ", e.what());
  }
  return table;
}

}  // namespace ballast
