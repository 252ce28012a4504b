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

template <class T>
std::vector<T> permuted(const std::vector<T>& values, const std::vector<size_t>& order) {
  std::vector<T> result;
  result.reserve(order.size());
  for (const size_t i : order) result.push_back(values[i]);
  return result;
}

void check_table(const PredictionTable& table) {
  const size_t n = table.index.size();
  const auto length = [&](const char* name, size_t got) {
    check(got == n, "prediction_file", "column ", name, " must have ", n, " rows, got ", got);
  };
  length("target", table.target.size());
  length("pred", table.pred.size());
  length("rank", table.rank.size());
  length("loss", table.loss.size());
  length("confidence", table.confidence.size());
  check(table.classes >= 0, "prediction_file", "classes must be 0 or more, got ", table.classes);
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
  if (!logits.empty()) {
    const auto k = static_cast<size_t>(classes);
    std::vector<float> sorted;
    sorted.reserve(logits.size());
    for (const size_t i : order) {
      const auto row = std::span(logits).subspan(i * k, k);
      sorted.insert(sorted.end(), row.begin(), row.end());
    }
    logits = std::move(sorted);
  }
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
  std::vector<SafetensorsTensor> tensors = {
      column("index", SafetensorsDType::i64, table.index, {n}),
      column("target", SafetensorsDType::i32, table.target, {n}),
      column("pred", SafetensorsDType::i32, table.pred, {n}),
      column("rank", SafetensorsDType::i32, table.rank, {n}),
      column("loss", SafetensorsDType::f64, table.loss, {n}),
      column("confidence", SafetensorsDType::f64, table.confidence, {n}),
  };
  if (!table.logits.empty()) {
    tensors.push_back(column("logits", SafetensorsDType::f32, table.logits, {n, table.classes}));
  }
  auto metadata = table.metadata;
  metadata["classes"] = std::to_string(table.classes);
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
  table.target = read_column<int32_t>(file, "target", SafetensorsDType::i32, rows);
  table.pred = read_column<int32_t>(file, "pred", SafetensorsDType::i32, rows);
  table.rank = read_column<int32_t>(file, "rank", SafetensorsDType::i32, rows);
  table.loss = read_column<double>(file, "loss", SafetensorsDType::f64, rows);
  table.confidence = read_column<double>(file, "confidence", SafetensorsDType::f64, rows);
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
