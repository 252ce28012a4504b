"""TorchScript in PyTorch and ONNX in ONNX Runtime: the logits that ballast computes, to 1e-4, for any number of samples.

    python3 tests/interop/exports.py PATH/ballast_interop

Runs itself again with the Python of the peers, as weights.py does; ends with 77 (skipped) where they, torch or onnxruntime are missing.
"""
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from weights import Check, skip, use_peers

MODELS = [("mlp", 1, 28, 28, 10), ("lenet", 1, 28, 28, 10), ("plain_cnn:4", 3, 16, 16, 5), ("resnet8_wide", 1, 28, 28, 10),
          ("resnet20", 3, 32, 32, 10), ("resnet18", 3, 64, 64, 7), ("wide_resnet:10x1", 3, 32, 32, 10),
          ("resnet8", 3, 24, 24, 10, "auto", "hardswish"), ("vit_tiny", 3, 32, 32, 10), ("vit_tiny", 1, 28, 28, 10, "rms", "gelu_tanh"),
          ("vit_tiny", 3, 32, 32, 10, "evo_s0"),
          ("rnn:plain:24", 1, 28, 28, 10), ("rnn:plain:24", 3, 16, 12, 10, "layer", "relu"), ("rnn", 1, 28, 28, 10),
          ("rnn:lstm:24", 3, 16, 12, 10, "batch"), ("rnn:gru:24", 3, 16, 12, 10)]
MODELS += [("resnet20", 3, 32, 32, 10, norm) for norm in ("none", "group:8", "layer", "layer_2d", "instance", "rms", "rms_2d", "frozen", "frn",
                                                          "evo_b0", "evo_s0", "weight", "weight_std")]
MODELS += [("mlp:2x32", 1, 12, 12, 10, "auto", act) for act in ("leaky_relu", "elu", "selu", "silu", "mish", "tanh", "sigmoid", "softsign",
                                                                "softplus", "relu6")]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    use_peers()
    try:
        import numpy as np
        import torch
        from safetensors.torch import load_file
    except ImportError as error:
        skip(f"the peers lack a package: {error}")
    try:
        import onnxruntime
    except ImportError:
        onnxruntime = None
    check = Check()
    for model in MODELS:
        name = " ".join([model[0], *model[5:]])
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([sys.argv[1], "export", folder, *map(str, model)], capture_output=True, text=True)
            if done.returncode != 0:
                check.true(f"{name} is written", False, done.stderr)
                continue
            io = load_file(folder + "/io.safetensors")
            script = torch.jit.load(folder + "/model.ts")
            with torch.no_grad():
                check.equal(f"{name} TorchScript", script(io["x"]), io["logits"])
                check.equal(f"{name} TorchScript, 1 sample", script(io["x"][:1]), io["logits"][:1])
            if onnxruntime is None:
                continue
            session = onnxruntime.InferenceSession(folder + "/model.onnx", providers=["CPUExecutionProvider"])
            for n in (3, 1):
                [out] = session.run(None, {"x": np.ascontiguousarray(io["x"][:n].numpy())})
                check.equal(f"{name} ONNX, {n} samples", torch.from_numpy(out), io["logits"][:n])
    if check.failures:
        sys.exit(f"{check.failures} failures")
    if onnxruntime is None:
        skip("TorchScript is well; onnxruntime is not installed among the peers")


if __name__ == "__main__":
    main()
