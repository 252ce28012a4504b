"""What the reference recipes share, in plain PyTorch: models, schedule, optimizer, loop. Nothing here is tuned for speed
beyond what a user of PyTorch would do (channels_last)."""
import argparse
import json
import math
import time

import torch
import torch.nn.functional as F
from torch import nn


class Basic(nn.Module):
    """Two 3x3 convolutions and a shortcut: 1x1 projection where the shape changes."""

    def __init__(self, inp, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inp, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample = None
        if stride != 1 or inp != out:
            self.downsample = nn.Sequential(nn.Conv2d(inp, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """CIFAR form: 3x3 stem, a stage of `blocks` basic blocks for each width, global average pool, linear."""

    def __init__(self, channels, classes, widths=(16, 32, 64), blocks=3, stem_stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, widths[0], 3, stem_stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        stages, inp = [], widths[0]
        for i, width in enumerate(widths):
            stage = []
            for j in range(blocks):
                stage.append(Basic(inp, width, 2 if i > 0 and j == 0 else 1))
                inp = width
            stages.append(nn.Sequential(*stage))
        self.layers = nn.Sequential(*stages)
        self.fc = nn.Linear(inp, classes)
        init(self)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layers(x)
        return self.fc(x.mean((2, 3)))


def init(model):
    """He et al. 2015, fan out, for convolutions, as torchvision does."""
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")


def resnet8_wide(channels, classes):
    return ResNet(channels, classes, (32, 64, 128), 1, stem_stride=2)


def resnet20(channels, classes):
    return ResNet(channels, classes, (16, 32, 64), 3)


def one_cycle(t, steps, peak, pct=0.3, div=25.0, final_div=1e4):
    """Smith 2018, arXiv:1708.07120, with cosine arms: peak/div -> peak -> peak/(div*final_div)."""
    up = max(1.0, pct * steps)
    if t < up:
        low, high, x = peak / div, peak, t / up
    else:
        low, high, x = peak / (div * final_div), peak, 1 - (t - up) / max(1.0, steps - 1 - up)
    return low + (high - low) * (1 - math.cos(math.pi * x)) / 2


def cosine(t, steps, peak, warmup=0.05):
    w = round(warmup * steps)
    if t < w:
        return peak * (t + 1) / w
    return peak * (1 + math.cos(math.pi * (t - w) / (steps - w))) / 2


def sgd(model, weight_decay, momentum=0.9):
    """Nesterov momentum; no weight decay on biases and norms."""
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=0.1, momentum=momentum, nesterov=True)


def pad_crop_flip(x, pad, generator, mode="constant"):
    """Random crop after padding (constant: black; or reflect) and horizontal flip, for a batch of 8-bit pictures (N, C, H, W)."""
    n, c, h, w = x.shape
    x = F.pad(x, (pad, pad, pad, pad)) if mode == "constant" else F.pad(x.float(), (pad, pad, pad, pad), mode=mode).byte()
    dy = torch.randint(0, 2 * pad + 1, (n,), generator=generator)
    dx = torch.randint(0, 2 * pad + 1, (n,), generator=generator)
    cols = torch.arange(w).expand(n, w)
    flip = torch.rand(n, generator=generator) < 0.5
    cols = torch.where(flip[:, None], w - 1 - cols, cols) + dx[:, None]
    rows = torch.arange(h).expand(n, h) + dy[:, None]
    index = torch.arange(n)[:, None, None]
    return x.permute(0, 2, 3, 1)[index, rows[:, :, None], cols[:, None, :]].permute(0, 3, 1, 2)


def accuracy(model, batches):
    model.eval()
    right = total = 0
    with torch.no_grad():
        for x, y in batches:
            right += (model(x).argmax(1) == y).sum().item()
            total += len(y)
    model.train()
    return 100.0 * right / total


def train(model, batches, steps_per_epoch, epochs, lr, weight_decay, smoothing, evaluate, schedule=one_cycle, log=print):
    """`batches(epoch)` yields normalized, augmented (x, y); `evaluate()` gives the validation accuracy or None."""
    model.to(memory_format=torch.channels_last)
    optimizer = sgd(model, weight_decay)
    steps, t, start = epochs * steps_per_epoch, 0, time.time()
    model.train()
    for epoch in range(epochs):
        total = count = 0.0
        for x, y in batches(epoch):
            for group in optimizer.param_groups:
                group["lr"] = schedule(t, steps, lr)
            loss = F.cross_entropy(model(x.contiguous(memory_format=torch.channels_last)), y, label_smoothing=smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, count, t = total + loss.item() * len(y), count + len(y), t + 1
        log(f"epoch {epoch + 1}/{epochs}  loss {total / count:.4f}  val {evaluate()}  {time.time() - start:.0f} s")
    return time.time() - start


def arguments(description, **defaults):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, progress on stderr")
    for name, value in defaults.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(value), default=value)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    return args


def finish(args, **result):
    result = {"seed": args.seed, "threads": args.threads, "torch": torch.__version__, **result}
    print(json.dumps(result), flush=True)
