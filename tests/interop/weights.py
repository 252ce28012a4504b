"""Weights of ballast in PyTorch, torchvision and timm, and theirs in ballast: same names, same logits to 1e-4.

    python3 tests/interop/weights.py PATH/ballast_interop

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

    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, timm {timm.__version__}, "
          f"safetensors {safetensors.__version__}")
    sys.exit(1 if check.failures else 0)


if __name__ == "__main__":
    main()
