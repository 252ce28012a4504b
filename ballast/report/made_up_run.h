#pragma once

// For tests: a run folder as training leaves it, made up from a few numbers; the same bytes for the same options.

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <ballast/io/file.h>
#include <ballast/io/json.h>
#include <ballast/io/prediction_file.h>
#include <ballast/report/page.h>

namespace ballast {

struct MadeUpRun {
  int64_t epochs = 17;
  int64_t steps_per_epoch = 422;
  double lr = 0.2;
  double skill = 0.93;  ///< accuracy in the end
  bool overfits = false;
  bool never_says_last_class = false;
  int64_t test_samples = 2000;
  std::string reason = "completed";
  std::vector<std::string> classes = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                                      "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};
  std::string last_class = {};  ///< replaces the last class's name
  double clock = 1;             ///< speed of the machine: only what depends on time changes with it
};

namespace made_up {

// A small generator of its own: tests must not depend on what is being tested elsewhere.
struct Numbers {
  uint64_t state = 1;
  double next() {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<double>(state >> 11) / 9007199254740992.0;
  }
};

inline double lr_at(const MadeUpRun& m, double t) {
  double up = 0.3;
  double s = t < up ? t / up : 1 - (t - up) / (1 - up);
  return m.lr * (0.04 + 0.96 * 0.5 * (1 - std::cos(3.14159265358979 * s)));
}

}  // namespace made_up

inline std::string bmp_picture(int32_t side, uint64_t seed) {
  std::string b(54, '\0');
  auto put = [&](size_t at, uint32_t v) {
    for (size_t i = 0; i < 4; ++i) {
      b[at + i] = static_cast<char>(v >> (8 * i) & 255);
    }
  };
  int32_t row = (side * 3 + 3) / 4 * 4;
  b[0] = 'B';
  b[1] = 'M';
  put(2, static_cast<uint32_t>(54 + row * side));
  put(10, 54);
  put(14, 40);
  put(18, static_cast<uint32_t>(side));
  put(22, static_cast<uint32_t>(side));
  b[26] = 1;
  b[28] = 24;
  made_up::Numbers numbers{seed + 1};
  double cx = side * (0.3 + 0.4 * numbers.next());
  double cy = side * (0.3 + 0.4 * numbers.next());
  double radius = side * (0.15 + 0.25 * numbers.next());
  double hue = numbers.next();
  for (int32_t y = 0; y < side; ++y) {
    std::string line(static_cast<size_t>(row), '\0');
    for (int32_t x = 0; x < side; ++x) {
      double d = std::hypot(x - cx, y - cy) / radius;
      double v = d < 1 ? 0.9 - 0.4 * d : 0.12 + 0.1 * y / side;
      for (size_t c = 0; c < 3; ++c) {
        double tint = 0.7 + 0.3 * std::cos(6.28 * (hue + static_cast<double>(c) / 3));
        line[static_cast<size_t>(x) * 3 + c] = static_cast<char>(static_cast<int>(255 * v * tint));
      }
    }
    b += line;
  }
  return b;
}

inline void write_made_up_run(const std::filesystem::path& folder, const MadeUpRun& m) {
  namespace fs = std::filesystem;
  std::vector<std::string> classes = m.classes;
  if (!m.last_class.empty()) {
    classes.back() = m.last_class;
  }
  auto k = static_cast<int64_t>(classes.size());
  fs::create_directories(folder / "model");
  fs::create_directories(folder / "predictions");
  auto write = [&](const char* name, const std::string& text) {
    write_file_atomic(folder / name, text);
  };
  made_up::Numbers numbers{static_cast<uint64_t>(m.lr * 1000) + 17};

  write("config.toml",
        "[run]\nname = \"" + folder.filename().string() +
            "\"  # flag\nseed = 0  # default\nthreads = 2  # auto: cores\n"
            "[model]\nname = \"resnet8_wide\"  # auto: for pictures of up to 64 px\nnorm = "
            "\"batch\"  # auto\n"
            "[data]\nsource = \"fashion-mnist\"  # default\n[augment]\ntrain = \"random_crop(28, "
            "padding=4) | hflip | normalize(dataset)\"  # auto: light\n"
            "[train]\nepochs = " +
            std::to_string(m.epochs) +
            "  # flag\nbatch_size = 128  # default\n"
            "[optim]\nname = \"sgd\"  # default\nlr = " +
            shortest_text(m.lr) +
            "  # recipe.toml:12\nweight_decay = 0.0005  # default\n"
            "[schedule]\nname = \"one_cycle\"  # auto: for short runs\n[loss]\nlabel_smoothing = "
            "0.1  # auto: for training from scratch\n"
            "[stop]\nmonitor = \"val/nll_tempered\"  # default\n");

  int64_t total = m.epochs * m.steps_per_epoch;
  std::string metrics;
  auto row = [&](const JsonValue& value) { metrics += value.text() + "\n"; };
  JsonValue first = JsonValue::object();
  first["kind"] = "run";
  first["version"] = "0.1.0";
  first["seed"] = 0;
  first["steps_per_epoch"] = m.steps_per_epoch;
  first["T"] = total;
  first["classes"] = classes;
  first["fingerprint"] = "3f2a9c0d11e87b64";
  first["config_digest"] = "9b1d5a";
  row(first);
  auto progress = [&](double t) { return 1 - std::exp(-5 * t); };
  for (int64_t e = 0; e < m.epochs; ++e) {
    for (int64_t s = 49; s < m.steps_per_epoch; s += 50) {
      int64_t step = e * m.steps_per_epoch + s + 1;
      double t = static_cast<double>(step) / static_cast<double>(total);
      JsonValue r = JsonValue::object();
      r["kind"] = "train";
      r["step"] = step;
      r["epoch"] = e;
      r["loss"] = 2.3 - (m.overfits ? 2.25 : 1.65) * progress(t) + 0.12 * (numbers.next() - 0.5);
      r["lr"] = made_up::lr_at(m, t);
      r["momentum"] = 0.9;
      r["grad_norm"] = 1.5 * std::exp(-t) + 0.8 * numbers.next() * numbers.next();
      row(r);
    }
    double t = static_cast<double>(e + 1) / static_cast<double>(m.epochs);
    double acc = 0.5 + (m.skill - 0.5) * progress(t) + 0.01 * (numbers.next() - 0.5);
    double loss =
        1.2 - 0.95 * progress(t) + (m.overfits ? 0.8 * t * t : 0) + 0.02 * (numbers.next() - 0.5);
    JsonValue c = JsonValue::object();
    c["kind"] = "check";
    c["step"] = (e + 1) * m.steps_per_epoch;
    c["epoch"] = e + 1;
    c["split"] = "val";
    c["loss"] = loss;
    c["loss.se"] = 0.008;
    c["nll_tempered"] = loss - 0.01;
    c["nll_tempered.se"] = 0.008;
    c["top1"] = acc;
    c["top1.se"] = std::sqrt(acc * (1 - acc) / 6000);
    c["top5"] = 0.997;
    c["n"] = 6000;
    row(c);
  }
  PredictionTable table;
  table.classes = k;
  int64_t right = 0;
  double loss = 0;
  for (int64_t i = 0; i < m.test_samples; ++i) {
    auto target = static_cast<int32_t>(i % k);
    bool ok = numbers.next() < m.skill - (target == 6 ? 0.2 : 0);
    int32_t pred =
        ok ? target
           : static_cast<int32_t>(numbers.next() < 0.5 ? (target + 2) % k : (target * 3 + 4) % k);
    if (m.never_says_last_class && pred == k - 1) {
      pred = 0;
    }
    double confidence =
        pred == target ? 1 - 0.5 * std::pow(numbers.next(), 3) : 0.4 + 0.58 * numbers.next();
    table.index.push_back(60000 + i);
    table.target.push_back(target);
    table.pred.push_back(pred);
    table.rank.push_back(pred == target ? 0 : 1);
    table.confidence.push_back(confidence);
    table.loss.push_back(pred == target ? -std::log(confidence)
                                        : -std::log((1 - confidence) * 0.7 + 1e-6));
    loss += table.loss.back();
    right += pred == target ? 1 : 0;
  }
  JsonValue test = JsonValue::object();
  test["kind"] = "check";
  test["step"] = total;
  test["epoch"] = m.epochs;
  test["split"] = "test";
  double n = static_cast<double>(m.test_samples);
  double acc = static_cast<double>(right) / n;
  test["loss"] = loss / n;
  test["loss.se"] = 0.6 / std::sqrt(n);
  test["top1"] = acc;
  test["top1.se"] = std::sqrt(acc * (1 - acc) / n);
  test["top5"] = 0.998;
  test["ece"] = 0.021;
  test["n"] = m.test_samples;
  row(test);
  JsonValue stop = JsonValue::object();
  stop["kind"] = "decision";
  stop["step"] = total;
  stop["what"] = "stop";
  stop["reason"] = m.reason;
  row(stop);
  write("metrics.jsonl", metrics);
  write_predictions(folder / "predictions" / "test.safetensors", table);

  std::string timing;
  for (int64_t e = 0; e < m.epochs; ++e) {
    JsonValue r = JsonValue::object();
    r["step"] = (e + 1) * m.steps_per_epoch;
    r["data"] = 0.4 / m.clock;
    r["forward"] = 4.1 / m.clock;
    r["backward"] = 7.9 / m.clock;
    r["optimizer"] = 0.5 / m.clock;
    r["check"] = 0.9 / m.clock;
    r["save"] = 0.05 / m.clock;
    r["images_per_second"] = (4050 + 60 * numbers.next()) * m.clock;
    r["rss"] = 412e6 + 1e6 * static_cast<double>(e);
    timing += r.text() + "\n";
  }
  write("timing.jsonl", timing);
  write("events.jsonl", "{\"kind\":\"start\",\"time\":\"2026-01-05T10:0" +
                            std::to_string(static_cast<int>(m.clock)) +
                            ":00Z\",\"step\":0,\"message\":\"on 2 cores\"}\n");
  write("env.json",
        "{\"ballast\":\"0.1.0\",\"libtorch\":\"1.13.1\",\"cpu\":{\"model\":\"a made-up "
        "CPU\",\"target\":\"avx2\"},"
        "\"threads\":2,\"hostname\":\"host" +
            shortest_text(m.clock) + "\",\"command\":\"ballast train --epochs " +
            std::to_string(m.epochs) + "\"}\n");
  std::string layers;
  auto layer = [&](const char* name, const char* type, const char* shape, int64_t params,
                   int64_t macs) {
    layers += std::string(layers.empty() ? "" : ",") + "{\"name\":\"" + name + "\",\"type\":\"" +
              type + "\",\"shape\":" + shape + ",\"params\":" + std::to_string(params) +
              ",\"macs\":" + std::to_string(macs) + "}";
  };
  layer("conv1", "conv 3x3 /2", "[32,14,14]", 288, 56448);
  layer("bn1", "batch norm", "[32,14,14]", 64, 0);
  layer("layer1.0.conv1", "conv 3x3", "[32,14,14]", 9216, 1806336);
  layer("layer1.0.bn1", "batch norm", "[32,14,14]", 64, 0);
  layer("layer1.0.conv2", "conv 3x3", "[32,14,14]", 9216, 1806336);
  layer("layer2.0.conv1", "conv 3x3 /2", "[64,7,7]", 18432, 903168);
  layer("layer2.0.downsample.0", "conv 1x1 /2", "[64,7,7]", 2048, 100352);
  layer("fc", "linear", "[10]", 1290, 1280);
  write("model/config.json",
        "{\"architecture\":\"resnet8_wide\",\"num_classes\":10,\"ballast\":{\"layers\":[" + layers +
            "]}}");
  std::string split = "id,path,role,label\n";
  for (int64_t i = 0; i < 3000; ++i) {
    split +=
        std::to_string(i) + (i % 10 == 3 ? ",,val," : ",,train,") + std::to_string(i % k) + "\n";
  }
  for (int64_t i = 0; i < m.test_samples; ++i) {
    split += std::to_string(60000 + i) + ",\"photos/test/" + std::to_string(i % k) +
             "/a long, quoted name " + std::to_string(i) + ".jpg\",test," + std::to_string(i % k) +
             "\n";
  }
  write("split.csv", split);
  write("bad_samples.csv",
        "id,path,role,reason,detail,bytes,action,substitute_id\n"
        "17,photos/train/3/broken.jpg,train,truncated,ends in row 311 of 480,1024,substitute,23\n");
}

/// The record of a folder with made-up pictures.
inline RunPage made_up_page(const std::filesystem::path& folder, int32_t side = 28) {
  RunPage page{.record = read_run_record(folder),
               .predictions_split = "test",
               .wrongest = {},
               .uncertain = {},
               .first_batch = {},
               .pictures_note = {}};
  for (uint64_t i = 0; i < 24; ++i) {
    PagePicture p{.bytes = bmp_picture(side, i),
                  .type = "image/bmp",
                  .width = side,
                  .height = side,
                  .name = "photos/test/Coat/IMG_2044_" + std::to_string(i) + ".jpg",
                  .target = static_cast<int64_t>(i % 10),
                  .pred = static_cast<int64_t>((i + 3) % 10),
                  .confidence = 0.99 - 0.01 * static_cast<double>(i),
                  .note = {}};
    page.wrongest.push_back(p);
    p.pred = i % 2 ? p.target : p.pred;
    p.confidence = 0.3;
    page.uncertain.push_back(p);
    p.pred = -1;
    p.name.clear();
    page.first_batch.push_back(p);
  }
  return page;
}

}  // namespace ballast
