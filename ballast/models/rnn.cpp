#include <ballast/base/check.h>
#include <ballast/models/catalog.h>
#include <ballast/models/layers.h>
#include <ballast/ops/recurrent.h>

namespace ballast::detail {
namespace {

// One recurrent layer, with LibTorch's operators and PyTorch's names: weight_ih_l0 (gates * width, in), ...
struct Recurrent : torch::nn::Module {
  Recurrent(int64_t in, int64_t width_, std::string cell_, Act act_) : width(width_), cell(std::move(cell_)), act(act_) {
    const int64_t gates = cell == "lstm" ? 4 : cell == "gru" ? 3 : 1;
    weight_ih = register_parameter("weight_ih_l0", torch::empty({gates * width, in}));
    weight_hh = register_parameter("weight_hh_l0", torch::empty({gates * width, width}));
    bias_ih = register_parameter("bias_ih_l0", torch::empty({gates * width}));
    bias_hh = register_parameter("bias_hh_l0", torch::empty({gates * width}));
  }
  // x: (N, steps, in); the last hidden state, (N, width).
  torch::Tensor forward(const torch::Tensor& x) const {
    const torch::Tensor start = torch::zeros({1, x.size(0), width}, x.options());
    const std::vector<torch::Tensor> weights = {weight_ih, weight_hh, bias_ih, bias_hh};
    const char* op = cell == "lstm" ? "lstm" : cell == "gru" ? "gru" : act == Act::relu ? "rnn_relu" : "rnn_tanh";
    return ops::recurrent(op, x, start, weights, is_training())[1][0];
  }
  int64_t width;
  std::string cell;
  Act act;
  torch::Tensor weight_ih, weight_hh, bias_ih, bias_hh;
};

// Reads the picture row by row; a linear layer on the last hidden state.
class Rnn : public Model {
 public:
  explicit Rnn(ModelOptions resolved) : Model(std::move(resolved)) {
    const Style style = style_of(options_);
    const ModelName name = parse_model_name(options_.name);
    const DropPlan drops = drops_of(options_, {"dropout", "drop_connect"});
    check(style.weight() == WeightForm::plain, "rnn", "norm must leave the weights as they are, got ", options_.norm);
    if (name.cell == "plain") {
      check(style.act == Act::tanh || style.act == Act::relu, "rnn", "act of a plain cell must be tanh or relu, got ",
            options_.act);
    } else {
      check(style.act == Act::tanh, "rnn", "act of an ", name.cell, " cell must be tanh, got ", options_.act);
    }
    rnn_ = register_module("rnn", std::make_shared<Recurrent>(options_.in_channels * options_.width, name.width,
                                                              name.cell, style.act));
    NormOptions normed = style.normed(name.width, false);
    normed.channel_dim = -1;
    norm_ = register_module("norm", Norm(normed));
    drop_ = add_dropout(*this, "drop", drops.dropout);
    fc_ = register_module("fc", std::make_shared<Linear>(name.width, options_.num_classes));
    fc_->connect(drops.connect);
  }

  torch::Tensor forward(torch::Tensor x) override {
    check_input(x, options_, true);
    x = x.permute({0, 2, 1, 3}).reshape({x.size(0), options_.height, options_.in_channels * options_.width});
    return fc_->forward(through(drop_, norm_->forward(rnn_->forward(x))));
  }

  int64_t num_features() const override { return fc_->weight.size(1); }

 private:
  std::shared_ptr<Recurrent> rnn_;
  Norm norm_{nullptr};
  Dropout drop_{nullptr};
  std::shared_ptr<Linear> fc_;
};

}  // namespace

std::shared_ptr<Model> make_rnn(const ModelOptions& options) {
  return std::make_shared<Rnn>(options);
}

}  // namespace ballast::detail
