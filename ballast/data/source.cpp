#include <ballast/base/check.h>
#include <ballast/base/nearest_name.h>
#include <ballast/data/listed_source.h>
#include <ballast/data/packed_file.h>
#include <ballast/data/pixel_source.h>
#include <ballast/data/source.h>

#include <filesystem>

namespace ballast {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFashionFolder = "/usr/share/datasets/fashion-mnist";

/// The only folder in a folder without pictures or data of its own, as archives unpack; else
/// `path`.
std::string descend(const std::string& path) {
  if (!fs::is_directory(path) || looks_like_idx(path) || looks_like_cifar(path)) {
    return path;
  }
  fs::path only;
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.is_directory() && !entry.path().filename().string().starts_with('.')) {
      if (!only.empty()) {
        return path;
      }
      only = entry.path();
    }
  }
  return !only.empty() && (looks_like_idx(only) || looks_like_cifar(only)) ? only.string() : path;
}

std::shared_ptr<const Source> open(const DataOptions& options) {
  if (options.source == "fashion-mnist") {
    check<DataError>(fs::exists(fs::path(kFashionFolder) / "train-images-idx3-ubyte.gz"), "data",
                     "fashion-mnist is not installed (no ", kFashionFolder,
                     "): install Debian's package with \"apt-get install dataset-fashion-mnist\", "
                     "or give a folder of pictures");
    return open_idx(std::string(kFashionFolder), options);
  }
  check<DataError>(!options.source.empty(), "data",
                   "no data given: expected a folder, a file or fashion-mnist");
  std::error_code error;
  if (!fs::exists(options.source, error)) {
    if (options.source.find('/') == std::string::npos) {
      const std::string_view known[] = {"fashion-mnist"};
      const std::string hint = did_you_mean(options.source, known);
      fail<DataError>("data", options.source, ": no such file or folder, nor a known data set",
                      hint.empty() ? " (known: fashion-mnist)" : hint);
    }
    fail<DataError>("data", options.source, ": no such file or folder");
  }
  const std::string path = descend(options.source);
  const bool folder = fs::is_directory(path);
  const std::string& format = options.format;
  const std::string formats = ' ' + std::string(kDataFormats) + ' ';
  check(!format.empty() && formats.find(' ' + format + ' ') != std::string::npos, "data",
        "format must be one of ", kDataFormats, ", got \"", format, '"');
  const bool by_content = format == "auto";
  if (format == "packed" || (by_content && !folder && looks_like_packed(path))) {
    return open_packed(path);
  }
  if (format == "csv" || (by_content && !folder && fs::path(path).extension() == ".csv")) {
    return open_csv(path);
  }
  if (format == "tar" || format == "zip" || (by_content && looks_like_archives(path))) {
    return open_archives(path);
  }
  if (format == "idx" || (format == "auto" && looks_like_idx(path))) {
    return open_idx(path, options);
  }
  if (format == "cifar" || (format == "auto" && looks_like_cifar(path))) {
    return open_cifar(path, options);
  }
  check<DataError>(folder, "data", path,
                   ": must be a folder of pictures, a CSV list, a tar or zip archive, a packed cache, or an IDX or CIFAR file");
  return open_image_folder(path, options);
}

}  // namespace

std::string_view to_string(Role role) {
  return role == Role::train ? "train" : role == Role::val ? "val" : role == Role::test ? "test" : "hold";
}

std::optional<Role> parse_role(std::string_view name) {
  if (name == "train") {
    return Role::train;
  }
  if (name == "val" || name == "valid" || name == "validation") {
    return Role::val;
  }
  if (name == "test") {
    return Role::test;
  }
  return std::nullopt;
}

const LabelSets& Source::label_sets() const {
  static const LabelSets none;
  return none;
}

std::vector<int32_t> Source::classes_of(int64_t i) const {
  const LabelSets& sets = label_sets();
  return sets.empty() ? std::vector{static_cast<int32_t>(label(i))} : sets[static_cast<size_t>(label(i))];
}

std::string Source::label_text(int64_t i) const {
  std::string text;
  for (const int32_t c : classes_of(i)) text += (text.empty() ? "" : ";") + classes()[static_cast<size_t>(c)];
  return text;
}

std::shared_ptr<const Source> open_source(const DataOptions& options) {
  try {
    return open(options);
  } catch (const fs::filesystem_error& e) {
    fail<DataError>("data", e.path1().string(), ": ", e.code().message());
  }
}

}  // namespace ballast
