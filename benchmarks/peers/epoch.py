"""Whole training epochs of ResNet-20 in PyTorch eager from a folder of JPEG files, by torchvision's pipeline and the DataLoader.
benchmarks/run talks to it: each line on stdin asks for one epoch, each line on stdout answers with images per second.

    epoch.py FOLDER IMAGES THREADS WORKERS users|tuned

users   as most scripts are written: NCHW.  tuned: channels_last (and the caller preloads jemalloc), persistent workers.
"""
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "reference"))

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

folder, count, threads, workers, style = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
try:
    import torchvision_cpu  # noqa: F401
    import recipe
    from torchvision import transforms as t
    from torchvision.datasets import ImageFolder
except Exception as e:
    print(f"missing: {type(e).__name__}: {e}".splitlines()[0], flush=True)
    sys.exit(0)

torch.set_num_threads(threads)
torch.manual_seed(0)
tuned = style == "tuned"
data = ImageFolder(folder, t.Compose([t.RandomCrop(32, padding=4), t.RandomHorizontalFlip(), t.ToTensor(),
                                      t.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]))
random.Random(1).shuffle(data.samples)
data.samples = data.samples[:count]
loader = torch.utils.data.DataLoader(data, 128, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
model = recipe.resnet20(3, 10)
if tuned:
    model = model.to(memory_format=torch.channels_last)
optimizer = recipe.sgd(model, 5e-4)


def epoch():
    for x, y in loader:
        if tuned:
            x = x.contiguous(memory_format=torch.channels_last)
        loss = F.cross_entropy(model(x), y, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


print("ready", flush=True)
for _ in sys.stdin:
    start = time.time()
    epoch()
    print(count / (time.time() - start), flush=True)
