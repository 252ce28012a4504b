#include <ballast/base/check.h>
#include <ballast/base/shape.h>
#include <ballast/data/idx.h>
#include <ballast/data/pixel_source.h>

#include <algorithm>
#include <array>
#include <filesystem>

namespace ballast {
namespace {

namespace fs = std::filesystem;

std::string replace(std::string text, std::string_view from, std::string_view to) {
  const size_t at = text.rfind(from);
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

bool is_image_file(std::string_view name) {
  return name.find("images") != std::string_view::npos &&
         (name.find("idx") != std::string_view::npos ||
          name.find("ubyte") != std::string_view::npos);
}

/// The part of a pair by the words in its name before "images".
std::optional<Role> role_of(std::string_view name) {
  const std::string_view prefix = name.substr(0, name.find("images"));
  for (const auto& [word, role] : {std::pair{"t10k", Role::test},
                                   {"test", Role::test},
                                   {"val", Role::val},
                                   {"train", Role::train}}) {
    if (prefix.find(word) != std::string_view::npos) {
      return role;
    }
  }
  return std::nullopt;
}

std::string labels_path(const fs::path& images) {
  std::string name = replace(replace(images.filename(), "images", "labels"), "idx3", "idx1");
  name = replace(name, "idx4", "idx1");
  const fs::path folder = images.parent_path();
  const std::string plain = name.ends_with(".gz") ? name.substr(0, name.size() - 3) : name;
  for (const std::string& candidate : {name, plain, plain + ".gz"}) {
    if (fs::exists(folder / candidate)) {
      return folder / candidate;
    }
  }
  fail<DataError>("idx", images.string(), ": has no labels beside it, expected ", name);
}

struct Pair {
  fs::path images;
  std::optional<Role> role;
};

std::vector<Pair> find_pairs(const fs::path& path) {
  std::vector<fs::path> files;
  if (fs::is_directory(path)) {
    for (const auto& entry : fs::directory_iterator(path)) {
      if (is_image_file(entry.path().filename().string())) {
        files.push_back(entry.path());
      }
    }
    std::sort(files.begin(), files.end());
  } else {
    files.push_back(path);
  }
  std::vector<Pair> pairs;
  for (const fs::path& file : files) {
    const std::string name = file.filename();
    // The unpacked file is preferred to its .gz.
    if (name.ends_with(".gz") &&
        std::find(files.begin(), files.end(),
                  file.parent_path() / name.substr(0, name.size() - 3)) != files.end()) {
      continue;
    }
    const auto role = role_of(name);
    for (const Pair& other : pairs) {
      check<DataError>(other.role != role, "idx", path.string(), ": holds two sets for ",
                       role ? to_string(*role) : "the same part", ": ",
                       other.images.filename().string(), " and ", name);
    }
    pairs.push_back({file, role});
  }
  check<DataError>(!pairs.empty(), "idx", path.string(),
                   ": holds no file of images such as train-images-idx3-ubyte");
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const Pair& a, const Pair& b) { return a.role < b.role; });
  return pairs;
}

constexpr std::array<std::string_view, 10> kFashion = {
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};

}  // namespace

bool looks_like_idx(const std::string& path) {
  if (!fs::is_directory(path)) {
    return is_image_file(fs::path(path).filename().string());
  }
  for (const auto& entry : fs::directory_iterator(path)) {
    if (!entry.is_directory() && is_image_file(entry.path().filename().string())) {
      return true;
    }
  }
  return false;
}

std::shared_ptr<const Source> open_idx(const std::string& path, const DataOptions&) {
  std::vector<PixelPart> parts;
  std::vector<int64_t> size;
  for (const Pair& pair : find_pairs(path)) {
    const std::string file = pair.images;
    const std::string label_file = labels_path(pair.images);
    IdxArray images = read_idx(file);
    const IdxArray labels = read_idx(label_file);
    check<DataError>(images.type == 0x08 && (images.sizes.size() == 3 ||
                                             (images.sizes.size() == 4 &&
                                              (images.sizes[3] == 1 || images.sizes[3] == 3))),
                     "idx", file, ": images must be bytes (type 08) of 3 dimensions, got ",
                     images.sizes.size(), " dimensions of type ", static_cast<int>(images.type));
    check<DataError>(labels.sizes.size() == 1 && labels.type <= 0x0C, "idx", label_file,
                     ": labels must be integers of 1 dimension, got ", labels.sizes.size(),
                     " dimensions of type ", static_cast<int>(labels.type));
    check<DataError>(images.sizes[0] == labels.sizes[0], "idx", file, ": holds ", images.sizes[0],
                     " pictures, but ", label_file, " ", labels.sizes[0], " labels");
    const std::vector<int64_t> here(images.sizes.begin() + 1, images.sizes.end());
    check<DataError>(here[0] >= 1 && here[1] >= 1 && here[0] <= 65535 && here[1] <= 65535, "idx",
                     file, ": pictures must be 1 to 65535 a side, got ", size_text(here));
    check<DataError>(size.empty() || size == here, "idx", file, ": pictures are ", size_text(here),
                     ", those of the part before ", size_text(size));
    size = here;
    PixelPart part{pair.role, pair.images.filename(), file, std::move(images.bytes), {}};
    for (int64_t i = 0; i < labels.sizes[0]; ++i) {
      part.labels.push_back(labels.integer(i));
    }
    parts.push_back(std::move(part));
  }

  // The first part says which labels there are; every class up to the largest must occur.
  const bool fashion = fs::path(path).filename() == "fashion-mnist" ||
                       fs::path(path).parent_path().filename() == "fashion-mnist";
  std::vector<int64_t> count;
  for (const PixelPart& part : parts) {
    const bool first = &part == &parts.front();
    for (size_t i = 0; i < part.labels.size(); ++i) {
      const int64_t label = part.labels[i];
      const int64_t limit = fashion ? 10 : first ? 65536 : static_cast<int64_t>(count.size());
      check<DataError>(label >= 0 && label < limit, "idx", part.name, ": label of picture ", i,
                       " is out of range, must be in [0, ", limit, "), got ", label);
      if (first) {
        count.resize(std::max(count.size(), static_cast<size_t>(label) + 1));
        ++count[static_cast<size_t>(label)];
      }
    }
    if (first) {
      check<DataError>(!part.labels.empty(), "idx", part.path, ": holds no picture");
      for (size_t c = 0; c < count.size(); ++c) {
        check<DataError>(count[c] > 0, "idx", part.name, ": label ", count.size() - 1,
                         " is out of range: no picture has label ", c);
      }
    }
  }
  std::vector<std::string> classes;
  for (size_t c = 0; c < count.size(); ++c) {
    classes.push_back(fashion ? std::string(kFashion[c]) : std::to_string(c));
  }
  const auto c = size.size() == 3 ? static_cast<int32_t>(size[2]) : 1;
  return std::make_shared<PixelSource>("idx", static_cast<int32_t>(size[0]),
                                       static_cast<int32_t>(size[1]), c, std::move(parts),
                                       std::move(classes), std::vector<std::string>{});
}

}  // namespace ballast
