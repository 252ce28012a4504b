"""Makes PyPI's torchvision importable over a CPU build of PyTorch; import it before torchvision.

PyPI's wheels of torchvision are built against CUDA: over a CPU build of PyTorch their extensions do not load, and
`import torchvision` fails because the schemas of its operators are missing. Here the extensions are loaded over
stand-ins for the CUDA symbols that they name (cuda_stubs.c, which benchmarks/setup compiles into the environment; no
benchmark calls one).
With a torchvision built for the CPU nothing is changed.
"""
import ctypes
import os

import torch

_PACKAGES = os.path.dirname(os.path.dirname(torch.__file__))
_FOLDER = os.path.join(_PACKAGES, "torchvision")
_STUBS = os.path.join(_PACKAGES, "libballast_cuda_stubs.so")


def _loads(name):
    try:
        ctypes.CDLL(os.path.join(_FOLDER, name))
        return True
    except OSError:
        return False


def _load_over_stubs():
    for name in ("libc10_cuda.so", "libtorch_cuda.so"):
        link = os.path.join(_FOLDER, name)
        if os.path.exists(_STUBS) and not os.path.exists(link):
            try:
                os.symlink(_STUBS, link)
            except FileExistsError:
                pass  # made by another process in the meantime
        if os.path.exists(link):
            ctypes.CDLL(link, mode=ctypes.RTLD_GLOBAL)
    _loads("image.so")  # also brings the CUDA runtime library that _C.so needs into the process
    return _loads("_C.so")


if os.path.exists(os.path.join(_FOLDER, "_C.so")) and not _loads("_C.so") and not _load_over_stubs():
    raise ImportError("torchvision does not load over this PyTorch: run benchmarks/setup")

import torchvision  # noqa: E402,F401


def can_decode():
    return hasattr(torch.ops.image, "decode_jpeg")
