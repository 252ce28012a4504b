#pragma once

#include <map>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include <ballast/data/source.h>

namespace ballast {

/// 8-bit pictures of one size that lie in memory, as IDX and CIFAR files hold them.
struct PixelPart {
  std::optional<Role> role;
  /// Name and path of the file.
  std::string name, path;
  /// HWC, one picture after the other.
  std::vector<std::byte> pixels;
  std::vector<int64_t> labels;
};

class PixelSource final : public Source {
 public:
  /// Parts in the order train, val, test. Labels must be in range.
  PixelSource(std::string_view format, int32_t h, int32_t w, int32_t c,
              std::vector<PixelPart> parts, std::vector<std::string> classes,
              std::vector<std::string> notes);

  int64_t size() const override { return starts_.back(); }
  int64_t label(int64_t i) const override;
  std::string name(int64_t i) const override;
  std::string path(int64_t i) const override;
  std::optional<Role> role(int64_t i) const override;
  Stored read(int64_t i, std::vector<std::byte>& buffer) const override;
  const std::vector<std::string>& classes() const override { return classes_; }
  std::string_view format() const override { return format_; }
  int32_t channels() const override { return c_; }
  std::string digest() const override;
  std::vector<int64_t> identical() const override;
  const std::vector<std::string>& notes() const override { return notes_; }

 private:
  struct Place {
    size_t part;
    int64_t row;
  };
  Place place(int64_t i) const;
  std::span<const std::byte> pixels(int64_t i) const;

  std::string_view format_;
  int32_t h_, w_, c_;
  std::vector<PixelPart> parts_;
  std::vector<int64_t> starts_;
  std::vector<std::string> classes_, notes_;
};

/// The records of a CIFAR file into a part's pixels and labels: `header` bytes of labels, of which number `label_at`
/// counts, and three planes of 32 x 32. Errors: DataError for a size of no whole records, a label not below `classes`.
void read_cifar_records(std::span<const std::byte> bytes, int64_t header, int64_t label_at,
                        int64_t classes, PixelPart& part);

/// open_source for a folder or file of that format.
std::shared_ptr<const Source> open_idx(const std::string& path, const DataOptions& options);
std::shared_ptr<const Source> open_cifar(const std::string& path, const DataOptions& options);
std::shared_ptr<const Source> open_image_folder(const std::string& path,
                                                const DataOptions& options);

/// Whether a folder's or file's name or content says that it is of that format.
bool looks_like_idx(const std::string& path);
bool looks_like_cifar(const std::string& path);

}  // namespace ballast
