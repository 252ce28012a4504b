#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ballast/base/key.h>

namespace ballast {

/// What rows of the data are for. A step may read its own role only:
///
///   train   weights, statistics of batch norm, bags, folds
///   stop    early stopping, choice of a checkpoint
///   select  combination weights, greedy selection, pruning, stacking, thresholds of a cascade
///   calib   temperature, vector scaling
///   test    the figures of a report
enum class DataRole : uint8_t { train, stop, select, calib, test };
std::string_view to_string(DataRole role);
/// Errors   std::invalid_argument naming all roles.
DataRole parse_data_role(std::string_view name);

/// Remembers which rows were read for what, and refuses a step that would judge by rows it, or something it depends on, has
/// already used.
class RoleLedger {
 public:
  /// Records that `step` ("the weights") read these rows as `role`.
  void use(DataRole role, std::string step, std::span<const uint64_t> rows);
  /// Errors   std::runtime_error (DataError): `[roles] calib must not read rows used before: 412 of 2500 were used by
  ///          "select" for the weights`.
  void check_unused(DataRole role, std::span<const uint64_t> rows) const;

 private:
  struct Use {
    DataRole role;
    std::string step;
    std::vector<uint64_t> rows;  ///< sorted
  };
  std::vector<Use> uses_;
};

/// Positions of rows, each ascending.
struct RoleParts {
  std::vector<size_t> select, calib, test;
};
/// Gives every row a role: of class c with n_c rows the first round(select n_c) of an order keyed by key.fold_in(c) are
/// `select`, the next round(calib n_c) `calib`, the rest `test`.
/// Errors   std::invalid_argument unless the shares are >= 0 and sum to less than 1.
RoleParts draw_roles(std::span<const int32_t> label, double select, double calib, Key key);

}  // namespace ballast
