#include <algorithm>
#include <chrono>
#include <ctime>

#include <ballast/augment/catalog.h>
#include <ballast/augment/crop_views.h>
#include <ballast/augment/pipeline.h>
#include <ballast/base/cpu.h>
#include <ballast/base/nearest_name.h>
#include <ballast/base/sha256.h>
#include <ballast/data/data_set.h>
#include <ballast/image/encode.h>
#include <ballast/io/file.h>
#include <ballast/report/table.h>

#include "augment_data.h"
#include "command.h"

namespace ballast::cli {

using nlohmann::ordered_json;
using Align = Table::Align;

namespace {

// -- augment list -----------------------------------------------------------------------------------------------------

class AugmentListCommand : public Command {
 public:
  CommandText text() const override {
    return {
        .name = "augment list",
        .summary = "operations of an augmentation pipeline",
        .operands = "[OPERATION...]",
        .about = "Without a name: all of them, a line each. With names: their arguments in the order of positional values, "
                 "with defaults.",
        .examples =
            {
                {"all operations", "ballast augment list"},
                {"arguments of two", "ballast augment list rotate erase"},
            },
    };
  }
  std::pair<size_t, size_t> operands() const override { return {0, 100}; }
  int run(const Session& session, const Arguments& arguments) override {
    ordered_json all = ordered_json::array();
    const auto json = [](const AugmentEntry& e) {
      return ordered_json{{"name", e.name},     {"alias", e.alias},         {"group", to_string(e.group)},
                          {"number", e.number}, {"arguments", e.arguments}, {"random", e.random},
                          {"summary", e.summary}};
    };
    if (arguments.operands.empty()) {
      Table table({{"operation", Align::left}, {"short", Align::left}, {"kind", Align::left}, {"about", Align::left}});
      for (const AugmentEntry& e : augment_catalog()) {
        table.row({std::string(e.name), std::string(e.alias), std::string(to_string(e.group)), std::string(e.summary)});
        all.push_back(json(e));
      }
      session.print(table.text());
    }
    for (const std::string& name : arguments.operands) {
      const auto catalog = augment_catalog();
      const auto it = std::find_if(catalog.begin(), catalog.end(),
                                   [&](const AugmentEntry& e) { return e.name == name || (!e.alias.empty() && e.alias == name); });
      if (it == catalog.end()) {
        std::vector<std::string_view> names;
        for (const AugmentEntry& e : catalog) names.push_back(e.name);
        usage_error("augment list: no operation \"" + name + "\"" + did_you_mean(name, names));
      }
      session.print(std::string(it->name) + (it->alias.empty() ? "" : " (" + std::string(it->alias) + ")") + ": " +
                    std::string(it->summary) + "\n  arguments  " + (it->arguments.empty() ? "none" : it->arguments) + "\n");
      all.push_back(json(*it));
    }
    session.document(all);
    return kDone;
  }
};

// -- augment explain --------------------------------------------------------------------------------------------------

struct ExplainFlags {
  std::string as = "string";
  std::string semantics = "fused";
};
template <class Visitor>
void describe(Visitor& visit, ExplainFlags& o) {
  visit("as", o.as, {.help = "print it as a text, or as the tables of a configuration file", .flags = "--as", .choices = "string toml"});
  visit("semantics", o.semantics, {.help = "as augment.semantics of a run", .flags = "--semantics", .choices = "fused sequential"});
}

class AugmentExplainCommand : public Command {
 public:
  AugmentExplainCommand() { own_.add("explain", flags_); }
  CommandText text() const override {
    return {
        .name = "augment explain",
        .summary = "how a pipeline is understood",
        .operands = "PIPELINE|FILE.toml",
        .about = "Prints the pipeline in its full form, the size of its results, whether it draws, and what is one pass for a "
                 "picture of 500 x 375. A mistake is shown with its column. From a configuration file it takes augment.train.",
        .examples = {{"short names", "ballast augment explain \"rrc(224) | hflip | jitter(0.4,0.4,0.4,0.1) | erase(0.25)\""},
                     {"as tables for a configuration file", "ballast augment explain \"rrc(224) | hflip\" --as toml"}},
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 1}; }
  int run(const Session& session, const Arguments& arguments) override {
    const std::string& given = arguments.operands[0];
    Pipeline p = Pipeline::parse(given.ends_with(".toml") ? configured_pipeline(given) : given);
    p.set_semantics(flags_.semantics == "sequential" ? Semantics::sequential : Semantics::fused);
    if (flags_.as == "toml") {
      session.print(p.toml());
      session.document({{"toml", p.toml()}});
      return kDone;
    }
    const auto size = p.output_size();
    const std::vector<Pipeline> views = crop_views(p);
    std::string passes;
    try {
      passes = views[0].passes(375, 500, Key(0));
    } catch (const std::invalid_argument& e) {
      passes = std::string("none for 500 x 375: ") + e.what();
    }
    const std::string result = size ? std::to_string(size->second) + " x " + std::to_string(size->first) + " (width x height)"
                                    : "as the picture, or drawn";
    const std::optional<std::string> drawn = p.random_step();
    session.print(p.text() + "\n  result  " + result +
                  (views.size() > 1 ? ", " + std::to_string(views.size()) + " views, for evaluation only" : "") + "\n  draws   " +
                  (drawn ? "yes (" + *drawn + "): for training only" : std::string("no")) + "\n  passes  " + passes + "\n");
    ordered_json doc{{"pipeline", p.text()}, {"random", drawn.has_value()}, {"height", nullptr}, {"width", nullptr},
                     {"views", views.size()}, {"passes", passes}};
    if (size) {
      doc["height"] = size->first;
      doc["width"] = size->second;
    }
    session.document(doc);
    return kDone;
  }

 private:
  ExplainFlags flags_;
};

// -- augment show -----------------------------------------------------------------------------------------------------

struct ShowFlags {
  std::string run;
  uint64_t epoch = 0;
  uint64_t index = 0;
  std::string out;
};
template <class Visitor>
void describe(Visitor& visit, ShowFlags& o) {
  visit("run", o.run, {.help = "folder of a run", .flags = "--run", .value_name = "RUN"});
  visit("epoch", o.epoch, {.help = "epoch, counted from 0", .flags = "--epoch"});
  visit("index", o.index, {.help = "number of the picture, as in split.csv", .flags = "--index"});
  visit("out", o.out, {.help = "write what was seen", .flags = "--out", .value_name = "FILE.png"});
}

class AugmentShowCommand : public Command {
 public:
  AugmentShowCommand() { own_.add("show", flags_); }
  CommandText text() const override {
    return {
        .name = "augment show",
        .summary = "draw again what a run saw of a picture in an epoch",
        .operands = "",
        .about = "Every draw is a function of the run's seed, the epoch and the picture's number, so nothing was stored: the "
                 "configuration of the run gives pipeline and key. Prints the drawn parameters and the SHA-256 of the "
                 "floats in the batch (channels, rows, columns).",
        .examples = {{"picture 1234 in epoch 7", "ballast augment show --run runs/fashion --epoch 7 --index 1234 --out seen.png"}},
    };
  }
  int run(const Session& session, const Arguments&) override {
    if (flags_.run.empty()) usage_error("augment show: --run RUN is needed");
    const RunAugmentation run = run_augmentation(flags_.run);
    const bool late = run.plain_from >= 0 && static_cast<int64_t>(flags_.epoch) >= run.plain_from;
    const Pipeline& pipeline = late ? run.plain : run.train;
    const auto n = static_cast<uint64_t>(run.data.source->size());
    if (flags_.index >= n) {
      usage_error("augment show: --index must be below " + std::to_string(n) + ", the number of pictures, got " +
                  std::to_string(flags_.index));
    }
    const auto id = static_cast<int64_t>(flags_.index);
    const Key key = Key(run.seed).fold_in("augment").fold_in(flags_.epoch).fold_in(flags_.index);
    std::vector<std::byte> buffer;
    const Stored stored = run.data.source->read(id, buffer);
    std::vector<DrawNote> notes;
    const int32_t c = run.data.channels;
    const Image seen = stored.encoded() ? pipeline.preview(stored.file, key, c, &notes)
                                        : pipeline.preview(stored.pixels, key, c, &notes);
    BatchSlot slot(1, c, seen.h(), seen.w(), Layout::chw);
    Scratch scratch;
    if (stored.encoded()) {
      pipeline.run_encoded(stored.file, key, slot, 0, scratch);
    } else {
      pipeline.run_image(stored.pixels, key, slot, 0, scratch);
    }
    const std::string digest = sha256_hex(std::as_bytes(std::span(slot.data, static_cast<size_t>(slot.sample_size()))));
    std::string text = run.data.source->name(id) + " in epoch " + std::to_string(flags_.epoch) + " of " + flags_.run +
                       "\n  pipeline  " + pipeline.text() + "\n";
    ordered_json drawn = ordered_json::array();
    for (const DrawNote& note : notes) {
      text += "  " + note.text() + "\n";
      drawn.push_back({{"step", note.name}, {"values", note.values}});
    }
    text += "  result    " + std::to_string(seen.w()) + " x " + std::to_string(seen.h()) + ", sha256 " + digest + "\n";
    if (!flags_.out.empty()) write_file_atomic(flags_.out, encode_png(seen));
    session.print(text);
    session.document({{"name", run.data.source->name(id)}, {"epoch", flags_.epoch}, {"index", flags_.index},
                      {"pipeline", pipeline.text()}, {"drawn", drawn}, {"height", seen.h()}, {"width", seen.w()},
                      {"sha256", digest}});
    return kDone;
  }

 private:
  ShowFlags flags_;
};

// -- augment bench ----------------------------------------------------------------------------------------------------

struct BenchFlags {
  std::string pipeline;
  double seconds = 0.2;
  int64_t size = 224;
};
template <class Visitor>
void describe(Visitor& visit, BenchFlags& o) {
  visit("pipeline", o.pipeline, {.help = "time this one; without it a list of operations", .flags = "--pipeline",
                                 .value_name = "PIPELINE"});
  visit("seconds", o.seconds, {.help = "seconds of processor time for each", .flags = "--seconds", .range = between(0.01, 60)});
  visit("size", o.size, {.help = "side of the picture, which is made up", .flags = "--size", .range = between(8, 4096)});
}

/// Seconds of processor time of this thread.
double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

class AugmentBenchCommand : public Command {
 public:
  AugmentBenchCommand() { own_.add("bench", flags_); }
  CommandText text() const override {
    return {
        .name = "augment bench",
        .summary = "time of each operation on one core",
        .operands = "",
        .about = "Microseconds of processor time for one picture in memory, from 8-bit pixels to normalized floats, and what "
                 "is left of it without the store.",
        .examples =
            {
                {"operations", "ballast augment bench"},
                {"a pipeline", "ballast augment bench --pipeline \"rand-m9-mstd0.5-inc1 | erase(0.25)\""},
            },
    };
  }
  int run(const Session& session, const Arguments&) override {
    const auto side = static_cast<int32_t>(flags_.size);
    Image image(side, side, 3);
    for (int32_t y = 0; y < side; ++y) {
      for (int32_t x = 0; x < 3 * side; ++x) {
        image.row_u8(y)[x] = static_cast<uint8_t>(128 + 60 * ((x / 40 + y / 30) % 3 - 1) + bits16(Key(1), static_cast<uint64_t>(y * 3 * side + x)) % 40);
      }
    }
    std::vector<std::string> calls = {"", "hflip(1)", "d4", "rotate(15)", "rotate(15, interpolation=nearest)", "affine(10, 0.1, 0.9..1.1, 5)",
        "perspective(0.5, p=1)", "elastic", "brightness(1.3)", "contrast(1.3)", "saturation(1.3)", "hue(0.1)",
        "jitter(0.4, 0.4, 0.4, 0.1)", "jitter(0.4, 0.4, 0.4)", "grayscale(1)", "gamma", "invert(1)", "posterize(4)", "solarize", "autocontrast(1)",
        "equalize(1)", "sharpness(1.5)", "gaussian_blur(5, 1)", "jpeg_compression", "gaussian_noise", "cutout(64)",
        "erase(1)", "erase(1, mode=pixel)", "grid_mask", "rand_augment", "trivial_augment", "auto_augment", "augmix", "rand-m9-mstd0.5-inc1"};
    if (!flags_.pipeline.empty()) calls = {"", flags_.pipeline};
    Table table({{"pipeline", Align::left}, {"us"}, {"us without the store"}, {"pictures/s"}});
    ordered_json all = ordered_json::array();
    double store = 0;
    for (const std::string& call : calls) {
      Pipeline p = Pipeline::parse(call);
      p.set_normalize(imagenet_normalize());
      const Image first = p.preview(image, Key(0));
      BatchSlot slot(1, 3, first.h(), first.w(), Layout::chw);
      Scratch scratch;
      uint64_t n = 0;
      double best = 1e9;
      // The fastest of several rounds: what else the machine does only ever adds.
      for (int round = 0; round < 5; ++round) {
        const double begin = cpu_seconds();
        uint64_t done = 0;
        do {
          for (int k = 0; k < 8; ++k, ++n, ++done) p.run_image(image, Key(2).fold_in(n), slot, 0, scratch);
        } while (cpu_seconds() - begin < flags_.seconds / 5);
        best = std::min(best, (cpu_seconds() - begin) / static_cast<double>(done));
      }
      if (call.empty()) store = best;
      table.row({call.empty() ? "(normalize and store)" : call, format_fixed(1e6 * best, 1), format_fixed(1e6 * (best - store), 1),
                 format_count(static_cast<int64_t>(1 / best))});
      all.push_back({{"pipeline", call}, {"seconds", best}, {"seconds_without_store", best - store}});
    }
    session.print(table.text() + "\n" + std::to_string(side) + " x " + std::to_string(side) + " pixels, one thread, " + simd_target() + "\n");
    session.document(all);
    return kDone;
  }

 private:
  BenchFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_augment_list_command() { return std::make_unique<AugmentListCommand>(); }
std::unique_ptr<Command> make_augment_explain_command() { return std::make_unique<AugmentExplainCommand>(); }
std::unique_ptr<Command> make_augment_show_command() { return std::make_unique<AugmentShowCommand>(); }
std::unique_ptr<Command> make_augment_bench_command() { return std::make_unique<AugmentBenchCommand>(); }

}  // namespace ballast::cli
