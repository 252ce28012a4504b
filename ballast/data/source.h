#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ballast/data/data_options.h>
#include <ballast/image/image.h>

namespace ballast {

/// What a part of the data is for.
/// `hold` is no part of a source: pictures that a run leaves alone, so that ensembles can be fitted on them.
enum class Role : uint8_t { train, val, test, hold };
/// Roles that a source may have.
inline constexpr size_t kRoles = 3;
std::string_view to_string(Role role);
/// Also `valid` and `validation`. Nothing for other words.
std::optional<Role> parse_role(std::string_view name);

/// A picture as it is stored: the bytes of a file, or pixels. Points into the source or the
/// caller's buffer.
struct Stored {
  std::span<const std::byte> file;
  /// Set where the source holds pixels; then `file` is empty.
  ImageView pixels;
  bool encoded() const { return pixels.empty(); }
};

/// Sets of classes, by number.
using LabelSets = std::vector<std::vector<int32_t>>;

/// Labelled pictures, numbered 0..size()-1. The number is the sample's id in keys, files and
/// reports: the row in the sorted list of all parts, train before val before test.
///
/// Threads  all functions may be called at once; read() needs a buffer for each thread.
class Source {
 public:
  virtual ~Source() = default;

  virtual int64_t size() const = 0;
  /// Class of picture i, in [0, classes().size()); of several labels a picture the number of its set in label_sets().
  virtual int64_t label(int64_t i) const = 0;
  /// Path below the data's folder ("train/cat/7.jpg"), or file and number ("train-images-idx3-ubyte
  /// 7").
  virtual std::string name(int64_t i) const = 0;
  /// The file to open for picture i, or that holds it.
  virtual std::string path(int64_t i) const = 0;
  /// The part that the source itself puts picture i in; nothing if it has no parts.
  virtual std::optional<Role> role(int64_t i) const = 0;
  /// How often picture i is drawn in training, in proportion to the others of its part; >= 0, finite.
  virtual double weight(int64_t) const { return 1; }
  /// Reads picture i; `buffer` keeps its memory from call to call.
  /// Errors: DecodeError (missing, unreadable, empty, directory).
  virtual Stored read(int64_t i, std::vector<std::byte>& buffer) const = 0;
  /// Names of the classes, by label.
  virtual const std::vector<std::string>& classes() const = 0;
  /// Of several labels a picture: the distinct sets of classes that pictures have, each ascending. Empty: one label a picture.
  virtual const LabelSets& label_sets() const;
  /// One of kDataFormats.
  virtual std::string_view format() const = 0;
  /// Channels of every picture (1 or 3); 0: each file says.
  virtual int32_t channels() const = 0;
  /// SHA-256 (64 hex digits): of the content of IDX, CIFAR and packed files; of names, sizes and labels of
  /// folders, lists and archives.
  virtual std::string digest() const = 0;
  /// For each picture the lowest number of one with the same content (its own if there is no
  /// other).
  virtual std::vector<int64_t> identical() const = 0;
  /// What a user should know: files that were ignored, folders that play no part.
  virtual const std::vector<std::string>& notes() const = 0;

  bool several_labels() const { return !label_sets().empty(); }
  /// Classes of picture i, ascending: its label, or those of its set.
  std::vector<int32_t> classes_of(int64_t i) const;
  /// Their names: "cat", "red;blue", or "" of a picture without a class.
  std::string label_text(int64_t i) const;
};

/// Opens `options.source`; the content decides about the format unless `options.format` does.
///
/// Errors  DataError with path and cause: nothing there, no known format, a broken or unpaired
/// file, a label out of
///         range, a class without pictures, a picture format that is not read (with the remedy);
///         std::invalid_argument: an option out of range.
std::shared_ptr<const Source> open_source(const DataOptions& options);

}  // namespace ballast
