#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <ballast/base/key.h>
#include <ballast/base/layer_role.h>

namespace torch::nn {
class Module;
}

namespace ballast {

/// When a layer drops.
enum class DropMode {
  train_only,  ///< while training
  always,      ///< in evaluation too: Monte-Carlo passes
  never,       ///< the identity, always: frozen parts
};

/// Where kept values are rescaled. p is always the probability of dropping.
enum class Scaling {
  training,   ///< y = m x / (1 - p) while training, identity in eval ("inverted")
  inference,  ///< y = m x while training, (1 - p) x in eval: the original papers
};

/// While it lives, row n of what this thread's layers see is row rows[n] of the batch: the rows that drop_path kept. So the
/// masks of a sample inside a branch do not depend on which others were dropped. The innermost scope counts.
class RowsScope {
 public:
  explicit RowsScope(std::vector<int64_t> rows);
  ~RowsScope();
  RowsScope(const RowsScope&) = delete;
  RowsScope& operator=(const RowsScope&) = delete;
  /// The innermost scope's rows in this thread, or null.
  static const std::vector<int64_t>* current();

 private:
  std::vector<int64_t> rows_;
  const RowsScope* outer_;
};

/// The base of every layer that draws masks: its name, its mode and the key of its next mask.
///
/// Key      in a StepScope: scope.key / "drop" / stem / name / step / call, where call counts the layer's forwards within
///          the scope; else the layer's own options.key / "drop" / stem / name / number of its dropping forwards so far.
///          A slash is a fold_in.
/// Name     given by name_layers(model); without one "#" and the number of its construction, so that no two layers share
///          a mask. A copy (clone) keeps name and counts, so it draws the same masks.
class DropLayer : public HasLayerRole {
 public:
  LayerRole layer_role() const override { return LayerRole::drop; }
  /// The technique's stem, such as drop_block.
  virtual std::string_view stem() const = 0;
  /// p, and a new value for it. Errors: the technique's own for its range.
  virtual double drop_rate() const = 0;
  virtual void set_drop_rate(double p) = 0;

  DropMode mode() const { return mode_; }
  void set_mode(DropMode mode) { mode_ = mode; }
  const std::string& layer_name() const { return name_; }
  void set_layer_name(std::string name) { name_ = std::move(name); }

 protected:
  DropLayer();
  struct Draw {
    Key key;
    int64_t first_row = 0;
    const std::vector<int64_t>* rows = nullptr;  ///< places behind first_row, where they are not 0, 1, 2, ...
  };
  /// The key of this forward; counts it.
  Draw next_draw(Key own);
  bool drops(bool training) const { return mode_ == DropMode::always || (mode_ == DropMode::train_only && training); }

 private:
  DropMode mode_ = DropMode::train_only;
  std::string name_;
  uint64_t scope_ = 0, call_ = 0, count_ = 0;
};

/// Gives every DropLayer below `model` its dotted name. ballast's models do it when they are made.
void name_layers(torch::nn::Module& model);

/// Sets p of all layers of one technique ("drop_block", or "" for all) below `model`; returns how many.
int64_t set_drop_rate(torch::nn::Module& model, std::string_view stem, double p);

/// Sets p of the layers below `model` whose dotted names match a glob (base/glob.h); returns how many.
/// Errors: std::invalid_argument `[drop_rate] layer9.* must match a layer that drops, got none; there are
/// layer1.1.drop_path, ...`; p outside the technique's range.
int64_t set_drop_rate_at(torch::nn::Module& model, std::string_view glob, double p);

}  // namespace ballast
