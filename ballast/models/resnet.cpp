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

struct Block : torch::nn::Module {
  virtual torch::Tensor forward(const torch::Tensor& x) = 0;
  virtual Branch branch() const = 0;
};

// conv3x3 - norm - act - conv3x3 - norm, + shortcut, act (He et al. 2015, arXiv:1512.03385).
struct BasicBlock : Block {
  static constexpr int64_t kExpansion = 1;
  BasicBlock(int64_t in, int64_t width, int64_t stride, const Style& style) {
    conv1 = register_module("conv1", std::make_shared<Conv2d>(in, width, 3, stride, 1, style));
    bn1 = register_module("bn1", Norm(style.normed(width, true)));
    conv2 = register_module("conv2", std::make_shared<Conv2d>(width, width, 3, 1, 1, style));
    bn2 = register_module("bn2", Norm(style.normed(width, true)));
    if (stride != 1 || in != width) {
      downsample = register_module("downsample", std::make_shared<Projection>(in, width, stride, style));
    }
  }
  torch::Tensor forward(const torch::Tensor& x) override {
    const torch::Tensor y = conv2->forward(bn1->forward(conv1->forward(x)));
    return bn2->forward_add(y, downsample ? downsample->forward(x) : x);
  }
  Branch branch() const override { return {"", {conv1->weight, conv2->weight}, last_scale(*conv2, *bn2)}; }
  std::shared_ptr<Conv2d> conv1, conv2;
  Norm bn1{nullptr}, bn2{nullptr};
  std::shared_ptr<Projection> downsample;
};

// 1x1 - 3x3 (with the stride, as torchvision) - 1x1 to four times the width.
struct Bottleneck : Block {
  static constexpr int64_t kExpansion = 4;
  Bottleneck(int64_t in, int64_t width, int64_t stride, const Style& style) {
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
  }
  torch::Tensor forward(const torch::Tensor& x) override {
    torch::Tensor y = bn1->forward(conv1->forward(x));
    y = conv3->forward(bn2->forward(conv2->forward(y)));
    return bn3->forward_add(y, downsample ? downsample->forward(x) : x);
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
  const int64_t n = (depth - 2) / 6;
  return {false, 1, 16, {n, n, n}, {16, 32, 64}, false};
}

class ResNet : public Model {
 public:
  ResNet(ModelOptions resolved, const Plan& plan) : Model(std::move(resolved)), large_stem_(plan.large_stem) {
    const Style style = style_of(options_);
    conv1_ = register_module(
        "conv1", large_stem_
                     ? std::make_shared<Conv2d>(options_.in_channels, plan.stem_width, 7, 2, 3, style)
                     : std::make_shared<Conv2d>(options_.in_channels, plan.stem_width, 3, plan.stem_stride, 1,
                                                style));
    bn1_ = register_module("bn1", Norm(style.normed(plan.stem_width, true)));
    features_ = plan.stem_width;
    for (size_t stage = 0; stage < plan.blocks.size(); ++stage) {
      const std::string stage_name = "layer" + std::to_string(stage + 1);
      auto layer = register_module(stage_name, std::make_shared<Group>());
      for (int64_t i = 0; i < plan.blocks[stage]; ++i) {
        const int64_t stride = i == 0 && stage > 0 ? 2 : 1;
        const int64_t width = plan.widths[stage];
        std::shared_ptr<Block> block;
        if (plan.bottleneck) {
          block = layer->add(std::make_shared<Bottleneck>(features_, width, stride, style));
          features_ = width * Bottleneck::kExpansion;
        } else {
          block = layer->add(std::make_shared<BasicBlock>(features_, width, stride, style));
          features_ = width;
        }
        blocks_.push_back(block);
        block_names_.push_back(stage_name + '.' + std::to_string(i));
      }
    }
    fc_ = register_module("fc", std::make_shared<Linear>(features_, options_.num_classes));
  }

  torch::Tensor forward(torch::Tensor x) override {
    check_input(x, options_, false);
    x = bn1_->forward(conv1_->forward(x));
    if (large_stem_) x = at::max_pool2d(x, {3, 3}, {2, 2}, {1, 1});
    for (const auto& block : blocks_) x = block->forward(x);
    return fc_->forward(at::adaptive_avg_pool2d(x, {1, 1}).flatten(1));
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
  std::vector<std::shared_ptr<Block>> blocks_;
  std::vector<std::string> block_names_;
  std::shared_ptr<Linear> fc_;
};

}  // namespace

std::shared_ptr<Model> make_resnet(const ModelOptions& options) {
  return std::make_shared<ResNet>(options, plan_of(options));
}

}  // namespace ballast::detail
