#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <ballast/augment/pipeline.h>
#include <ballast/base/key.h>
#include <ballast/data/data_options.h>
#include <ballast/data/source.h>

namespace ballast {

/// The pictures of one role.
struct RoleView {
  std::shared_ptr<const Source> source;
  Role role = Role::train;
  /// Numbers in the source, ascending.
  std::shared_ptr<const std::vector<uint64_t>> ids;

  int64_t size() const { return static_cast<int64_t>(ids->size()); }
  uint64_t id(int64_t i) const { return (*ids)[static_cast<size_t>(i)]; }
};

/// Data with named roles and the facts that defaults are chosen from.
struct DataSet {
  std::shared_ptr<const Source> source;
  std::array<RoleView, kRoles> roles;
  /// Pictures of split_hold, or of the fold that a bag leaves out.
  RoleView hold;
  std::vector<std::string> classes;
  /// A picture may have several classes, or none; its label is the number of its set in source->label_sets().
  bool several_labels() const { return source->several_labels(); }
  /// Of the model's input: 1 if every picture looked at is gray, else 3.
  int32_t channels = 3;
  /// Of a typical picture: medians over the pictures looked at.
  int32_t height = 0, width = 0;
  /// True if all pictures looked at have that size.
  bool same_size = true;
  /// Per channel, over pixels in [0, 1] of training pictures. Of files: a keyed sample of at most
  /// 1,000.
  Normalize normalize;
  std::string format;
  /// How the parts came about, files that were ignored: one line each.
  std::vector<std::string> notes;

  const RoleView& role(Role r) const { return r == Role::hold ? hold : roles[static_cast<size_t>(r)]; }
  int64_t train_size() const { return role(Role::train).size(); }
  /// Pictures of each class in a role; of several labels a picture counts for each of its classes.
  std::vector<int64_t> class_counts(Role r) const;
  /// SHA-256 over (id, role) of every picture used: equal splits, equal digest.
  std::string split_digest() const;
  /// "id,path,role" and a line for each picture used, in the order of ids.
  std::string split_csv() const;
};

/// Opens the data, gives every picture its role and measures what training needs to know.
///
/// Roles   `val` and `test` as the source has them; else shares of `train`: stratified by class,
/// the first
///         round(share * n_c) of an order keyed by Key(seed).fold_in("split"); identical pictures
///         stay together. Of several labels a picture: by set; those that fewer than 20 pictures have count as one.
/// Hold    split_hold of what then is `train`, likewise, keyed by Key(seed).fold_in("hold").
/// Limit   after the split, over the training part only, keyed by Key(seed).fold_in("limit").
/// Bag     at last, of the training part: keyed by Key(seed).fold_in("bag"), folds by Key(seed).fold_in("folds"). The ids of
///         `train` repeat themselves in a bootstrap; the fold that is left out becomes `hold`.
/// Seeds   split_seed, where given, is the seed of all but the bag.
/// Errors  those of open_source; DataError if there are fewer than 2 classes, or no picture to
/// train on can be read.
DataSet open_data(const DataOptions& options, Key seed);

}  // namespace ballast
