#include <ballast/models/catalog.h>
#include <ballast/models/layers.h>

namespace ballast::detail {
namespace {

// norm - act - conv3x3 - norm - act - conv3x3, + shortcut. A projection starts from the activated input.
struct PreActBlock : torch::nn::Module {
  PreActBlock(int64_t in, int64_t out, int64_t stride, const Style& style) {
    NormOptions first = style.normed(in, true);
    first.overwrite_input = false;  // the shortcut needs it
    bn1 = register_module("bn1", Norm(first));
    conv1 = register_module("conv1", std::make_shared<Conv2d>(in, out, 3, stride, 1, style));
    bn2 = register_module("bn2", Norm(style.normed(out, true)));
    conv2 = register_module("conv2", std::make_shared<Conv2d>(out, out, 3, 1, 1, style));
    if (stride != 1 || in != out) {
      downsample = register_module("downsample", std::make_shared<Conv2d>(in, out, 1, stride, 0, style.without_bias()));
    }
  }
  torch::Tensor forward(const torch::Tensor& x) {
    const torch::Tensor activated = bn1->forward(x);
    torch::Tensor y = conv2->forward(bn2->forward(conv1->forward(activated)));
    return y.add_(downsample ? downsample->forward(activated) : x);
  }
  Norm bn1{nullptr}, bn2{nullptr};
  std::shared_ptr<Conv2d> conv1, conv2, downsample;
};

// Zagoruyko and Komodakis 2016, arXiv:1605.07146.
class WideResNet : public Model {
 public:
  explicit WideResNet(ModelOptions resolved) : Model(std::move(resolved)) {
    const Style style = style_of(options_);
    const ModelName name = parse_model_name(options_.name);
    const int64_t n = (name.depth - 4) / 6;
    conv1_ = register_module("conv1", std::make_shared<Conv2d>(options_.in_channels, 16, 3, 1, 1, style.without_bias()));
    int64_t in = 16;
    for (int64_t stage = 0; stage < 3; ++stage) {
      const std::string stage_name = "layer" + std::to_string(stage + 1);
      auto layer = register_module(stage_name, std::make_shared<Group>());
      const int64_t out = (16 << stage) * name.width;
      for (int64_t i = 0; i < n; ++i) {
        blocks_.push_back(layer->add(std::make_shared<PreActBlock>(in, out, i == 0 && stage > 0 ? 2 : 1, style)));
        block_names_.push_back(stage_name + '.' + std::to_string(i));
        in = out;
      }
    }
    bn1_ = register_module("bn1", Norm(style.normed(in, true)));
    fc_ = register_module("fc", std::make_shared<Linear>(in, options_.num_classes));
  }

  torch::Tensor forward(torch::Tensor x) override {
    check_input(x, options_, false);
    x = conv1_->forward(x);
    for (const auto& block : blocks_) x = block->forward(x);
    return fc_->forward(at::adaptive_avg_pool2d(bn1_->forward(x), {1, 1}).flatten(1));
  }

  int64_t num_features() const override { return fc_->weight.size(1); }
  std::string first_conv() const override { return "conv1"; }
  std::vector<Branch> branches() const override {
    std::vector<Branch> result;
    for (size_t i = 0; i < blocks_.size(); ++i) {
      result.push_back({block_names_[i], {blocks_[i]->conv1->weight, blocks_[i]->conv2->weight}, {}});
    }
    return result;
  }

 private:
  std::shared_ptr<Conv2d> conv1_;
  std::vector<std::shared_ptr<PreActBlock>> blocks_;
  std::vector<std::string> block_names_;
  Norm bn1_{nullptr};
  std::shared_ptr<Linear> fc_;
};

}  // namespace

std::shared_ptr<Model> make_wide_resnet(const ModelOptions& options) {
  return std::make_shared<WideResNet>(options);
}

}  // namespace ballast::detail
