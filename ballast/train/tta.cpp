#include <ballast/train/tta.h>

#include <charconv>
#include <utility>

#include <ATen/Functions.h>

#include <ballast/augment/crop_views.h>
#include <ballast/base/check.h>

namespace ballast {
namespace {

torch::Tensor shifted(const torch::Tensor& x, int64_t by, int64_t dim) {
  if (by == 0) return x;
  const int64_t n = x.size(dim);
  const torch::Tensor from = at::arange(n, at::kLong).sub_(by).clamp_(0, n - 1).to(x.device());
  return x.index_select(dim, from);
}

/// The views of one name, of one picture; empty: no such name.
std::vector<TtaView> named_views(const std::string& name) {
  using Kind = TtaView::Kind;
  if (name == "identity") return {{}};
  if (name == "hflip") return {{.kind = Kind::hflip}};
  if (name == "vflip") return {{.kind = Kind::vflip}};
  int64_t by = 0;
  const char* end = name.data() + name.size();
  if (name.starts_with("shift:") && std::from_chars(name.data() + 6, end, by).ptr == end && by >= 1 && by <= 1000) {
    return {{.kind = Kind::shift, .dy = -by}, {.kind = Kind::shift, .dy = by}, {.kind = Kind::shift, .dx = -by},
            {.kind = Kind::shift, .dx = by}};
  }
  return {};
}

}  // namespace

TtaPlan plan_tta(const std::vector<std::string>& names, const Pipeline& eval) {
  TtaPlan plan;
  // Pictures that are asked for twice are made once.
  const auto place = [&](const Pipeline& p) {
    const std::string text = p.text();
    for (size_t i = 0; i < plan.pictures.size(); ++i) {
      if (plan.pictures[i].text() == text) return i;
    }
    plan.pictures.push_back(p);
    return plan.pictures.size() - 1;
  };
  const auto add = [&](const Pipeline& from, const std::vector<TtaView>& views) {
    for (const Pipeline& picture : crop_views(from)) {
      for (TtaView view : views) {
        view.picture = place(picture);
        plan.views.push_back(view);
      }
    }
  };
  for (const std::string& name : names) {
    if (name == "five_crop" || name == "ten_crop") {
      add(with_crops(eval, name), {{}});
      continue;
    }
    const auto views = named_views(name);
    check(!views.empty(), "predict",
          "a view of --tta must be identity, hflip, vflip, shift:N, five_crop or ten_crop, got \"", name, "\"");
    add(eval, views);
  }
  if (names.empty()) add(eval, {{}});
  return plan;
}

std::vector<TtaView> TtaPlan::views_of(size_t picture) const {
  std::vector<TtaView> out;
  for (const TtaView& v : views) {
    if (v.picture == picture) out.push_back(v);
  }
  return out;
}

torch::Tensor seen(const TtaView& view, const torch::Tensor& x) {
  switch (view.kind) {
    case TtaView::Kind::identity:
      return x;
    case TtaView::Kind::hflip:
      return x.flip({3});
    case TtaView::Kind::vflip:
      return x.flip({2});
    default:
      return shifted(shifted(x, view.dy, 2), view.dx, 3);
  }
}

void TtaMean::add(const torch::Tensor& logits) {
  const torch::Tensor z = logits.to(torch::kCPU, torch::kDouble);
  const torch::Tensor p = sigmoids_ ? z.sigmoid() : z.softmax(1);
  sum_ = sum_.defined() ? sum_ + p : p;
  ++count_;
}

torch::Tensor TtaMean::scores() const {
  if (sigmoids_) {
    return (sum_ / count_).logit().clamp_(-100, 100).to(torch::kFloat).contiguous();
  }
  return (sum_ / count_).log().clamp_min_(-100).to(torch::kFloat).contiguous();
}

}  // namespace ballast
