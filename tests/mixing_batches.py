"""Small batches, draws and a task for the tests of augmentations that mix, and timm's result for such a batch."""

import numpy as np
import torch
from timm.data.mixup import Mixup

from proxy_attention.augment.batch import Batch, Task

CLASSES = 5


def images_of(count, size=32, seed=0):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def draws_of(row, count, seed=1):
    return torch.rand(count, row.columns, generator=torch.Generator().manual_seed(seed))


def batch_of(count, size=32):
    return Batch(images_of(count, size), torch.arange(count) % CLASSES)


def task(counts=(10,) * CLASSES):
    return Task(torch.tensor(counts), saliency=None)


def squares(count, size=4):
    """Make images whose pixels all have the image's number as their value."""
    return torch.arange(count, dtype=torch.float32)[:, None, None, None].expand(count, 3, size, size)


def timms(kind, monkeypatch, seed):
    """Mix a batch with timm's mixup or cutmix.

    Returns: images and labels of the batch, the part of each image and the middle of its box that timm drew, and the
        images and targets that timm made.
    """
    images, labels = images_of(8), torch.arange(8) % CLASSES
    generator, drawn = np.random.default_rng(seed), {"beta": [], "integers": []}

    def keeping(name):
        return lambda *args, **more: drawn[name].append(getattr(generator, name)(*args, **more)) or drawn[name][-1]

    monkeypatch.setattr(np.random, "beta", keeping("beta"))
    monkeypatch.setattr(np.random, "randint", keeping("integers"))
    alphas = {"mixup_alpha": 0.0, "cutmix_alpha": 0.0, f"{kind}_alpha": 1.0}
    mix = Mixup(**alphas, mode="elem", label_smoothing=0.0, num_classes=CLASSES)
    out, targets = mix(images.clone(), labels)
    part = torch.from_numpy(drawn["beta"][0].astype(np.float32))
    return images, labels, part, torch.tensor(drawn["integers"]).view(-1, 2), out, targets
