#include <ballast/models/catalog.h>
#include <ballast/models/layers.h>

namespace ballast::detail {
namespace {

// DEPTH - 1 convolutions 3x3 in three stages of 1, 2 and 4 times the width, the later two beginning with stride 2,
// global average pooling and a linear layer: the plain net of arXiv:1512.03385, section 4.2, of any depth.
class PlainCnn : public Model {
 public:
  explicit PlainCnn(ModelOptions resolved) : Model(std::move(resolved)) {
    const Style style = style_of(options_);
    const ModelName name = parse_model_name(options_.name);
    const DropPlan drops = drops_of(options_, {"dropout", "spatial_dropout", "drop_block", "drop_connect"});
    const int64_t convs = name.depth - 1;
    int64_t in = options_.in_channels, last_stage = 0;
    auto layers = register_module("layers", std::make_shared<Group>());
    for (int64_t i = 0; i < convs; ++i) {
      const int64_t stage = 3 * i / convs;
      const int64_t out = name.width << stage;
      auto layer = layers->add(std::make_shared<torch::nn::Module>());
      convs_.push_back(layer->register_module(
          "conv", std::make_shared<Conv2d>(in, out, 3, stage != last_stage ? 2 : 1, 1, style)));
      norms_.push_back(layer->register_module("norm", Norm(style.normed(out, true))));
      blocks_.push_back(add_drop_block(*layer, "drop_block", stage > 0 ? drops.block : DropSpec()));
      in = out;
      last_stage = stage;
    }
    spatial_ = add_spatial_dropout(*this, "spatial_drop", drops.spatial);
    drop_ = add_dropout(*this, "drop", drops.dropout);
    fc_ = register_module("fc", std::make_shared<Linear>(in, options_.num_classes));
    fc_->connect(drops.connect);
  }

  torch::Tensor forward(torch::Tensor x) override {
    check_input(x, options_, false);
    for (size_t i = 0; i < convs_.size(); ++i) x = through(blocks_[i], norms_[i]->forward(convs_[i]->forward(x)));
    x = at::adaptive_avg_pool2d(through(spatial_, x), {1, 1}).flatten(1);
    return fc_->forward(through(drop_, x));
  }

  int64_t num_features() const override { return fc_->weight.size(1); }
  std::string first_conv() const override { return "layers.0.conv"; }

 private:
  std::vector<std::shared_ptr<Conv2d>> convs_;
  std::vector<Norm> norms_;
  std::vector<DropBlock> blocks_;
  SpatialDropout2d spatial_{nullptr};
  Dropout drop_{nullptr};
  std::shared_ptr<Linear> fc_;
};

}  // namespace

std::shared_ptr<Model> make_plain_cnn(const ModelOptions& options) {
  return std::make_shared<PlainCnn>(options);
}

}  // namespace ballast::detail
