"""The default training of ballast on Fashion-MNIST, written in PyTorch: an 8-layer ResNet of widths 32-64-128 with a stem of
stride 2, one-cycle SGD, label smoothing, crop and flip. Validates on part of the training pictures, tests once at the end.

    build/peers/bin/python benchmarks/reference/fashion_mnist.py --seed 0
"""
import gzip
import sys

import torch

import recipe


def idx(path, header):
    with gzip.open(path) as f:
        return torch.frombuffer(bytearray(f.read()[header:]), dtype=torch.uint8)


args = recipe.arguments(__doc__, data="/usr/share/datasets/fashion-mnist", epochs=15, lr=0.2, weight_decay=5e-4, smoothing=0.1,
                        batch_size=128, pad=1, val=0.05, limit=0, schedule="one_cycle", pct=0.3, padding="reflect")
x = idx(args.data + "/train-images-idx3-ubyte.gz", 16).view(-1, 1, 28, 28)
y = idx(args.data + "/train-labels-idx1-ubyte.gz", 8).long()
test_x = idx(args.data + "/t10k-images-idx3-ubyte.gz", 16).view(-1, 1, 28, 28)
test_y = idx(args.data + "/t10k-labels-idx1-ubyte.gz", 8).long()

order = torch.randperm(len(x), generator=torch.Generator().manual_seed(args.seed + 1000))
held_out = round(args.val * len(x))
val, train = order[:held_out], order[held_out:]
if args.limit:
    train = train[:args.limit]
mean = x[train].float().mean().item()
std = x[train].float().std().item()


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


model = recipe.resnet8_wide(1, 10)
schedule = (lambda t, n, lr: recipe.one_cycle(t, n, lr, args.pct)) if args.schedule == "one_cycle" else recipe.cosine
seconds = recipe.train(model, batches, -(-len(train) // args.batch_size), args.epochs, args.lr, args.weight_decay,
                       args.smoothing, lambda: recipe.accuracy(model, plain(x[val], y[val])) if held_out else None, schedule,
                       lambda line: print(line, file=sys.stderr, flush=True))
recipe.finish(args, data="fashion_mnist", val_top1=recipe.accuracy(model, plain(x[val], y[val])) if held_out else None,
              test_top1=recipe.accuracy(model, plain(test_x, test_y)), train_images=len(train), seconds=round(seconds, 1))
