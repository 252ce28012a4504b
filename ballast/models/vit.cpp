#include <algorithm>
#include <cmath>

#include <ballast/base/check.h>
#include <ballast/models/layers.h>
#include <ballast/models/vit_patch.h>
#include <ballast/norm/activate.h>
#include <ballast/ops/softmax.h>

namespace ballast::detail {
namespace {

constexpr int64_t kWidth = 192, kDepth = 12, kHeads = 3, kMlp = 4 * kWidth;

NormOptions token_norm(const Style& style) {
  NormOptions options = style.normed(kWidth, false);
  options.channel_dim = -1;
  options.eps = 1e-6;  // timm's
  options.overwrite_input = false;
  return options;
}

struct PatchEmbed : torch::nn::Module {
  PatchEmbed(int64_t in, int64_t patch) {
    proj = register_module("proj", std::make_shared<Conv2d>(in, kWidth, patch, patch, 0, true));
  }
  std::shared_ptr<Conv2d> proj;
};

struct Attention : torch::nn::Module {
  Attention(const Style& style, const DropPlan& drops) {
    qkv = register_module("qkv", std::make_shared<Linear>(kWidth, 3 * kWidth, style));
    proj = register_module("proj", std::make_shared<Linear>(kWidth, kWidth, style));
    drop = add_dropout(*this, "proj_drop", drops.dropout);
  }
  torch::Tensor forward(const torch::Tensor& x) {
    const int64_t n = x.size(0), tokens = x.size(1), head_width = kWidth / kHeads;
    // (3, N, heads, tokens, head width)
    const torch::Tensor parts = qkv->forward(x).view({n, tokens, 3, kHeads, head_width}).permute({2, 0, 3, 1, 4});
    const torch::Tensor q = parts[0] * (1 / std::sqrt(static_cast<double>(head_width)));
    const torch::Tensor weights = ops::softmax(at::matmul(q, parts[1].transpose(-2, -1)));
    return through(drop, proj->forward(at::matmul(weights, parts[2]).transpose(1, 2).reshape({n, tokens, kWidth})));
  }
  std::shared_ptr<Linear> qkv, proj;
  Dropout drop{nullptr};
};

struct VitMlp : torch::nn::Module {
  VitMlp(const Style& style, const DropPlan& drops) : act(style.act) {
    fc1 = register_module("fc1", std::make_shared<Linear>(kWidth, kMlp, style));
    fc2 = register_module("fc2", std::make_shared<Linear>(kMlp, kWidth, style));
    drop1 = add_dropout(*this, "drop1", drops.dropout);
    drop2 = add_dropout(*this, "drop2", drops.dropout);
  }
  torch::Tensor forward(const torch::Tensor& x) {
    const torch::Tensor hidden = through(drop1, activate(fc1->forward(x), act, act_default_a(act), true));
    return through(drop2, fc2->forward(hidden));
  }
  Act act;
  Dropout drop1{nullptr}, drop2{nullptr};
  std::shared_ptr<Linear> fc1, fc2;
};

struct VitBlock : torch::nn::Module {
  VitBlock(const Style& style, const DropPlan& drops, double path_rate) {
    norm1 = register_module("norm1", Norm(token_norm(style)));
    attn = register_module("attn", std::make_shared<Attention>(style, drops));
    norm2 = register_module("norm2", Norm(token_norm(style)));
    mlp = register_module("mlp", std::make_shared<VitMlp>(style, drops));
    path1 = add_drop_path(*this, "drop_path1", drops.path, path_rate);
    path2 = add_drop_path(*this, "drop_path2", drops.path, path_rate);
  }
  torch::Tensor forward(const torch::Tensor& x) {
    const auto attend = [&](const torch::Tensor& t) { return attn->forward(norm1->forward(t)); };
    const auto mix = [&](const torch::Tensor& t) { return mlp->forward(norm2->forward(t)); };
    const torch::Tensor y = path1.is_empty() ? attend(x).add_(x) : path1->add(x, x, attend);
    return path2.is_empty() ? mix(y).add_(y) : path2->add(y, y, mix);
  }
  DropPath path1{nullptr}, path2{nullptr};
  Norm norm1{nullptr}, norm2{nullptr};
  std::shared_ptr<Attention> attn;
  std::shared_ptr<VitMlp> mlp;
};

// Dosovitskiy et al. 2020, arXiv:2010.11929, in timm's form: pre-norm, class token, learned positions.
class VisionTransformer : public Model {
 public:
  explicit VisionTransformer(ModelOptions resolved) : Model(std::move(resolved)) {
    const Style style = style_of(options_);
    const DropPlan drops = drops_of(options_, {"dropout", "drop_path", "patch_dropout", "drop_connect"});
    const std::vector<double> rates = drop_path_rates(drops.path.p, kDepth);
    const int64_t patch = vit_patch(options_.height, options_.width);
    const int64_t tokens = (options_.height / patch) * (options_.width / patch);
    cls_token_ = register_parameter("cls_token", torch::empty({1, 1, kWidth}));
    pos_embed_ = register_parameter("pos_embed", torch::empty({1, tokens + 1, kWidth}));
    patch_embed_ = register_module("patch_embed", std::make_shared<PatchEmbed>(options_.in_channels, patch));
    pos_drop_ = add_dropout(*this, "pos_drop", drops.dropout);
    if (drops.patch.p > 0) {
      patch_drop_ = register_module("patch_drop", PatchDropout(PatchDropoutOptions{.p = drops.patch.p}));
    }
    auto blocks = register_module("blocks", std::make_shared<Group>());
    for (const double rate : rates) blocks_.push_back(blocks->add(std::make_shared<VitBlock>(style, drops, rate)));
    norm_ = register_module("norm", Norm(token_norm(style)));
    head_ = register_module("head", std::make_shared<Linear>(kWidth, options_.num_classes));
    head_->connect(drops.connect);
  }

  torch::Tensor forward(torch::Tensor x) override {
    check_input(x, options_, true);
    x = patch_embed_->proj->forward(x).flatten(2).transpose(1, 2);
    x = at::cat({cls_token_.expand({x.size(0), -1, -1}), x}, 1).add_(pos_embed_);
    x = through(patch_drop_, through(pos_drop_, x));
    for (const auto& block : blocks_) x = block->forward(x);
    // The norm works token by token (batch and instance norm do not): all of it, then the class token.
    return head_->forward(norm_->forward(x).select(1, 0));
  }

  std::string classifier() const override { return "head"; }
  int64_t num_features() const override { return kWidth; }
  std::string first_conv() const override { return "patch_embed.proj"; }
  std::vector<std::string> no_weight_decay() const override { return {"cls_token", "pos_embed"}; }
  std::vector<Branch> branches() const override {
    std::vector<Branch> result;
    for (size_t i = 0; i < blocks_.size(); ++i) {
      const std::string name = "blocks." + std::to_string(i);
      result.push_back({name + ".attn", {blocks_[i]->attn->qkv->weight, blocks_[i]->attn->proj->weight}, {}});
      result.push_back({name + ".mlp", {blocks_[i]->mlp->fc1->weight, blocks_[i]->mlp->fc2->weight}, {}});
    }
    return result;
  }

 private:
  torch::Tensor cls_token_, pos_embed_;
  std::shared_ptr<PatchEmbed> patch_embed_;
  Dropout pos_drop_{nullptr};
  PatchDropout patch_drop_{nullptr};
  std::vector<std::shared_ptr<VitBlock>> blocks_;
  Norm norm_{nullptr};
  std::shared_ptr<Linear> head_;
};

}  // namespace

int64_t vit_patch(int64_t height, int64_t width) {
  const int64_t least = std::min(height, width);
  const int64_t usual = least >= 128 ? 16 : least >= 64 ? 8 : least >= 24 ? 4 : 2;
  for (int64_t patch = usual; 2 * patch >= usual; --patch) {
    if (height % patch == 0 && width % patch == 0) return patch;
  }
  fail("vit_tiny", "height and width must have a common divisor from ", (usual + 1) / 2, " to ", usual,
       " as patch size, got ", height, 'x', width);
}

std::shared_ptr<Model> make_vit(const ModelOptions& options) {
  return std::make_shared<VisionTransformer>(options);
}

}  // namespace ballast::detail
