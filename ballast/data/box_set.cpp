#include <ballast/base/check.h>
#include <ballast/data/box_set.h>
#include <ballast/data/listed_source.h>
#include <ballast/image/decode.h>
#include <ballast/io/file.h>
#include <ballast/io/json.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <map>
#include <sstream>

namespace ballast {
namespace {

namespace fs = std::filesystem;

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first == std::string_view::npos ? "" : text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

double number(std::string_view text, const std::string& where, std::string_view what) {
  text = trimmed(text);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  check<DataError>(error == std::errc() && end == text.data() + text.size() && !text.empty(), "boxes", where, ": ", what, " must be a number, got \"",
                   text.substr(0, 40), '"');
  return value;
}

std::vector<fs::path> files_in(const fs::path& folder, std::string_view suffix) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder, fs::directory_options::follow_directory_symlink)) {
    if (entry.is_regular_file() && entry.path().extension() == suffix) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

BoxSet read_voc(const fs::path& root, int base) {
  BoxSet set{.format = "voc", .classes = {}, .pictures = {}, .notes = {}};
  const fs::path folder = root / "Annotations";
  std::vector<std::vector<std::string>> names;
  bool has_zero = false;
  for (const fs::path& file : files_in(folder, ".xml")) {
    const XmlElement doc = parse_xml(read_text_file(file, uint64_t{16} << 20), file.string());
    const auto text_of = [&](const XmlElement& in, std::string_view name) {
      const XmlElement* e = in.child(name);
      check<DataError>(e != nullptr, "boxes", file.string(), ": ", in.name, " must have an element ", name);
      return std::string(trimmed(e->text));
    };
    AnnotatedPicture picture;
    const std::string name = text_of(doc, "filename");
    check<DataError>(!name.empty() && name.find('/') == std::string::npos, "boxes", file.string(), ": filename must be a name, got \"", name, '"');
    picture.path = (root / "JPEGImages" / name).string();
    if (const XmlElement* size = doc.child("size")) {
      picture.w = static_cast<int32_t>(std::clamp(number(text_of(*size, "width"), file.string(), "width"), 0.0, 1e6));
      picture.h = static_cast<int32_t>(std::clamp(number(text_of(*size, "height"), file.string(), "height"), 0.0, 1e6));
    }
    names.emplace_back();
    for (const XmlElement& object : doc.children) {
      if (object.name != "object") {
        continue;
      }
      const XmlElement* bounds = object.child("bndbox");
      check<DataError>(bounds != nullptr, "boxes", file.string(), ": object must have an element bndbox");
      const auto at = [&](const char* key) { return number(text_of(*bounds, key), file.string(), key); };
      const AnnotatedBox box{at("xmin"), at("ymin"), at("xmax"), at("ymax"), 0};
      has_zero = has_zero || box.x1 == 0 || box.y1 == 0;
      picture.boxes.push_back(box);
      names.back().push_back(text_of(object, "name"));
      set.classes.push_back(names.back().back());
    }
    set.pictures.push_back(std::move(picture));
  }
  std::sort(set.classes.begin(), set.classes.end());
  set.classes.erase(std::unique(set.classes.begin(), set.classes.end()), set.classes.end());
  const double first = base >= 0 ? base : has_zero ? 0 : 1;
  for (size_t p = 0; p < set.pictures.size(); ++p) {
    for (size_t b = 0; b < names[p].size(); ++b) {
      AnnotatedBox& box = set.pictures[p].boxes[b];
      box.x1 -= first;
      box.y1 -= first;
      box.label = static_cast<int32_t>(std::lower_bound(set.classes.begin(), set.classes.end(), names[p][b]) - set.classes.begin());
    }
  }
  set.notes.push_back(std::string("coordinates begin with ") + (first == 0 ? "0" : "1, inclusive"));
  return set;
}

BoxSet read_coco(const fs::path& file, const std::string& images) {
  BoxSet set{.format = "coco", .classes = {}, .pictures = {}, .notes = {}};
  const std::string label = file.string();
  const JsonValue doc = parse_json(read_text_file(file), label, {.max_depth = 64});
  std::map<int64_t, std::string> categories;
  for (const JsonValue& c : doc.at("categories").elements()) {
    check<DataError>(categories.emplace(c.at("id").integer(), c.at("name").string()).second, "boxes", label, ": must have each category id once");
  }
  std::map<int64_t, int32_t> labels;
  for (const auto& [id, name] : categories) {
    labels[id] = static_cast<int32_t>(set.classes.size());
    set.classes.push_back(name);
  }
  std::map<int64_t, size_t> places;
  fs::path root = images;
  for (const JsonValue& picture : doc.at("images").elements()) {
    const std::string name = picture.at("file_name").string();
    if (root.empty()) {
      const fs::path beside = file.has_parent_path() ? file.parent_path() : fs::path(".");
      for (const fs::path& folder : {beside, beside / "images", beside.parent_path() / "images", beside.parent_path()}) {
        if (root.empty() && fs::exists(folder / name)) {
          root = folder;
        }
      }
      check<DataError>(!root.empty(), "boxes", label, ": its picture ", name, " is not beside it or in images; give --images FOLDER");
    }
    check<DataError>(places.emplace(picture.at("id").integer(), set.pictures.size()).second, "boxes", label, ": must have each image id once");
    set.pictures.push_back({(root / name).string(), static_cast<int32_t>(picture.number_or("width", 0)), static_cast<int32_t>(picture.number_or("height", 0)), {}});
  }
  int64_t crowds = 0;
  for (const JsonValue& a : doc.at("annotations").elements()) {
    if (a.number_or("iscrowd", 0) != 0) {
      ++crowds;
      continue;
    }
    const auto place = places.find(a.at("image_id").integer());
    const auto category = labels.find(a.at("category_id").integer());
    check<DataError>(place != places.end(), "boxes", label, ": an annotation must name an image of the file, got id ", a.at("image_id").integer());
    check<DataError>(category != labels.end(), "boxes", label, ": an annotation must name a category of the file, got id ", a.at("category_id").integer());
    const auto& b = a.at("bbox").elements();
    check<DataError>(b.size() == 4, "boxes", label, ": bbox must have 4 numbers, got ", b.size());
    const double x = b[0].number(), y = b[1].number();
    set.pictures[place->second].boxes.push_back({x, y, x + b[2].number(), y + b[3].number(), category->second});
  }
  if (crowds > 0) {
    set.notes.push_back(std::to_string(crowds) + " crowds are left out");
  }
  return set;
}

/// Lines "N: name" under "names:" of a YAML file, or "names: [a, b]".
std::vector<std::string> yaml_names(const fs::path& file) {
  std::vector<std::string> names;
  std::istringstream in(read_text_file(file, uint64_t{1} << 20));
  bool inside = false;
  const auto clean = [](std::string_view text) {
    text = trimmed(text);
    if (text.size() >= 2 && (text.front() == '"' || text.front() == '\'') && text.back() == text.front()) {
      text = text.substr(1, text.size() - 2);
    }
    return std::string(text);
  };
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("names:")) {
      std::string_view rest = trimmed(std::string_view(line).substr(6));
      if (rest.starts_with('[') && rest.ends_with(']')) {
        rest = rest.substr(1, rest.size() - 2);
        for (size_t at = 0; at <= rest.size();) {
          const size_t comma = std::min(rest.find(',', at), rest.size());
          names.push_back(clean(rest.substr(at, comma - at)));
          at = comma + 1;
        }
        return names;
      }
      inside = true;
    } else if (inside) {
      const size_t colon = line.find(": ");
      const std::string_view start = trimmed(line);
      if (start.starts_with("- ")) {
        names.push_back(clean(start.substr(2)));
      } else if (colon != std::string::npos && (line[0] == ' ' || line[0] == '\t')) {
        names.push_back(clean(std::string_view(line).substr(colon + 2)));
      } else if (!start.empty() && !start.starts_with('#')) {
        break;
      }
    }
  }
  return names;
}

std::vector<std::string> yolo_names(const fs::path& root) {
  for (const fs::path& folder : {root, root.parent_path()}) {
    if (fs::exists(folder / "classes.txt")) {
      std::vector<std::string> names;
      std::istringstream in(read_text_file(folder / "classes.txt", uint64_t{1} << 20));
      for (std::string line; std::getline(in, line);) {
        if (!trimmed(line).empty()) {
          names.emplace_back(trimmed(line));
        }
      }
      return names;
    }
    if (folder.empty() || !fs::is_directory(folder)) {
      continue;
    }
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (entry.path().extension() == ".yaml" || entry.path().extension() == ".yml") {
        if (auto names = yaml_names(entry.path()); !names.empty()) {
          return names;
        }
      }
    }
  }
  return {};
}

BoxSet read_yolo(const fs::path& root) {
  BoxSet set{.format = "yolo", .classes = yolo_names(root), .pictures = {}, .notes = {}};
  int32_t largest = -1;
  for (const auto& entry : fs::recursive_directory_iterator(root / "images", fs::directory_options::follow_directory_symlink)) {
    if (entry.is_regular_file() && is_picture_name(entry.path().filename().string())) {
      set.pictures.push_back({entry.path().string(), 0, 0, {}});
    }
  }
  std::sort(set.pictures.begin(), set.pictures.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  for (AnnotatedPicture& picture : set.pictures) {
    const fs::path file = (root / "labels" / fs::relative(picture.path, root / "images")).replace_extension(".txt");
    if (!fs::exists(file)) {
      continue;
    }
    try {
      const ImageInfo info = read_info(read_file(picture.path, uint64_t{1} << 28));
      picture.w = info.w;
      picture.h = info.h;
    } catch (const DataError&) {  // the check names it; its boxes have no size
      continue;
    }
    std::istringstream in(read_text_file(file, uint64_t{64} << 20));
    int64_t row = 0;
    for (std::string line; std::getline(in, line);) {
      ++row;
      const std::string where = file.string() + ": line " + std::to_string(row);
      std::istringstream words(line);
      std::vector<double> values;
      for (std::string word; words >> word;) {
        values.push_back(number(word, where, "a value"));
      }
      if (values.empty()) {
        continue;
      }
      check<DataError>(values.size() == 5 || (values.size() >= 7 && values.size() % 2 == 1), "boxes", where, ": must have 5 values, or a class and 3 or more points, got ",
                       values.size(), " values");
      const double label = values[0];
      check<DataError>(label >= 0 && label < 1e5 && label == std::floor(label) && (set.classes.empty() || label < static_cast<double>(set.classes.size())), "boxes", where,
                       ": class must be an integer in [0, ", set.classes.empty() ? size_t{100000} : set.classes.size(), "), got ", label);
      AnnotatedBox box{.label = static_cast<int32_t>(label)};
      largest = std::max(largest, box.label);
      if (values.size() == 5) {
        box = {(values[1] - values[3] / 2) * picture.w, (values[2] - values[4] / 2) * picture.h, (values[1] + values[3] / 2) * picture.w,
               (values[2] + values[4] / 2) * picture.h, box.label};
      } else {
        box.x1 = box.y1 = INFINITY;
        box.x2 = box.y2 = -INFINITY;
        for (size_t i = 1; i < values.size(); i += 2) {
          box.x1 = std::min(box.x1, values[i] * picture.w);
          box.x2 = std::max(box.x2, values[i] * picture.w);
          box.y1 = std::min(box.y1, values[i + 1] * picture.h);
          box.y2 = std::max(box.y2, values[i + 1] * picture.h);
        }
      }
      picture.boxes.push_back(box);
    }
  }
  while (static_cast<int32_t>(set.classes.size()) <= largest) {
    set.classes.push_back(std::to_string(set.classes.size()));
  }
  return set;
}

}  // namespace

std::string looks_like_boxes(const std::string& path) {
  const fs::path p(path);
  if (fs::is_regular_file(p)) {
    return p.extension() == ".json" ? "coco" : "";
  }
  return fs::is_directory(p / "Annotations") && fs::is_directory(p / "JPEGImages") ? "voc"
         : fs::is_directory(p / "labels") && fs::is_directory(p / "images")        ? "yolo"
                                                                                    : "";
}

BoxSet open_boxes(const std::string& path, const BoxSetOptions& options) {
  check(options.voc_base >= -1 && options.voc_base <= 1, "boxes", "voc_base must be -1, 0 or 1, got ", options.voc_base);
  const std::string format = options.format == "auto" ? looks_like_boxes(path) : options.format;
  check(options.format == "auto" || format == "voc" || format == "coco" || format == "yolo", "boxes", "format must be auto, voc, coco or yolo, got \"", format, '"');
  check<DataError>(!format.empty(), "boxes", path, ": must be a VOC or YOLO folder or a COCO file");
  BoxSet set;
  try {
    set = format == "voc" ? read_voc(path, options.voc_base) : format == "coco" ? read_coco(path, options.images) : read_yolo(path);
  } catch (const fs::filesystem_error& e) {
    fail<DataError>("boxes", e.path1().string(), ": ", e.code().message());
  }
  check<DataError>(!set.pictures.empty(), "boxes", path, ": holds no annotated picture");
  return set;
}

}  // namespace ballast
