#include <ballast/norm/group_norm.h>

#include <ostream>

#include <ballast/base/check.h>
#include <ballast/norm/norm_input.h>
#include <ballast/norm/ops.h>

namespace ballast {

int64_t groups_of(const GroupNormOptions& options) {
  const int64_t channels = options.num_channels;
  if (options.group_size != 0) {
    check(options.group_size >= 1 && channels % options.group_size == 0, "group_norm",
          "group_size must divide channels, got ", options.group_size, " and ", channels);
    return channels / options.group_size;
  }
  check(options.num_groups >= 1 && channels % options.num_groups == 0, "group_norm",
        "num_groups must divide channels, got ", options.num_groups, " and ", channels);
  return options.num_groups;
}

torch::Tensor group_norm(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                         const GroupNormOptions& options) {
  const int64_t channels = options.num_channels, groups = groups_of(options);
  detail::check_eps_and_act("group_norm", options.eps, options.act);
  detail::check_channels("group_norm", x, channels);
  detail::check_parameter("group_norm", "weight", weight, {channels});
  detail::check_parameter("group_norm", "bias", bias, {channels});
  if (x.numel() > 0 && x.numel() == x.size(0) * groups) {
    fail("group_norm", "each group must hold more than 1 value, got ", detail::shape_text(x), " with ", groups, " groups");
  }
  return std::get<0>(detail::group_norm_op(x, groups, weight, bias, options.eps, {options.act, options.act_a}));
}

GroupNormImpl::GroupNormImpl(GroupNormOptions given) : options(given) {
  check(options.num_channels >= 1, "group_norm", "num_channels must be >= 1, got ", options.num_channels);
  groups_of(options);
  detail::check_eps_and_act("group_norm", options.eps, options.act);
  reset();
}

void GroupNormImpl::reset() {
  if (!options.affine) return;
  weight = register_parameter("weight", torch::ones({options.num_channels}));
  bias = register_parameter("bias", torch::zeros({options.num_channels}));
}

torch::Tensor GroupNormImpl::forward(const torch::Tensor& x) { return group_norm(x, weight, bias, options); }

void GroupNormImpl::pretty_print(std::ostream& stream) const {
  stream << "ballast::GroupNorm(" << groups_of(options) << ", " << options.num_channels;
  if (options.act != Act::none) stream << ", " << act_name(options.act);
  stream << ')';
}

}  // namespace ballast
