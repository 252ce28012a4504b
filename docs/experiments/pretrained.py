#!/usr/bin/env python3
"""A pre-trained start against one from scratch: the table in docs/pretrained.md.

    python3 docs/experiments/pretrained.py [--ballast build/release/bin/ballast] [--seeds 3]

Fashion-MNIST (Debian's dataset-fashion-mnist). A network is trained on classes 0 to 4; then, for each seed, 100 pictures of
classes 5 to 9 (20 each) are drawn and four networks are trained on them: from scratch, and from the pre-trained weights
whole, with its early layers frozen, and with layer-wise decay of the learning rate. Each is tested on the 5,000 test
pictures of classes 5 to 9. The scratch run gets three learning rates and the best one counts, chosen on the test part: its
figure is, if anything, too good.
"""
import argparse
import gzip
import json
import pathlib
import random
import statistics
import struct
import subprocess
import sys
import tempfile

DATA = pathlib.Path("/usr/share/datasets/fashion-mnist")
MODEL = ["--model", "resnet8_wide", "--threads", "2", "--no-tensorboard", "--quiet", "--json"]
TUNE = ["--batch-size", "20", "--val-share", "0", "--epochs", "20", "--augment", "light"]
STARTS = {
    "from scratch, lr 0.1": ["--lr", "0.1"],
    "from scratch, lr 0.03": ["--lr", "0.03"],
    "from scratch, lr 0.01": ["--lr", "0.01"],
    "pre-trained, lr 0.01": ["--lr", "0.01"],
    "pre-trained, lr 0.01, conv1, bn1, layer1 frozen": ["--lr", "0.01", "--freeze", "conv1.*,bn1.*,layer1.*"],
    "pre-trained, lr 0.01, layer decay 0.75": ["--lr", "0.01", "--layer-decay", "0.75"],
}


def read(part):
    labels = gzip.open(next(DATA.glob(f"{part}-labels*"))).read()[8:]
    pixels = gzip.open(next(DATA.glob(f"{part}-images*"))).read()[16:]
    return labels, pixels


def write(folder, part, labels, pixels, chosen, first):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(
        struct.pack(">II", 2049, len(chosen)) + bytes(labels[i] - first for i in chosen))
    (folder / f"{part}-images-idx3-ubyte").write_bytes(
        struct.pack(">IIII", 2051, len(chosen), 28, 28) + b"".join(pixels[784 * i:784 * i + 784] for i in chosen))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ballast", default="build/release/bin/ballast")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    if not DATA.exists():
        sys.exit(f"no {DATA}: apt-get install dataset-fashion-mnist")

    def train(*words):
        done = subprocess.run([options.ballast, "train", *MODEL, *map(str, words)], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stderr)
        return json.loads(done.stdout)

    with tempfile.TemporaryDirectory() as temporary:
        root = pathlib.Path(temporary)
        (labels, pixels), (test_labels, test_pixels) = read("train"), read("t10k")
        test = [i for i, y in enumerate(test_labels) if y >= 5]
        for part, y, x in (("train", labels, pixels), ("t10k", test_labels, test_pixels)):
            chosen = [i for i, label in enumerate(y) if label < 5]
            write(root / "first", part, y, x, chosen[:15000] if part == "train" else chosen, 0)
        first = train("--data", root / "first", "--epochs", "3", "--out", root / "run")
        print(f"pre-trained on 15,000 pictures of classes 0-4: {100 * first['test']['top1']:.1f} % of their test part")
        scores = {name: [] for name in STARTS}
        for seed in range(options.seeds):
            draw = random.Random(seed)
            chosen = []
            for label in range(5, 10):
                chosen += draw.sample([i for i, y in enumerate(labels) if y == label], 20)
            data = root / f"tune-{seed}"
            write(data, "train", labels, pixels, chosen, 5)
            write(data, "t10k", test_labels, test_pixels, test, 5)
            for name, words in STARTS.items():
                start = [] if name.startswith("from scratch") else ["--pretrained", root / "run", "--pretrained-head", "reset"]
                result = train("--data", data, "--seed", seed, *TUNE, *start, *words, "--out", root / f"{seed}-{name}")
                scores[name].append(100 * result["test"]["top1"])
        print(f"\n| start | test accuracy, mean of {options.seeds} seeds | each |\n|---|---|---|")
        for name, values in scores.items():
            spread = f" +- {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            print(f"| {name} | {statistics.mean(values):.1f}{spread} % | {', '.join(f'{v:.1f}' for v in values)} |")


if __name__ == "__main__":
    main()
