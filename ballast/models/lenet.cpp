#include <ballast/base/check.h>
#include <ballast/models/layers.h>

namespace ballast::detail {
namespace {

// LeNet-5 (LeCun et al. 1998) as it is taught today: max pooling, a dense second convolution, softmax outputs.
// Pictures below 32 px are padded by 2 in the first convolution, so that 28x28 is treated as the paper's 32x32.
class LeNet : public Model {
 public:
  explicit LeNet(ModelOptions resolved) : Model(std::move(resolved)) {
    const Style style = style_of(options_);
    const int64_t least = std::min(options_.height, options_.width);
    check(least >= 12, "lenet", "height and width must be at least 12, got ", options_.height, 'x', options_.width);
    const int64_t padding = least < 32 ? 2 : 0;
    const DropPlan drops = drops_of(options_, {"dropout", "spatial_dropout", "drop_block", "drop_connect"});
    const auto after = [&](int64_t size) { return ((size + 2 * padding - 4) / 2 - 4) / 2; };
    conv1_ = register_module("conv1", std::make_shared<Conv2d>(options_.in_channels, 6, 5, 1, padding,
                                                               style));
    norm1_ = register_module("norm1", Norm(style.normed(6, true)));
    conv2_ = register_module("conv2", std::make_shared<Conv2d>(6, 16, 5, 1, 0, style));
    norm2_ = register_module("norm2", Norm(style.normed(16, true)));
    block_ = add_drop_block(*this, "drop_block", drops.block);
    spatial_ = add_spatial_dropout(*this, "spatial_drop", drops.spatial);
    fc1_ = register_module("fc1", std::make_shared<Linear>(16 * after(options_.height) * after(options_.width), 120, style));
    fc1_->connect(drops.connect);
    drop1_ = add_dropout(*this, "drop1", drops.dropout);
    drop2_ = add_dropout(*this, "drop2", drops.dropout);
    norm3_ = register_module("norm3", Norm(style.normed(120, true)));
    fc2_ = register_module("fc2", std::make_shared<Linear>(120, 84, style));
    norm4_ = register_module("norm4", Norm(style.normed(84, true)));
    fc3_ = register_module("fc3", std::make_shared<Linear>(84, options_.num_classes));
  }

  torch::Tensor forward(torch::Tensor x) override {
    check_input(x, options_, true);
    x = at::max_pool2d(norm1_->forward(conv1_->forward(x)), {2, 2});
    x = norm2_->forward(conv2_->forward(x));
    x = at::max_pool2d(through(spatial_, through(block_, x)), {2, 2});
    x = through(drop1_, norm3_->forward(fc1_->forward(x.flatten(1))));
    return fc3_->forward(through(drop2_, norm4_->forward(fc2_->forward(x))));
  }

  std::string classifier() const override { return "fc3"; }
  int64_t num_features() const override { return 84; }
  std::string first_conv() const override { return "conv1"; }

 private:
  std::shared_ptr<Conv2d> conv1_, conv2_;
  Norm norm1_{nullptr}, norm2_{nullptr}, norm3_{nullptr}, norm4_{nullptr};
  std::shared_ptr<Linear> fc1_, fc2_, fc3_;
  DropBlock block_{nullptr};
  SpatialDropout2d spatial_{nullptr};
  Dropout drop1_{nullptr}, drop2_{nullptr};
};

}  // namespace

std::shared_ptr<Model> make_lenet(const ModelOptions& options) {
  return std::make_shared<LeNet>(options);
}

}  // namespace ballast::detail
