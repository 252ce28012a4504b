"""Writes targets.json: boxes and keypoints under transforms of Albumentations (2.0.8, MIT).

    python tests/golden/targets.py > tests/golden/targets.json      (needs albumentations)

A row: our pipeline, height, width, bounds (min_area, min_visibility), boxes (x1, y1, x2, y2, label) before and after, points (x, y,
angle in radians, scale) before and after or null, height and width after.

Albumentations counts the places of keypoints from the centre of the first pixel where it turns and mirrors, and from its corner
where it resizes; ours are corners always. Its angles run counter-clockwise where it turns. Boxes that a turn moves over the edge are left
out: it clips their hull, ours is the hull of what is left.
"""
import json
import math
import os
import sys

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import albumentations as A
import numpy as np

assert A.__version__ == "2.0.8", A.__version__
H, W = 40, 60
EDGE = [[5, 6, 25, 30, 0], [20, 8, 33, 20, 1], [40, 25, 60, 40, 2], [0, 0, 12, 9, 3], [30, 15, 33.5, 19, 4]]
MIDDLE = [[20, 12, 33, 24, 0], [26, 16, 40, 20, 1], [24.5, 14.25, 30.75, 27, 2]]
POINTS = [[10.25, 12.5, 30, 2], [29.5, 19.5, 200, 3], [50, 35, 0, 1], [1, 2, 315, 1]]
rows = []


def add(text, transform, boxes=EDGE, offset=0.5, turns=False, points=True, angles=True, **bounds):
    kind = A.KeypointParams(format="xyas", remove_invisible=False, angle_in_degrees=True)
    run = A.Compose([transform], keypoint_params=kind,
                    bbox_params=A.BboxParams(format="pascal_voc", label_fields=["labels"], **bounds))
    sign = -1 if turns else 1
    given = [[x, y, sign * a % 360, s] for x, y, a, s in POINTS]
    out = run(image=np.zeros((H, W, 3), np.uint8), bboxes=np.array([b[:4] for b in boxes], np.float32),
              labels=[b[4] for b in boxes], keypoints=np.array(given, np.float32))
    after = [[float(v) for v in b] + [int(l)] for b, l in zip(out["bboxes"], out["labels"])]

    def ours(list, flip):
        return [[float(x) + offset, float(y) + offset, math.radians(flip * float(a)) if angles else 0, float(s)] for x, y, a, s in list]

    rows.append([text, H, W, bounds, boxes, after, ours(POINTS, 1) if points else None,
                 ours(out["keypoints"], sign) if points else None, *out["image"].shape[:2]])


add("hflip(1)", A.HorizontalFlip(p=1))
add("vflip(1)", A.VerticalFlip(p=1))
add("transpose", A.Transpose(p=1), angles=False)
add("center_crop([24, 30])", A.CenterCrop(24, 30, p=1))
add("center_crop([24, 30])", A.CenterCrop(24, 30, p=1), min_visibility=0.5)
add("center_crop([24, 30])", A.CenterCrop(24, 30, p=1), min_area=60)
add("center_crop([24, 30])", A.CenterCrop(24, 30, p=1), min_area=60, min_visibility=0.95)
add("pad(min_size=[50, 70])", A.PadIfNeeded(50, 70, p=1))
add("pad([4, 3])", A.Pad((4, 3), p=1))
add("resize([30, 90])", A.Resize(30, 90, p=1), points=False)
add("resize(20)", A.SmallestMaxSize(20, p=1), offset=0)
add("resize(30, mode=long)", A.LongestMaxSize(30, p=1), offset=0)
for degrees in (20, -35, 90, 180):
    add(f"rotate([{degrees}, {degrees}])", A.Rotate((degrees, degrees), p=1), MIDDLE, turns=True)
add("affine(0, scale=1.3)", A.Affine(scale=(1.3, 1.3), p=1), MIDDLE)
add("affine(0, scale=0.7)", A.Affine(scale=(0.7, 0.7), p=1))
add("translate_x(5..5) | translate_y(-3..-3)", A.Affine(translate_px={"x": (5, 5), "y": (-3, -3)}, p=1))
json.dump({"peer": "Albumentations " + A.__version__, "rows": rows}, sys.stdout, separators=(",", ":"))
print()
