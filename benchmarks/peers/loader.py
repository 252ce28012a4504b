"""How fast other libraries turn JPEG files into training rows on one thread. benchmarks/run talks to it: each line on stdin asks for
one round, each line on stdout answers with images per second of CPU time.

    loader.py RECIPE PEER FOLDER IMAGES

RECIPE  cifar: decode, pad 4, random crop 32, flip, normalize.  photos: decode, random resized crop to 224, flip, normalize.
PEER    pillow, tensor, opencv, albumentations, augrs, timm
"""
import glob
import math
import os
import random
import sys
import time

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
recipe, peer, folder, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
photos = recipe == "photos"

import numpy as np  # noqa: E402
import torch  # noqa: E402
torch.set_num_threads(1)
random.seed(0)
np.random.seed(0)


def make_pillow():
    import torchvision_cpu  # noqa: F401
    from PIL import Image
    from torchvision import transforms as t
    crop = t.RandomResizedCrop(224) if photos else t.RandomCrop(32, padding=4)
    f = t.Compose([crop, t.RandomHorizontalFlip(), t.ToTensor(), t.Normalize(MEAN, STD)])

    def load(path):
        with Image.open(path) as picture:
            return f(picture.convert("RGB"))
    return load


def make_tensor():
    import torchvision_cpu
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms import v2
    if not torchvision_cpu.can_decode():
        raise ImportError("torchvision.io cannot decode here")
    crop = v2.RandomResizedCrop(224, antialias=True) if photos else v2.RandomCrop(32, padding=4)
    f = v2.Compose([crop, v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
    return lambda path: f(decode_jpeg(read_file(path), ImageReadMode.RGB))


def make_timm():
    import torchvision_cpu  # noqa: F401
    from PIL import Image
    from timm.data import create_transform
    if not photos:
        raise ImportError("timm's training transform has no padded crop")
    f = create_transform(224, is_training=True, color_jitter=None, interpolation="bilinear", mean=MEAN, std=STD)

    def load(path):
        with Image.open(path) as picture:
            return f(picture.convert("RGB"))
    return load


def rrc_box(h, w):
    for _ in range(10):
        area, ratio = h * w * random.uniform(0.08, 1), math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        cw, ch = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if cw <= w and ch <= h:
            return random.randint(0, h - ch), random.randint(0, w - cw), ch, cw
    side = min(h, w)
    return (h - side) // 2, (w - side) // 2, side, side


def make_opencv():
    """As an expert writes it by hand: crop as a view, not antialiased, normalization in one pass per channel."""
    import cv2
    cv2.setNumThreads(1)
    scale = (1 / (255 * np.array(STD, np.float32))).astype(np.float32)
    shift = (np.array(MEAN, np.float32) / np.array(STD, np.float32)).astype(np.float32)

    def load(path):
        x = cv2.imread(path, cv2.IMREAD_COLOR)
        if photos:
            y0, x0, h, w = rrc_box(*x.shape[:2])
            x = cv2.resize(x[y0:y0 + h, x0:x0 + w], (224, 224), interpolation=cv2.INTER_LINEAR)
        else:
            x = cv2.copyMakeBorder(x, 4, 4, 4, 4, cv2.BORDER_CONSTANT)
            y0, x0 = random.randint(0, 8), random.randint(0, 8)
            x = x[y0:y0 + 32, x0:x0 + 32]
        if random.random() < 0.5:
            x = cv2.flip(x, 1)
        out = np.empty((3,) + x.shape[:2], np.float32)
        for c in range(3):
            np.multiply(x[:, :, 2 - c], scale[c], out=out[c])
            out[c] -= shift[c]
        return torch.from_numpy(out)
    return load


def make_albumentations():
    import albumentations as A
    import cv2
    cv2.setNumThreads(1)
    crop = [A.RandomResizedCrop(size=(224, 224))] if photos else [A.PadIfNeeded(40, 40, border_mode=0), A.RandomCrop(32, 32)]
    f = A.Compose(crop + [A.HorizontalFlip(p=0.5), A.Normalize(MEAN, STD)])

    def load(path):
        x = cv2.cvtColor(cv2.imread(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        return torch.from_numpy(np.ascontiguousarray(f(image=x)["image"].transpose(2, 0, 1)))
    return load


def make_augrs():
    import augrs as A
    import cv2
    cv2.setNumThreads(1)
    if photos:
        crop = [A.RandomResizedCrop(224, 224)]
    else:
        crop = [A.PadIfNeeded(40, 40), A.RandomCrop(32, 32)]
    f = A.Compose(crop + [A.HorizontalFlip(p=0.5), A.Normalize(MEAN, STD)])

    def load(path):
        x = cv2.cvtColor(cv2.imread(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        return torch.from_numpy(np.ascontiguousarray(f(image=x)["image"].transpose(2, 0, 1)))
    return load


try:
    load = globals()["make_" + peer]()
    files = sorted(glob.glob(os.path.join(folder, "*", "*")))
    random.Random(1).shuffle(files)
    files = files[:count]
    shape = (3, 224, 224) if photos else (3, 32, 32)
    for path in files[:64]:
        row = load(path)
        if tuple(row.shape) != shape or row.dtype != torch.float32:
            raise TypeError(f"{peer} gives {tuple(row.shape)} {row.dtype}")
except Exception as e:  # said by the harness, which goes on without this peer
    print(f"missing: {type(e).__name__}: {e}".splitlines()[0], flush=True)
    sys.exit(0)
print("ready", flush=True)
for _ in sys.stdin:
    start = time.process_time()
    for i in range(0, len(files), 128):
        torch.stack([load(path) for path in files[i:i + 128]])
    print(len(files) / (time.process_time() - start), flush=True)
