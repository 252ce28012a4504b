#include <ballast/base/check.h>
#include <ballast/data/pixel_source.h>
#include <ballast/data/read_file.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace ballast {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kPixels = 3072;

struct Member {
  std::string name;
  Role role;
  int64_t bytes;
  bool hundred;
};
const std::vector<Member>& members() {
  static const std::vector<Member> list = [] {
    std::vector<Member> all;
    for (int i = 1; i <= 5; ++i) {
      all.push_back({"data_batch_" + std::to_string(i) + ".bin", Role::train, 30'730'000, false});
    }
    all.push_back({"test_batch.bin", Role::test, 30'730'000, false});
    all.push_back({"train.bin", Role::train, 153'700'000, true});
    all.push_back({"test.bin", Role::test, 30'740'000, true});
    return all;
  }();
  return list;
}

/// Lines of a file of class names, or the numbers where it is missing.
std::vector<std::string> class_names(const fs::path& file, size_t count) {
  std::vector<std::string> names;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (line.ends_with('\r')) {
      line.pop_back();
    }
    if (!line.empty()) {
      names.push_back(line);
    }
  }
  if (names.size() != count) {
    names.clear();
    for (size_t i = 0; i < count; ++i) {
      names.push_back(std::to_string(i));
    }
  }
  return names;
}

}  // namespace

void read_cifar_records(std::span<const std::byte> bytes, int64_t header, int64_t label_at,
                        int64_t classes, PixelPart& part) {
  const auto size = static_cast<int64_t>(bytes.size());
  const int64_t n = size / (header + kPixels);
  check<DataError>(n * (header + kPixels) == size, "cifar", part.path,
                   ": must hold whole records of ", header + kPixels, " bytes, got ", size);
  part.pixels.resize(static_cast<size_t>(n * kPixels));
  part.labels.reserve(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    const std::byte* record = bytes.data() + i * (header + kPixels);
    const auto label = std::to_integer<int64_t>(record[label_at]);
    check<DataError>(label < classes, "cifar", part.path, ": label of picture ", i,
                     " is out of range, must be in [0, ", classes, "), got ", label);
    part.labels.push_back(label);
    const std::byte* planes = record + header;
    std::byte* out = part.pixels.data() + i * kPixels;
    for (int64_t p = 0; p < 1024; ++p) {
      out[3 * p] = planes[p];
      out[3 * p + 1] = planes[1024 + p];
      out[3 * p + 2] = planes[2048 + p];
    }
  }
}

bool looks_like_cifar(const std::string& path) {
  const bool folder = fs::is_directory(path);
  return std::any_of(members().begin(), members().end(), [&](const Member& m) {
    return folder ? fs::is_regular_file(fs::path(path) / m.name)
                  : fs::path(path).filename() == m.name;
  });
}

std::shared_ptr<const Source> open_cifar(const std::string& path, const DataOptions& options) {
  check(options.cifar_labels == "fine" || options.cifar_labels == "coarse", "cifar",
        "labels must be fine or coarse, got \"", options.cifar_labels, '"');
  const bool is_folder = fs::is_directory(path);
  const fs::path folder = is_folder ? fs::path(path) : fs::path(path).parent_path();
  std::vector<PixelPart> parts;
  std::vector<std::string> missing;
  std::optional<bool> hundred;
  for (const Member& member : members()) {
    const fs::path file = folder / member.name;
    if (is_folder ? !fs::exists(file) : fs::path(path).filename() != member.name) {
      missing.push_back(member.name);
      continue;
    }
    check<DataError>(!hundred || *hundred == member.hundred, "cifar", path,
                     ": holds files of CIFAR-10 and of CIFAR-100");
    hundred = member.hundred;
    const std::vector<std::byte> bytes = read_whole_file(file, "cifar");
    const auto size = static_cast<int64_t>(bytes.size());
    check<DataError>(size == member.bytes, "cifar", file.string(), ": must have ", member.bytes,
                     " bytes, got ", size);
    const bool fine = options.cifar_labels == "fine";
    PixelPart part{
        is_folder ? std::optional(member.role) : std::nullopt, member.name, file, {}, {}};
    read_cifar_records(bytes, member.hundred ? 2 : 1, member.hundred && fine ? 1 : 0,
                       !member.hundred ? 10 : fine ? 100 : 20, part);
    parts.push_back(std::move(part));
  }
  check<DataError>(hundred.has_value(), "cifar", path,
                   ": holds no data_batch_1.bin, test_batch.bin, train.bin or test.bin");
  std::vector<std::string> notes;
  if (is_folder) {
    for (const std::string& name : missing) {
      const bool of_hundred = name == "train.bin" || name == "test.bin";
      if (of_hundred == *hundred) {
        notes.push_back(name + " is missing");
      }
    }
  }
  auto classes = !*hundred ? class_names(folder / "batches.meta.txt", 10)
                 : options.cifar_labels == "fine"
                     ? class_names(folder / "fine_label_names.txt", 100)
                     : class_names(folder / "coarse_label_names.txt", 20);
  return std::make_shared<PixelSource>("cifar", 32, 32, 3, std::move(parts), std::move(classes),
                                       std::move(notes));
}

}  // namespace ballast
