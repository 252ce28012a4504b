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
  std::vector<std::string> labels;
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
    const std::string& label = row[place.at("label")];
    require(!label.empty(), "label must not be empty");
    require(label.find(';') == std::string::npos,
            "a picture must have one label, got \"", label, "\"; models of several labels are not trained");
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
    labels.push_back(label);
    pictures_.push_back(std::move(picture));
  });
  check<DataError>(!pictures_.empty(), "csv", path, ": names no picture");
  const auto with_role = std::count_if(pictures_.begin(), pictures_.end(),
                                       [](const ListedPicture& p) { return p.role.has_value(); });
  check<DataError>(with_role == 0 || with_role == size(), "csv", path, ": must give every picture a role, or none, got ",
                   size() - with_role, " of ", size(), " without");
  classes_ = number_labels(pictures_, [&](const ListedPicture& p) -> const std::string& { return labels[p.place]; });
  sort_by_role();
}

}  // namespace

std::shared_ptr<const Source> open_csv(const std::string& path) {
  return std::make_shared<CsvSource>(path);
}

}  // namespace ballast
