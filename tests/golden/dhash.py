#!/usr/bin/env python3
"""Difference hashes of tests/photos by Pillow, for near_duplicates_test.cpp.   tests/golden/dhash.py   (needs Pillow)"""
import json
import pathlib

import PIL
from PIL import Image

ROOT = pathlib.Path(__file__).parents[2]
hashes = {}
for file in sorted((ROOT / "tests/photos").rglob("*.jpg")):
    small = Image.open(file).convert("RGB").resize((9, 8), Image.Resampling.BILINEAR).convert("L")
    bits = 0
    for y in range(8):
        for x in range(8):
            bits |= (small.getpixel((x, y)) < small.getpixel((x + 1, y))) << (8 * y + x)
    hashes[str(file.relative_to(ROOT))] = f"{bits:016x}"
(ROOT / "tests/golden/dhash.json").write_text(json.dumps({"pillow": PIL.__version__, "dhash": hashes}, indent=1) + "\n")
