#include "data_check_page.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include <ballast/image/decode.h>
#include <ballast/image/encode.h>
#include <ballast/image/resize.h>
#include <ballast/report/data_page.h>
#include <ballast/report/table.h>

namespace ballast::cli {
namespace {

constexpr size_t kMostGroups = 30;
constexpr size_t kMostInGroup = 8;
constexpr size_t kMostBad = 200;
constexpr size_t kPicturesOfClass = 8;
constexpr size_t kMostClassesShown = 40;
// Longest side of a picture on the page.
constexpr int32_t kSide = 128;

class Maker {
 public:
  Maker(const DataSet& data, const DataCheckReport& report) : data_(data), report_(report) {}

  DataPage make(const std::string& name) {
    page_.name = name;
    const int64_t all = report_.readable + static_cast<int64_t>(report_.bad.size());
    page_.lead = format_count(all) + (all == 1 ? " picture, " : " pictures, ") + format_count(static_cast<int64_t>(report_.classes.size())) +
        " classes, read as " + report_.format + ".";
    findings();
    for (size_t r = 0; r < kRoles; ++r) {
      if (report_.sizes[r] > 0) {
        page_.parts.emplace_back(to_string(static_cast<Role>(r)));
      }
    }
    classes();
    facts();
    page_.same = groups(report_.duplicates);
    page_.same_total = static_cast<int64_t>(report_.duplicates.size());
    page_.alike = groups(report_.near_duplicates);
    page_.alike_total = static_cast<int64_t>(report_.near_duplicates.size());
    page_.bad_total = static_cast<int64_t>(report_.bad.size());
    for (size_t i = 0; i < std::min(kMostBad, report_.bad.size()); ++i) {
      const BadSample& b = report_.bad[i];
      page_.bad.push_back({b.path, std::string(to_string(b.role)), std::string(to_string(b.reason)), b.detail, b.bytes});
    }
    return std::move(page_);
  }

 private:
  void find(const char* level, int64_t n, const std::string& one, const std::string& many, const std::string& text, const std::string& remedy = "") {
    if (n > 0) {
      page_.findings.push_back({level, format_count(n) + " " + (n == 1 ? one : many), text, remedy});
    }
  }

  void findings() {
    const auto list = [](const std::vector<std::string>& names) {
      std::string text;
      for (size_t i = 0; i < std::min<size_t>(20, names.size()); ++i) {
        text += (i > 0 ? ", " : "") + names[i];
      }
      return text + (names.size() > 20 ? ", ..." : "");
    };
    const auto with = [](const std::vector<DataCheckReport::Duplicates>& groups, bool DataCheckReport::Duplicates::*field) {
      return std::count_if(groups.begin(), groups.end(), [&](const auto& g) { return g.*field; });
    };
    using D = DataCheckReport::Duplicates;
    find("error", report_.leaks(), "picture in several parts", "pictures in several parts",
         "The same pixels are trained on and tested with: the result is better than it will be on new pictures.", "Keep each in one part.");
    find("error", report_.conflicts(), "picture under several labels", "pictures under several labels", "At least one of the labels is wrong.",
         "Keep the right one.");
    find("error", static_cast<int64_t>(report_.bad.size()), "file that cannot be used", "files that cannot be used",
         "Training puts another picture in its place; evaluation leaves it out.", "The table below has the reasons.");
    find("error", static_cast<int64_t>(report_.empty_classes.size()), "class without a readable picture", "classes without a readable picture",
         list(report_.empty_classes));
    find("warning", with(report_.near_duplicates, &D::leak), "group that looks alike is spread over parts", "groups that look alike are spread over parts",
         "Most likely the same photo at another size or quality.", "Look at them below; keep each photo in one part.");
    find("warning", with(report_.near_duplicates, &D::conflict), "group that looks alike has several labels", "groups that look alike have several labels",
         "One of the labels may be wrong.");
    find("warning", static_cast<int64_t>(report_.tiny_classes.size()), "class with few pictures to train on", "classes with few pictures to train on",
         list(report_.tiny_classes));
    find("info", report_.exif_turned, "picture with an EXIF turn", "pictures with an EXIF turn",
         "The turn is ignored, as Pillow and torchvision do: such a picture is seen lying on its side.", "Turn the pixels themselves, for example with jpegtran or exiftran -a.");
    find("info", report_.progressive, "progressive JPEG", "progressive JPEGs", "They take about three times as long to decode.",
         "ballast pack makes them baseline, with the same pixels.");
    for (const std::string& note : report_.notes) {
      page_.findings.push_back({"info", note, ""});
    }
  }

  std::vector<std::byte> buffer_;

  /// A small copy of a picture; nothing if it cannot be read.
  std::optional<PagePicture> picture(uint64_t id, std::string note) {
    try {
      const auto i = static_cast<int64_t>(id);
      const Stored stored = data_.source->read(i, buffer_);
      const Image image = stored.encoded() ? decode(stored.file, {.channels = 3, .roi = {}, .limits = {}}) : copy_image(stored.pixels);
      PagePicture p{.bytes = {}, .width = image.w(), .height = image.h(), .name = data_.source->name(i), .note = std::move(note)};
      const int32_t side = std::max(image.w(), image.h());
      const auto scaled = [&](int32_t n) { return std::max(1, static_cast<int32_t>(int64_t{n} * kSide / side)); };
      const Image small = side > kSide ? resize(image, scaled(image.h()), scaled(image.w())) : copy_image(image);
      const bool png = side <= 64;
      const std::vector<std::byte> bytes = png ? encode_png(small) : encode_jpeg(small, 85);
      p.bytes.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      p.type = png ? "image/png" : "image/jpeg";
      p.width = small.w();
      p.height = small.h();
      return p;
    } catch (const DecodeError&) {
      return std::nullopt;
    }
  }

  std::string label_of(uint64_t id) const {
    const std::string text = data_.source->label_text(static_cast<int64_t>(id));
    return text.empty() ? "nothing" : text;
  }

  /// Those that harm first.
  std::vector<DataGroup> groups(const std::vector<DataCheckReport::Duplicates>& found) {
    std::vector<const DataCheckReport::Duplicates*> order;
    for (const auto& g : found) {
      order.push_back(&g);
    }
    std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->leak + a->conflict > b->leak + b->conflict; });
    std::vector<DataGroup> result;
    for (size_t k = 0; k < std::min(kMostGroups, order.size()); ++k) {
      const DataCheckReport::Duplicates& g = *order[k];
      DataGroup out;
      std::set<std::string> parts, labels;
      for (size_t i = 0; i < g.ids.size(); ++i) {
        parts.emplace(to_string(g.roles[i]));
        labels.insert(label_of(g.ids[i]));
        if (i < kMostInGroup) {
          if (auto p = picture(g.ids[i], label_of(g.ids[i]) + ", " + std::string(to_string(g.roles[i])))) {
            out.pictures.push_back(std::move(*p));
          }
        }
      }
      const auto joined = [](const std::set<std::string>& names) {
        std::string text;
        for (const std::string& name : names) {
          text += (text.empty() ? "" : ", ") + name;
        }
        return text;
      };
      out.title = format_count(static_cast<int64_t>(g.ids.size())) + " pictures in " + joined(parts) + ", labelled " + joined(labels);
      out.level = &found == &report_.duplicates && (g.leak || g.conflict) ? "error" : g.leak || g.conflict ? "warning" : "info";
      result.push_back(std::move(out));
    }
    return result;
  }

  void classes() {
    std::vector<std::vector<uint64_t>> ids(data_.classes.size());
    for (const RoleView& view : data_.roles) {
      for (const uint64_t id : *view.ids) {
        for (const int32_t c : data_.source->classes_of(static_cast<int64_t>(id))) ids[static_cast<size_t>(c)].push_back(id);
      }
    }
    for (size_t c = 0; c < data_.classes.size(); ++c) {
      DataClass one{.name = data_.classes[c], .counts = {}};
      for (size_t r = 0; r < kRoles; ++r) {
        if (report_.sizes[r] > 0) {
          one.counts.push_back(report_.counts[r][c]);
        }
      }
      // Spread evenly, so that a folder sorted by time shows all of it.
      for (size_t k = 0; c < kMostClassesShown && k < std::min(kPicturesOfClass, ids[c].size()); ++k) {
        if (auto p = picture(ids[c][k * ids[c].size() / std::min(kPicturesOfClass, ids[c].size())], "")) {
          one.pictures.push_back(std::move(*p));
        }
      }
      page_.classes.push_back(std::move(one));
    }
  }

  void facts() {
    const auto spread = [](const DataCheckReport::Spread& s) {
      return std::to_string(s.min) + " to " + std::to_string(s.max) + ", median " + std::to_string(s.median);
    };
    const auto values = [](const std::vector<double>& list) {
      std::string text;
      for (const double v : list) {
        text += (text.empty() ? "" : ", ") + format_fixed(v, 4);
      }
      return text;
    };
    page_.facts = {{"readable", format_count(report_.readable)},
                   {"height", spread(report_.height)},
                   {"width", spread(report_.width)},
                   {"channels", format_count(report_.gray) + " gray, " + format_count(report_.color) + " colour, " + format_count(report_.alpha) + " with alpha"},
                   {"files", report_.raw > 0 ? "pixels (" + report_.format + ")"
                                             : format_count(report_.jpeg) + " JPEG (" + format_count(report_.progressive) + " progressive, " +
                             format_count(report_.cmyk) + " CMYK), " + format_count(report_.png) + " PNG, " + format_count(report_.webp) + " WebP"},
                   {"EXIF turned", format_count(report_.exif_turned)},
                   {"mean of train", values(report_.mean)},
                   {"std of train", values(report_.std)}};
    page_.histograms = {{"Shorter side, pixels", report_.side_bins}, {"Width over height", report_.aspect_bins}};
  }

  const DataSet& data_;
  const DataCheckReport& report_;
  DataPage page_;
};

}  // namespace

std::string data_check_page(const DataSet& data, const DataCheckReport& report, const std::string& name) {
  return data_page(Maker(data, report).make(name));
}

}  // namespace ballast::cli
