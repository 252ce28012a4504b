#include <ballast/data/box_set.h>
#include <ballast/data/data_check.h>
#include <ballast/data/data_set.h>

#include <filesystem>

#include <ballast/io/file.h>

#include "command.h"
#include "data_check_page.h"
#include "torch_side.h"

namespace ballast::cli {
namespace {

struct DataCheckFlags {
  std::string source;
  std::string format = "auto";
  double split_val = 0.1;
  double split_test = 0.1;
  uint64_t seed = 0;
  bool near = true;
  std::string page, json_file, images;
  Auto<int64_t> threads;
};
template <class Visitor>
void describe(Visitor& visit, DataCheckFlags& o) {
  visit("source", o.source, {.help = "the data, in place of the operand", .flags = "--data --data-dir", .value_name = "PATH"});
  visit("format", o.format, {.help = "how to read the data; auto: by its content", .flags = "--data-format",
                             .choices = kDataFormats});
  visit("split_val", o.split_val, {.help = "share of train held back for validation if the data has no such part",
                                   .flags = "--val-share", .range = half_open(0, 1)});
  visit("split_test", o.split_test, {.help = "share of train held back for the test if the data has no such part",
                                     .flags = "--test-share", .range = half_open(0, 1)});
  visit("seed", o.seed, {.help = "decides the split", .flags = "--seed"});
  visit("near", o.near, {.help = "look for pictures that are nearly the same, too", .flags = "--near"});
  visit("page", o.page, {.help = "write a page to look at: findings, duplicates side by side, pictures of each class", .flags = "--page", .value_name = "FILE.html"});
  visit("json_file", o.json_file, {.help = "write the whole report as JSON", .flags = "--json-file", .value_name = "FILE"});
  visit("images", o.images, {.help = "where the pictures of a COCO file are; empty: beside it", .flags = "--images", .value_name = "DIR"});
  visit("threads", o.threads, {.help = "threads that decode", .flags = "--threads", .range = between(1, 4096)});
}

class DataCheckCommand : public Command {
 public:
  DataCheckCommand() { own_.add("data", flags_); }
  CommandText text() const override {
    return {
        .name = "data check",
        .summary = "decode all pictures and look for what harms training",
        .operands = "[DATA]",
        .about = "Reads every picture of the data, in the split that `train` "
                 "would make. Reports unreadable files, empty and tiny classes, the same picture twice, in two parts "
                 "(a leak) or under two labels, pictures that look alike, sizes, mean and standard deviation. The exit code is 3 if something "
                 "must be mended.",
        .examples =
            {
                {"a folder of pictures", "ballast data check photos/"},
                {"with a page to look at", "ballast data check photos/ --page data.html"},
                {"pictures with boxes: a VOC or YOLO folder, a COCO file", "ballast data check VOC2007/"},
                {"the same as JSON", "ballast data check photos/ --json"},
                {"Fashion-MNIST", "ballast data check"},
            },
    };
  }
  std::pair<size_t, size_t> operands() const override { return {0, 1}; }
  int run(const Session& session, const Arguments& arguments) override {
    if (!arguments.operands.empty() && !flags_.source.empty()) {
      usage_error("data check: DATA and --data both name the data: give one of them");
    }
    DataOptions options;
    if (!arguments.operands.empty()) {
      options.source = arguments.operands[0];
    } else if (!flags_.source.empty()) {
      options.source = flags_.source;
    }
    if (flags_.format == "auto" && !looks_like_boxes(options.source).empty()) {
      return check_box_data(session, options.source);
    }
    options.format = flags_.format;
    options.split_val = flags_.split_val;
    options.split_test = flags_.split_test;
    const DataSet data = open_data(options, Key(flags_.seed));
    const DataCheckReport report = check_data(data, {.threads = usable_threads(flags_.threads.value_or(0)), .near_duplicates = flags_.near});
    if (!flags_.json_file.empty()) {
      write_file_atomic(flags_.json_file, report.json());
    }
    if (!flags_.page.empty()) {
      const std::filesystem::path source(options.source);
      write_file_atomic(flags_.page, data_check_page(data, report, (source.has_filename() ? source : source.parent_path()).filename().string()));
    }
    session.print(report.text());
    session.document(nlohmann::ordered_json::parse(report.json()));
    return report.ok() ? kDone : kData;
  }

 private:
  /// Pictures with boxes, of a VOC or YOLO folder or a COCO file.
  int check_box_data(const Session& session, const std::string& source) {
    if (!flags_.page.empty()) {
      usage_error("data check: --page shows pictures with labels; " + source + " holds boxes");
    }
    const BoxCheckReport report = check_boxes(open_boxes(source, {.images = flags_.images, .voc_base = -1}), usable_threads(flags_.threads.value_or(0)));
    if (!flags_.json_file.empty()) {
      write_file_atomic(flags_.json_file, report.json());
    }
    session.print(report.text());
    session.document(nlohmann::ordered_json::parse(report.json()));
    return report.ok() ? kDone : kData;
  }

  DataCheckFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_data_check_command() { return std::make_unique<DataCheckCommand>(); }

}  // namespace ballast::cli
