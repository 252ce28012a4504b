#include <ballast/base/check.h>
#include <ballast/data/listed_source.h>
#include <ballast/image/decode.h>
#include <ballast/io/tar_shards.h>
#include <ballast/io/zip_file.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <unordered_set>

namespace ballast {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kLargest = uint64_t{1} << 28;
// A zip entry that unpacks to more than so many times its size is made to fill memory.
constexpr uint64_t kMostRatio = 200;

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

std::vector<std::string_view> parts_of(std::string_view name) {
  std::vector<std::string_view> parts;
  for (size_t at = 0; at <= name.size();) {
    const size_t slash = std::min(name.find('/', at), name.size());
    parts.push_back(name.substr(at, slash - at));
    at = slash + 1;
  }
  return parts;
}

/// Archives of one kind, by the place of their members.
class ArchiveSource final : public ListedSource {
 public:
  explicit ArchiveSource(const std::vector<fs::path>& files) : files_(files) {
    for (const fs::path& file : files_) {
      if (lower(file.extension().string()) == ".zip") {
        zips_.push_back(ZipFile::open(file));
      } else {
        tars_.push_back(TarFile::open(file));
      }
    }
    const bool shards = std::any_of(tars_.begin(), tars_.end(), [](const TarFile& tar) {
      return std::any_of(tar.members().begin(), tar.members().end(), [](const TarMember& m) {
        return lower(m.name).ends_with(".cls");
      });
    });
    if (shards) {
      list_shards();
    } else {
      list_folders();
    }
    sort_by_role();
  }

  std::string path(int64_t i) const override { return files_[picture(i).place].string(); }
  Stored read(int64_t i, std::vector<std::byte>& buffer) const override {
    const ListedPicture& p = picture(i);
    Stored stored;
    if (tars_.empty()) {
      const ZipFile& zip = zips_[p.place];
      try {
        stored.file = zip.read(zip.entries()[p.member], buffer, kLargest);
      } catch (const DecodeError&) {
        throw;
      } catch (const DataError& e) {
        throw DecodeError(BadReason::corrupt, e.what());
      }
    } else {
      const TarFile& tar = tars_[p.place];
      stored.file = tar.bytes(tar.members()[p.member]);
    }
    if (stored.file.empty()) {
      throw DecodeError(BadReason::empty, "0 bytes");
    }
    if (stored.file.size() > kLargest) {
      throw DecodeError(BadReason::too_large, "more than 256 MiB");
    }
    return stored;
  }
  std::string_view format() const override { return tars_.empty() ? "zip" : "tar"; }

 private:
  int64_t bytes(int64_t i) const override {
    const ListedPicture& p = picture(i);
    return static_cast<int64_t>(tars_.empty() ? zips_[p.place].entries()[p.member].size
                                              : tars_[p.place].members()[p.member].size);
  }
  void list_shards();
  void list_shard(uint32_t shard, std::vector<std::string>& labels);
  void list_folders();

  std::vector<fs::path> files_;
  std::vector<TarFile> tars_;
  std::vector<ZipFile> zips_;
};

std::optional<Role> role_of_file(const fs::path& file) {
  const std::string stem = lower(file.stem().string());
  return parse_role(stem.substr(0, stem.find_first_of("-_.")));
}

/// Samples of one shard: members of equal key, adjacent.
void ArchiveSource::list_shard(uint32_t shard, std::vector<std::string>& labels) {
  const TarFile& tar = tars_[shard];
  const auto require = [&](bool ok, const auto&... parts) {
    check<DataError>(ok, "tar_shards", tar.label(), ": ", parts...);
  };
  const std::optional<Role> role = role_of_file(files_[shard]);
  const std::string prefix = files_[shard].filename().string() + '/';
  std::unordered_set<std::string> keys;
  std::string key;
  std::unordered_set<std::string> fields;
  std::optional<uint32_t> picture;
  std::optional<uint32_t> label;
  const auto finish = [&] {
    if (fields.empty()) {
      return;
    }
    require(picture.has_value(), "sample \"", key, "\" must have a picture (jpg, jpeg, png, webp), got none");
    require(label.has_value(), "sample \"", key, "\" must have a label (cls), got none");
    const TarMember& member = tar.members()[*label];
    require(member.size > 0 && member.size <= 4096, "label of sample \"", key, "\" must have 1 to 4,096 bytes, got ",
            member.size);
    const auto bytes = tar.bytes(member);
    std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) {
      text.pop_back();
    }
    require(!text.empty() && text.find_first_of(std::string_view("\n\0", 2)) == std::string::npos, "label of sample \"", key,
            "\" must be one line");
    ListedPicture p;
    p.name = prefix + tar.members()[*picture].name;
    p.role = role;
    p.place = shard;
    p.member = *picture;
    p.label = static_cast<int32_t>(labels.size());
    labels.push_back(std::move(text));
    pictures_.push_back(std::move(p));
    fields.clear();
    picture.reset();
    label.reset();
  };
  for (uint32_t m = 0; m < tar.members().size(); ++m) {
    const std::string& name = tar.members()[m].name;
    const size_t slash = name.rfind('/');
    const size_t base = slash == std::string::npos ? 0 : slash + 1;
    if (std::string_view(name).substr(base).starts_with("__") && name.ends_with("__")) {
      continue;
    }
    const size_t dot = name.find('.', base);
    require(dot != std::string::npos && dot > base && dot + 1 < name.size(),
            "names must be KEY.FIELD, got \"", name, '"');
    if (fields.empty() || name.compare(0, dot, key) != 0) {
      finish();
      key = name.substr(0, dot);
      require(keys.insert(key).second, "members of sample \"", key, "\" must stand side by side");
    }
    const std::string field = lower(std::string_view(name).substr(dot + 1));
    require(fields.insert(field).second, "sample \"", key, "\" must have each field once, got \"", field, "\" twice");
    if (field == "cls") {
      label = m;
    } else if (field == "jpg" || field == "jpeg" || field == "png" || field == "webp") {
      require(!picture, "sample \"", key, "\" must have one picture, got several");
      picture = m;
    }
  }
  finish();
}

void ArchiveSource::list_shards() {
  std::vector<std::string> labels;
  for (uint32_t shard = 0; shard < tars_.size(); ++shard) {
    list_shard(shard, labels);
  }
  check<DataError>(!pictures_.empty(), "tar_shards", files_.front().parent_path().string(), ": hold no sample");
  // Names of the classes, a line each, beside the shards: then labels are their numbers.
  const fs::path list = files_.front().parent_path() / "classes.txt";
  std::ifstream in(list);
  for (std::string line; std::getline(in, line);) {
    if (line.ends_with('\r')) {
      line.pop_back();
    }
    if (!line.empty()) {
      classes_.push_back(line);
    }
  }
  if (classes_.empty()) {
    classes_ = number_labels(pictures_, [&](const ListedPicture& p) -> const std::string& {
      return labels[static_cast<size_t>(p.label)];
    });
    return;
  }
  for (ListedPicture& p : pictures_) {
    const std::string& text = labels[static_cast<size_t>(p.label)];
    int32_t label = -1;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), label);
    const bool number = error == std::errc() && end == text.data() + text.size();
    if (!number) {
      label = static_cast<int32_t>(std::find(classes_.begin(), classes_.end(), text) - classes_.begin());
    }
    check<DataError>(label >= 0 && static_cast<size_t>(label) < classes_.size(), "tar_shards", p.name,
                     ": label must be in [0, ", classes_.size(), ") or a name of ", list.string(), ", got \"", text, '"');
    p.label = label;
  }
}

/// Pictures in [PART/]CLASS/... as in a folder.
void ArchiveSource::list_folders() {
  struct Found {
    std::string_view name;
    uint32_t place, member;
  };
  std::vector<Found> found;
  int64_t ignored = 0;
  const auto add = [&](std::string_view name, uint32_t place, uint32_t member) {
    const std::string_view base = name.substr(name.rfind('/') + 1);
    if (base.starts_with('.') || name.starts_with("__MACOSX/") || name.ends_with('/')) {
      return;
    }
    const std::string wrong = bad_member_name(name);
    check<DataError>(wrong.empty(), "archive", files_[place].string(), ": a member's name ", wrong, ", got \"", name, '"');
    if (is_picture_name(base)) {
      found.push_back({name, place, member});
    } else {
      ++ignored;
    }
  };
  for (uint32_t f = 0; f < tars_.size(); ++f) {
    for (uint32_t m = 0; m < tars_[f].members().size(); ++m) {
      add(tars_[f].members()[m].name, f, m);
    }
  }
  for (uint32_t f = 0; f < zips_.size(); ++f) {
    for (uint32_t m = 0; m < zips_[f].entries().size(); ++m) {
      const ZipEntry& e = zips_[f].entries()[m];
      check<DataError>(e.size / kMostRatio <= e.stored_size, "archive", files_[f].string(), ": ", e.name, " must unpack to at most ",
                       kMostRatio, " times its size, got ", e.size, " bytes from ", e.stored_size);
      add(e.name, f, m);
    }
  }
  const std::string where = files_.front().string();
  check<DataError>(!found.empty(), "archive", where, ": holds no picture (jpg, jpeg, png, webp)");
  std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) { return a.name < b.name; });
  // The one folder that many archives put everything in.
  size_t top = 0;
  const auto first_part = [&](const Found& f) { return f.name.substr(top, f.name.find('/', top) - top); };
  const std::string_view shared = first_part(found.front());
  const bool all_share = std::all_of(found.begin(), found.end(), [&](const Found& f) {
    return first_part(f) == shared && parts_of(f.name).size() >= 3;
  });
  if (all_share && !parse_role(lower(shared))) {
    top = shared.size() + 1;
  }
  const bool roles = std::any_of(found.begin(), found.end(), [&](const Found& f) {
    return parse_role(lower(first_part(f))) == Role::train && parts_of(f.name.substr(top)).size() >= 3;
  });
  std::vector<std::string> labels;
  for (const Found& f : found) {
    const std::vector<std::string_view> parts = parts_of(f.name.substr(top));
    ListedPicture p;
    if (roles) {
      p.role = parse_role(lower(parts[0]));
      if (!p.role) {
        ++ignored;
        continue;
      }
    }
    const size_t depth = roles ? 1 : 0;
    check<DataError>(parts.size() >= depth + 2, "archive", where, ": pictures must stand in a folder for each class, got ", f.name);
    p.name = std::string(f.name.substr(top));
    p.place = f.place;
    p.member = f.member;
    p.label = static_cast<int32_t>(labels.size());
    labels.emplace_back(parts[depth]);
    pictures_.push_back(std::move(p));
  }
  // Classes in byte order, as those of a folder.
  classes_ = labels;
  std::sort(classes_.begin(), classes_.end());
  classes_.erase(std::unique(classes_.begin(), classes_.end()), classes_.end());
  for (ListedPicture& p : pictures_) {
    const std::string& label = labels[static_cast<size_t>(p.label)];
    p.label = static_cast<int32_t>(std::lower_bound(classes_.begin(), classes_.end(), label) - classes_.begin());
  }
  std::stable_sort(pictures_.begin(), pictures_.end(),
                   [](const ListedPicture& a, const ListedPicture& b) { return a.label < b.label; });
  if (ignored > 0) {
    notes_.push_back(std::to_string(ignored) + (ignored == 1 ? " member is" : " members are") +
                     " ignored: no picture by name, or in no part");
  }
}

}  // namespace

bool looks_like_archives(const std::string& path) {
  if (!fs::is_directory(path)) {
    const std::string name = lower(fs::path(path).filename().string());
    return name.ends_with(".tar") || name.ends_with(".zip") || name.ends_with(".tar.gz") || name.ends_with(".tgz") ||
           name.ends_with(".tar.zst") || name.ends_with(".tar.xz") || name.ends_with(".tar.bz2");
  }
  bool tar = false;
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.is_directory()) {
      return false;
    }
    tar = tar || lower(entry.path().extension().string()) == ".tar";
  }
  return tar;
}

std::shared_ptr<const Source> open_archives(const std::string& path) {
  std::vector<fs::path> files;
  if (fs::is_directory(path)) {
    for (const auto& entry : fs::directory_iterator(path)) {
      if (lower(entry.path().extension().string()) == ".tar") {
        files.push_back(entry.path());
      }
    }
    std::sort(files.begin(), files.end());
    check<DataError>(!files.empty(), "tar_shards", path, ": holds no tar file");
  } else {
    files.emplace_back(path);
  }
  return std::make_shared<ArchiveSource>(files);
}

}  // namespace ballast
