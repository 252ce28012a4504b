"""A folder of photos trained from scratch in PyTorch, in the time and with the recipe that ballast takes by default: torchvision's
resnet18, random resized crop and flip, one-cycle SGD, label smoothing. Compared by `benchmarks/run photos`.

    build/peers/bin/python benchmarks/reference/photos.py --data clothing-small --seed 0
"""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers"))

import torch
import torchvision_cpu  # noqa: F401
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.models import resnet18
from torchvision.transforms import v2

import recipe

EPOCH_WORK = 25 * 3068 * 128 * 128  # pictures x pixels x epochs: ballast's rule, train/defaults.h

args = recipe.arguments(__doc__, data="clothing-small", epochs=0, size=128, lr=0.2, weight_decay=5e-4, smoothing=0.1, batch_size=128,
                        scale=0.25, workers=1)


class Folder(torch.utils.data.Dataset):
    def __init__(self, root, transform):
        classes = sorted(os.listdir(root))
        self.items = [(os.path.join(root, c, f), i) for i, c in enumerate(classes) for f in sorted(os.listdir(os.path.join(root, c)))]
        self.classes, self.transform = classes, transform

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        path, label = self.items[i]
        return self.transform(decode_jpeg(read_file(path), ImageReadMode.RGB)), label


class Blocks:
    """All pictures of a split decoded once, as evaluation asks for the same ones after each epoch."""

    def __init__(self, folder, batch):
        self.batches = [[t for t in zip(*[folder[i] for i in range(a, min(a + batch, len(folder)))])] for a in range(0, len(folder), batch)]

    def __iter__(self):
        for images, labels in self.batches:
            yield torch.stack(images).contiguous(memory_format=torch.channels_last), torch.tensor(labels)


if __name__ == "__main__":
    start = time.time()
    norm = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
    augment = v2.Compose([v2.RandomResizedCrop(args.size, scale=(args.scale, 1.0), antialias=True), v2.RandomHorizontalFlip(), norm])
    plain = v2.Compose([v2.Resize(round(args.size / 0.875), antialias=True), v2.CenterCrop(args.size), norm])
    train = Folder(os.path.join(args.data, "train"), augment)
    val = Blocks(Folder(os.path.join(args.data, "validation"), plain), 128)
    test = Folder(os.path.join(args.data, "test"), plain)
    epochs = args.epochs or max(5, min(100, round(EPOCH_WORK / (len(train) * args.size * args.size))))
    print(f"{len(train)} pictures, {args.size} px, {epochs} epochs", file=sys.stderr, flush=True)
    loader = torch.utils.data.DataLoader(train, args.batch_size, shuffle=True, num_workers=args.workers, drop_last=len(train) % args.batch_size == 1,
                                         persistent_workers=args.workers > 0,
                                         generator=torch.Generator().manual_seed(args.seed))
    model = resnet18(num_classes=len(train.classes))
    recipe.train(model, lambda epoch: loader, len(loader), epochs, args.lr, args.weight_decay, args.smoothing,
                 lambda: round(recipe.accuracy(model, val), 2), log=lambda line: print(line, file=sys.stderr, flush=True))
    seconds = time.time() - start
    recipe.finish(args, data="photos", val_top1=recipe.accuracy(model, val), test_top1=recipe.accuracy(model, Blocks(test, 128)),
                  train_images=len(train), epochs=epochs, seconds=round(seconds, 1))
