"""The operators torch.ops.ballast.* in Python: values against torch.nn.functional, opcheck, gradcheck, gradgradcheck.

    python3 tests/interop/operators.py PATH/libballast_torch.so LIBTORCH_VERSION

A library belongs to the LibTorch it was built with. Runs itself again with the Python of the peers (BALLAST_PEERS, build/peers;
benchmarks/setup makes it). Without it, or where its torch has another version than the library, it ends with 77 (skipped)
and says what is missing.
"""

import os
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

warnings.filterwarnings("ignore")


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


def use_peers():
    """Replaces this process by one of the peers' Python, once."""
    if os.environ.get("BALLAST_INTEROP_PEERS"):
        return
    venv = Path(os.environ.get("BALLAST_PEERS", ROOT / "build" / "peers"))
    python = venv / "bin" / "python"
    if not python.exists():
        skip(f"no peers in {venv}: benchmarks/setup makes them")
    os.execve(python, [str(python), *sys.argv], dict(os.environ, BALLAST_INTEROP_PEERS="1"))


class Check:
    def __init__(self):
        self.failures = 0

    def close(self, what, ours, theirs, tolerance):
        difference = (ours.double() - theirs.double()).abs().max().item()
        self.true(f"{what}: largest difference {difference:.1e}", ours.shape == theirs.shape and difference <= tolerance)

    def true(self, what, ok, detail=""):
        self.failures += not ok
        print(f"{'ok    ' if ok else 'FAILED'} {what}{'' if ok else f' {detail}'}", flush=True)

    def passes(self, what, f):
        try:
            f()
            self.true(what, True)
        except Exception as e:  # the test's own report, with its cause
            self.true(what, False, f"{type(e).__name__}: {str(e)[:600]}")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    use_peers()
    try:
        import torch
        import torch.nn.functional as F
    except ImportError as e:
        skip(f"no torch in the peers ({e})")
    library, version = sys.argv[1:]
    if torch.__version__.split("+")[0] != version:
        skip(f"the library belongs to LibTorch {version}, the peers' torch is {torch.__version__}")
    torch.ops.load_library(library)
    ops = torch.ops.ballast
    check = Check()

    def draw(dtype=torch.float64, grad=True, channels_last=False):
        torch.manual_seed(0)
        x = torch.randn(3, 4, 3, 5, dtype=dtype)
        r = torch.randn(3, 4, 3, 5, dtype=dtype)
        if channels_last:
            x, r = (t.contiguous(memory_format=torch.channels_last) for t in (x, r))
        w, b = torch.rand(4, dtype=dtype) + 0.5, torch.randn(4, dtype=dtype)
        return [t.requires_grad_(grad) for t in (x, r, w, b)]

    mean, var = torch.tensor([0.1, -0.2, 0.3, 0.0]).double(), torch.tensor([0.5, 1.5, 1.0, 2.0]).double()
    training = [(act, f) for act, f in (("none", lambda z: z), ("relu", F.relu), ("silu", F.silu), ("hardswish", F.hardswish))]

    def cases(act):
        """name, op with all outputs, differentiable part, torch's own, arguments"""
        def norm_2d(f):
            return lambda x, *rest: f(x.permute(0, 2, 3, 1), *rest).permute(0, 3, 1, 2)
        def rms(x, w):
            return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * w
        phi = dict(training)[act]
        yield ("batch_norm", ops.batch_norm, lambda x, r, w, b: (x, w, b, None, None, True, 1e-5, act),
               lambda x, r, w, b: phi(F.batch_norm(x, None, None, w, b, True, 0.1, 1e-5)))
        yield ("batch_norm in eval", ops.batch_norm,
               lambda x, r, w, b: (x, w, b, mean.to(x.dtype), var.to(x.dtype), False, 1e-5, act),
               lambda x, r, w, b: phi(F.batch_norm(x, mean.to(x.dtype), var.to(x.dtype), w, b, False, 0.1, 1e-5)))
        if act in ("none", "relu"):
            yield ("batch_norm_add", ops.batch_norm_add, lambda x, r, w, b: (x, r, w, b, None, None, True, 1e-5, act),
                   lambda x, r, w, b: phi(F.batch_norm(x, None, None, w, b, True, 0.1, 1e-5) + r))
        yield ("group_norm", ops.group_norm, lambda x, r, w, b: (x, 2, w, b, 1e-5, act),
               lambda x, r, w, b: phi(F.group_norm(x, 2, w, b, 1e-5)))
        yield ("instance_norm", ops.instance_norm, lambda x, r, w, b: (x, w, b, 1e-5, act),
               lambda x, r, w, b: phi(F.instance_norm(x, None, None, w, b, True, 0.1, 1e-5)))
        yield ("layer_norm", ops.layer_norm, lambda x, r, w, b: (x.transpose(1, 3), 1, w, b, 1e-5, act),
               lambda x, r, w, b: phi(F.layer_norm(x.transpose(1, 3), (4,), w, b, 1e-5)))
        yield ("layer_norm_2d", ops.layer_norm_2d, lambda x, r, w, b: (x, w, b, 1e-5, act),
               lambda x, r, w, b: phi(norm_2d(lambda t: F.layer_norm(t, (4,), w, b, 1e-5))(x)))
        yield ("rms_norm", ops.rms_norm, lambda x, r, w, b: (x.transpose(1, 3), 1, w, 1e-5, act),
               lambda x, r, w, b: phi(rms(x.transpose(1, 3), w)))
        yield ("rms_norm_2d", ops.rms_norm_2d, lambda x, r, w, b: (x, w, 1e-5, act),
               lambda x, r, w, b: phi(norm_2d(lambda t: rms(t, w))(x)))

    # Augmentation: uint8 in, normalized float out, each picture by its key, in either layout.
    pictures = torch.arange(4 * 3 * 20 * 24, dtype=torch.int64).mul(7919).remainder(256).to(torch.uint8).view(4, 3, 20, 24)
    crop = ops.augment(pictures, "center_crop(16)", seed=0, mean=[0.5], std=[0.25])
    check.close("augment: center_crop and normalize", crop, (pictures[:, :, 2:18, 4:20].float() / 255 - 0.5) / 0.25, 1e-5)
    recipe = "random_crop(16) | horizontal_flip | color_jitter(0.4, 0.4, 0.4)"
    batch = ops.augment(pictures, recipe, seed=1, epoch=2, ids=[5, 6, 7, 8])
    check.true("augment: a picture depends on its id only",
               torch.equal(batch[2:3], ops.augment(pictures[2:3], recipe, seed=1, epoch=2, ids=[7])))
    check.true("augment: another epoch, other pixels", not torch.equal(batch, ops.augment(pictures, recipe, seed=1, epoch=3, ids=[5, 6, 7, 8])))
    last = pictures.contiguous(memory_format=torch.channels_last)
    check.true("augment: channels_last", torch.equal(batch, ops.augment(last, recipe, seed=1, epoch=2, ids=[5, 6, 7, 8])))
    check.true("augment: meta", ops.augment(pictures.to("meta"), recipe, seed=0).shape == (4, 3, 16, 16))
    try:
        ops.augment(pictures, "rotaet(5)", seed=0)
        check.true("augment: a mistake is an error", False)
    except Exception as e:
        check.true("augment: a mistake is an error with its column", 'column 1: "rotaet" is not an operation' in str(e), str(e)[:300])

    # Drops: by their key, the backward by the same; dropped and kept as torch's own form has it, with our mask.
    key = 1234567890123456789
    maps = torch.linspace(-2, 2, 8 * 6 * 10 * 9, dtype=torch.float64).view(8, 6, 10, 9)
    drops = {
        "dropout": lambda t: ops.dropout(t, 0.25, 1 / 0.75, key),
        "spatial_dropout": lambda t: ops.spatial_dropout(t, 0.25, 1 / 0.75, key),
        "drop_path": lambda t: ops.drop_path(t, 0.25, 1 / 0.75, False, key),
        "drop_block": lambda t: ops.drop_block(t, 0.25, 3, True, 0, 0, key),
    }
    for name, op in drops.items():
        for channels_last in (False, True):
            x = maps.contiguous(memory_format=torch.channels_last) if channels_last else maps.clone()
            x.requires_grad_()
            where = f"{name}{' channels_last' if channels_last else ''}"
            mask = op(torch.ones_like(maps)) != 0
            share = 1 - mask.double().mean().item()
            check.true(f"{where}: drops some", 0.02 < share < 0.6, str(share))
            y = op(x)
            check.close(where, y, maps * mask / 0.75, 1e-12)
            weights = torch.cos(torch.arange(maps.numel()).double()).view(maps.shape)
            check.close(f"{where}: gradient", torch.autograd.grad((y * weights).sum(), x)[0], weights * mask / 0.75, 1e-12)
    small = torch.linspace(-2, 2, 3 * 4 * 2 * 3, dtype=torch.float64).view(3, 4, 2, 3)
    rows, weight = (torch.arange(n, dtype=torch.float64).cos().view(-1, 5) for n in (15, 20))
    tokens = torch.linspace(-1, 1, 2 * 5 * 3, dtype=torch.float64).view(2, 5, 3)
    calls = {
        "dropout": (ops.dropout, (small, 0.25, 1 / 0.75, key)),
        "spatial_dropout": (ops.spatial_dropout, (small, 0.25, 1 / 0.75, key)),
        "alpha_dropout": (ops.alpha_dropout, (small, 0.25, False, key)),
        "drop_path": (ops.drop_path, (small, 0.25, 1 / 0.75, False, key)),
        "drop_block": (ops.drop_block, (small, 0.25, 2, True, 0, 0, key)),
        "patch_dropout": (ops.patch_dropout, (tokens, 0.5, 1, key)),
        "shake_drop": (ops.shake_drop, (small, 0.5, False, key)),
        "drop_connect": (ops.drop_connect, (rows, weight, 6, 0.25, 1 / 0.75, key)),
    }
    for name, (op, arguments) in calls.items():
        tensors = [a.clone().requires_grad_() for a in arguments if isinstance(a, torch.Tensor)]
        rest = [a for a in arguments if not isinstance(a, torch.Tensor)]
        f = lambda *t, op=op, rest=rest: (lambda r: r if isinstance(r, torch.Tensor) else r[0])(op(*t, *rest))
        if name != "shake_drop":  # whose backward is not the derivative, on purpose
            check.passes(f"{name}: gradcheck", lambda: torch.autograd.gradcheck(f, tensors, eps=1e-6, atol=1e-5, rtol=1e-3))
            check.passes(f"{name}: gradgradcheck", lambda: torch.autograd.gradgradcheck(f, tensors, eps=1e-6, atol=1e-5, rtol=1e-3))
        for dtype in (torch.float32, torch.bfloat16):
            typed = [t.detach().to(dtype).requires_grad_() for t in tensors]
            check.passes(f"{name} {str(dtype)[6:]}: opcheck", lambda: torch.library.opcheck(op.default, (*typed, *rest)))
    kept, places = ops.patch_dropout(tokens, 0.5, 1, key)
    check.true("patch_dropout: the prefix and the kept patches, in order", kept.shape == (2, 3, 3) and torch.equal(kept[:, 0], tokens[:, 0]) and
               all(torch.equal(kept[n, 1:], tokens[n, 1 + places[n]]) for n in range(2)))

    def first(result):
        return result if isinstance(result, torch.Tensor) else result[0]

    for act, _ in training:
        for name, op, arguments, theirs in cases(act):
            for channels_last in (False, True):
                where = f"{name} {act}{' channels_last' if channels_last else ''}"
                inputs = draw(channels_last=channels_last)
                f = lambda *t, op=op, arguments=arguments: first(op(*arguments(*t)))
                ours, other = f(*inputs), theirs(*inputs)
                check.close(where, ours, other, 1e-12)
                used = [t for t in inputs if torch.autograd.grad(ours.sum(), t, retain_graph=True, allow_unused=True)[0] is not None]
                weights = torch.cos(torch.arange(ours.numel()).double()).view(ours.shape)
                mine = torch.autograd.grad((ours * weights).sum(), used)
                for i, (a, b) in enumerate(zip(mine, torch.autograd.grad((other * weights).sum(), used))):
                    check.close(f"{where}, gradient {i}", a, b, 1e-11)
                check.passes(f"{where}: gradcheck",
                             lambda: torch.autograd.gradcheck(f, inputs, eps=1e-6, atol=1e-5, rtol=1e-3))
                if not channels_last:
                    check.passes(f"{where}: gradgradcheck",
                                 lambda: torch.autograd.gradgradcheck(f, inputs, eps=1e-6, atol=1e-5, rtol=1e-3))

    for name, op, arguments, _ in cases("relu"):
        for dtype in (torch.float32, torch.bfloat16):
            for channels_last in (False, True):
                inputs = draw(dtype, channels_last=channels_last)
                check.passes(f"{name} {str(dtype)[6:]}{' channels_last' if channels_last else ''}: opcheck",
                             lambda: torch.library.opcheck(op.default, arguments(*inputs)))

    # Under autocast a norm keeps what it is given, and the residual follows.
    x, r, w, b = draw(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = ops.batch_norm_add(x.bfloat16(), r, w, b, None, None, True, 1e-5, "relu")[0]
        y.sum().backward()
    check.true("autocast: batch_norm_add gives bfloat16, the residual's gradient is float32",
               y.dtype == torch.bfloat16 and r.grad.dtype == torch.float32)

    compiled = torch.compile(lambda x, w, b: ops.group_norm(x, 2, w, b, 1e-5, "relu")[0] * 2, backend="aot_eager")
    def under_compile():
        x, _, w, b = draw(torch.float32)
        y = compiled(x, w, b)
        y.sum().backward()
        g, x.grad = x.grad, None
        (ops.group_norm(x, 2, w, b, 1e-5, "relu")[0] * 2).sum().backward()
        assert torch.equal(g, x.grad)
    check.passes("torch.compile (aot_eager): the same gradient", under_compile)

    print(f"{check.failures} failures")
    sys.exit(1 if check.failures else 0)


if __name__ == "__main__":
    main()
