#pragma once

#include <csignal>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <ballast/control/lr_range.h>
#include <ballast/models/model_options.h>
#include <ballast/train/evaluate.h>
#include <ballast/train/predict.h>
#include <ballast/train/run_options.h>
#include <ballast/train/soup.h>

namespace ballast::cli {

// What the program hands to the module with torch, parsed and checked.

struct TrainRequest {
  RunOptions options;
  /// bar, plain, none or json; "auto": by the terminal.
  std::string progress = "auto";
  int64_t overfit = 0;            ///< batches to learn by heart; 0: an ordinary run
  /// To be set to 0 when the run has started: until then a stop signal ends the process at once. Null: it never does.
  volatile std::sig_atomic_t* starting = nullptr;
};

struct LrFindRequest {
  RunOptions options;
  LrRangeOptions range;
  std::filesystem::path page;     ///< empty: none
};

struct EvalRequest {
  EvalOptions options;
};

struct PredictRequest {
  std::filesystem::path model;
  PredictOptions options;
  std::vector<std::filesystem::path> files;
  std::string format = "table";   ///< table, json, csv
  double min_confidence = 0;      ///< below it a picture is marked as unsure
  std::filesystem::path sort_into;
  bool topk_given = false, threshold_given = false;
};

struct InspectRequest {
  std::string target;             ///< a model's name, a run, a model folder, a file of weights
  std::vector<int64_t> input;     ///< channels, height, width; empty: the model's own
  int64_t classes = 0;            ///< 0: the model's own
  std::string norm = "auto", init = "auto", act = "auto";
  ModelOptions drops;             ///< only its drops
  uint64_t seed = 0;
  bool file = false;              ///< target is a file of weights
};

struct ConvertRequest {
  std::filesystem::path in, out;
  std::string half;               ///< "", f16, bf16
  std::string strip_prefix;       ///< "", auto or a text
  bool overwrite = false;
};

struct ExportRequest {
  std::filesystem::path run, out;
  std::string format;             ///< torchscript, onnx, pt, timm
  bool overwrite = false;
};

struct CompareRequest {
  std::filesystem::path a, b;
  /// Of two runs: what was said already, in words and as members of the document; and that they differ.
  std::string lead;
  nlohmann::ordered_json members;
  bool differ = false;
};

struct SoupRequest {
  std::vector<std::filesystem::path> models;
  std::filesystem::path out;
  SoupOptions options;
};

struct ProbeRequest {
  RunOptions options;
  std::vector<std::string> compare;  ///< starts laid over each other; empty: that of the options
  double lr = 0.01;                  ///< of the update ratio
  std::filesystem::path page;        ///< the HTML page; empty: none
};

struct DropPreviewRequest {
  double p = 0.3;
  int64_t side = 28;
  int64_t block_size = 7;
  uint64_t seed = 0;
  std::string out = "masks.png";
};

struct ReportRequest {
  std::vector<std::filesystem::path> runs;
  std::filesystem::path out;      ///< empty: report.html in the run's folder; of several runs: ./report.html
  bool no_times = false;
};

struct DoctorRequest {
  int threads = 1;
};

struct BenchRequest {
  std::vector<std::string> names; ///< empty: all
  int threads = 1;
  double seconds = 2;             ///< of each measurement
};

}  // namespace ballast::cli
