#include <ballast/base/check.h>
#include <ballast/base/sha256.h>
#include <ballast/data/listed_source.h>
#include <ballast/data/pixel_source.h>
#include <ballast/data/read_file.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <utility>

namespace ballast {
namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

std::string suffix(std::string_view name) {
  const size_t dot = name.rfind('.');
  return dot == std::string_view::npos || dot == 0 ? "" : lower(name.substr(dot + 1));
}

/// Picture formats that are not read: the format's name, empty for other suffixes.
std::string_view refused(std::string_view suffix) {
  static constexpr std::pair<std::string_view, std::string_view> kFormats[] = {
      {"heic", "HEIC"},     {"heif", "HEIF"}, {"avif", "AVIF"}, {"gif", "GIF"},
      {"tif", "TIFF"},      {"tiff", "TIFF"}, {"bmp", "BMP"},   {"jxl", "JPEG XL"},
      {"jp2", "JPEG 2000"}, {"svg", "SVG"},   {"ico", "ICO"},   {"psd", "PSD"}};
  for (const auto& [key, name] : kFormats) {
    if (key == suffix) {
      return name;
    }
  }
  return {};
}

std::string remedy(std::string_view name, std::string_view suffix) {
  if (suffix == "heic" || suffix == "heif" || suffix == "avif") {
    return "convert it first, for example: heif-convert " + std::string(name) + " picture.jpg";
  }
  return "convert it first, for example with ImageMagick: mogrify -format png *." +
         std::string(suffix);
}

struct Fd {
  int fd = -1;
  explicit Fd(int f) : fd(f) {}
  Fd(Fd&& other) noexcept : fd(std::exchange(other.fd, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd, other.fd);
    return *this;
  }
  ~Fd() {
    if (fd >= 0) {
      ::close(fd);
    }
  }
};

struct Entry {
  std::string name;
  bool folder;
};

struct File {
  uint32_t folder;
  uint32_t name;  // offset in the pool
  int32_t label;
  int8_t role;  // -1: none
};

std::string real_path(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> resolved(::realpath(path.c_str(), nullptr),
                                                             &std::free);
  return resolved ? resolved.get() : "";
}

class FolderSource final : public Source {
 public:
  explicit FolderSource(std::string root) : root_(std::move(root)), real_root_(real_path(root_)) {}

  void scan();

  int64_t size() const override { return static_cast<int64_t>(files_.size()); }
  int64_t label(int64_t i) const override { return file(i).label; }
  std::string name(int64_t i) const override {
    const std::string& folder = folders_[file(i).folder];
    return folder + '/' + base_name(i);
  }
  std::string path(int64_t i) const override { return root_ + '/' + name(i); }
  std::optional<Role> role(int64_t i) const override {
    return file(i).role < 0 ? std::nullopt : std::optional(static_cast<Role>(file(i).role));
  }
  Stored read(int64_t i, std::vector<std::byte>& buffer) const override {
    const int folder = folder_fds_.empty() ? AT_FDCWD : folder_fds_[file(i).folder].fd;
    const size_t n = folder == AT_FDCWD ? read_file_at(AT_FDCWD, path(i).c_str(), buffer)
                                        : read_file_at(folder, base_name(i), buffer);
    return {.file = std::span<const std::byte>(buffer).first(n), .pixels = {}};
  }
  const std::vector<std::string>& classes() const override { return classes_; }
  std::string_view format() const override { return "folder"; }
  int32_t channels() const override { return 0; }
  std::string digest() const override;
  std::vector<int64_t> identical() const override;
  const std::vector<std::string>& notes() const override { return notes_; }

 private:
  const File& file(int64_t i) const { return files_[static_cast<size_t>(i)]; }
  const char* base_name(int64_t i) const { return names_.data() + file(i).name; }
  std::vector<Entry> list(const std::string& folder);
  void add_class(const std::string& folder, int32_t label, int8_t role);
  void collect(const std::string& folder, std::vector<std::string>& found);
  std::vector<std::string> class_folders(const std::string& folder);
  void add_role(const std::string& folder, int8_t role);
  int64_t bytes(int64_t i) const;

  std::string root_, real_root_;
  std::vector<std::string> folders_;
  std::vector<Fd> folder_fds_;
  std::string names_;
  std::vector<File> files_;
  std::vector<std::string> classes_, notes_;
  std::vector<std::string> open_folders_;  // real paths of those being walked
  int64_t ignored_ = 0;
  std::string first_ignored_;
};

/// Entries of root/folder in byte order, without hidden ones; links are followed inside the root
/// only.
std::vector<Entry> FolderSource::list(const std::string& folder) {
  const std::string path = folder.empty() ? root_ : root_ + '/' + folder;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(path.c_str()), &::closedir);
  check<DataError>(dir != nullptr, "image_folder", path, ": ", std::strerror(errno));
  std::vector<Entry> entries;
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string_view name = entry->d_name;
    if (name.starts_with('.') || name == "__MACOSX") {
      continue;
    }
    bool is_folder = entry->d_type == DT_DIR;
    if (entry->d_type == DT_LNK || entry->d_type == DT_UNKNOWN) {
      const std::string full = path + '/' + std::string(name);
      const std::string target = real_path(full);
      check<DataError>(
          target.empty() || target == real_root_ || target.starts_with(real_root_ + '/'),
          "image_folder", full, ": is a link out of the data's folder, to ", target,
          "; copy what it points to");
      struct stat info {};
      is_folder = ::stat(full.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
    } else if (!is_folder && entry->d_type != DT_REG) {
      continue;  // a device, FIFO or socket
    }
    entries.push_back({std::string(name), is_folder});
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return entries;
}

/// Paths below the root of all pictures in `folder`, recursively.
void FolderSource::collect(const std::string& folder, std::vector<std::string>& found) {
  const std::string real = real_path(root_ + '/' + folder);
  check<DataError>(
      std::find(open_folders_.begin(), open_folders_.end(), real) == open_folders_.end(),
      "image_folder", root_, '/', folder, ": is a link to a folder that holds it");
  open_folders_.push_back(real);
  for (const Entry& entry : list(folder)) {
    const std::string path = folder + '/' + entry.name;
    if (entry.folder) {
      collect(path, found);
      continue;
    }
    const std::string end = suffix(entry.name);
    if (is_picture_name(entry.name)) {
      found.push_back(path);
      continue;
    }
    const std::string_view format = refused(end);
    check<DataError>(format.empty(), "image_folder", root_, '/', path, ": ", format,
                     " is not read (JPEG, PNG and WebP are); ", remedy(entry.name, end));
    if (ignored_++ == 0) {
      first_ignored_ = path;
    }
  }
  open_folders_.pop_back();
}

void FolderSource::add_class(const std::string& folder, int32_t label, int8_t role) {
  std::vector<std::string> found;
  collect(folder, found);
  check<DataError>(!found.empty(), "image_folder", root_, '/', folder, ": class \"",
                   classes_[static_cast<size_t>(label)],
                   "\" holds no picture (jpg, jpeg, png, webp)");
  std::sort(found.begin(), found.end());
  std::map<std::string, uint32_t, std::less<>> known;
  for (const std::string& path : found) {
    const size_t slash = path.rfind('/');
    const std::string_view parent = std::string_view(path).substr(0, slash);
    auto it = known.find(parent);
    if (it == known.end()) {
      it = known.emplace(parent, static_cast<uint32_t>(folders_.size())).first;
      folders_.emplace_back(parent);
    }
    check<DataError>(names_.size() + path.size() < UINT32_MAX, "image_folder", root_,
                     ": holds too many pictures");
    files_.push_back({it->second, static_cast<uint32_t>(names_.size()), label, role});
    names_.append(path, slash + 1);
    names_ += '\0';
  }
}

std::vector<std::string> FolderSource::class_folders(const std::string& folder) {
  std::vector<std::string> names;
  for (const Entry& entry : list(folder)) {
    if (entry.folder) {
      names.push_back(entry.name);
    }
  }
  return names;
}

void FolderSource::add_role(const std::string& folder, int8_t role) {
  const std::vector<std::string> names = class_folders(folder);
  const std::string where = folder.empty() ? root_ : root_ + '/' + folder;
  check<DataError>(!names.empty(), "image_folder", where,
                   ": must hold a folder of pictures for each class, got none");
  const bool first = classes_.empty();
  if (first) {
    classes_ = names;
  }
  for (const std::string& name : names) {
    const auto it = std::lower_bound(classes_.begin(), classes_.end(), name);
    check<DataError>(it != classes_.end() && *it == name, "image_folder", where, '/', name,
                     ": class \"", name, "\" has no pictures to train on");
    add_class(folder.empty() ? name : folder + '/' + name,
              static_cast<int32_t>(it - classes_.begin()), role);
  }
}

void FolderSource::scan() {
  const std::vector<Entry> top = list("");
  std::map<Role, std::string> parts;
  std::vector<std::string> others;
  for (const Entry& entry : top) {
    if (!entry.folder) {
      continue;
    }
    const auto role = parse_role(lower(entry.name));
    // A folder named "train" without folders in it is a class of trains.
    if (role && !class_folders(entry.name).empty()) {
      if (const auto other = parts.find(*role); other != parts.end()) {
        fail<DataError>("image_folder", root_, ": holds two folders for ", to_string(*role), ": ",
                        other->second, " and ", entry.name);
      }
      parts[*role] = entry.name;
    } else {
      others.push_back(entry.name);
    }
  }
  if (parts.contains(Role::train)) {
    for (const auto& [role, folder] : parts) {
      add_role(folder, static_cast<int8_t>(role));
    }
    for (const std::string& name : others) {
      notes_.push_back("folder \"" + name + "\" is ignored: it is none of train, val, test");
    }
  } else {
    check<DataError>(parts.empty() || !others.empty() || parts.size() == 1, "image_folder", root_,
                     ": has parts for validation and test, but no folder \"train\"");
    if (parts.size() == 1 && others.empty()) {
      add_role(parts.begin()->second, static_cast<int8_t>(parts.begin()->first));
    } else {
      add_role("", -1);
    }
  }
  if (ignored_ > 0) {
    notes_.push_back(std::to_string(ignored_) + (ignored_ == 1 ? " file is" : " files are") +
                     " ignored, as " + (ignored_ == 1 ? "it is" : "they are") +
                     " no picture by name (first: " + first_ignored_ + ")");
  }
  names_.shrink_to_fit();
  // Opening a file beside its folder's descriptor spares the walk along its path.
  constexpr size_t kMostOpen = 512;
  if (folders_.size() <= kMostOpen) {
    for (const std::string& folder : folders_) {
      folder_fds_.emplace_back(
          ::open((root_ + '/' + folder).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (folder_fds_.back().fd < 0) {
        folder_fds_.clear();
        break;
      }
    }
  }
}

int64_t FolderSource::bytes(int64_t i) const {
  struct stat info {};
  const int result = folder_fds_.empty()
                         ? ::stat(path(i).c_str(), &info)
                         : ::fstatat(folder_fds_[file(i).folder].fd, base_name(i), &info, 0);
  return result == 0 ? info.st_size : -1;
}

std::string FolderSource::digest() const {
  Sha256 hash;
  for (int64_t i = 0; i < size(); ++i) {
    hash.update(name(i) + '\n' + std::to_string(bytes(i)) + '\n' + std::to_string(label(i)) + '\n');
  }
  return hex(hash.finish());
}

std::vector<int64_t> FolderSource::identical() const {
  return identical_by_content(*this, [this](int64_t i) { return bytes(i); });
}

}  // namespace

std::shared_ptr<const Source> open_image_folder(const std::string& path, const DataOptions&) {
  std::string root = path;
  while (root.size() > 1 && root.ends_with('/')) {
    root.pop_back();
  }
  auto source = std::make_shared<FolderSource>(root);
  source->scan();
  return source;
}

}  // namespace ballast
