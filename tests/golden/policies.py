"""Writes policies.json: the tables and spaces of torchvision's and timm's augmentation policies.

    python tests/golden/policies.py > tests/golden/policies.json      (needs torchvision and timm)

tables: AutoAugment's pairs. spaces: every operation that a call may do on a picture of H x W, under the name that
ballast notes, with all values it may have (null: a range), and the shares of the operations where the first draw alone
decides.
"""
import json
import random
import sys

import timm
import torchvision
from timm.data import auto_augment as T
from torchvision.transforms import v2
from torchvision.transforms.autoaugment import AutoAugmentPolicy

H, W = 40, 60
NAMES = {"Identity": "identity", "ShearX": "shear_x", "ShearY": "shear_y", "TranslateX": "translate_x", "TranslateY": "translate_y",
         "TranslateXRel": "translate_x", "TranslateYRel": "translate_y", "Rotate": "rotate", "Brightness": "brightness",
         "Color": "saturation", "Desaturate": "saturation", "Contrast": "contrast", "Sharpness": "sharpness", "Posterize": "posterize",
         "Solarize": "solarize", "SolarizeAdd": "solarize_add", "AutoContrast": "autocontrast", "Equalize": "equalize",
         "Invert": "invert", "GaussianBlur": "gaussian_blur", "GaussianBlurRand": "gaussian_blur"}


def short(name):
    for end in ("Increasing", "Original"):
        name = name.removesuffix(end)
    return name


def tables():
    out = {}
    for policy in AutoAugmentPolicy:
        pairs = v2.AutoAugment(policy)._policies
        out[policy.value] = [[[NAMES[n], p, m if m is not None else 0] for n, p, m in pair] for pair in pairs]
    assert out["imagenet"] == [[[NAMES[short(o.name)], o.prob, o.magnitude if o.level_fn else 0] for o in pair]
                               for pair in T.auto_augment_policy("original")]
    return out


def torchvision_values(name, magnitudes, signed):
    """As AutoAugment._apply_image_or_video_transform hands them to the operation."""
    if magnitudes is None:
        return [None]
    if NAMES[name] in ("brightness", "saturation", "contrast", "sharpness"):
        return [1 + m * s for m in magnitudes for s in (1, -1)]
    if NAMES[name] == "solarize":
        return [255 * m for m in magnitudes]
    if NAMES[name].startswith("translate"):
        return [int(round(m, 4) * s) for m in magnitudes for s in (1, -1)]  # 16 in single precision may be less
    return [m * s for m in magnitudes for s in ((1, -1) if signed else (1,))]


def torchvision_space(call, transform, bins, magnitude=None, names=None):
    ops = {}
    for name, (space, signed) in transform._AUGMENTATION_SPACE.items():
        if names is not None and name not in names:
            continue
        m = space(bins, H, W)
        m = None if m is None else [float(x) for x in (m if magnitude is None else m[magnitude:magnitude + 1])]
        ops[NAMES[name]] = torchvision_values(name, m, signed)
    return {"call": call, "h": H, "w": W, "ops": ops, "shares": {n: 1 / len(ops) for n in ops}}


def timm_values(op):
    if op.level_fn is None:
        return [None]
    name, values = NAMES[short(op.name)], set()
    if op.name == "GaussianBlurRand":
        return None
    for _ in range(60):  # signs are drawn
        (v,) = op.level_fn(max(0, min(op.magnitude, op.magnitude_max or 10)), op.hparams)
        if op.name == "Desaturate":
            v = min(1.0, max(0.0, 1.0 - v))
        if name == "posterize":
            v = max(0, v)  # fewer bits than none are none
        if name.startswith("translate"):
            v = int(v * (W if name == "translate_x" else H))
        values.add(v)
    return sorted(values)


def timm_space(call, ops, weights=None):
    out = {}
    for op in ops:
        name, values = NAMES[short(op.name)], timm_values(op)
        assert values is None or out.get(name, []) is not None
        out[name] = values if values is None else sorted(set(out.get(name, []) + values), key=lambda v: -1e9 if v is None else v)
    names = [NAMES[short(o.name)] for o in ops]
    shares = {n: float(w) for n, w in zip(names, weights if weights is not None else [1 / len(ops)] * len(ops))}
    return {"call": call, "h": H, "w": W, "ops": out, "shares": shares if len(set(names)) == len(names) else None}


random.seed(0)
spaces = [torchvision_space("trivial_augment", v2.TrivialAugmentWide(), 31),
          torchvision_space("trivial_augment(bins=11)", v2.TrivialAugmentWide(num_magnitude_bins=11), 11)]
for m in (0, 9, 17, 30):
    spaces.append(torchvision_space(f"rand_augment(1, {m})", v2.RandAugment(), 31, m))
for severity in (1, 3, 10):
    bins = v2.AugMix()._AUGMENTATION_SPACE
    space = {n: (lambda b, h, w, f=f: None if f(b, h, w) is None else f(b, h, w)[:severity], s) for n, (f, s) in bins.items()}
    transform = type("", (), {"_AUGMENTATION_SPACE": space})
    spaces.append(torchvision_space(f"augmix({severity}, 1, 1)", transform, 10))
    spaces.append(torchvision_space(f"augmix({severity}, 1, 1, all_ops=false)", transform, 10, names=v2.AugMix._PARTIAL_AUGMENTATION_SPACE))
for call in ("rand-m9-n1-p1", "rand-m9-n1-p1-inc1", "rand-m7-n1-p1", "rand-m3-n1-p1-inc1", "rand-m20-mmax30-n1-p1-inc1",
             "rand-m9-n1-p1-tweights", "rand-m9-n1-p1-t3a", "rand-m6-n1-p1-t3aw", "rand-m6-n1-p1-t3aw-inc1"):
    made = T.rand_augment_transform(call, {})
    spaces.append(timm_space(call, made.ops, made.choice_weights))
for call in ("augmix-m5-w1-d1-mstd0", "augmix-m10-w1-d1-mstd0"):
    # As timm's transforms_factory calls it.
    spaces.append(timm_space(call, T.augment_and_mix_transform(call, {"translate_pct": 0.3}).ops))
for call in ("original", "originalr"):
    spaces.append(timm_space(call, [op for pair in T.auto_augment_transform(call, {}).policy for op in pair]))
spaces.append(timm_space("3a", [op for pair in T.auto_augment_transform("3a", {}).policy for op in pair]))

peers = {"torchvision": torchvision.__version__, "timm": timm.__version__}
json.dump({"peers": peers, "tables": tables(), "spaces": spaces}, sys.stdout, separators=(",", ":"))
print()
