"""How fast other libraries turn JPEG files into training rows on one thread. benchmarks/run talks to it: each line on stdin asks for
one round, each line on stdout answers with images per second of CPU time.

    loader.py RECIPE PEER FOLDER IMAGES [WORKERS]

WORKERS  processes of torch's DataLoader, which stay: images per second by the clock

RECIPE  cifar: decode, pad 4, random crop 32, flip, normalize.  cifar_memory: the same from decoded pictures in memory.
        photos: decode, random resized crop to 224, flip, normalize.  full: the same with color_jitter(0.4, 0.4, 0.4, 0.1) behind
        the flip and random erasing of a quarter of the pictures at the end.
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
photos, full, in_memory = recipe in ("photos", "full"), recipe == "full", recipe == "cifar_memory"
JITTER = (0.4, 0.4, 0.4, 0.1)

import numpy as np  # noqa: E402
import torch  # noqa: E402
torch.set_num_threads(1)
random.seed(0)
np.random.seed(0)


def pil(path):
    from PIL import Image
    if in_memory:
        return Image.fromarray(path)
    with Image.open(path) as picture:
        return picture.convert("RGB")


def bgr(path):
    import cv2
    return path if in_memory else cv2.imread(path, cv2.IMREAD_COLOR)


def rgb(path):
    import cv2
    return path if in_memory else cv2.cvtColor(cv2.imread(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def make_pillow():
    import torchvision_cpu  # noqa: F401
    from torchvision import transforms as t
    crop = t.RandomResizedCrop(224) if photos else t.RandomCrop(32, padding=4)
    colour, erase = ([t.ColorJitter(*JITTER)], [t.RandomErasing(0.25)]) if full else ([], [])
    f = t.Compose([crop, t.RandomHorizontalFlip(), *colour, t.ToTensor(), t.Normalize(MEAN, STD), *erase])
    return lambda path: f(pil(path))


def make_tensor():
    import torchvision_cpu
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms import v2
    if not torchvision_cpu.can_decode():
        raise ImportError("torchvision.io cannot decode here")
    crop = v2.RandomResizedCrop(224, antialias=True) if photos else v2.RandomCrop(32, padding=4)
    colour, erase = ([v2.ColorJitter(*JITTER)], [v2.RandomErasing(0.25)]) if full else ([], [])
    f = v2.Compose([crop, v2.RandomHorizontalFlip(), *colour, v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD), *erase])
    if in_memory:
        return lambda image: f(torch.from_numpy(image).permute(2, 0, 1))
    return lambda path: f(decode_jpeg(read_file(path), ImageReadMode.RGB))


def make_timm():
    import torchvision_cpu  # noqa: F401
    from timm.data import create_transform
    if not photos:
        raise ImportError("timm's training transform has no padded crop")
    f = create_transform(224, is_training=True, color_jitter=JITTER if full else None, re_prob=0.25 if full else 0.0, interpolation="bilinear",
                         mean=MEAN, std=STD)
    return lambda path: f(pil(path))


def rrc_box(h, w):
    for _ in range(10):
        area, ratio = h * w * random.uniform(0.08, 1), math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        cw, ch = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if cw <= w and ch <= h:
            return random.randint(0, h - ch), random.randint(0, w - cw), ch, cw
    side = min(h, w)
    return (h - side) // 2, (w - side) // 2, side, side


def jitter(x):
    """Colour jitter by OpenCV on 8-bit BGR: tables where a value alone decides, hue in OpenCV's 180 steps."""
    import cv2
    b, c, s = (random.uniform(0.6, 1.4) for _ in range(3))
    hue = round(random.uniform(-0.1, 0.1) * 180)
    ramp = np.arange(256, dtype=np.float32)
    for step in random.sample(range(4), 4):
        if step == 0:
            x = cv2.LUT(x, np.clip(ramp * b, 0, 255).astype(np.uint8))
        elif step == 1:
            mean = cv2.mean(cv2.cvtColor(x, cv2.COLOR_BGR2GRAY))[0]
            x = cv2.LUT(x, np.clip(ramp * c + (1 - c) * mean, 0, 255).astype(np.uint8))
        elif step == 2:
            gray = cv2.cvtColor(cv2.cvtColor(x, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
            x = cv2.addWeighted(x, s, gray, 1 - s, 0)
        else:
            hsv = cv2.cvtColor(x, cv2.COLOR_BGR2HSV)
            turned = cv2.LUT(hsv[:, :, 0], ((np.arange(256) + hue) % 180).astype(np.uint8))
            x = cv2.cvtColor(cv2.merge([turned, hsv[:, :, 1], hsv[:, :, 2]]), cv2.COLOR_HSV2BGR)
    return x


def erase_box(h, w):
    """Height, width, top and left of random erasing's box, or None."""
    for _ in range(10):
        area, ratio = h * w * random.uniform(0.02, 0.33), math.exp(random.uniform(math.log(0.3), math.log(3.3)))
        eh, ew = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if eh < h and ew < w:
            return eh, ew, random.randint(0, h - eh), random.randint(0, w - ew)
    return None


def make_opencv():
    """As an expert writes it by hand: crop as a view, not antialiased, normalization in one pass per channel."""
    import cv2
    cv2.setNumThreads(1)
    scale = (1 / (255 * np.array(STD, np.float32))).astype(np.float32)
    shift = (np.array(MEAN, np.float32) / np.array(STD, np.float32)).astype(np.float32)

    def load(path):
        x = bgr(path)
        if photos:
            y0, x0, h, w = rrc_box(*x.shape[:2])
            x = cv2.resize(x[y0:y0 + h, x0:x0 + w], (224, 224), interpolation=cv2.INTER_LINEAR)
        else:
            x = cv2.copyMakeBorder(x, 4, 4, 4, 4, cv2.BORDER_CONSTANT)
            y0, x0 = random.randint(0, 8), random.randint(0, 8)
            x = x[y0:y0 + 32, x0:x0 + 32]
        if random.random() < 0.5:
            x = cv2.flip(x, 1)
        if full:
            x = jitter(x)
        out = np.empty((3,) + x.shape[:2], np.float32)
        for c in range(3):
            np.multiply(x[:, :, 2 - c], scale[c], out=out[c])
            out[c] -= shift[c]
        box = erase_box(*x.shape[:2]) if full and random.random() < 0.25 else None
        if box is not None:
            out[:, box[2]:box[2] + box[0], box[3]:box[3] + box[1]] = 0
        return torch.from_numpy(out)
    return load


def make_albumentations():
    import albumentations as A
    import cv2
    cv2.setNumThreads(1)
    crop = [A.RandomResizedCrop(size=(224, 224))] if photos else [A.PadIfNeeded(40, 40, border_mode=0), A.RandomCrop(32, 32)]
    colour = [A.ColorJitter((0.6, 1.4), (0.6, 1.4), (0.6, 1.4), (-0.1, 0.1), p=1)] if full else []
    erase = [A.Erasing(p=0.25)] if full else []
    f = A.Compose(crop + [A.HorizontalFlip(p=0.5), *colour, A.Normalize(MEAN, STD), *erase])
    return lambda path: torch.from_numpy(np.ascontiguousarray(f(image=rgb(path))["image"].transpose(2, 0, 1)))


def make_augrs():
    import augrs as A
    import cv2
    cv2.setNumThreads(1)
    if photos:
        crop = [A.RandomResizedCrop(224, 224)]
    else:
        crop = [A.PadIfNeeded(40, 40), A.RandomCrop(32, 32)]
    colour = [A.ColorJitter((0.6, 1.4), (0.6, 1.4), (0.6, 1.4), (-0.1, 0.1), p=1)] if full else []
    # It has no random erasing; one hole of fractions drawn on their own is the nearest.
    erase = [A.CoarseDropout(num_holes_range=(1, 1), hole_height_range=(0.1, 0.6), hole_width_range=(0.1, 0.6), p=0.25)] if full else []
    f = A.Compose(crop + [A.HorizontalFlip(p=0.5), *colour, A.Normalize(MEAN, STD), *erase])
    return lambda path: torch.from_numpy(np.ascontiguousarray(f(image=rgb(path))["image"].transpose(2, 0, 1)))


try:
    load = globals()["make_" + peer]()
    files = sorted(glob.glob(os.path.join(folder, "*", "*")))
    random.Random(1).shuffle(files)
    files = files[:count]
    if in_memory:
        import cv2
        files = [cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB) for path in files]
    shape = (3, 224, 224) if photos else (3, 32, 32)
    for path in files[:64]:
        row = load(path)
        if tuple(row.shape) != shape or row.dtype != torch.float32:
            raise TypeError(f"{peer} gives {tuple(row.shape)} {row.dtype}")
except Exception as e:  # said by the harness, which goes on without this peer
    print(f"missing: {type(e).__name__}: {e}".splitlines()[0], flush=True)
    sys.exit(0)
print("ready", flush=True)
if len(sys.argv) > 5:
    class Files(torch.utils.data.Dataset):
        def __len__(self):
            return len(files)

        def __getitem__(self, i):
            return load(files[i])

    batches = torch.utils.data.DataLoader(Files(), 128, shuffle=True, num_workers=int(sys.argv[5]), persistent_workers=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _batch in batches:
            pass
        print(len(files) / (time.perf_counter() - start), flush=True)
    sys.exit(0)
for _ in sys.stdin:
    start = time.process_time()
    for i in range(0, len(files), 128):
        torch.stack([load(path) for path in files[i:i + 128]])
    print(len(files) / (time.process_time() - start), flush=True)
