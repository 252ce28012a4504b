#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>

#include <cmath>
#include <functional>

#include <ballast/base/cpu.h>
#include <ballast/norm/batch_norm.h>
#include <ballast/norm/cpu_norm.h>
#include <ballast/norm/group_norm.h>
#include <ballast/norm/instance_norm.h>
#include <ballast/norm/layer_norm.h>
#include <ballast/norm/layer_norm_2d.h>
#include <ballast/norm/rms_norm.h>
#include <ballast/norm/rms_norm_2d.h>

// The kernels of all norms against the formulas by LibTorch's operators in float64.

namespace ballast {
namespace {

using torch::Tensor;

struct Given {
  Tensor x, residual, weight, bias;
};

// Values with a mean and a spread of their own in every channel.
Given draw(std::vector<int64_t> shape, at::ScalarType type, at::MemoryFormat format) {
  const auto wave = [&](double frequency, double phase) {
    int64_t n = 1;
    for (int64_t s : shape) n *= s;
    return (torch::arange(n, torch::kDouble) * frequency + phase).sin().reshape(shape);
  };
  std::vector<int64_t> by_channel(shape.size(), 1);
  by_channel[1] = shape[1];
  const Tensor c = torch::arange(shape[1], torch::kDouble);
  const Tensor x = wave(12.9898, 0.3) * (1 + 0.5 * (c * 1.7).sin()).view(by_channel) + (c * 0.9).cos().view(by_channel);
  const auto laid = [&](const Tensor& t) { return t.to(type).contiguous(shape.size() == 4 ? format : at::MemoryFormat::Contiguous); };
  return {laid(x), laid(wave(78.233, 1.1)), (1 + 0.4 * (c * 2.3).sin()).to(type == torch::kDouble ? torch::kDouble : torch::kFloat),
          (0.3 * (c * 3.1).cos()).to(type == torch::kDouble ? torch::kDouble : torch::kFloat)};
}

struct Op {
  const char* name;
  std::function<Tensor(const Given&, Act)> ours;
  std::function<Tensor(const Given&)> formula;  // before the activation, of float64 values
  bool add = false;
};

Tensor by_channel(const Tensor& t, const Tensor& x) {
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[1] = x.size(1);
  return t.view(shape);
}

Tensor standard(const Tensor& x, std::vector<int64_t> dims, bool rms = false) {
  const Tensor d = rms ? x : x - x.mean(dims, true);
  return d / (d.square().mean(dims, true) + 1e-5).sqrt();
}

std::vector<int64_t> all_but_channels(const Tensor& x) {
  std::vector<int64_t> dims = {0};
  for (int64_t d = 2; d < x.dim(); ++d) dims.push_back(d);
  return dims;
}

Tensor grouped(const Tensor& x, int64_t groups) {
  return standard(x.reshape({x.size(0), groups, -1}), {2}).reshape(x.sizes());
}

int64_t some_groups(int64_t channels) { return channels % 4 == 0 ? 4 : 1; }

std::vector<Op> ops() {
  const auto affine = [](const Tensor& h, const Given& g) {
    return h * by_channel(g.weight, h) + by_channel(g.bias, h);
  };
  const auto batch = [](const Given& g, Act act) {
    return BatchNormOptions{.num_features = g.x.size(1), .act = act, .act_a = 0.1};
  };
  // Of every channel alone, so that they stay when weights are moved.
  const auto waves = [](const Given& g, double level) {
    return (torch::arange(g.x.size(1), torch::kDouble) * 1.3 + level).sin().mul(0.4).add(level).to(g.weight.options());
  };
  const auto running_mean = [=](const Given& g) { return waves(g, 0.1); };
  const auto running_var = [=](const Given& g) { return waves(g, 1.5); };
  return {
      {"batch_norm",
       [=](const Given& g, Act act) { return batch_norm(g.x, g.weight, g.bias, {}, {}, true, batch(g, act)).y; },
       [=](const Given& g) { return affine(standard(g.x, all_but_channels(g.x)), g); }},
      {"batch_norm in eval",
       [=](const Given& g, Act act) {
         return batch_norm(g.x, g.weight, g.bias, running_mean(g), running_var(g), false, batch(g, act)).y;
       },
       [=](const Given& g) {
         const Tensor mean = by_channel(running_mean(g), g.x), var = by_channel(running_var(g), g.x);
         return affine((g.x - mean) / (var + 1e-5).sqrt(), g);
       }},
      {"batch_norm_add",
       [=](const Given& g, Act act) {
         return batch_norm_add(g.x, g.residual, g.weight, g.bias, {}, {}, true, batch(g, act)).y;
       },
       [=](const Given& g) { return affine(standard(g.x, all_but_channels(g.x)), g) + g.residual; }, true},
      {"group_norm",
       [=](const Given& g, Act act) {
         return group_norm(g.x, g.weight, g.bias,
                           {.num_channels = g.x.size(1), .num_groups = some_groups(g.x.size(1)), .act = act, .act_a = 0.1});
       },
       [=](const Given& g) { return affine(grouped(g.x, some_groups(g.x.size(1))), g); }},
      {"instance_norm",
       [=](const Given& g, Act act) {
         return instance_norm(g.x, g.weight, g.bias, {.num_features = g.x.size(1), .act = act, .act_a = 0.1});
       },
       [=](const Given& g) { return affine(grouped(g.x, g.x.size(1)), g); }},
      {"layer_norm",
       [=](const Given& g, Act act) {
         return layer_norm(g.x.flatten(2).transpose(1, 2), g.weight, g.bias,
                           {.shape = {g.x.size(1)}, .act = act, .act_a = 0.1});
       },
       [=](const Given& g) { return standard(g.x.flatten(2).transpose(1, 2), {2}) * g.weight + g.bias; }},
      {"layer_norm_2d",
       [=](const Given& g, Act act) {
         return layer_norm_2d(g.x, g.weight, g.bias, {.num_channels = g.x.size(1), .eps = 1e-5, .act = act, .act_a = 0.1});
       },
       [=](const Given& g) { return affine(standard(g.x, {1}), g); }},
      {"rms_norm",
       [=](const Given& g, Act act) {
         return rms_norm(g.x.flatten(2).transpose(1, 2), g.weight,
                         {.shape = {g.x.size(1)}, .eps = 1e-5, .act = act, .act_a = 0.1});
       },
       [=](const Given& g) { return standard(g.x.flatten(2).transpose(1, 2), {2}, true) * g.weight + 0 * g.bias; }},
      {"rms_norm_2d",
       [=](const Given& g, Act act) {
         return rms_norm_2d(g.x, g.weight, {.num_channels = g.x.size(1), .eps = 1e-5, .act = act, .act_a = 0.1});
       },
       [=](const Given& g) { return standard(g.x, {1}, true) * by_channel(g.weight, g.x) + 0 * by_channel(g.bias, g.x); }},
  };
}

Tensor phi(const Tensor& z, Act act) {
  switch (act) {
    case Act::relu: return z.relu();
    case Act::relu6: return z.clamp(0, 6);
    case Act::leaky_relu: return at::leaky_relu(z, 0.1);
    case Act::silu: return z * z.sigmoid();
    case Act::hardswish: return z * (z + 3).clamp(0, 6) / 6;
    default: return z;
  }
}

// y, dx, dresidual, dweight, dbias for a gradient that differs by element.
std::vector<Tensor> results(const Op& op, const Given& given, Act act, bool ours) {
  Given g = given;
  std::vector<Tensor*> inputs = {&g.x, &g.residual, &g.weight, &g.bias};
  for (Tensor* t : inputs) *t = (ours ? t->detach().clone() : t->detach().to(torch::kDouble).clone()).requires_grad_();
  const Tensor y = ours ? op.ours(g, act) : phi(op.formula(g), act);
  const Tensor dy = (torch::arange(y.numel(), torch::kDouble) * 0.7).cos().view(y.sizes());
  y.backward(dy.to(given.x.scalar_type()).to(y.scalar_type()));  // the same values for both
  std::vector<Tensor> all = {y.detach()};
  for (Tensor* t : inputs) all.push_back(t->grad().defined() ? t->grad() : torch::zeros_like(*t));
  return all;
}

double largest(const Tensor& t) { return t.numel() == 0 ? 0 : t.abs().max().item<double>(); }

void expect_near_formula(const Op& op, const Given& given, Act act, double tolerance, const std::string& what) {
  const std::vector<Tensor> ours = results(op, given, act, true);
  Given rounded = given;
  const std::vector<Tensor> exact = results(op, rounded, act, false);
  const char* names[] = {"y", "dx", "dresidual", "dweight", "dbias"};
  for (size_t i = 0; i < ours.size(); ++i) {
    if (i == 2 && !op.add) continue;
    ASSERT_EQ(ours[i].sizes(), exact[i].sizes()) << what;
    double scale = std::max(1.0, largest(exact[i]));
    // Sums over many values that cancel: rounding grows with what is summed, not with the sum.
    if (i >= 3 && tolerance < 1e-4) {
      scale = std::max(scale, 0.003 * static_cast<double>(given.x.numel()) / static_cast<double>(given.x.size(1)));
    }
    EXPECT_LE(largest(ours[i].to(torch::kDouble) - exact[i]), tolerance * scale) << names[i] << " of " << what;
  }
}

constexpr Act kFused[] = {Act::none, Act::relu, Act::relu6, Act::leaky_relu, Act::silu, Act::hardswish};
constexpr at::MemoryFormat kFormats[] = {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast};

TEST(NormOperators, EqualTheirFormulasInEveryShapeLayoutTypeAndActivation) {
  const std::vector<std::vector<int64_t>> shapes = {{5, 17, 5, 3}, {2, 4, 1, 7},  {3, 64, 8, 8}, {1, 8, 33, 31}, {5, 1, 5, 3},
                                                    {130, 20, 7, 7}, {2, 3, 70, 66}};
  for (const Op& op : ops()) {
    for (const auto& shape : shapes) {
      for (at::MemoryFormat format : kFormats) {
        for (Act act : kFused) {
          if (op.add && (act == Act::silu || act == Act::hardswish)) continue;
          // A set of one value: its gradient is 0, which rounding hides.
          if (shape[1] == 1 && op.name[0] != 'b' && op.name[0] != 'g' && op.name[0] != 'i') continue;
          const std::string what = std::string(op.name) + ' ' + std::string(act_name(act)) + ' ' +
                                   (format == at::MemoryFormat::Contiguous ? "NCHW " : "NHWC ") +
                                   c10::str(at::IntArrayRef(shape));
          expect_near_formula(op, draw(shape, torch::kDouble, format), act, 1e-11, what + " f64");
          if (shape[0] > 100 && act != Act::relu && act != Act::none) continue;
          expect_near_formula(op, draw(shape, torch::kFloat, format), act, 3e-6, what + " f32");
          expect_near_formula(op, draw(shape, torch::kBFloat16, format), act, 1.0 / 64, what + " bf16");
        }
      }
    }
  }
}

TEST(NormOperators, TwoAndThreeDimensionsAndHalves) {
  for (const Op& op : ops()) {
    const std::string name = op.name;
    if (name == "layer_norm" || name == "rms_norm") continue;
    expect_near_formula(op, draw({6, 8, 9}, torch::kFloat, at::MemoryFormat::Contiguous), Act::relu, 3e-6, name + " 3-D");
    expect_near_formula(op, draw({4, 8, 3, 3}, torch::kHalf, at::MemoryFormat::Contiguous), Act::relu, 1.0 / 256, name + " f16");
    if (name == "instance_norm") continue;
    expect_near_formula(op, draw({70, 12}, torch::kFloat, at::MemoryFormat::Contiguous), Act::relu, 3e-6, name + " 2-D");
  }
}

TEST(NormOperators, KeepTheLayoutTheTypeAndTheInput) {
  for (const Op& op : ops()) {
    for (at::MemoryFormat format : kFormats) {
      const Given g = draw({3, 8, 5, 4}, torch::kFloat, format);
      const Tensor before = g.x.clone();
      const auto version = g.x._version();
      const Tensor y = op.ours(g, Act::relu);
      if (y.dim() == 4) {
        EXPECT_TRUE(y.is_contiguous(format)) << op.name;
      }
      EXPECT_EQ(y.scalar_type(), torch::kFloat);
      EXPECT_TRUE(torch::equal(g.x, before));
      EXPECT_EQ(g.x._version(), version);
      // Other strides are copied: the same bits.
      Given sliced = draw({3, 8, 5, 4}, torch::kFloat, format);
      sliced.x = torch::stack({g.x, g.x + 1}, 4).select(4, 0);
      sliced.x = sliced.x.expand(sliced.x.sizes());
      if (format == at::MemoryFormat::Contiguous) {
        EXPECT_TRUE(torch::equal(op.ours(sliced, Act::relu), y)) << op.name;
      }
    }
  }
}

TEST(NormOperators, SameBitsForAnyNumberOfThreadsAndEveryInstructionSet) {
  const int threads = at::get_num_threads();
  for (const Op& op : ops()) {
    for (at::MemoryFormat format : kFormats) {
      for (at::ScalarType type : {torch::kFloat, torch::kBFloat16}) {
        const Given g = draw({6, 40, 23, 9}, type, format);
        at::set_num_threads(1);
        const std::vector<Tensor> expected = results(op, g, Act::relu, true);
        for (int n : {2, 4}) {
          at::set_num_threads(n);
          const std::vector<Tensor> got = results(op, g, Act::relu, true);
          for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(torch::equal(got[i], expected[i])) << op.name << i;
        }
        for (const std::string& target : simd_targets()) {
          force_simd_target(target);
          const std::vector<Tensor> got = results(op, g, Act::relu, true);
          for (size_t i = 0; i < got.size(); ++i) {
            EXPECT_TRUE(torch::equal(got[i], expected[i])) << op.name << ' ' << target << ' ' << i;
          }
        }
        force_simd_target("");
      }
    }
  }
  at::set_num_threads(threads);
}

TEST(NormOperators, ErrorAgainstFloat64IsThatOfLibTorchOrOfRoundingAlone) {
  const auto libtorch = [](const std::string& name, const Given& g) {
    if (name == "batch_norm") return at::batch_norm(g.x, g.weight, g.bias, {}, {}, true, 0.1, 1e-5, false);
    if (name == "group_norm") return at::group_norm(g.x, some_groups(g.x.size(1)), g.weight, g.bias, 1e-5);
    if (name == "instance_norm") return at::instance_norm(g.x, g.weight, g.bias, {}, {}, true, 0.1, 1e-5, false);
    return at::layer_norm(g.x.flatten(2).transpose(1, 2), {g.x.size(1)}, g.weight, g.bias, 1e-5);
  };
  for (const Op& op : ops()) {
    const std::string name = op.name;
    if (name != "batch_norm" && name != "group_norm" && name != "instance_norm" && name != "layer_norm") continue;
    for (at::MemoryFormat format : kFormats) {
      Given g = draw({32, 64, 16, 16}, torch::kFloat, format);
      const std::vector<Tensor> ours = results(op, g, Act::none, true);
      const std::vector<Tensor> exact = results(op, g, Act::none, false);
      const Op theirs{op.name, [&](const Given& h, Act) { return libtorch(name, h); }, op.formula};
      const std::vector<Tensor> other = results(theirs, g, Act::none, true);
      for (size_t i : {size_t{0}, size_t{1}, size_t{3}, size_t{4}}) {
        const double mine = largest(ours[i].to(torch::kDouble) - exact[i]);
        // Two roundings of the result; of the parameters' gradients, six standard errors of the roundings of all terms.
        const double rounding = i < 3 ? 2.4e-7 * largest(exact[i]) : 6 * std::sqrt(32 * 16 * 16) * std::exp2(-25);
        EXPECT_LE(mine, std::max(largest(other[i].to(torch::kDouble) - exact[i]), rounding)) << name << ' ' << i;
      }
    }
  }
}

// Stored bits are compared whole by those who check operators: memory's former content must not show in them.
TEST(NormOperators, StoredBitsDoNotDependOnWhatTheMemoryHeld) {
  for (at::MemoryFormat format : kFormats) {
    const Given g = draw({5, 6, 7, 3}, torch::kFloat, format);
    const auto mask_after = [&](int64_t byte) {
      { const Tensor dirty = at::full({detail::mask_size(g.x).expect_int()}, byte, torch::kByte); }
      return detail::batch_norm_cpu(g.x, g.residual, g.weight, g.bias, {}, {}, true, 1e-5, {Act::relu, 0}).mask;
    };
    const Tensor first = mask_after(0), second = mask_after(255);
    EXPECT_TRUE(torch::equal(first, second));
    EXPECT_GT(first.sum().item<int64_t>(), 0);
  }
}

TEST(NormOperators, AMeanFarFromZeroCostsNoDigitsOfTheVariance) {
  for (at::MemoryFormat format : kFormats) {
    const Tensor x = (draw({16, 8, 12, 12}, torch::kDouble, format).x * 2 + 1003).to(torch::kFloat).contiguous(format);
    const Tensor exact = x.to(torch::kDouble).var({0, 2, 3}, false);
    const BatchNormResult r = batch_norm(x, {}, {}, {}, {}, true, {.num_features = 8});
    EXPECT_LE(largest(r.var / exact - 1), 1e-6);
    EXPECT_LE(largest(r.mean - x.to(torch::kDouble).mean({0, 2, 3})), 1e-7);
    const Tensor y = standard(x.to(torch::kDouble), {0, 2, 3});
    EXPECT_LE(largest(r.y.to(torch::kDouble) - y), 1e-6);
  }
}

TEST(NormOperators, GradientsOfGradientsAreThoseOfDifferences) {
  for (const Op& op : ops()) {
    for (Act act : {Act::none, Act::relu, Act::silu}) {
      if (op.add && act == Act::silu) continue;
      Given g = draw({3, 4, 2, 3}, torch::kDouble, at::MemoryFormat::Contiguous);
      const Tensor u = (torch::arange(g.x.numel(), torch::kDouble) * 1.9).sin().view(g.x.sizes());
      // s(x, w) = <u, dL/dx>, L = sum of y^2 times a wave
      const auto s = [&](const Tensor& x, const Tensor& w) {
        Given h = g;
        h.x = x.requires_grad() ? x : x.detach().requires_grad_();
        h.weight = w;
        const Tensor y = op.ours(h, act);
        const Tensor wave = (torch::arange(y.numel(), torch::kDouble) * 0.7).cos().view(y.sizes());
        const Tensor dx = torch::autograd::grad({(y.square() * wave).sum()}, {h.x}, {}, true, true)[0];
        return (dx * u).sum();
      };
      Tensor x = g.x.detach().clone().requires_grad_(), w = g.weight.detach().clone().requires_grad_();
      const auto grads = torch::autograd::grad({s(x, w)}, {x, w});
      for (int64_t i = 0; i < x.numel(); i += 7) {
        Tensor up = g.x.detach().clone(), down = up.clone();
        up.view(-1)[i] += 1e-6;
        down.view(-1)[i] -= 1e-6;
        const double slope = (s(up, g.weight) - s(down, g.weight)).item<double>() / 2e-6;
        EXPECT_NEAR(grads[0].view(-1)[i].item<double>(), slope, 1e-5 * std::max(1.0, std::abs(slope)) + 1e-5) << op.name << ' ' << act_name(act);
      }
      for (int64_t i = 0; i < w.numel(); ++i) {
        Tensor up = g.weight.detach().clone(), down = up.clone();
        up[i] += 1e-6;
        down[i] -= 1e-6;
        const double slope = (s(g.x, up) - s(g.x, down)).item<double>() / 2e-6;
        EXPECT_NEAR(grads[1][i].item<double>(), slope, 1e-5 * std::max(1.0, std::abs(slope)) + 1e-5) << op.name << ' ' << act_name(act);
      }
    }
  }
}

TEST(NormOperators, EmptyBatchesGiveEmptyResultsAndZeroGradients) {
  for (const Op& op : ops()) {
    const Given g = draw({0, 8, 3, 3}, torch::kFloat, at::MemoryFormat::Contiguous);
    const std::vector<Tensor> r = results(op, g, Act::relu, true);
    EXPECT_EQ(r[0].numel(), 0) << op.name;
    EXPECT_EQ(largest(r[3]), 0) << op.name;
    EXPECT_EQ(largest(r[4]), 0) << op.name;
  }
}

TEST(NormOperators, MetaGivesShapesTypesAndStrides) {
  for (const Op& op : ops()) {
    for (at::MemoryFormat format : kFormats) {
      const Given g = draw({3, 8, 5, 4}, torch::kBFloat16, format);
      const Tensor y = op.ours(g, Act::relu);
      const auto meta = [](const Tensor& t) { return t.to(torch::Device(torch::kMeta)); };
      const Tensor m = op.ours({meta(g.x), meta(g.residual), meta(g.weight), meta(g.bias)}, Act::relu);
      EXPECT_TRUE(m.is_meta());
      EXPECT_EQ(m.sizes(), y.sizes()) << op.name;
      EXPECT_EQ(m.strides(), y.strides()) << op.name;
      EXPECT_EQ(m.scalar_type(), y.scalar_type()) << op.name;
    }
  }
}

TEST(NormOperators, NotANumberReachesTheResult) {
  for (const Op& op : ops()) {
    for (at::MemoryFormat format : kFormats) {
      for (const at::ScalarType type : {torch::kFloat, torch::kBFloat16}) {
        Given g = draw({3, 8, 5, 4}, type, format);
        g.x[1][2][3][1] = std::nan("");
        const int64_t found = op.ours(g, Act::relu).isnan().sum().item<int64_t>();
        if (std::string(op.name).find("eval") != std::string::npos) {
          EXPECT_EQ(found, 1) << op.name;
        } else {
          EXPECT_GT(found, 1) << op.name;
        }
      }
    }
  }
}

}  // namespace
}  // namespace ballast
