"""Writes resize.json: what Pillow makes of small pictures, every filter, channel count and direction.

    python tests/golden/resize.py > tests/golden/resize.json      (needs Pillow)

One axis is resampled at a time: Pillow 13 swaps the order of the passes for some sizes. Pixels are those of pixel() below,
which the test computes too, so only the results are stored, as CRC-32 of their bytes.
"""
import json
import sys
import zlib

import PIL
from PIL import Image


def pixel(y, x, c):
    return (x * x * 31 + y * y * 17 + x * y * 7 + c * 101 + (x ^ y) * 13) % 256


def picture(h, w, c):
    data = bytes(pixel(y, x, j) for y in range(h) for x in range(w) for j in range(c))
    return Image.frombytes("L" if c == 1 else "RGB", (w, h), data)


FILTERS = {"box": Image.Resampling.BOX, "bilinear": Image.Resampling.BILINEAR, "hamming": Image.Resampling.HAMMING,
           "bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
SIZES = [(h, w, oh, ow)
         for h, w in ((1, 1), (1, 17), (23, 1), (16, 16), (31, 45), (64, 50), (97, 120), (130, 33))
         for oh, ow in ((1, 1), (7, 5), (16, 16), (24, 40), (32, 33), (50, 64), (96, 121), (130, 33))]

rows = []
for name, f in FILTERS.items():
    for c in (1, 3):
        for h, w, oh, ow in SIZES:
            image = picture(h, w, c).resize((ow, h), f).resize((ow, oh), f)
            rows.append([name, c, h, w, oh, ow, zlib.crc32(image.tobytes())])
json.dump({"peer": "Pillow " + PIL.__version__, "rows": rows}, sys.stdout, separators=(",", ":"))
print()
