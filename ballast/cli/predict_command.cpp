#include <glob.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include <ballast/base/check.h>

#include "arguments.h"
#include "command.h"
#include "requests.h"
#include "torch_side.h"

namespace ballast::cli {

void check_model_path(const std::string& path);

namespace {
namespace fs = std::filesystem;

struct PredictFlags {
  int64_t topk = 5;
  std::string format = "table";
  double threshold = 0.5;
  double min_confidence = 0;
  std::string sort_into;
  bool logits = false;
  int64_t batch_size = 64;
  std::string device = "auto";
  Auto<int64_t> threads;
  Auto<int64_t> workers;
  std::string tta;
  int64_t mc = 0;
};
template <class Visitor>
void describe(Visitor& visit, PredictFlags& o) {
  visit("topk", o.topk, {.help = "most probable classes shown", .flags = "-k --topk", .range = at_least(1)});
  visit("threshold", o.threshold, {.help = "of a model of several labels a picture: classes above this probability are shown",
                                   .flags = "--threshold", .range = half_open(0, 1)});
  visit("format", o.format, {.help = "form of the output", .flags = "--format", .choices = "table csv json"});
  visit("min_confidence", o.min_confidence, {.help = "mark pictures whose best class is less probable as unsure",
                                             .flags = "--min-confidence", .range = between(0, 1)});
  visit("sort_into", o.sort_into, {.help = "copy each picture into DIR/CLASS (unsure ones into DIR/unsure); never overwrites",
                                   .flags = "--sort-into", .value_name = "DIR"});
  visit("logits", o.logits, {.help = "also give all logits (csv, json)", .flags = "--logits"});
  visit("batch_size", o.batch_size, {.help = "pictures at once", .flags = "-b --batch-size", .range = between(1, 1e6)});
  visit("device", o.device, {.help = "auto, cpu or cuda:N", .flags = "--device", .value_name = "DEVICE"});
  visit("threads", o.threads, {.help = "threads that compute", .flags = "--threads", .range = between(1, 4096)});
  visit("workers", o.workers, {.help = "threads that decode", .flags = "-j --workers", .range = between(0, 4096)});
  visit("tta", o.tta, {.help = "show each picture several times and average: identity, hflip, vflip, shift:N, five_crop, ten_crop, "
                             "with commas",
                       .flags = "--tta", .value_name = "VIEWS"});
  visit("mc", o.mc, {.help = "average so many passes with the dropout layers active (Monte-Carlo dropout)", .flags = "--mc",
                     .range = between(0, 10'000), .value_name = "T"});
}

bool is_picture(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  constexpr std::array<std::string_view, 4> kKnown = {".jpg", ".jpeg", ".png", ".webp"};
  return std::find(kKnown.begin(), kKnown.end(), extension) != kKnown.end();
}

/// A file, the pictures below a folder, or what a glob matches; sorted byte-wise within each.
void expand(const std::string& word, std::vector<fs::path>& out) {
  std::error_code error;
  if (fs::is_directory(word, error)) {
    std::vector<fs::path> found;
    for (auto it = fs::recursive_directory_iterator(word, fs::directory_options::skip_permission_denied, error);
         !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
      if (it->is_regular_file(error) && is_picture(it->path())) {
        found.push_back(it->path());
      }
    }
    if (error) {
      throw DataError(word + ": " + error.message());
    }
    if (found.empty()) {
      throw DataError(word + ": no jpg, jpeg, png or webp picture in this folder");
    }
    std::sort(found.begin(), found.end());
    out.insert(out.end(), found.begin(), found.end());
    return;
  }
  if (fs::exists(word, error)) {
    out.emplace_back(word);
    return;
  }
  if (word.find_first_of("*?[") != std::string::npos) {
    glob_t matches{};
    const int status = glob(word.c_str(), 0, nullptr, &matches);
    std::vector<std::string> found;
    for (size_t i = 0; status == 0 && i < matches.gl_pathc; ++i) {
      found.emplace_back(matches.gl_pathv[i]);
    }
    globfree(&matches);
    if (!found.empty()) {
      for (const std::string& match : found) {
        if (fs::is_directory(match, error)) {
          expand(match, out);
        } else {
          out.emplace_back(match);
        }
      }
      return;
    }
    throw DataError(word + ": nothing matches");
  }
  throw DataError(word + ": no such file or folder");
}

class PredictCommand : public Command {
 public:
  explicit PredictCommand(std::string_view name = "predict") : name_(name) { own_.add("predict", flags_); }
  CommandText text() const override {
    return {
        .name = name_,
        .summary = "classes and probabilities of pictures",
        .operands = "MODEL FILES...",
        .about = "MODEL is a run's folder, a model folder, a weights file with its config.json beside it, or an ensemble's "
                 "folder: each picture is decoded once and shown to all members, and the table says how many agree. FILES are "
                 "pictures, folders (all pictures below) or globs. A picture that cannot be read is reported on stderr "
                 "and in the output; the others go on, and the exit code is 3. Of a model of several labels a picture all classes "
                 "above --threshold are shown.",
        .examples =
            {
                {"what is on a picture", "ballast predict runs/photos-resnet18-1 photo.jpg"},
                {"a folder as CSV, the best class only", "ballast predict RUN inbox/ --topk 1 --format csv > inbox.csv"},
                {"an ensemble", "ballast predict runs/ens photo.jpg"},
                {"each picture and its mirror image", "ballast predict RUN inbox/ --tta identity,hflip"},
                {"sort an inbox, with doubtful ones apart", "ballast predict RUN inbox/ --sort-into sorted/ --min-confidence 0.8"},
            },
    };
  }
  std::pair<size_t, size_t> operands() const override { return {2, 10'000'000}; }
  int run(const Session& session, const Arguments& arguments) override {
    check_model_path(arguments.operands[0]);
    PredictRequest request;
    request.model = arguments.operands[0];
    for (size_t i = 1; i < arguments.operands.size(); ++i) {
      expand(arguments.operands[i], request.files);
    }
    request.options = {.batch_size = flags_.batch_size,
                       .topk = flags_.topk,
                       .threshold = flags_.threshold,
                       .logits = flags_.logits,
                       .threads = static_cast<int>(flags_.threads.value_or(0)),
                       .workers = static_cast<int>(flags_.workers.value_or(-1)),
                       .device = flags_.device,
                       .tta = comma_list(flags_.tta),
                       .mc = flags_.mc};
    request.format = flags_.format;
    request.min_confidence = flags_.min_confidence;
    request.sort_into = flags_.sort_into;
    request.topk_given = given("predict.topk");
    request.threshold_given = given("predict.threshold");
    Session own = session;
    own.json = session.json || flags_.format == "json";
    return load_torch_side(flags_.threads.value_or(0)).predict(own, request);
  }

 private:
  bool given(std::string_view key) const {
    return std::ranges::any_of(own_.rows(), [&](const OptionRow& row) { return row.key == key && row.origin != "default"; });
  }
  std::string_view name_;
  PredictFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_predict_command() { return std::make_unique<PredictCommand>(); }
std::unique_ptr<Command> make_ensemble_predict_command() { return std::make_unique<PredictCommand>("ensemble predict"); }

}  // namespace ballast::cli
