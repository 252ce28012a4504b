#!/usr/bin/env python3
"""Writes tests/golden/safetensors/*.safetensors with the reference implementation: safetensors 0.8.0 (numpy 2.4.6).

  pip install safetensors==0.8.0 numpy && python tests/golden/safetensors_files.py

safetensors_test.cpp builds the same tensors and compares whole files.
"""
import ctypes
import pathlib

from safetensors import TensorSpec, serialize

OUT = pathlib.Path(__file__).parent / "safetensors"

# Python's word, the format's word, bits. The script's part of the format: F6 has no word in Python yet.
DTYPES = [
    ("bool", "BOOL", 8), ("float4_e2m1fn_x2", "F4", 4), ("uint8", "U8", 8), ("int8", "I8", 8),
    ("float8_e5m2", "F8_E5M2", 8), ("float8_e4m3fn", "F8_E4M3", 8), ("float8_e8m0fnu", "F8_E8M0", 8),
    ("float8_e4m3fnuz", "F8_E4M3FNUZ", 8), ("float8_e5m2fnuz", "F8_E5M2FNUZ", 8), ("int16", "I16", 16),
    ("uint16", "U16", 16), ("float16", "F16", 16), ("bfloat16", "BF16", 16), ("int32", "I32", 32),
    ("uint32", "U32", 32), ("float32", "F32", 32), ("complex64", "C64", 64), ("float64", "F64", 64),
    ("int64", "I64", 64), ("uint64", "U64", 64),
]


def counting(n):
    return bytes(i % 251 for i in range(n))


def write(name, tensors, metadata):
    buffers = {key: ctypes.create_string_buffer(t["data"], len(t["data"])) for key, t in tensors.items()}
    specs = {key: TensorSpec(dtype=t["dtype"], shape=t["shape"], data_ptr=ctypes.addressof(buffers[key]),
                             data_len=len(t["data"])) for key, t in tensors.items()}
    (OUT / (name + ".safetensors")).write_bytes(bytes(serialize(specs, metadata)))


def main():
    OUT.mkdir(exist_ok=True)
    f32 = lambda *shape: {"dtype": "float32", "shape": list(shape), "data": counting(4 * product(shape))}
    write("empty", {}, None)
    write("metadata_only", {}, {"format": "pt"})
    write("one", {"weight": f32(2, 3)}, None)
    write("one_pt", {"weight": f32(2, 3)}, {"format": "pt"})
    write("scalar_and_zero", {"scalar": f32(), "zero": f32(3, 0, 2), "a": f32(1)}, {"format": "pt"})
    # Names in an order that is not theirs; control characters, quotes, a backslash, a slash, DEL, and beyond ASCII.
    names = ["b", "a", "layer1.0.conv1.weight", "layer1.0.bn1.bias", "quote\"", "back\\slash", "sl/ash", "tab\t",
             "line\n", "bell\x07", "del\x7f", "na\u00efve", "\u5c64", "\U0001f40b", ""]
    write("names", {n: f32(1) for n in names}, {"format": "pt"})
    mixed = {}
    for numpy_name, name, bits in DTYPES:
        for part in ("b", "a"):
            mixed[f"{part}.{name}"] = {"dtype": numpy_name, "shape": [2 if bits < 8 else 4], "data": counting(4 * bits // 8)}
    write("dtypes", mixed, {"format": "pt"})
    # Each length of the header modulo 8.
    for n in range(8):
        write(f"pad{n}", {"x" * (n + 1): f32(1)}, None)


def product(shape):
    result = 1
    for size in shape:
        result *= size
    return result


if __name__ == "__main__":
    main()
