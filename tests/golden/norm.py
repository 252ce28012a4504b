"""Writes norm.json: results and gradients of PyTorch's and timm's norms and reparametrized weights, in float64.

    python tests/golden/norm.py > tests/golden/norm.json      (needs torch and timm)

Inputs are those of draw() below, which the test computes too. Each row: y (flat), and the gradients of sum(y * draw(y, 3))
for x and each parameter. Spectral norm: after 4 training forwards; EvoNorm-B0 also in eval after one of training.
"""
import json
import sys

import timm
import torch
from timm.layers.grn import GlobalResponseNorm
from timm.layers import (EvoNorm2dB0, EvoNorm2dS0, FilterResponseNormTlu2d, ScaledStdConv2d, StdConv2d)
from torch.nn.utils import parametrizations

torch.set_default_dtype(torch.float64)


def draw(shape, seed=0.0):
    n = 1
    for s in shape:
        n *= s
    return ((torch.arange(n) + 7.31 * seed) * 12.9898).sin().mul(2).add(0.5).reshape(shape)


def fill(module):
    with torch.no_grad():
        for i, (_, p) in enumerate(sorted(module.named_parameters())):
            p.copy_(draw(p.shape, 11.0 + i))
    return module


def row(module, x, forwards=1):
    x = x.clone().requires_grad_()
    for _ in range(forwards - 1):
        module(x)
    y = module(x)
    (y * draw(y.shape, 3)).sum().backward()
    flat = lambda t: [float(f"{v:.15g}") for v in t.detach().flatten().tolist()]
    return {"y": flat(y), "dx": flat(x.grad), "grads": {n: flat(p.grad) for n, p in sorted(module.named_parameters())},
            "buffers": {n: flat(b) for n, b in sorted(module.named_buffers()) if b.is_floating_point()}}


x = draw((2, 4, 3, 2))
rows = {
    "filter_response_norm": row(fill(FilterResponseNormTlu2d(4, eps=1e-6)), x),
    "grn": row(fill(GlobalResponseNorm(4, channels_last=False)), x),
    "evo_norm_b0": row(fill(EvoNorm2dB0(4, eps=1e-5)), x),
    "evo_norm_s0": row(fill(EvoNorm2dS0(4, groups=2, eps=1e-5)), x),
    "weight_norm": row(fill(parametrizations.weight_norm(torch.nn.Conv2d(4, 3, 2))), x),
    "std_conv": row(fill(StdConv2d(4, 3, 2, bias=True, eps=1e-6)), x),
    "scaled_std_conv": row(fill(ScaledStdConv2d(4, 3, 2, bias=True, gamma=1.5, eps=1e-6)), x),
}
spectral = torch.nn.Conv2d(4, 3, 2)
parametrizations.spectral_norm(spectral)
fill(spectral)
with torch.no_grad():
    spectral.parametrizations.weight[0]._u.copy_(torch.nn.functional.normalize(draw((3,), 1), dim=0))
    spectral.parametrizations.weight[0]._v.copy_(torch.nn.functional.normalize(draw((16,), 2), dim=0))
rows["spectral_norm"] = row(spectral, x, forwards=4)
json.dump({"peer": f"torch {torch.__version__}, timm {timm.__version__}", "rows": rows}, sys.stdout, separators=(",", ":"))
print()
