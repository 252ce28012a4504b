"""Weights of ballast in PyTorch, torchvision and timm, and theirs in ballast: same names, same logits to 1e-4.

    python3 tests/interop/weights.py PATH/ballast_interop

Files of torch.save and torch.jit in ballast, and .pt files of ballast in PyTorch.

Runs itself again with the Python of the peers (BALLAST_PEERS, build/peers; benchmarks/setup makes it). Without it, or
without one of the packages, it ends with 77 (skipped) and says what is missing.
"""

import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-4

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
    env = dict(os.environ, BALLAST_INTEROP_PEERS="1", HF_HUB_OFFLINE="1")
    os.execve(python, [str(python), *sys.argv], env)


class Check:
    def __init__(self):
        self.failures = 0

    def equal(self, what, ours, theirs):
        difference = (ours - theirs).abs().max().item()
        scale = max(1.0, theirs.abs().max().item())
        ok = ours.shape == theirs.shape and difference <= TOLERANCE * scale
        self.failures += not ok
        print(f"{'ok    ' if ok else 'FAILED'} {what}: largest difference {difference:.2e}")

    def true(self, what, ok, detail=""):
        self.failures += not ok
        print(f"{'ok    ' if ok else 'FAILED'} {what}{'' if ok else ': ' + str(detail)}")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    program = sys.argv[1]
    use_peers()
    sys.path.insert(0, str(ROOT / "benchmarks" / "peers"))
    try:
        import torchvision_cpu  # noqa: F401  (makes a CUDA build of torchvision importable beside a CPU torch)
        import safetensors
        import safetensors.torch as st
        import timm
        import torch
        import torchvision
    except ImportError as e:
        skip(f"{e}: benchmarks/setup makes the peers")
    torch.set_num_threads(2)
    check = Check()

    with tempfile.TemporaryDirectory() as temporary:
        folders = {}

        def saved(name, channels, height, width, classes):
            folder = Path(temporary) / f"{name}-{channels}-{height}".replace(":", "_")
            subprocess.run([program, "save", folder, name, str(channels), str(height), str(width), str(classes)],
                           check=True)
            folders[name] = folder
            return folder, st.load_file(folder / "io.safetensors")

        def ours(folder, x):
            st.save_file({"x": x}, folder / "io.safetensors")
            subprocess.run([program, "logits", folder], check=True)
            return st.load_file(folder / "logits.safetensors")["logits"]

        @torch.no_grad()
        def logits(model, x):
            return model.eval()(x)

        # The package itself opens the file, and its own writer makes the same bytes of what it holds.
        folder, io = saved("resnet18", 3, 96, 96, 10)
        weights = folder / "model.safetensors"
        with safetensors.safe_open(weights, "pt") as f:
            check.true("safetensors opens model.safetensors", len(list(f.keys())) == 122, list(f.keys()))
            metadata = f.metadata()
        st.save_file(st.load_file(weights), Path(temporary) / "again.safetensors", metadata=metadata)
        check.true("safetensors writes the same bytes",
                   (Path(temporary) / "again.safetensors").read_bytes() == weights.read_bytes())

        # torchvision, strict; and back.
        for name in ("resnet18", "resnet34", "resnet50"):
            folder, io = saved(name, 3, 96, 96, 10)
            model = torchvision.models.get_model(name, num_classes=10)
            model.load_state_dict(st.load_file(folder / "model.safetensors"), strict=True)
            check.equal(f"{name} in torchvision, strict", io["logits"], logits(model, io["x"]))
            torch.manual_seed(1)
            model = torchvision.models.get_model(name, num_classes=10)
            model.train()(torch.randn(8, 3, 96, 96))
            st.save_file(model.state_dict(), folder / "model.safetensors")
            check.equal(f"{name} of torchvision in ballast", ours(folder, io["x"]), logits(model, io["x"]))

        # timm: by checkpoint_path, and as a folder.
        for name, arguments in (("resnet18", {}), ("resnet50", {}), ("vit_tiny", {"img_size": (96, 96), "patch_size": 8})):
            folder, io = saved(name, 3, 96, 96, 10)
            architecture = json.loads((folder / "config.json").read_text())["architecture"]
            model = timm.create_model(architecture, num_classes=10, checkpoint_path=str(folder / "model.safetensors"),
                                      **arguments)
            check.equal(f"{name} in timm by checkpoint_path", io["logits"], logits(model, io["x"]))
            model = timm.create_model(f"local-dir:{folder}", pretrained=True)
            check.equal(f"{name} in timm as a folder", io["logits"], logits(model, io["x"]))
            torch.manual_seed(2)
            model = timm.create_model(architecture, num_classes=10, **arguments)
            torch.nn.init.normal_(model.get_classifier().weight, std=0.05)
            st.save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors")
            check.equal(f"{name} of timm in ballast", ours(folder, io["x"]), logits(model, io["x"]))

        # One channel, a picture that is not square; and vit_tiny_patch16_224 itself.
        folder, io = saved("resnet18", 1, 64, 48, 4)
        model = timm.create_model(f"local-dir:{folder}", pretrained=True)
        check.equal("resnet18 of one channel in timm", io["logits"], logits(model, io["x"]))
        folder, io = saved("vit_tiny", 3, 224, 224, 1000)
        model = timm.create_model("vit_tiny_patch16_224", checkpoint_path=str(folder / "model.safetensors"))
        check.equal("vit_tiny_patch16_224 in timm", io["logits"], logits(model, io["x"]))

        # Files of torch.save and torch.jit: the ways in which people keep weights.
        def taken(file, x, name, channels, classes):
            folder = Path(temporary) / "taken"
            folder.mkdir(exist_ok=True)
            st.save_file({"x": x}, folder / "io.safetensors")
            done = subprocess.run([program, "take", file, folder, name, str(channels), "64", "64", str(classes)],
                                  capture_output=True, text=True)
            check.true(f"{Path(file).name} is read", done.returncode == 0, done.stderr)
            return st.load_file(folder / "logits.safetensors")["logits"] if done.returncode == 0 else torch.zeros(1)

        torch.manual_seed(3)
        model = torchvision.models.resnet18(num_classes=10)
        model.train()(torch.randn(8, 3, 64, 64))
        model.eval()
        x = torch.randn(3, 3, 64, 64)
        with torch.no_grad():
            expected = model(x)
        state = model.state_dict()
        zeros = {k: torch.zeros_like(v) for k, v in state.items()}
        optimizer = torch.optim.AdamW(model.parameters())
        files = {
            "plain.pt": state,
            "parameters.pt": dict(model.named_parameters()) | dict(model.named_buffers()),
            "checkpoint.pth": {"epoch": 7, "state_dict": state, "optimizer": optimizer.state_dict(), "lr": [0.1, 0.2]},
            "average.pth": {"state_dict": zeros, "state_dict_ema": state},
            "parallel.pt": {"model": torch.nn.DataParallel(model).state_dict()},
            "compiled.pt": {f"_orig_mod.{k}": v for k, v in state.items()},
            "channels_last.pt": {k: v.to(memory_format=torch.channels_last) if v.dim() == 4 else v for k, v in state.items()},
            "double.pt": {k: v.double() if v.is_floating_point() else v for k, v in state.items()},
        }
        for name, value in files.items():
            torch.save(value, Path(temporary) / name)
            check.equal(f"resnet18 of {name}", taken(Path(temporary) / name, x, "resnet18", 3, 10), expected)
        torch.jit.script(model).save(str(Path(temporary) / "script.ts"))
        check.equal("resnet18 of script.ts", taken(Path(temporary) / "script.ts", x, "resnet18", 3, 10), expected)
        torch.jit.trace(model, x).save(str(Path(temporary) / "trace.ts"))
        check.equal("resnet18 of trace.ts", taken(Path(temporary) / "trace.ts", x, "resnet18", 3, 10), expected)
        timm_model = timm.create_model("resnet18", num_classes=10).eval()
        torch.save(timm_model.state_dict(), Path(temporary) / "timm.pth")
        check.equal("resnet18 of timm.pth", taken(Path(temporary) / "timm.pth", x, "resnet18", 3, 10), logits(timm_model, x))

        # A gray picture in an adapted net gives what it gave the original in three equal channels.
        gray = torch.randn(3, 1, 64, 64)
        check.equal("gray pictures in adapted weights", taken(Path(temporary) / "plain.pt", gray, "resnet18", 1, 10),
                    logits(model, gray.expand(3, 3, 64, 64)))
        # Four channels, as timm adapts them.
        four = timm.models.adapt_input_conv(4, timm_model.conv1.weight)
        timm_four = timm.create_model("resnet18", num_classes=10, in_chans=4).eval()
        timm_four.load_state_dict({**timm_model.state_dict(), "conv1.weight": four})
        x4 = torch.randn(3, 4, 64, 64)
        check.equal("four channels, as timm adapts them", taken(Path(temporary) / "timm.pth", x4, "resnet18", 4, 10),
                    logits(timm_four, x4))

        # What ballast writes as .pt opens with weights_only=True, bit for bit, tied tensors and strides included.
        everything = {f"t{i}": torch.arange(6).reshape(2, 3).to(t) for i, t in enumerate(
            (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
             torch.uint8, torch.bool))}
        everything |= {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3), "transposed": torch.randn(3, 4).t(),
                       "tied": state["fc.weight"], "tied too": state["fc.weight"]}
        for what, value in (("a model", state), ("every type", everything)):
            torch.save(value, Path(temporary) / "in.pt")
            subprocess.run([program, "convert", Path(temporary) / "in.pt", Path(temporary) / "out.pt"], check=True)
            for arguments in ({}, {"mmap": True}):
                back = torch.load(Path(temporary) / "out.pt", weights_only=True, **arguments)
                check.true(f"{what} from ballast by torch.load(weights_only=True{', mmap' if arguments else ''})",
                           back.keys() == value.keys() and all(
                               back[k].dtype == v.dtype and torch.equal(back[k], v) for k, v in value.items()))
        check.true("torch.load keeps the order of names", list(back) == sorted(back), list(back))

    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, timm {timm.__version__}, "
          f"safetensors {safetensors.__version__}")
    sys.exit(1 if check.failures else 0)


if __name__ == "__main__":
    main()
