#pragma once

#include <functional>
#include <string>
#include <vector>

#include <ballast/data/source.h>

namespace ballast {

/// A picture of a ListedSource.
struct ListedPicture {
  std::string name;
  int32_t label = 0;
  std::optional<Role> role = std::nullopt;
  /// Pictures of equal groups share a role; empty: none.
  std::string group = {};
  /// As Source::weight.
  double weight = 1;
  /// What the source that reads it needs: archive and member, or row.
  uint32_t place = 0, member = 0;
};

/// Pictures from a list: names, labels and roles are held in memory, the bytes are the derived class's.
class ListedSource : public Source {
 public:
  int64_t size() const override { return static_cast<int64_t>(pictures_.size()); }
  int64_t label(int64_t i) const override { return picture(i).label; }
  std::string name(int64_t i) const override { return picture(i).name; }
  std::optional<Role> role(int64_t i) const override { return picture(i).role; }
  double weight(int64_t i) const override { return picture(i).weight; }
  const std::vector<std::string>& classes() const override { return classes_; }
  const LabelSets& label_sets() const override { return label_sets_; }
  int32_t channels() const override { return 0; }
  /// Of names, sizes and labels, of weights that are not 1, and of several labels a picture their sets.
  std::string digest() const override;
  /// By content, and by group.
  std::vector<int64_t> identical() const override;
  const std::vector<std::string>& notes() const override { return notes_; }

 protected:
  const ListedPicture& picture(int64_t i) const { return pictures_[static_cast<size_t>(i)]; }
  /// Size of a picture's file; -1 if there is none.
  virtual int64_t bytes(int64_t i) const = 0;
  /// Puts train before val before test; otherwise the order stays.
  void sort_by_role();

  std::vector<ListedPicture> pictures_;
  std::vector<std::string> classes_, notes_;
  LabelSets label_sets_;
};

/// For each picture the lowest number of one with the same bytes. Only files of equal size are read; `bytes(i)` is the
/// size, or -1.
std::vector<int64_t> identical_by_content(const Source& source,
                                          const std::function<int64_t(int64_t)>& bytes);

/// Puts names of labels in order: by value if all are non-negative integers, else byte-wise; each stands there once.
void order_label_names(std::vector<std::string>& names);

/// Names of labels in that order. Sets each picture's label to its
/// name's place; label_of gives its text.
std::vector<std::string> number_labels(
    std::vector<ListedPicture>& pictures,
    const std::function<const std::string&(const ListedPicture&)>& label_of);

/// jpg, jpeg, png, webp in any case.
bool is_picture_name(std::string_view name);

std::shared_ptr<const Source> open_csv(const std::string& path);
/// Tar and zip archives; a folder of tar files.
std::shared_ptr<const Source> open_archives(const std::string& path);
/// Whether a folder holds tar files and no folders, or the file's name ends as an archive's does.
bool looks_like_archives(const std::string& path);

}  // namespace ballast
