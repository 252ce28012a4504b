#include <ballast/models/catalog.h>
#include <ballast/models/layers.h>

namespace ballast::detail {
namespace {

// norm - act - conv3x3 - norm - act - conv3x3, + shortcut. A projection starts from the activated input.
struct PreActBlock : torch::nn::Module {
  PreActBlock(int64_t in, int64_t out, int64_t stride, const Style& style, const DropPlan& drops, double path_rate,
              double shake_rate) {
    NormOptions first = style.normed(in, true);
    first.overwrite_input = false;  // the shortcut needs it
    bn1 = register_module("bn1", Norm(first));
    conv1 = register_module("conv1", std::make_shared<Conv2d>(in, out, 3, stride, 1, style));
    bn2 = register_module("bn2", Norm(style.normed(out, true)));
    conv2 = register_module("conv2", std::make_shared<Conv2d>(out, out, 3, 1, 1, style));
    drop = add_dropout(*this, "drop", drops.dropout);
    block1 = add_drop_block(*this, "drop_block1", drops.block);
    block2 = add_drop_block(*this, "drop_block2", drops.block);
    path = add_drop_path(*this, "drop_path", drops.path, path_rate);
    shake = add_shake_drop(*this, "shake_drop", shake_rate);
    if (stride != 1 || in != out) {
      downsample = register_module("downsample", std::make_shared<Conv2d>(in, out, 1, stride, 0, style.without_bias()));
    }
    if (style.fixup) {
      bias1a = register_module("bias1a", ScalarBias());
      bias1b = register_module("bias1b", ScalarBias());
      bias2a = register_module("bias2a", ScalarBias());
      bias2b = register_module("bias2b", ScalarBias());
      scale = register_module("scale", ScalarGate(ScalarGateOptions{.init = 1}));
    }
  }
  torch::Tensor forward(const torch::Tensor& x) {
    const auto activated = [&](const torch::Tensor& t) { return shifted(bn1->forward(shifted(t, bias1a)), bias1b); };
    const auto convolutions = [&](const torch::Tensor& a) {
      const torch::Tensor middle = through(drop, through(block1, bn2->forward(shifted(conv1->forward(a), bias2a))));
      const torch::Tensor y = conv2->forward(shifted(middle, bias2b));
      return through(shake, scale ? scale->forward(y) : y);
    };
    torch::Tensor y;
    if (path.is_empty()) {
      const torch::Tensor a = activated(x);
      const torch::Tensor shortcut = downsample ? downsample->forward(a) : x;
      y = convolutions(a).add_(shortcut);
    } else if (downsample) {
      const torch::Tensor a = activated(x);
      y = path->add(downsample->forward(a), a, convolutions);
    } else {
      y = path->add(x, x, [&](const torch::Tensor& kept) { return convolutions(activated(kept)); });
    }
    return through(block2, y);
  }
  Norm bn1{nullptr}, bn2{nullptr};
  ScalarBias bias1a{nullptr}, bias1b{nullptr}, bias2a{nullptr}, bias2b{nullptr};
  ScalarGate scale{nullptr};
  Dropout drop{nullptr};
  DropBlock block1{nullptr}, block2{nullptr};
  DropPath path{nullptr};
  ShakeDrop shake{nullptr};
  std::shared_ptr<Conv2d> conv1, conv2, downsample;
};

// Zagoruyko and Komodakis 2016, arXiv:1605.07146.
class WideResNet : public Model {
 public:
  explicit WideResNet(ModelOptions resolved) : Model(std::move(resolved)) {
    const Style style = style_of(options_);
    const ModelName name = parse_model_name(options_.name);
    const int64_t n = (name.depth - 4) / 6;
    const DropPlan drops =
        drops_of(options_, {"dropout", "spatial_dropout", "drop_block", "drop_path", "drop_connect", "shake_drop"});
    const std::vector<double> rates = drop_path_rates(drops.path.p, 3 * n);
    const std::vector<double> shakes = drop_path_rates(drops.shake.p, 3 * n, DropPathRule::paper);
    conv1_ = register_module("conv1", std::make_shared<Conv2d>(options_.in_channels, 16, 3, 1, 1, style.without_bias()));
    int64_t in = 16;
    for (int64_t stage = 0; stage < 3; ++stage) {
      const std::string stage_name = "layer" + std::to_string(stage + 1);
      auto layer = register_module(stage_name, std::make_shared<Group>());
      const int64_t out = (16 << stage) * name.width;
      for (int64_t i = 0; i < n; ++i) {
        DropPlan own = drops;
        if (stage == 0) own.block = {};
        blocks_.push_back(layer->add(std::make_shared<PreActBlock>(in, out, i == 0 && stage > 0 ? 2 : 1, style, own,
                                                                   rates[blocks_.size()], shakes[blocks_.size()])));
        block_names_.push_back(stage_name + '.' + std::to_string(i));
        in = out;
      }
    }
    bn1_ = register_module("bn1", Norm(style.normed(in, true)));
    if (style.fixup) bias1_ = register_module("bias1", ScalarBias());
    spatial_ = add_spatial_dropout(*this, "spatial_drop", drops.spatial);
    fc_ = register_module("fc", std::make_shared<Linear>(in, options_.num_classes));
    fc_->connect(drops.connect);
  }

  torch::Tensor forward(torch::Tensor x) override {
    check_input(x, options_, false);
    x = conv1_->forward(x);
    for (const auto& block : blocks_) x = block->forward(x);
    x = through(spatial_, bn1_->forward(shifted(x, bias1_)));
    return fc_->forward(at::adaptive_avg_pool2d(x, {1, 1}).flatten(1));
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
  ScalarBias bias1_{nullptr};
  SpatialDropout2d spatial_{nullptr};
  std::shared_ptr<Linear> fc_;
};

}  // namespace

std::shared_ptr<Model> make_wide_resnet(const ModelOptions& options) {
  return std::make_shared<WideResNet>(options);
}

}  // namespace ballast::detail
