#!/usr/bin/env python3
"""One operation at a time on a 224 x 224 picture, against Python peers, on one thread.

    PYTHON benchmarks/augment_peers.py build/release/bin/ballast      (needs the peers that are to be measured; a missing
                                                                       one is said)
Ours is what `ballast augment bench` adds to the store of normalized floats; a peer's is its call alone, from 8-bit pixels
to 8-bit pixels. The fastest of several rounds each, processor time.
"""
import json
import subprocess
import sys
import time

import numpy as np

ROUNDS, SECONDS = 7, 0.03


def timed(call):
    call()
    best = 1e9
    for _ in range(ROUNDS):
        begin, n = time.process_time(), 0
        while True:
            call()
            n += 1
            spent = time.process_time() - begin
            if spent > SECONDS:
                break
        best = min(best, spent / n)
    return 1e6 * best


def ours(program, pipeline):
    out = subprocess.run([program, "augment", "bench", "--pipeline", pipeline, "--seconds", "0.2", "--json"], check=True,
                         capture_output=True, text=True).stdout
    return 1e6 * json.loads(out)[1]["seconds_without_store"]


y, x = np.mgrid[0:224, 0:224]
image = (128 + 60 * ((np.stack([x, x + 20, y], -1) // 40 + (y[..., None] // 30)) % 3 - 1) +
         np.random.default_rng(1).integers(0, 40, (224, 224, 3))).clip(0, 255).astype(np.uint8)

peers = {}


def add(operation, peer, call):
    peers.setdefault(operation, []).append((peer, call))


try:
    import cv2
    cv2.setNumThreads(1)
    turn = cv2.getRotationMatrix2D((112, 112), 12.5, 1)
    add("rotate", "OpenCV", lambda: cv2.warpAffine(image, turn, (224, 224), flags=cv2.INTER_LINEAR))
    add("equalize", "OpenCV", lambda: cv2.merge([cv2.equalizeHist(c) for c in cv2.split(image)]))
    add("gaussian_blur 5", "OpenCV", lambda: cv2.GaussianBlur(image, (5, 5), 1.0))
    add("brightness", "OpenCV", lambda: cv2.convertScaleAbs(image, alpha=1.3))
except ImportError:
    print("OpenCV is missing")
try:
    import albumentations as A
    jitter = A.ColorJitter((0.6, 1.4), (0.6, 1.4), (0.6, 1.4), (-0.1, 0.1), p=1)
    add("color_jitter b c s h", "Albumentations " + A.__version__, lambda: jitter(image=image))
    erase = A.Erasing(p=1)
    noise = A.GaussNoise(p=1)
    add("gaussian_noise", "Albumentations", lambda: noise(image=image))
except ImportError:
    print("Albumentations is missing")
try:
    from PIL import Image, ImageFilter, ImageOps
    pil = Image.fromarray(image)
    add("rotate", "Pillow", lambda: pil.rotate(12.5, Image.Resampling.BILINEAR))
    add("equalize", "Pillow", lambda: ImageOps.equalize(pil))
    add("autocontrast", "Pillow", lambda: ImageOps.autocontrast(pil))
    add("posterize", "Pillow", lambda: ImageOps.posterize(pil, 4))
    add("gaussian_blur 5", "Pillow", lambda: pil.filter(ImageFilter.GaussianBlur(1)))
except ImportError:
    print("Pillow is missing")
try:
    import torch
    from torchvision.transforms import v2
    torch.set_num_threads(1)
    tensor = torch.from_numpy(image).permute(2, 0, 1).contiguous()
    tv = v2.ColorJitter(0.4, 0.4, 0.4, 0.1)
    add("color_jitter b c s h", "torchvision", lambda: tv(tensor))
    ra = v2.RandAugment(2, 9, interpolation=v2.InterpolationMode.BILINEAR)
    add("rand_augment", "torchvision", lambda: ra(tensor))
    add("rand_augment", "torchvision on Pillow", lambda: ra(pil))
except (ImportError, RuntimeError) as e:
    print("torchvision is missing:", str(e).split("\n")[0])
try:
    from timm.data.auto_augment import rand_augment_transform
    policy = rand_augment_transform("rand-m9-mstd0.5-inc1", {"translate_const": 100, "img_mean": (124, 116, 104)})
    add("rand-m9-mstd0.5-inc1", "timm", lambda: policy(pil))
except Exception as e:
    print("timm is missing:", str(e).split("\n")[0])

OURS = {"rotate": "rotate(12.5..12.5, antialias=false)", "equalize": "equalize(1)", "autocontrast": "autocontrast(1)",
        "posterize": "posterize(4)", "gaussian_blur 5": "gaussian_blur(5, 1)", "brightness": "brightness(1.3)",
        "color_jitter b c s h": "jitter(0.4, 0.4, 0.4, 0.1)", "gaussian_noise": "gaussian_noise", "rand_augment": "rand_augment",
        "rand-m9-mstd0.5-inc1": "rand-m9-mstd0.5-inc1"}
print(f"{'operation':24} {'ours us':>9}  peers us (times ours)")
for operation, pipeline in OURS.items():
    mine = ours(sys.argv[1], pipeline)
    texts = []
    for name, call in peers.get(operation, []):
        theirs = timed(call)
        texts.append(f"{name} {theirs:.0f} ({theirs / mine:.1f}x)")
    print(f"{operation:24} {mine:9.1f}  " + ", ".join(texts))
