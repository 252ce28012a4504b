#include <numeric>

#include <ballast/base/check.h>
#include <ballast/models/catalog.h>
#include <ballast/models/layers.h>

namespace ballast::detail {
namespace {

// The projection of a shortcut: 1x1 convolution and norm, named 0 and 1 as in torchvision.
struct Projection : torch::nn::Module {
  Projection(int64_t in, int64_t out, int64_t stride, const Style& style) {
    conv = register_module("0", std::make_shared<Conv2d>(in, out, 1, stride, 0, style));
    norm = register_module("1", Norm(style.normed(out, false)));
  }
  torch::Tensor forward(const torch::Tensor& x) { return norm->forward(conv->forward(x)); }
  std::shared_ptr<Conv2d> conv;
  Norm norm{nullptr};
};

// What a block drops, with its own rates of what grows with depth.
struct BlockDrops {
  DropSpec block, path;
  double path_rate = 0, shake_rate = 0;
};

struct Block : torch::nn::Module {
  explicit Block(const BlockDrops& drops) {
    block1 = add_drop_block(*this, "drop_block1", drops.block);
    block2 = add_drop_block(*this, "drop_block2", drops.block);
    path = add_drop_path(*this, "drop_path", drops.path, drops.path_rate);
    shake = add_shake_drop(*this, "shake_drop", drops.shake_rate);
  }
  virtual torch::Tensor forward(const torch::Tensor& x) = 0;
  virtual Branch branch() const = 0;

  // Fixup's scalars, for a branch of `convs` convolutions: bias1a, bias1b, ..., and scale.
  void add_scalars(int64_t convs) {
    for (int64_t i = 1; i <= convs; ++i) {
      before_conv.push_back(register_module("bias" + std::to_string(i) + "a", ScalarBias()));
      after_conv.push_back(register_module("bias" + std::to_string(i) + "b", ScalarBias()));
    }
    scale = register_module("scale", ScalarGate(ScalarGateOptions{.init = 1}));
  }
  torch::Tensor before(const torch::Tensor& x, size_t i) const { return before_conv.empty() ? x : before_conv[i]->forward(x); }
  // Behind convolution i; the last one is multiplied first.
  torch::Tensor after(const torch::Tensor& x, size_t i) const {
    if (after_conv.empty()) return x;
    return after_conv[i]->forward(i + 1 == after_conv.size() ? scale->forward(x) : x);
  }
  std::vector<ScalarBias> before_conv, after_conv;
  ScalarGate scale{nullptr};
  // With drop_path and shake_drop the last norm stands in the branch, and the activation behind the sum.
  torch::Tensor join(const torch::Tensor& shortcut, const torch::Tensor& x, const BranchFunction& run, Norm& last) {
    torch::Tensor y;
    if (shake.is_empty() && (path.is_empty() || path->options.mode == DropPathMode::batch)) {
      const double factor = path.is_empty() ? 1 : path->batch_factor();
      if (factor != 0) {
        y = last->forward_add(run(x), shortcut, factor);
      } else {
        // What comes in is activated already.
        y = shortcut.is_same(x) && last->activation_is_idempotent() ? shortcut : last->activate_sum(shortcut, false);
      }
    } else {
      const auto branch = [&](const torch::Tensor& kept) { return through(shake, last->forward_branch(run(kept))); };
      y = path.is_empty() ? shortcut + branch(x) : path->add(shortcut, x, branch);
      y = last->activate_sum(y, /*overwrite=*/!y.is_same(shortcut));
    }
    return through(block2, y);
  }
  DropBlock block1{nullptr}, block2{nullptr};
  DropPath path{nullptr};
  ShakeDrop shake{nullptr};
};

// conv3x3 - norm - act - conv3x3 - norm, + shortcut, act (He et al. 2015, arXiv:1512.03385).
struct BasicBlock : Block {
  static constexpr int64_t kExpansion = 1;
  BasicBlock(int64_t in, int64_t width, int64_t stride, const Style& style, const BlockDrops& drops) : Block(drops) {
    conv1 = register_module("conv1", std::make_shared<Conv2d>(in, width, 3, stride, 1, style));
    bn1 = register_module("bn1", Norm(style.normed(width, true)));
    conv2 = register_module("conv2", std::make_shared<Conv2d>(width, width, 3, 1, 1, style));
    bn2 = register_module("bn2", Norm(style.normed(width, true)));
    if (stride != 1 || in != width) {
      downsample = register_module("downsample", std::make_shared<Projection>(in, width, stride, style));
    }
    if (style.fixup) add_scalars(2);
  }
  torch::Tensor forward(const torch::Tensor& x) override {
    const torch::Tensor start = before(x, 0);
    return join(
        downsample ? downsample->forward(start) : x, start,
        [&](const torch::Tensor& t) {
          const torch::Tensor y = through(block1, bn1->forward(after(conv1->forward(t), 0)));
          return after(conv2->forward(before(y, 1)), 1);
        },
        bn2);
  }
  Branch branch() const override { return {"", {conv1->weight, conv2->weight}, last_scale(*conv2, *bn2)}; }
  std::shared_ptr<Conv2d> conv1, conv2;
  Norm bn1{nullptr}, bn2{nullptr};
  std::shared_ptr<Projection> downsample;
};

// 1x1 - 3x3 (with the stride, as torchvision) - 1x1 to four times the width.
struct Bottleneck : Block {
  static constexpr int64_t kExpansion = 4;
  Bottleneck(int64_t in, int64_t width, int64_t stride, const Style& style, const BlockDrops& drops)
      : Block(drops) {
    const int64_t out = width * kExpansion;
    conv1 = register_module("conv1", std::make_shared<Conv2d>(in, width, 1, 1, 0, style));
    bn1 = register_module("bn1", Norm(style.normed(width, true)));
    conv2 = register_module("conv2", std::make_shared<Conv2d>(width, width, 3, stride, 1, style));
    bn2 = register_module("bn2", Norm(style.normed(width, true)));
    conv3 = register_module("conv3", std::make_shared<Conv2d>(width, out, 1, 1, 0, style));
    bn3 = register_module("bn3", Norm(style.normed(out, true)));
    if (stride != 1 || in != out) {
      downsample = register_module("downsample", std::make_shared<Projection>(in, out, stride, style));
    }
    if (style.fixup) add_scalars(3);
  }
  torch::Tensor forward(const torch::Tensor& x) override {
    const torch::Tensor start = before(x, 0);
    return join(
        downsample ? downsample->forward(start) : x, start,
        [&](const torch::Tensor& t) {
          torch::Tensor y = bn1->forward(after(conv1->forward(t), 0));
          y = through(block1, bn2->forward(after(conv2->forward(before(y, 1)), 1)));
          return after(conv3->forward(before(y, 2)), 2);
        },
        bn3);
  }
  Branch branch() const override { return {"", {conv1->weight, conv2->weight, conv3->weight}, last_scale(*conv3, *bn3)}; }
  std::shared_ptr<Conv2d> conv1, conv2, conv3;
  Norm bn1{nullptr}, bn2{nullptr}, bn3{nullptr};
  std::shared_ptr<Projection> downsample;
};

struct Plan {
  bool large_stem = false;  // 7x7 stride 2 and max pool; else 3x3
  int64_t stem_stride = 1;  // of the 3x3 stem
  int64_t stem_width = 64;
  std::vector<int64_t> blocks, widths;
  bool bottleneck = false;
};

Plan plan_of(const ModelOptions& options) {
  const ModelName name = parse_model_name(options.name);
  const std::string_view row = name.row->name;
  if (row == "resnet18") return {true, 2, 64, {2, 2, 2, 2}, {64, 128, 256, 512}, false};
  if (row == "resnet34") return {true, 2, 64, {3, 4, 6, 3}, {64, 128, 256, 512}, false};
  if (row == "resnet50") return {true, 2, 64, {3, 4, 6, 3}, {64, 128, 256, 512}, true};
  if (row == "resnet8_wide") {
    const int64_t stride = std::min(options.height, options.width) >= 24 ? 2 : 1;
    return {false, stride, 32, {1, 1, 1}, {32, 64, 128}, false};
  }
  const int64_t depth = row == "resnet" ? name.depth : std::stoll(std::string(row.substr(6)));
  const int64_t n = (depth - 2) / 6, width = row == "resnet" ? name.width : 16;
  return {false, 1, width, {n, n, n}, {width, 2 * width, 4 * width}, false};
}

class ResNet : public Model {
 public:
  ResNet(ModelOptions resolved, const Plan& plan) : Model(std::move(resolved)), large_stem_(plan.large_stem) {
    const Style style = style_of(options_);
    const DropPlan drops =
        drops_of(options_, {"dropout", "spatial_dropout", "drop_block", "drop_path", "drop_connect", "shake_drop"});
    const int64_t blocks = std::accumulate(plan.blocks.begin(), plan.blocks.end(), int64_t{0});
    const std::vector<double> rates = drop_path_rates(drops.path.p, blocks);
    const std::vector<double> shakes = drop_path_rates(drops.shake.p, blocks, DropPathRule::paper);
    conv1_ = register_module(
        "conv1", large_stem_
                     ? std::make_shared<Conv2d>(options_.in_channels, plan.stem_width, 7, 2, 3, style)
                     : std::make_shared<Conv2d>(options_.in_channels, plan.stem_width, 3, plan.stem_stride, 1,
                                                style));
    bn1_ = register_module("bn1", Norm(style.normed(plan.stem_width, true)));
    if (style.fixup) {
      bias1_ = register_module("bias1", ScalarBias());
      bias2_ = register_module("bias2", ScalarBias());
    }
    features_ = plan.stem_width;
    for (size_t stage = 0; stage < plan.blocks.size(); ++stage) {
      const std::string stage_name = "layer" + std::to_string(stage + 1);
      auto layer = register_module(stage_name, std::make_shared<Group>());
      for (int64_t i = 0; i < plan.blocks[stage]; ++i) {
        const int64_t stride = i == 0 && stage > 0 ? 2 : 1;
        const int64_t width = plan.widths[stage];
        const BlockDrops own{.block = stage + 2 >= plan.blocks.size() ? drops.block : DropSpec(),
                             .path = drops.path,
                             .path_rate = rates[blocks_.size()],
                             .shake_rate = shakes[blocks_.size()]};
        std::shared_ptr<Block> block;
        if (plan.bottleneck) {
          block = layer->add(std::make_shared<Bottleneck>(features_, width, stride, style, own));
          features_ = width * Bottleneck::kExpansion;
        } else {
          block = layer->add(std::make_shared<BasicBlock>(features_, width, stride, style, own));
          features_ = width;
        }
        blocks_.push_back(block);
        block_names_.push_back(stage_name + '.' + std::to_string(i));
      }
    }
    spatial_ = add_spatial_dropout(*this, "spatial_drop", drops.spatial);
    drop_ = add_dropout(*this, "drop", drops.dropout);
    fc_ = register_module("fc", std::make_shared<Linear>(features_, options_.num_classes));
    fc_->connect(drops.connect);
  }

  torch::Tensor forward(torch::Tensor x) override {
    check_input(x, options_, false);
    x = bn1_->forward(shifted(conv1_->forward(x), bias1_));
    if (large_stem_) x = at::max_pool2d(x, {3, 3}, {2, 2}, {1, 1});
    for (const auto& block : blocks_) x = block->forward(x);
    x = at::adaptive_avg_pool2d(through(spatial_, x), {1, 1}).flatten(1);
    return fc_->forward(through(drop_, shifted(x, bias2_)));
  }

  int64_t num_features() const override { return features_; }
  std::string first_conv() const override { return "conv1"; }
  std::vector<Branch> branches() const override {
    std::vector<Branch> result;
    for (size_t i = 0; i < blocks_.size(); ++i) {
      result.push_back(blocks_[i]->branch());
      result.back().name = block_names_[i];
    }
    return result;
  }

 private:
  bool large_stem_;
  int64_t features_ = 0;
  std::shared_ptr<Conv2d> conv1_;
  Norm bn1_{nullptr};
  ScalarBias bias1_{nullptr}, bias2_{nullptr};
  std::vector<std::shared_ptr<Block>> blocks_;
  std::vector<std::string> block_names_;
  SpatialDropout2d spatial_{nullptr};
  Dropout drop_{nullptr};
  std::shared_ptr<Linear> fc_;
};

}  // namespace

std::shared_ptr<Model> make_resnet(const ModelOptions& options) {
  return std::make_shared<ResNet>(options, plan_of(options));
}

}  // namespace ballast::detail
