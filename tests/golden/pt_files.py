"""Files of torch.save for the tests of io/pt_file, and what they hold as safetensors.

    python3 tests/golden/pt_files.py        # writes tests/golden/pt; needs torch, safetensors

Written by PyTorch 2.13.0. `module.pt`, `legacy.pt` and `command.pt` must be refused: a whole pickled module, the format of
before PyTorch 1.6, and a pickle that would run a command.
"""
import os
import zipfile
from collections import OrderedDict
from pathlib import Path

import safetensors.torch
import torch

OUT = Path(__file__).resolve().parent / "pt"


class Command:
    def __reduce__(self):
        return os.system, ("echo a command was run > /dev/stderr; touch ballast-was-here",)


def main():
    OUT.mkdir(exist_ok=True)
    torch.manual_seed(0)
    base = torch.arange(12, dtype=torch.float32)
    tensors = OrderedDict()
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
                  torch.uint8):
        tensors[str(dtype).split(".")[1]] = torch.arange(6).reshape(2, 3).to(dtype)
    tensors["bool"] = torch.tensor([True, False, True])
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(0, 3)
    tensors["parameter"] = torch.nn.Parameter(torch.randn(3, 2))
    tensors["transposed"] = torch.randn(3, 4).t()
    tensors["channels_last"] = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    tensors["whole"] = base
    tensors["part"] = base[2:8:2]
    tensors["expanded"] = torch.tensor([[1.0], [2.0]]).expand(2, 4)
    torch.save(tensors, OUT / "types.pt")
    safetensors.torch.save_file({k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()},
                                OUT / "types.safetensors")

    layer = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    state = layer.state_dict()
    torch.save(state, OUT / "layer.pt")
    torch.save(state, OUT / "protocol4.pt", pickle_protocol=4)
    safetensors.torch.save_file(state, OUT / "layer.safetensors")
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    raw = {k: torch.zeros_like(v) for k, v in state.items()}
    torch.save({"epoch": 3, "arch": "layer", "state_dict": raw, "state_dict_ema": state, "optimizer": optimizer.state_dict(),
                "metric": 0.5, "args": None}, OUT / "checkpoint.pt")
    torch.save({"model": {"state_dict": state}, "best": [1, 2.5, True, (2**40, -1)]}, OUT / "nested.pt")

    torch.save(state, OUT / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(layer, OUT / "module.pt")
    torch.save({"state_dict": Command()}, OUT / "command.pt")
    torch.jit.script(layer.eval()).save(str(OUT / "script.ts"))
    with zipfile.ZipFile(OUT / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        with zipfile.ZipFile(OUT / "layer.pt") as plain:
            for name in plain.namelist():
                packed.writestr(name, plain.read(name))


if __name__ == "__main__":
    main()
