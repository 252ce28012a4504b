"""Writes augment.json: what Pillow, torchvision v2, OpenCV, Kornia, Albumentations and float64 arithmetic (SciPy) make of small
pictures.

    python tests/golden/augment.py > tests/golden/augment.json      (needs Pillow, torchvision, OpenCV, Kornia, Albumentations, SciPy)

Pixels are those of pixel() below, which the test computes too. A row: pipeline text, peer, channels, height, width, height
and width of the result, largest difference allowed, bytes (base64), and which pixels count (base64, or none: all).
"""
import base64
import json
import math
import sys

import albumentations
import cv2
import kornia
import numpy as np
import PIL
import scipy
import scipy.ndimage
import torch
import torchvision
from PIL import Image, ImageOps
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F


def picture(h, w, c, smooth):
    y, x, j = np.mgrid[0:h, 0:w, 0:c].astype(np.int64)
    if smooth:
        return np.clip(40 + 5 * x + 3 * y + 30 * j + (x * y) // 7, 0, 255).astype(np.uint8)
    return ((x * x * 31 + y * y * 17 + x * y * 7 + j * 101 + (x ^ y) * 13) % 256).astype(np.uint8)


rows = []


def add(text, peer, image, smooth, result, tolerance, mask=None):
    h, w, c = image.shape
    result = np.ascontiguousarray(result, np.uint8).reshape(result.shape[0], result.shape[1], c)
    pack = lambda a: base64.b64encode(np.ascontiguousarray(a, np.uint8).tobytes()).decode()
    rows.append([text, peer, c, h, w, int(smooth), result.shape[0], result.shape[1], tolerance, pack(result),
                 pack(mask) if mask is not None else ""])


def pil(image):
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def tensor(image):
    return torch.from_numpy(image).permute(2, 0, 1).contiguous()


def back(t):
    return t.permute(1, 2, 0).numpy()


PILLOW, TORCHVISION = "Pillow " + PIL.__version__, "torchvision " + torchvision.__version__
KORNIA, ALBUMENTATIONS = "Kornia " + kornia.__version__, "Albumentations " + albumentations.__version__
SCIPY, OPENCV = "float64, SciPy " + scipy.__version__, "OpenCV " + cv2.__version__
pictures = [(picture(h, w, c, s), s) for h, w, c, s in
            ((16, 21, 3, False), (19, 13, 3, True), (17, 17, 1, False), (18, 30, 3, True))]

for image, s in pictures:
    # Pillow: equal.
    for bits in (1, 3, 4, 7, 8):
        add(f"posterize({bits})", PILLOW, image, s, np.asarray(ImageOps.posterize(pil(image), bits)), 0)
    for threshold in (0, 1, 77, 128, 256):
        add(f"solarize({threshold})", PILLOW, image, s, np.asarray(ImageOps.solarize(pil(image), threshold)), 0)
    add("autocontrast(1)", PILLOW, image, s, np.asarray(ImageOps.autocontrast(pil(image))), 0)
    add("equalize(1)", PILLOW, image, s, np.asarray(ImageOps.equalize(pil(image))), 0)
    add("invert(1)", PILLOW, image, s, np.asarray(ImageOps.invert(pil(image))), 0)
    # torchvision: a level (hue two).
    t = tensor(image)
    for f in (0.0, 0.4, 0.93, 1.0, 1.7):
        add(f"brightness({f})", TORCHVISION, image, s, back(F.adjust_brightness(t, f)), 1)
        add(f"contrast({f})", TORCHVISION, image, s, back(F.adjust_contrast(t, f)), 1)
        add(f"saturation({f})", TORCHVISION, image, s, back(F.adjust_saturation(t, f)), 1)
        add(f"sharpness({f})", TORCHVISION, image, s, back(F.adjust_sharpness(t, f)), 1)
    for f in (-0.5, -0.21, 0.0, 0.1, 0.37):
        add(f"hue([{f}, {f}])", TORCHVISION, image, s, back(F.adjust_hue(t, f)), 2)
    for g in (0.5, 1.0, 2.2):
        add(f"gamma({g})", TORCHVISION, image, s, back(F.adjust_gamma(t, g)), 1)
    if image.shape[2] == 3:
        add("grayscale(1)", TORCHVISION, image, s, back(F.rgb_to_grayscale(t, num_output_channels=3)), 1)
    for size, sigma in ((3, 0.5), (5, 1.1), (9, 2.0)):
        add(f"gaussian_blur({size}, {sigma})", TORCHVISION, image, s, back(F.gaussian_blur(t, [size, size], [sigma, sigma])), 1)
    add("brightness(1.3) | contrast(0.7) | saturation(1.4) | hue([0.08, 0.08])", TORCHVISION, image, s,
        back(F.adjust_hue(F.adjust_saturation(F.adjust_contrast(F.adjust_brightness(t, 1.3), 0.7), 1.4), 0.08)), 3)
    for size in (3, 5):
        add(f"median_blur({size})", OPENCV, image, s, cv2.medianBlur(image, size), 0)
    # Geometry that copies: equal.
    add("hflip(1)", TORCHVISION, image, s, back(F.horizontal_flip(t)), 0)
    add("vflip(1)", TORCHVISION, image, s, back(F.vertical_flip(t)), 0)
    add("transpose", PILLOW, image, s, np.asarray(pil(image).transpose(Image.Transpose.TRANSPOSE)), 0)
    for k in range(4):
        add(f"rotate90({k})" if False else f"rotate90(k={k})", PILLOW, image, s, np.rot90(image, k), 0)
    add("rotate([90, 90], expand=true)", TORCHVISION, image, s, back(F.rotate(t, 90, expand=True)), 0)
    add("rotate([-90, -90], expand=true)", TORCHVISION, image, s, back(F.rotate(t, -90, expand=True)), 0)
    add("rotate([180, 180])", TORCHVISION, image, s, back(F.rotate(t, 180)), 0)
    add("pad([2, 1, 4, 3], fill=7)", TORCHVISION, image, s, back(F.pad(t, [2, 1, 4, 3], fill=7)), 0)
    for mode in ("edge", "reflect", "symmetric"):
        add(f"pad([2, 1, 4, 3], padding_mode={mode})", TORCHVISION, image, s, back(F.pad(t, [2, 1, 4, 3], padding_mode=mode)), 0)
    add("center_crop([11, 24])", TORCHVISION, image, s, back(F.center_crop(t, [11, 24])), 0)
    for d in (-5, 3):
        add(f"translate_x([{d}, {d}])", TORCHVISION, image, s, back(F.affine(t, 0, [d, 0], 1, [0, 0])), 0)
        add(f"translate_y([{d}, {d}])", TORCHVISION, image, s, back(F.affine(t, 0, [0, d], 1, [0, 0])), 0)


def inverse_map(image, m, h, w, smooth, text, order=1, fill=0.0, tolerance=1):
    """float64 reference: pixel centres at + 1/2, outside taps take the fill."""
    y, x = np.mgrid[0:h, 0:w]
    px, py = x + 0.5, y + 0.5
    d = m[2, 0] * px + m[2, 1] * py + m[2, 2]
    sx, sy = (m[0, 0] * px + m[0, 1] * py + m[0, 2]) / d, (m[1, 0] * px + m[1, 1] * py + m[1, 2]) / d
    out = np.stack([scipy.ndimage.map_coordinates(image[:, :, c].astype(np.float64), [sy - 0.5, sx - 0.5], order=order,
                                                  mode="grid-constant", cval=fill) for c in range(image.shape[2])], -1)
    add(text, SCIPY, image, smooth, np.clip(np.floor(out + 0.5), 0, 255), tolerance)


def rotation(deg, w, h):
    a = math.radians(deg)
    c, s = math.cos(a), math.sin(a)
    cx, cy = w / 2, h / 2
    forward = np.array([[c, s, cx - c * cx - s * cy], [-s, c, cy + s * cx - c * cy], [0, 0, 1]])
    return np.linalg.inv(forward)


def affine(deg, tx, ty, scale, p, q, w, h):
    """torchvision's documentation: T C RotateScaleShear C^-1."""
    a, p, q = (math.radians(v) for v in (deg, p, q))
    rss = scale * np.array([[math.cos(a - q) / math.cos(q), -math.cos(a - q) * math.tan(p) / math.cos(q) - math.sin(a), 0],
                            [math.sin(a - q) / math.cos(q), -math.sin(a - q) * math.tan(p) / math.cos(q) + math.cos(a), 0],
                            [0, 0, 1 / scale]])
    move = lambda x, y: np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])
    return np.linalg.inv(move(tx, ty) @ move(w / 2, h / 2) @ rss @ move(-w / 2, -h / 2))


for image, s in pictures:
    h, w, _ = image.shape
    t = tensor(image)
    for deg in (-33, 7, 15, 90.5, 178):
        inverse_map(image, rotation(deg, w, h), h, w, s, f"rotate([{deg}, {deg}], antialias=false)")
        inverse_map(image, rotation(deg, w, h), h, w, s, f"rotate([{deg}, {deg}], antialias=false, fill=200)", fill=200.0)
        # torchvision itself, where all four taps are inside and single precision does not change the taps.
        inside = F.rotate(torch.full((1, h, w), 255, dtype=torch.uint8), deg, InterpolationMode.BILINEAR)[0].numpy() == 255
        add(f"rotate([{deg}, {deg}], antialias=false)", TORCHVISION, image, s,
            back(F.rotate(t, deg, InterpolationMode.BILINEAR)), 1, inside)
    for deg, scale, p, q in ((10, 1, 0, 0), (0, 1.3, 0, 0), (-25, 0.8, 12, 0), (5, 1.1, -20, 9)):
        text = f"affine([{deg}, {deg}], scale={scale}, shear=[{p}, {p}, {q}, {q}], antialias=false)"
        inverse_map(image, affine(deg, 0, 0, scale, p, q, w, h), h, w, s, text)
        inside = F.affine(torch.full((1, h, w), 255, dtype=torch.uint8), deg, [0, 0], scale, [p, q],
                          InterpolationMode.BILINEAR)[0].numpy() == 255
        add(text, TORCHVISION, image, s, back(F.affine(t, deg, [0, 0], scale, [p, q], InterpolationMode.BILINEAR)), 1, inside)
    for amount in (-0.3, 0.12):
        inverse_map(image, np.array([[1, amount, 0], [0, 1, 0], [0, 0, 1]]), h, w, s, f"shear_x([{amount}, {amount}], antialias=false)")
        inverse_map(image, np.array([[1, 0, 0], [amount, 1, 0], [0, 0, 1]]), h, w, s, f"shear_y([{amount}, {amount}], antialias=false)")
    # One resampling for all: fused.
    inverse_map(image, np.array([[-1, 0, w], [0, 1, 0], [0, 0, 1]]) @ rotation(20, w, h), h, w, s,
                "hflip(1) | rotate([20, 20], antialias=false)")
    both = rotation(20, w, h) @ np.array([[1, 0, w // 2 - 4], [0, 1, h // 2 - 4], [0, 0, 1]])
    crop = "rotate([20, 20], antialias=false) | center_crop(8)"
    if (w - 8) % 2 == 0 and (h - 8) % 2 == 0:
        inverse_map(image, both, 8, 8, s, crop)

VIEWS = ["top_left", "top_right", "bottom_left", "bottom_right", "center"]
for image, s in pictures:
    t = tensor(image)
    for size in ([9, 10], [16, 11]) if image.shape[1] > 12 else ():
        size = [min(size[0], image.shape[0]), min(size[1], image.shape[1])]
        for view, crop in zip(VIEWS, F.five_crop(t, size)):
            add(f"five_crop({size}, view={view})", TORCHVISION, image, s, back(crop), 0)
        for view, crop in zip(VIEWS + ["mirrored_" + v for v in VIEWS], F.ten_crop(t, size)):
            add(f"ten_crop({size}, view={view})", TORCHVISION, image, s, back(crop), 0)

    # OpenCV: what copies is equal; a mean or a blur in its integers a level.
    def shaped(a):
        return a.reshape(a.shape[0], a.shape[1], image.shape[2])

    for mode, border in (("edge", cv2.BORDER_REPLICATE), ("reflect", cv2.BORDER_REFLECT_101), ("symmetric", cv2.BORDER_REFLECT),
                         ("wrap", cv2.BORDER_WRAP)):
        add(f"pad([2, 1, 4, 3], padding_mode={mode})", OPENCV, image, s, shaped(cv2.copyMakeBorder(image, 1, 3, 2, 4, border)), 0)
    add("d4(p=0) | rotate90(k=1)", OPENCV, image, s, shaped(cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE)), 0)
    for size, sigma in ((3, 0.8), (7, 1.7)):
        add(f"gaussian_blur({size}, {sigma})", OPENCV, image, s,
            shaped(cv2.GaussianBlur(image, (size, size), sigma, borderType=cv2.BORDER_REFLECT_101)), 1)
    h, w = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    even = np.ascontiguousarray(image[:h, :w])
    # The picture of the rows begins at the same pixels, so a crop is made first.
    cut = f"center_crop([{h}, {w}])"
    even = back(F.center_crop(t, [h, w])).copy()
    add(f"{cut} | resize([{h // 2}, {w // 2}], interpolation=box)", OPENCV, image, s,
        shaped(cv2.resize(even, (w // 2, h // 2), interpolation=cv2.INTER_AREA)), 1)
    for nh, nw in ((h * 2, w * 2), (7, 9), (31, 40)):
        # A point that lies between two pixels may take either.
        sure = lambda n, length: np.array([(2 * i + 1) * length % (2 * n) != 0 for i in range(n)], np.uint8)
        add(f"resize([{nh}, {nw}], interpolation=nearest)", OPENCV, image, s,
            shaped(cv2.resize(image, (nw, nh), interpolation=cv2.INTER_NEAREST_EXACT)), 0,
            np.outer(sure(nh, image.shape[0]), sure(nw, image.shape[1])))

    # Kornia works in [0, 1].
    x = t.float().div(255)[None]
    levels = lambda y: back(torch.clamp(torch.round(y[0] * 255), 0, 255).to(torch.uint8))
    add("invert(1)", KORNIA, image, s, levels(kornia.enhance.invert(x)), 0)
    add("solarize(100)", KORNIA, image, s, levels(kornia.enhance.solarize(x, 99.5 / 255)), 0)
    for bits in (2, 5):
        add(f"posterize({bits})", KORNIA, image, s, levels(kornia.enhance.posterize(x, bits)), 0)
    add("gamma(1.6)", KORNIA, image, s, levels(kornia.enhance.adjust_gamma(x, 1.6)), 1)
    add("gaussian_blur(5, 1.3)", KORNIA, image, s, levels(kornia.filters.gaussian_blur2d(x, (5, 5), (1.3, 1.3), "reflect")), 1)
    add("hflip(1) | vflip(1)", KORNIA, image, s, levels(kornia.geometry.rot180(x)), 0)
    inner = np.zeros(image.shape[:2], np.uint8)
    inner[1:-1, 1:-1] = 1
    add("median_blur(3)", KORNIA, image, s, levels(kornia.filters.median_blur(x, 3)), 0, inner)
    if image.shape[2] == 3:
        add("grayscale(1)", KORNIA, image, s, levels(kornia.color.rgb_to_grayscale(x).expand(-1, 3, -1, -1)), 1)
        for f in (-0.3, 0.15):
            add(f"hue([{f}, {f}])", KORNIA, image, s, levels(kornia.enhance.adjust_hue(x, 2 * math.pi * f)), 2)
    for deg in (-25, 40):
        angle = torch.tensor([float(deg)])
        inside = levels(kornia.geometry.rotate(torch.ones_like(x), angle))[:, :, 0] == 255
        add(f"rotate([{deg}, {deg}], antialias=false)", KORNIA, image, s, levels(kornia.geometry.rotate(x, angle)), 1, inside)

    # Albumentations: 8 bits.
    P = albumentations.augmentations.pixel.functional
    add("invert(1)", ALBUMENTATIONS, image, s, shaped(P.invert(image)), 0)
    add("solarize(100)", ALBUMENTATIONS, image, s, shaped(P.solarize(image, 100 / 255)), 0)
    for bits in (2, 5):
        add(f"posterize({bits})", ALBUMENTATIONS, image, s, shaped(P.posterize(image, bits)), 0)

json.dump({"rows": rows}, sys.stdout, separators=(",", ":"))
print()
