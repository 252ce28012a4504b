"""How long other libraries take for one operation on a 224 x 224 picture in memory, from 8-bit pixels to 8-bit pixels, or to mix a batch
of 128 x 3 x 224 x 224 floats (mixup, cutmix), on one thread. benchmarks/run talks to it: each line on stdin asks for one round, each
line on stdout answers with microseconds of CPU time per call.

    augment.py OPERATION PEER

PEER    opencv, albumentations, pillow, torchvision (on tensors), timm, numpy; timm_mix, torchvision_mix
"""
import sys
import time

import numpy as np

operation, peer = sys.argv[1:]
y, x = np.mgrid[0:224, 0:224]
image = (128 + 60 * ((np.stack([x, x + 20, y], -1) // 40 + (y[..., None] // 30)) % 3 - 1) +
         np.random.default_rng(1).integers(0, 40, (224, 224, 3))).clip(0, 255).astype(np.uint8)


def opencv():
    import cv2
    cv2.setNumThreads(1)
    turn = cv2.getRotationMatrix2D((112, 112), 12.5, 1)
    corners = np.float32([[0, 0], [224, 0], [224, 224], [0, 224]])
    tilt = cv2.getPerspectiveTransform(corners, corners + np.float32([[20, 9], [-15, 12], [-8, -20], [11, -6]]))
    table = np.arange(256, dtype=np.uint8)[::-1].copy()
    line = np.diag(np.full(7, 1 / 7, np.float32))
    contrast = np.clip(np.arange(256) * 1.3 + (1 - 1.3) * image.mean(), 0, 255).astype(np.uint8)
    return {
        "rotate": lambda: cv2.warpAffine(image, turn, (224, 224), flags=cv2.INTER_LINEAR),
        "perspective": lambda: cv2.warpPerspective(image, tilt, (224, 224), flags=cv2.INTER_LINEAR),
        "equalize": lambda: cv2.merge([cv2.equalizeHist(c) for c in cv2.split(image)]),
        "gaussian_blur": lambda: cv2.GaussianBlur(image, (5, 5), 1.0),
        "brightness": lambda: cv2.convertScaleAbs(image, alpha=1.3),
        "contrast": lambda: (cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)), cv2.LUT(image, contrast)),
        "horizontal_flip": lambda: cv2.flip(image, 1),
        "vertical_flip": lambda: cv2.flip(image, 0),
        "transpose": lambda: cv2.transpose(image),
        "rotate90": lambda: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
        "grayscale": lambda: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
        "gamma": lambda: cv2.LUT(image, table),
        "invert": lambda: cv2.bitwise_not(image),
        "solarize": lambda: cv2.LUT(image, table),
        "solarize_add": lambda: cv2.LUT(image, table),
        "jpeg_compression": lambda: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], cv2.IMREAD_COLOR),
        "median_blur": lambda: cv2.medianBlur(image, 3),
        "motion_blur": lambda: cv2.filter2D(image, -1, line),
    }


def albumentations():
    import albumentations as A
    make = {
        "color_jitter": lambda: A.ColorJitter((0.6, 1.4), (0.6, 1.4), (0.6, 1.4), (-0.1, 0.1), p=1),
        "gaussian_noise": lambda: A.GaussNoise(p=1),
        "saturation": lambda: A.ColorJitter((1, 1), (1, 1), (1.3, 1.3), (0, 0), p=1),
        "hue": lambda: A.ColorJitter((1, 1), (1, 1), (1, 1), (0.1, 0.1), p=1),
        "elastic": lambda: A.ElasticTransform(alpha=50, sigma=5, p=1),
        "grid_distortion": lambda: A.GridDistortion(p=1),
        "optical_distortion": lambda: A.OpticalDistortion(p=1),
        "rgb_shift": lambda: A.RGBShift(p=1),
        "channel_shuffle": lambda: A.ChannelShuffle(p=1),
        "downscale": lambda: A.Downscale((0.5, 0.5), p=1),
        "unsharp": lambda: A.UnsharpMask(blur_limit=(5, 5), sigma_limit=(1, 1), p=1),
        "clahe": lambda: A.CLAHE(p=1),
        "salt_pepper": lambda: A.SaltAndPepper(amount=(0.05, 0.05), p=1),
        "pixel_dropout": lambda: A.PixelDropout(0.05, p=1),
        "coarse_dropout": lambda: A.CoarseDropout((8, 8), (16, 16), (16, 16), p=1),
        "grid_mask": lambda: A.GridDropout(p=1),
    }
    made = {name: f() for name, f in make.items() if name == operation}
    return {name: (lambda f=f: f(image=image)) for name, f in made.items()}


def pillow():
    from PIL import Image, ImageEnhance, ImageFilter, ImageOps
    pil = Image.fromarray(image)
    return {
        "rotate": lambda: pil.rotate(12.5, Image.Resampling.BILINEAR),
        "equalize": lambda: ImageOps.equalize(pil),
        "autocontrast": lambda: ImageOps.autocontrast(pil),
        "posterize": lambda: ImageOps.posterize(pil, 4),
        "gaussian_blur": lambda: pil.filter(ImageFilter.GaussianBlur(1)),
        "resize": lambda: pil.resize((112, 112), Image.Resampling.BILINEAR),
        "sharpness": lambda: ImageEnhance.Sharpness(pil).enhance(1.5),
        "solarize": lambda: ImageOps.solarize(pil),
        "invert": lambda: ImageOps.invert(pil),
        "grayscale": lambda: pil.convert("L").convert("RGB"),
    }


def torchvision():
    import torchvision_cpu  # noqa: F401
    import torch
    from torchvision.transforms import v2
    torch.set_num_threads(1)
    tensor = torch.from_numpy(image).permute(2, 0, 1).contiguous()
    f = {
        "color_jitter": v2.ColorJitter(0.4, 0.4, 0.4, 0.1), "rand_augment": v2.RandAugment(2, 9, interpolation=v2.InterpolationMode.BILINEAR),
        "hue": v2.ColorJitter(hue=(0.1, 0.1)), "saturation": v2.ColorJitter(saturation=(1.3, 1.3)),
    }
    return {name: (lambda g=g: g(tensor)) for name, g in f.items()}


def timm():
    import torchvision_cpu  # noqa: F401
    from PIL import Image
    from timm.data.auto_augment import rand_augment_transform
    pil = Image.fromarray(image)
    policy = rand_augment_transform("rand-m9-mstd0.5-inc1", {"translate_const": 100, "img_mean": (124, 116, 104)})

    def call():
        try:
            policy(pil)
        except ValueError:  # Pillow from 12 on refuses the 0 bits that timm's posterize may draw
            pass
    return {"timm_rand_augment": call}


def batch():
    import torch
    torch.set_num_threads(1)
    return torch.full((128, 3, 224, 224), 0.5), torch.arange(128)


def timm_mix():
    import torchvision_cpu  # noqa: F401
    from timm.data.mixup import Mixup
    x, y = batch()
    mix = Mixup(mixup_alpha=1.0 if operation == "mixup" else 0.0, cutmix_alpha=1.0 if operation == "cutmix" else 0.0, num_classes=1000)
    return {operation: lambda: mix(x, y)}


def torchvision_mix():
    import torchvision_cpu  # noqa: F401
    from torchvision.transforms import v2
    x, y = batch()
    mix = (v2.MixUp if operation == "mixup" else v2.CutMix)(num_classes=1000, alpha=1.0)
    return {operation: lambda: mix(x, y)}


def numpy():
    draw = np.random.default_rng(0)
    return {"gaussian_noise": lambda: np.clip(np.rint(image + 25.5 * draw.standard_normal(image.shape, np.float32)), 0, 255).astype(np.uint8)}


try:
    call = {f.__name__: f for f in (opencv, albumentations, pillow, torchvision, timm, timm_mix, torchvision_mix, numpy)}[peer]()[operation]
    call()
except (ImportError, KeyError, RuntimeError) as e:
    print("missing:", str(e).split("\n")[0], flush=True)
    sys.exit(1)
print("ready", flush=True)
for _ in sys.stdin:
    begin, n = time.process_time(), 0
    while time.process_time() - begin < 0.02:
        call()
        n += 1
    print(1e6 * (time.process_time() - begin) / n, flush=True)
