#include <ballast/base/check.h>
#include <ballast/data/csv.h>
#include <ballast/data/listed_source.h>
#include <ballast/data/read_file.h>
#include <ballast/io/tar_shards.h>

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <map>

namespace ballast {
namespace {

/// Columns by their names; the first is that of ours.
constexpr std::string_view kPath[] = {"path", "file", "filename", "file_name", "image"};
constexpr std::string_view kLabel[] = {"label", "class", "target"};
constexpr std::string_view kRole[] = {"role", "split", "set"};
constexpr std::string_view kGroup[] = {"group"};
constexpr std::string_view kWeight[] = {"weight"};
constexpr std::span<const std::string_view> kColumns[] = {kPath, kLabel, kRole, kGroup, kWeight};

/// A label's cell and its line.
struct Label {
  std::string text;
  int64_t line = 0;
};

/// The names in a cell "a;b"; none in an empty one.
std::vector<std::string> names_of(const Label& label, const std::string& path) {
  std::vector<std::string> names;
  const auto require = [&](bool ok, const auto&... parts) {
    check<DataError>(ok, "csv", path, ": line ", label.line, ": ", parts..., ", got \"", label.text, '"');
  };
  for (size_t begin = 0; begin < label.text.size() + 1 && !label.text.empty();) {
    const size_t end = std::min(label.text.find(';', begin), label.text.size());
    const std::string name = label.text.substr(begin, end - begin);
    require(!name.empty(), "a label between \";\" must not be empty");
    require(name.front() != ' ' && name.back() != ' ', "a label between \";\" must not begin or end with a blank");
    require(std::find(names.begin(), names.end(), name) == names.end(), "a picture must have each label once");
    names.push_back(name);
    begin = end + 1;
  }
  return names;
}

class CsvSource final : public ListedSource {
 public:
  explicit CsvSource(const std::string& path);

  std::string path(int64_t i) const override { return root_ + '/' + picture(i).name; }
  Stored read(int64_t i, std::vector<std::byte>& buffer) const override {
    const size_t n = read_file_at(AT_FDCWD, path(i).c_str(), buffer);
    return {.file = std::span<const std::byte>(buffer).first(n), .pixels = {}};
  }
  std::string_view format() const override { return "csv"; }

 private:
  /// Labels of which some hold several names: the picture's label becomes the number of its set.
  void number_sets(const std::vector<Label>& labels, const std::string& path);
  int64_t bytes(int64_t i) const override {
    struct stat info {};
    return ::stat(path(i).c_str(), &info) == 0 ? info.st_size : -1;
  }
  std::string root_;
};

CsvSource::CsvSource(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  root_ = folder.empty() ? "." : folder.string();
  const std::vector<std::byte> bytes = read_whole_file(path, "csv");
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::vector<Label> labels;
  size_t columns = 0;
  std::map<std::string, size_t, std::less<>> place;  // of path, label, role, group, weight
  parse_csv(text, path, [&](const std::vector<std::string>& row, int64_t line) {
    const auto require = [&](bool ok, const auto&... parts) {
      check<DataError>(ok, "csv", path, ": line ", line, ": ", parts...);
    };
    if (columns == 0) {
      columns = row.size();
      std::string ignored;
      for (size_t c = 0; c < row.size(); ++c) {
        bool known = false;
        for (const auto& names : kColumns) {
          if (std::find(names.begin(), names.end(), row[c]) != names.end()) {
            require(place.emplace(std::string(names[0]), c).second, "names the column \"", names[0], "\" twice");
            known = true;
          }
        }
        if (!known) {
          ignored += (ignored.empty() ? "\"" : ", \"") + row[c] + '"';
        }
      }
      for (const std::string_view needed : {"path", "label"}) {
        require(place.contains(needed), "must name the columns, \"path\" and \"label\" among them, got \"",
                row[0], row.size() > 1 ? "," + row[1] : "", row.size() > 2 ? ",..." : "", '"');
      }
      if (!ignored.empty()) {
        notes_.push_back("columns that are not read: " + ignored);
      }
      return;
    }
    require(row.size() == columns, "must have ", columns, " fields, got ", row.size());
    ListedPicture picture;
    picture.name = row[place.at("path")];
    const std::string wrong = bad_member_name(picture.name);
    require(wrong.empty(), "path ", wrong, ", got \"", picture.name, "\" (paths are below ", root_, ')');
    if (const auto role = place.find("role"); role != place.end() && !row[role->second].empty()) {
      picture.role = parse_role(row[role->second]);
      require(picture.role.has_value(), "role must be train, val or test, got \"", row[role->second], '"');
    }
    if (const auto group = place.find("group"); group != place.end()) {
      picture.group = row[group->second];
    }
    if (const auto weight = place.find("weight"); weight != place.end()) {
      const std::string& number = row[weight->second];
      const auto [end, wrong_number] = std::from_chars(number.data(), number.data() + number.size(), picture.weight);
      require(wrong_number == std::errc() && end == number.data() + number.size() && std::isfinite(picture.weight) && picture.weight >= 0,
              "weight must be a number >= 0, got \"", number, '"');
    }
    picture.place = static_cast<uint32_t>(labels.size());
    labels.push_back({row[place.at("label")], line});
    pictures_.push_back(std::move(picture));
  });
  check<DataError>(!pictures_.empty(), "csv", path, ": names no picture");
  const auto with_role = std::count_if(pictures_.begin(), pictures_.end(),
                                       [](const ListedPicture& p) { return p.role.has_value(); });
  check<DataError>(with_role == 0 || with_role == size(), "csv", path, ": must give every picture a role, or none, got ",
                   size() - with_role, " of ", size(), " without");
  if (std::ranges::any_of(labels, [](const Label& l) { return l.text.find(';') != std::string::npos; })) {
    number_sets(labels, path);
  } else {
    for (const Label& l : labels) {
      check<DataError>(!l.text.empty(), "csv", path, ": line ", l.line,
                       ": label must not be empty (only in a list in which a picture has several, as \"a;b\", one may have none)");
    }
    classes_ = number_labels(pictures_, [&](const ListedPicture& p) -> const std::string& { return labels[p.place].text; });
  }
  sort_by_role();
}

void CsvSource::number_sets(const std::vector<Label>& labels, const std::string& path) {
  std::vector<std::vector<std::string>> names;
  for (const Label& l : labels) {
    names.push_back(names_of(l, path));
    classes_.insert(classes_.end(), names.back().begin(), names.back().end());
  }
  order_label_names(classes_);
  std::map<std::string, int32_t> places;
  for (size_t c = 0; c < classes_.size(); ++c) places[classes_[c]] = static_cast<int32_t>(c);
  std::vector<std::vector<int32_t>> own;
  for (const std::vector<std::string>& set : names) {
    own.emplace_back();
    for (const std::string& name : set) own.back().push_back(places.at(name));
    std::sort(own.back().begin(), own.back().end());
  }
  label_sets_ = own;
  std::sort(label_sets_.begin(), label_sets_.end());
  label_sets_.erase(std::unique(label_sets_.begin(), label_sets_.end()), label_sets_.end());
  for (ListedPicture& p : pictures_) {
    p.label = static_cast<int32_t>(std::lower_bound(label_sets_.begin(), label_sets_.end(), own[p.place]) - label_sets_.begin());
  }
  notes_.push_back("a picture may have several labels: " + std::to_string(classes_.size()) + " classes in " +
                   std::to_string(label_sets_.size()) + " combinations");
}

}  // namespace

std::shared_ptr<const Source> open_csv(const std::string& path) {
  return std::make_shared<CsvSource>(path);
}

}  // namespace ballast
