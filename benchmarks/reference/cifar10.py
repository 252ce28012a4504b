"""CIFAR-10 (JPEG q75) with ResNet-20 in PyTorch eager, the recipe of `ballast train --model resnet20 --epochs 10`: one-cycle SGD
with Nesterov momentum, no decay on norms and biases, label smoothing, crop from 4 px of padding and flip.

    build/peers/bin/python benchmarks/reference/cifar10.py --data cifar10-jpeg --seed 0
"""
import os
import sys

import torch
from PIL import Image

import recipe

args = recipe.arguments(__doc__, data="cifar10-jpeg", epochs=10, lr=0.2, weight_decay=5e-4, smoothing=0.1, batch_size=128, pad=4, val=0.05, padding="reflect")


def folder(root):
    classes = sorted(os.listdir(root))
    raw, labels = bytearray(), []
    for i, name in enumerate(classes):
        for file in sorted(os.listdir(os.path.join(root, name))):
            with Image.open(os.path.join(root, name, file)) as picture:
                raw += picture.convert("RGB").tobytes()
            labels.append(i)
    return torch.frombuffer(raw, dtype=torch.uint8).view(-1, 32, 32, 3).permute(0, 3, 1, 2), torch.tensor(labels)


x, y = folder(os.path.join(args.data, "train"))
test_x, test_y = folder(os.path.join(args.data, "test"))
order = torch.randperm(len(x), generator=torch.Generator().manual_seed(args.seed + 1000))
val, train = order[:round(args.val * len(x))], order[round(args.val * len(x)):]
mean = x[train].float().mean((0, 2, 3)).view(3, 1, 1)
std = x[train].float().std((0, 2, 3)).view(3, 1, 1)


def normalize(u8):
    return (u8.float() - mean) / std


def batches(epoch):
    g = torch.Generator().manual_seed(args.seed * 1000 + epoch)
    shuffled = train[torch.randperm(len(train), generator=g)]
    for i in range(0, len(shuffled), args.batch_size):
        rows = shuffled[i:i + args.batch_size]
        yield normalize(recipe.pad_crop_flip(x[rows], args.pad, g, args.padding)), y[rows]


def plain(images, labels):
    for i in range(0, len(images), 500):
        yield normalize(images[i:i + 500]).contiguous(memory_format=torch.channels_last), labels[i:i + 500]


model = recipe.resnet20(3, 10)
seconds = recipe.train(model, batches, -(-len(train) // args.batch_size), args.epochs, args.lr, args.weight_decay, args.smoothing,
                       lambda: recipe.accuracy(model, plain(x[val], y[val])) if len(val) else None,
                       log=lambda line: print(line, file=sys.stderr, flush=True))
recipe.finish(args, data="cifar10", val_top1=recipe.accuracy(model, plain(x[val], y[val])) if len(val) else None,
              test_top1=recipe.accuracy(model, plain(test_x, test_y)), train_images=len(train), seconds=round(seconds, 1))
