#pragma once

// What a pipeline does to one picture: drawn parameters lowered to actions; not public.

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <ballast/augment/operation.h>
#include <ballast/augment/pipeline.h>
#include <ballast/base/key.h>
#include <ballast/image/color.h>
#include <ballast/image/image.h>
#include <ballast/image/resize_axis.h>
#include <ballast/image/warp.h>

namespace ballast::detail {

/// One axis of a stage: a window on a grid of `full` points, which are `source` real pixels from `begin` on.
/// Points inside [valid, valid + valid_count) have a value, those outside are padded.
struct AxisPlan {
  double begin = 0, source = 0;
  int32_t low = 0, high = 0;
  int32_t full = 0;
  int32_t valid = 0, valid_count = 0;
  int32_t window = 0, count = 0;
  bool flip = false, resampled = false;

  void init(int32_t n) {
    *this = {};
    source = n;
    high = full = valid_count = count = n;
  }
  bool padded() const { return window < valid || window + count > valid + valid_count; }
  void crop(int32_t from, int32_t n);
  /// Must not be padded.
  void pad(int32_t before, int32_t after);
  void resize(int32_t n);
  /// The outputs that have a value.
  AxisSpec spec() const { return {begin, source, low, high, full, valid, valid_count, false}; }
};

using Fill = std::array<uint8_t, 3>;

/// One pass from pixels to pixels along the axes; `transposed`: rows and columns change places at the end.
struct Stage {
  AxisPlan y, x;
  Border mode = Border::constant;
  Fill fill = {};
  Interpolation interpolation = Interpolation::bilinear;
  bool antialias = true;
  bool transposed = false;

  int32_t out_h() const { return transposed ? x.count : y.count; }
  int32_t out_w() const { return transposed ? y.count : x.count; }
};

/// Cells of a picture that are painted over.
struct Erasure {
  enum class Paint : uint8_t { values, field };
  /// A box; or, with pitch > 0, cells of a turned grid: (u - dx) mod pitch < side and (v - dy) mod pitch < side.
  int32_t x = 0, y = 0, w = 0, h = 0;
  double pitch = 0, dx = 0, dy = 0, cos = 1, sin = 0;
  int32_t side = 0;
  /// value: normalized units, or levels if `levels`; field: a standard normal number per pixel and channel.
  Paint paint = Paint::values;
  std::array<float, 3> value = {};
  bool levels = false;
  Key key;
  uint32_t slot = 0;
  /// What masks get there; -1: they stay.
  int32_t mask_value = -1;
  /// Number of geometric steps before it.
  size_t behind = 0;

  bool covers(int32_t px, int32_t py) const;
  /// Whether t lies in a cell of the grid that begins at `from`.
  bool in_cell(double t, double from) const;
};

/// One geometric operation, kept beside its lowered form: masks, boxes and points follow it.
struct GeometryStep {
  enum class Kind : uint8_t { flip_x, flip_y, transpose, crop, pad, resize, warp } kind = Kind::crop;
  WarpStep step;
  int32_t top = 0, left = 0, bottom = 0, right = 0;  // of crop (top, left) and pad
  Interpolation interpolation = Interpolation::bilinear;
  bool antialias = true;
  /// A crop that boxes with their centre outside of it do not survive.
  bool keeps_centres = false;
};

struct Plan;
/// Chains of operations on one picture, blended: out = round((1 - m) x + m sum w_i chain_i(x)).
struct Blend {
  double m = 0;
  std::vector<double> weights;
  std::vector<Plan> chains;
};

struct Action {
  enum class Kind : uint8_t { stage, warp, pixels, erase, blend } kind = Kind::stage;
  /// Part of the plan's list of that kind.
  size_t from = 0, count = 0;
  WarpOptions warp;
  /// Size of the result.
  int32_t h = 0, w = 0;
};

/// Drawn parameters in the order of execution. Keeps its memory from sample to sample.
struct Plan {
  std::vector<Action> actions;
  std::vector<Stage> stages;
  std::vector<WarpStep> warps;
  std::vector<PixelOp> pixels;
  std::vector<Erasure> erasures;
  std::vector<Blend> blends;
  /// All geometric operations.
  std::vector<GeometryStep> geometry;
  std::vector<std::unique_ptr<DisplacementField>> fields;
  int32_t h = 0, w = 0;

  void clear();
  std::string text() const;
};

/// What drawing may look at beside the picture's size.
struct DrawFacts {
  int32_t channels = 3;
  /// The data-set mean in levels, for fill="mean".
  Fill mean = {};
  Semantics semantics = Semantics::fused;
  /// Boxes of the sample (x1, y1, x2, y2), for iou_crop and safe_crop.
  std::vector<std::array<double, 4>> boxes;
  bool has_boxes = false;
  /// Only sizes are asked for: no fields are drawn, and crops need not fit.
  bool size_only = false;
};

/// Collects what operations draw, follows the size of the canvas and lowers geometry: everything between two barriers
/// becomes one resampling.
class Planner {
 public:
  Planner(int32_t h, int32_t w, const DrawFacts& facts, Plan& plan, std::vector<DrawNote>* notes = nullptr);

  int32_t h() const { return h_; }
  int32_t w() const { return w_; }
  const DrawFacts& facts() const { return facts_; }
  /// The sample's boxes on the canvas as it is now; clipped, those that are gone left out.
  std::vector<std::array<double, 4>> boxes() const;

  // Geometry. Rectangles are in pixels of the canvas as it is now.
  void flip_x();
  void flip_y();
  void transpose();
  void crop(int32_t top, int32_t left, int32_t h, int32_t w, bool keeps_centres = false);
  void pad(int32_t top, int32_t bottom, int32_t left, int32_t right, Border border, const Fill& fill);
  void resize(int32_t h, int32_t w, Interpolation interpolation, bool antialias);
  /// The canvas becomes h x w, its points coming from `inverse`.
  void warp(const Matrix& inverse, int32_t h, int32_t w, Interpolation interpolation, bool antialias, Border border,
            const Fill& fill);
  void displace(std::unique_ptr<DisplacementField> field, double radial, Interpolation interpolation, Border border,
                const Fill& fill);
  /// Content moves by whole pixels to the right and down, the canvas stays.
  void shift(int32_t dx, int32_t dy, Border border, const Fill& fill);

  void pixel(PixelOp::Kind kind, std::array<double, 4> v = {}, Key key = {});
  void erase(const Erasure& erasure);
  Blend& blend();

  /// The key of the sample, from which children of combinators derive theirs.
  Key sample_key() const { return key_; }
  void run(const std::vector<Step>& steps, Key sample_key);
  void note(std::string_view name, std::initializer_list<double> values = {});
  /// Where notes go, for a planner of a part; or null.
  std::vector<DrawNote>* notes() const { return notes_; }
  /// Ends the plan.
  void finish();

 private:
  GeometryStep& add(GeometryStep::Kind kind, int32_t h, int32_t w);
  void flush();
  void lower_stages(size_t from, size_t to);
  void lower_warp(size_t from, size_t to);
  Action& action(Action::Kind kind, size_t from);

  Plan& plan_;
  const DrawFacts& facts_;
  std::vector<DrawNote>* notes_;
  int32_t h_, w_;
  Key key_;
  size_t pending_ = 0;  // geometry not lowered yet begins here
  bool pending_warp_ = false;
};

/// Draws every step's parameters for a picture of h x w from `key`.
void draw_plan(const std::vector<Step>& steps, int32_t h, int32_t w, Key key, const DrawFacts& facts, Plan& plan,
               std::vector<DrawNote>* notes = nullptr);

}  // namespace ballast::detail
