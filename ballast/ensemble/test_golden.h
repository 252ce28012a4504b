#pragma once

#include <nlohmann/json.hpp>

#include <fstream>
#include <vector>

#include <ballast/base/key.h>
#include <ballast/ensemble/predictions.h>

namespace ballast {

/// tests/golden/ensemble.json, written by tests/golden/ensemble.py.
struct Golden {
  nlohmann::json json;
  std::vector<std::vector<float>> data;
  std::vector<int32_t> label;

  Golden() {
    std::ifstream file(BALLAST_TEST_SOURCE_DIR "/tests/golden/ensemble.json");
    json = nlohmann::json::parse(file);
    data = json.at("members").get<std::vector<std::vector<float>>>();
    label = json.at("label").get<std::vector<int32_t>>();
  }
  int32_t k() const { return json.at("k").get<int32_t>(); }
  /// The members, logits; views into this object.
  std::vector<Predictions> members() const {
    std::vector<Predictions> out;
    for (const auto& d : data) out.push_back({d.data(), static_cast<int64_t>(label.size()), k(), true});
    return out;
  }
};

inline std::vector<float> normal_floats(uint64_t seed, size_t n, double scale = 1) {
  std::vector<double> x(n);
  fill_normal(Key(seed), 0, x);
  std::vector<float> out(n);
  for (size_t i = 0; i < n; ++i) out[i] = static_cast<float>(scale * x[i]);
  return out;
}

}  // namespace ballast
