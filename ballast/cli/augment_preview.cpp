#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include <ballast/augment/crop_views.h>
#include <ballast/augment/mix_samples.h>
#include <ballast/augment/pipeline.h>
#include <ballast/augment/presets.h>
#include <ballast/base/check.h>
#include <ballast/base/sha256.h>
#include <ballast/data/box_set.h>
#include <ballast/data/data_set.h>
#include <ballast/data/read_file.h>
#include <ballast/image/decode.h>
#include <ballast/image/encode.h>
#include <ballast/io/file.h>
#include <ballast/report/page_parts.h>
#include <ballast/report/svg_chart.h>
#include <ballast/report/table.h>

#include "command.h"
#include "sheet.h"

namespace ballast::cli {

using nlohmann::ordered_json;
namespace fs = std::filesystem;

namespace {

struct PreviewFlags {
  std::string pipeline;
  std::string preset = "standard";
  int64_t n = 6;
  int64_t draws = 7;
  int64_t size = 128;
  uint64_t seed = 0;
  double mixup = 0;
  double cutmix = 0;
  std::string out = "augment.html";
};
template <class Visitor>
void describe(Visitor& visit, PreviewFlags& o) {
  visit("pipeline", o.pipeline, {.help = "what to show; without it the preset", .flags = "--pipeline", .value_name = "PIPELINE"});
  visit("preset", o.preset, {.help = "the pipeline of --augment", .flags = "--augment", .choices = "none light standard strong"});
  visit("n", o.n, {.help = "pictures, evenly spread over the data", .flags = "--n", .range = between(1, 100)});
  visit("draws", o.draws, {.help = "draws of each", .flags = "--draws", .range = between(1, 100)});
  visit("size", o.size, {.help = "side of a picture on the sheet, and of a preset's result", .flags = "--size", .range = between(16, 1024)});
  visit("seed", o.seed, {.help = "decides the draws", .flags = "--seed"});
  visit("mixup", o.mixup, {.help = "also mix the pictures of a draw, lambda from Beta(A, A); 0: off", .flags = "--mixup",
                           .range = between(0, 1000), .value_name = "A"});
  visit("cutmix", o.cutmix, {.help = "also paste boxes of other pictures, lambda from Beta(A, A); 0: off", .flags = "--cutmix",
                             .range = between(0, 1000), .value_name = "A"});
  visit("out", o.out, {.help = "the sheet", .flags = "--out", .value_name = "FILE.png|FILE.html"});
}

struct Shown {
  std::string name;
  Image image;
  Boxes boxes = {};
};

bool is_picture(const fs::path& path) {
  std::string e = path.extension().string();
  std::transform(e.begin(), e.end(), e.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return e == ".jpg" || e == ".jpeg" || e == ".png" || e == ".webp";
}

/// n of `count` things, evenly spread.
std::vector<size_t> spread(size_t count, int64_t n) {
  std::vector<size_t> out;
  const auto wanted = std::min(count, static_cast<size_t>(n));
  for (size_t i = 0; i < wanted; ++i) out.push_back(i * count / wanted);
  return out;
}

class AugmentPreviewCommand : public Command {
 public:
  AugmentPreviewCommand() { own_.add("preview", flags_); }
  CommandText text() const override {
    return {
        .name = "augment preview",
        .summary = "a contact sheet of what a pipeline does to your pictures",
        .operands = "DATA",
        .about = "A row for each picture: the original, then draws, each with the parameters that it drew. DATA is a folder "
                 "with pictures anywhere below it, one picture, or other data that train takes; of VOC, COCO and YOLO data the boxes "
                 "are drawn too, as they follow the pixels. A .png shows the sheet; a "
                 ".html has in addition a histogram of every parameter over 1,000 draws and the share of time that steps "
                 "are skipped. Erased parts have the colour that they have for the model, the mean.",
        .examples =
            {
                {"the preset standard", "ballast augment preview photos/"},
                {"with the boxes of a COCO file", "ballast augment preview coco/instances.json --pipeline \"rotate(10) | iou_crop\""},
                {"pictures in pairs, as the network sees them", "ballast augment preview photos/ --augment light --cutmix 1 --mixup 0.2"},
                {"a pipeline of your own", "ballast augment preview photos/ --pipeline \"rrc(128) | rotate(15) | hue(0.1)\" --out sheet.png"},
            },
    };
  }
  std::pair<size_t, size_t> operands() const override { return {1, 1}; }

  int run(const Session& session, const Arguments& arguments) override {
    const fs::path out = flags_.out;
    const bool page = out.extension() == ".html";
    if (!page && out.extension() != ".png") usage_error("augment preview: --out must end in .png or .html, got " + flags_.out);
    normalize_ = imagenet_normalize();
    const std::vector<Shown> pictures = load(session, arguments.operands[0]);
    check<DataError>(!pictures.empty(), "augment", arguments.operands[0], " holds no picture that can be read");
    const Image& first = pictures.front().image;
    std::string text = flags_.pipeline;
    if (text.empty()) {
      const auto side = static_cast<int32_t>(std::min<int64_t>(flags_.size, std::max(first.h(), first.w())));
      text = train_preset(flags_.preset, {.height = side, .width = side, .channels = channels_, .source_height = first.h(),
                                          .source_width = first.w()});
    }
    Pipeline pipeline = Pipeline::parse(text);
    pipeline.set_normalize(normalize_);
    const std::vector<Pipeline> views = crop_views(pipeline);
    std::vector<std::vector<SheetCell>> rows;
    ordered_json drawn = ordered_json::array();
    std::vector<Draw> draws = draw_all(pictures, views);
    for (size_t i = 0; i < pictures.size(); ++i) {
      auto& row = rows.emplace_back();
      row.push_back({framed(copy_image(pictures[i].image), pictures[i].boxes),
                     {pictures[i].name, size_text(pictures[i].image)}});
      for (int64_t d = 0; d < flags_.draws; ++d) {
        Sample& sample = draws[static_cast<size_t>(d)].samples[i];
        const std::vector<DrawNote>& notes = draws[static_cast<size_t>(d)].notes[i];
        ordered_json boxes = ordered_json::array();
        for (size_t b = 0; b < sample.boxes.x1.size(); ++b) {
          boxes.push_back({sample.boxes.x1[b], sample.boxes.y1[b], sample.boxes.x2[b], sample.boxes.y2[b]});
        }
        const std::string hash = pixels_hash(sample.image);
        SheetCell cell{framed(std::move(sample.image), sample.boxes), {}};
        ordered_json one = ordered_json::array();
        for (const DrawNote& note : notes) {
          cell.lines.push_back(note.text());
          one.push_back({{"step", note.name}, {"values", note.values}});
        }
        drawn.push_back({{"picture", pictures[i].name}, {"draw", d}, {"steps", one}, {"width", cell.image.w()},
                         {"height", cell.image.h()}, {"sha256", hash}, {"boxes", boxes}});
        row.push_back(std::move(cell));
      }
    }
    if (page) {
      const std::string html = page_of(pipeline, pictures, rows);
      write_file_atomic(out, std::as_bytes(std::span(html.data(), html.size())));
    } else {
      write_file_atomic(out, encode_png(contact_sheet(rows, static_cast<int32_t>(flags_.size))));
    }
    session.print(out.string() + ": " + std::to_string(pictures.size()) + " pictures, " + std::to_string(flags_.draws) +
                  " draws each of\n  " + pipeline.text() + "\n");
    session.document({{"out", out.string()}, {"pipeline", pipeline.text()}, {"drawn", drawn}});
    return kDone;
  }

 private:
  /// Every picture once.
  struct Draw {
    std::vector<Sample> samples;
    std::vector<std::vector<DrawNote>> notes;
  };
  std::vector<Draw> draw_all(const std::vector<Shown>& pictures, const std::vector<Pipeline>& views) const {
    std::vector<Draw> out(static_cast<size_t>(flags_.draws));
    for (size_t d = 0; d < out.size(); ++d) {
      Draw& draw = out[d];
      draw.notes.resize(pictures.size());
      const Key key = Key(flags_.seed).fold_in("augment").fold_in(uint64_t{d});
      for (size_t i = 0; i < pictures.size(); ++i) {
        draw.samples.push_back({.image = copy_image(pictures[i].image), .boxes = pictures[i].boxes, .name = pictures[i].name});
        views[d % views.size()].apply(draw.samples.back(), key.fold_in(i), {}, &draw.notes[i]);
      }
      const MixOptions mix{.mixup_alpha = flags_.mixup, .cutmix_alpha = flags_.cutmix};
      if (!mix.on()) continue;
      check(pictures.size() > 1, "augment", "mixing needs two pictures, got ", pictures.size());
      for (const SampleMix& m : mix_samples(draw.samples, mix, Key(flags_.seed).fold_in("mix").fold_in(uint64_t{d}))) {
        if (m.draw.lambda >= 1) continue;
        auto& notes = draw.notes[static_cast<size_t>(m.draw.row)];
        notes.push_back({m.draw.w == 0 ? "mixup" : "cutmix", {static_cast<double>(m.draw.lambda)}});
        notes.push_back({"with " + pictures[static_cast<size_t>(m.draw.partner)].name, {}});
      }
    }
    return out;
  }

  Image framed(Image image, const Boxes& boxes) const {
    draw_boxes(image, boxes, static_cast<int32_t>(flags_.size));
    return image;
  }

  /// Pictures with their boxes, evenly spread over those that have some.
  std::vector<Shown> load_boxes(const Session& session, const std::string& where) const {
    BoxSet set = open_boxes(where);
    std::erase_if(set.pictures, [](const AnnotatedPicture& p) { return p.boxes.empty(); });
    std::vector<Shown> out;
    for (const size_t i : spread(set.pictures.size(), flags_.n)) {
      const AnnotatedPicture& p = set.pictures[i];
      try {
        Shown shown{fs::path(p.path).filename().string(), decode(read_whole_file(p.path, "augment"), {.channels = 3})};
        for (const AnnotatedBox& b : p.boxes) {
          shown.boxes.add(static_cast<float>(b.x1), static_cast<float>(b.y1), static_cast<float>(b.x2),
                          static_cast<float>(b.y2), b.label);
        }
        out.push_back(std::move(shown));
      } catch (const DataError& e) {
        session.warn(p.path + ": " + e.what());
      }
    }
    return out;
  }

  static std::string size_text(const Image& image) { return std::to_string(image.w()) + " x " + std::to_string(image.h()); }

  static std::string pixels_hash(const Image& image) {
    Sha256 hash;
    for (int32_t y = 0; y < image.h(); ++y) {
      hash.update(std::as_bytes(std::span(image.row_u8(y), static_cast<size_t>(image.w()) * static_cast<size_t>(image.c()))));
    }
    return hex(hash.finish());
  }

  std::vector<Shown> load(const Session& session, const std::string& where) {
    if (!looks_like_boxes(where).empty()) return load_boxes(session, where);
    std::vector<Shown> out;
    std::vector<fs::path> files;
    std::error_code error;
    if (fs::is_directory(where, error)) {
      for (fs::recursive_directory_iterator it(where, error), end; it != end; it.increment(error)) {
        if (error) break;
        if (it->is_regular_file(error) && is_picture(it->path())) files.push_back(it->path());
      }
      std::sort(files.begin(), files.end());
    } else if (is_picture(where)) {
      files.push_back(where);
    }
    if (!files.empty()) {
      for (const size_t i : spread(files.size(), flags_.n)) {
        try {
          const auto bytes = read_whole_file(files[i].string(), "augment");
          out.push_back({files[i].filename().string(), decode(bytes, {.channels = 3})});
        } catch (const DataError& e) {
          session.warn(files[i].string() + ": " + e.what());
        }
      }
      return out;
    }
    DataOptions options;
    options.source = where;
    const DataSet data = open_data(options, Key(0));
    normalize_ = data.normalize;
    channels_ = data.channels;
    const RoleView& train = data.role(Role::train);
    std::vector<std::byte> buffer;
    for (const size_t i : spread(static_cast<size_t>(train.size()), flags_.n)) {
      const auto id = static_cast<int64_t>(train.id(static_cast<int64_t>(i)));
      const Stored stored = data.source->read(id, buffer);
      Image image = stored.encoded() ? decode(stored.file, {.channels = 3}) : Pipeline().preview(stored.pixels, Key(0));
      out.push_back({data.source->name(id), std::move(image)});
    }
    return out;
  }

  std::string page_of(const Pipeline& pipeline, const std::vector<Shown>& pictures,
                      const std::vector<std::vector<SheetCell>>& rows) const {
    Html h;
    h.open("section", {{"id", "sheet"}}).element("h2", "Pictures");
    h.open("div", {{"class", "scroll"}}).open("table", {{"class", "sheet"}});
    for (const auto& row : rows) {
      h.open("tr");
      for (const SheetCell& cell : row) {
        const Image small = fitted(cell.image, static_cast<int32_t>(flags_.size));
        const auto png = encode_png(small);
        h.open("td", {{"style", "vertical-align: top; padding: 0.3rem; font-size: 0.75rem"}});
        h.single("img", {{"src", "data:image/png;base64," + base64({reinterpret_cast<const char*>(png.data()), png.size()})},
                         {"width", std::to_string(small.w())}, {"height", std::to_string(small.h())},
                         {"alt", cell.lines.empty() ? "as it is" : cell.lines.front()}});
        for (const std::string& line : cell.lines) h.element("div", line);
        h.close();
      }
      h.close();
    }
    h.close().close().close();
    histograms(h, pipeline, pictures.front());
    return framed_page({.kind = "ballast augment preview", .tab = "augmentation", .title = "What the pipeline does",
                        .lead = pipeline.text(), .entries = {{"sheet", "Pictures"}, {"drawn", "What was drawn"}}}, h);
  }

  /// Histograms of every value of every step over many draws for a picture of this size.
  void histograms(Html& h, const Pipeline& pipeline, const Shown& picture) const {
    const Image& image = picture.image;
    const bool boxes = picture.boxes.size() > 0;
    const std::vector<Pipeline> views = crop_views(pipeline);
    // What is drawn may depend on the boxes on their way, which go with the pixels.
    const uint64_t draws = boxes ? 200 : 1000;
    const auto draw = [&](const Pipeline& view, Key key) {
      if (!boxes) return view.draw(image.h(), image.w(), key);
      Sample sample{.image = copy_image(image), .boxes = picture.boxes};
      std::vector<DrawNote> notes;
      view.apply(sample, key, {}, &notes);
      return notes;
    };
    constexpr size_t kBins = 20;
    std::map<std::string, std::vector<std::vector<double>>> values;
    std::map<std::string, uint64_t> counts;
    for (uint64_t i = 0; i < draws; ++i) {
      std::map<std::string, bool> seen;
      for (const DrawNote& note : draw(views[i % views.size()], Key(flags_.seed).fold_in("histogram").fold_in(i))) {
        auto& lists = values[note.name];
        lists.resize(std::max(lists.size(), note.values.size()));
        for (size_t k = 0; k < note.values.size(); ++k) lists[k].push_back(note.values[k]);
        if (!seen[note.name]) ++counts[note.name];
        seen[note.name] = true;
      }
    }
    h.open("section", {{"id", "drawn"}}).element("h2", "What was drawn");
    h.element("p", format_count(static_cast<int64_t>(draws)) + " draws for a picture of " + size_text(image) + ".");
    std::vector<BarRow> shares;
    for (const auto& [name, count] : counts) {
      const double share = static_cast<double>(count) / static_cast<double>(draws);
      shares.push_back({name, share, format_fixed(100 * share, 1) + " %"});
    }
    h.add(bar_chart("How often a step was applied", shares, 1));
    for (const auto& [name, lists] : values) {
      for (size_t k = 0; k < lists.size(); ++k) {
        const auto [low, high] = std::minmax_element(lists[k].begin(), lists[k].end());
        if (*low == *high) continue;
        std::vector<uint64_t> bins(kBins, 0);
        for (const double v : lists[k]) {
          ++bins[std::min(kBins - 1, static_cast<size_t>((v - *low) / (*high - *low) * kBins))];
        }
        std::vector<BarRow> bars;
        for (size_t b = 0; b < kBins; ++b) {
          const double from = *low + (*high - *low) * static_cast<double>(b) / kBins;
          bars.push_back({format_significant(from, 3), static_cast<double>(bins[b]), std::to_string(bins[b])});
        }
        const std::string which = lists.size() > 1 ? ", value " + std::to_string(k + 1) : "";
        h.add(bar_chart(name + which, bars));
      }
    }
    h.close();
  }

  PreviewFlags flags_;
  Normalize normalize_;
  int32_t channels_ = 3;
};

}  // namespace

std::unique_ptr<Command> make_augment_preview_command() { return std::make_unique<AugmentPreviewCommand>(); }

}  // namespace ballast::cli
