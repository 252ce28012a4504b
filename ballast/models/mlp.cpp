#include <ballast/models/catalog.h>
#include <ballast/models/layers.h>

namespace ballast::detail {
namespace {

class Mlp : public Model {
 public:
  explicit Mlp(ModelOptions resolved) : Model(std::move(resolved)) {
    const Style style = style_of(options_);
    const ModelName name = parse_model_name(options_.name);
    const DropPlan drops = drops_of(options_, {"dropout", "alpha_dropout", "drop_connect"});
    int64_t in = options_.in_channels * options_.height * options_.width;
    for (int64_t i = 1; i <= name.depth; ++i) {
      const std::string number = std::to_string(i);
      linears_.push_back(register_module("fc" + number, std::make_shared<Linear>(in, name.width, style)));
      linears_.back()->connect(drops.connect);
      norms_.push_back(register_module("norm" + number, Norm(style.normed(name.width, true))));
      alphas_.push_back(add_alpha_dropout(*this, "alpha_drop" + number, drops.alpha));
      drops_.push_back(add_dropout(*this, "drop" + number, drops.dropout));
      in = name.width;
    }
    head_ = register_module("head", std::make_shared<Linear>(in, options_.num_classes));
  }

  torch::Tensor forward(torch::Tensor x) override {
    check_input(x, options_, true);
    x = x.flatten(1);
    for (size_t i = 0; i < linears_.size(); ++i) {
      x = norms_[i]->forward(linears_[i]->forward(x));
      x = through(drops_[i], through(alphas_[i], x));
    }
    return head_->forward(x);
  }

  std::string classifier() const override { return "head"; }
  int64_t num_features() const override { return head_->weight.size(1); }

 private:
  std::vector<std::shared_ptr<Linear>> linears_;
  std::vector<Norm> norms_;
  std::vector<AlphaDropout> alphas_;
  std::vector<Dropout> drops_;
  std::shared_ptr<Linear> head_;
};

}  // namespace

std::shared_ptr<Model> make_mlp(const ModelOptions& options) {
  return std::make_shared<Mlp>(options);
}

}  // namespace ballast::detail
