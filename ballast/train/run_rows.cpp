#include <ballast/train/run_rows.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include <ballast/base/check.h>
#include <ballast/base/key.h>

namespace ballast {

SampleDigest::SampleDigest(uint64_t seed) : key_(Key(seed).fold_in("ids").bits()) {}

void SampleDigest::add(uint64_t id) {
  ++n_;
  sum_ += Key(key_).fold_in(id).bits();
}

JsonValue SampleDigest::json() const {
  std::array<char, 20> hex{};
  std::snprintf(hex.data(), hex.size(), "%016llx", static_cast<unsigned long long>(sum_));
  JsonValue value = JsonValue::object();
  value["n"] = n_;
  value["digest"] = hex.data();
  return value;
}

void SampleDigest::restore(const JsonValue& value) {
  const std::string& hex = value.at("digest").string();
  const char* end = hex.data() + hex.size();
  const auto [stop, error] = std::from_chars(hex.data(), end, sum_, 16);
  check<DataError>(error == std::errc() && stop == end && hex.size() == 16, "run", "digest must be 16 hex digits, got \"", hex, "\"");
  n_ = value.at("n").integer();
}

namespace {

void add_label_metrics(JsonValue& row, const Metrics& m) {
  row["map"] = m.map;
  row["micro_f1"] = m.micro_f1;
  row["exact_match"] = m.exact_match;
  row["exact_match.se"] = m.exact_match_se;
  row["nonfinite"] = m.nonfinite;
  JsonValue classes = JsonValue::array(), precisions = JsonValue::array();
  for (const ClassMetrics& c : m.per_class) {
    classes.push_back(std::vector<int64_t>{c.support, c.predicted, c.correct});
    precisions.push_back(c.average_precision);
  }
  row["per_class"] = std::move(classes);
  row["average_precision"] = std::move(precisions);
}

}  // namespace

void add_metrics(JsonValue& row, const Metrics& m) {
  row["n"] = m.n;
  row["loss"] = m.loss;
  row["loss.se"] = m.loss_se;
  if (m.several_labels) {
    add_label_metrics(row, m);
    return;
  }
  row["nll_tempered"] = m.nll_tempered;
  row["nll_tempered.se"] = m.nll_tempered_se;
  row["temperature"] = m.temperature;
  row["top1"] = m.top1;
  row["top1.se"] = m.top1_se;
  row["top5"] = m.top5;
  row["top5.se"] = m.top5_se;
  row["balanced_acc"] = m.balanced_acc;
  row["brier"] = m.brier;
  row["ece"] = m.ece;
  row["nonfinite"] = m.nonfinite;
  JsonValue classes = JsonValue::array();
  for (const ClassMetrics& c : m.per_class) {
    classes.push_back(std::vector<int64_t>{c.support, c.predicted, c.correct});
  }
  row["per_class"] = std::move(classes);
}

std::vector<std::pair<std::string, double>> named_metrics(const Metrics& metrics) {
  std::vector<std::pair<std::string, double>> all;
  for (const std::string& name : metric_names(metrics.several_labels)) {
    all.emplace_back(name, metrics.value(name));
  }
  return all;
}

std::string metrics_csv(const std::vector<JsonValue>& record) {
  const bool several = std::ranges::any_of(record, [](const JsonValue& row) { return row.find("exact_match") != nullptr; });
  std::string text = "epoch,step,lr,train_loss";
  for (const std::string& name : metric_names(several)) {
    text += ",val_" + name;
  }
  text += '\n';
  for (const JsonValue& row : record) {
    if (row.string_or("kind", "") != "check" || row.string_or("split", "") != "val") {
      continue;
    }
    const auto number = [&](const std::string& name) { return ',' + shortest_text(row.at(name).number()); };
    const auto epoch = static_cast<int64_t>(std::ceil(row.at("epoch").number() - 1e-9));
    text += std::to_string(epoch) + ',' + std::to_string(row.at("step").integer()) + number("lr") + number("train_loss");
    for (const std::string& name : metric_names(several)) {
      text += number(name);
    }
    text += '\n';
  }
  return text;
}

}  // namespace ballast
