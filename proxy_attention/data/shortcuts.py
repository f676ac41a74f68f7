"""Plant a shortcut into the images of any data set: a patch or a watermark whose colours tell a class; knows no model.

The pixels are planted when they are asked for: the data set itself is not changed. What an image shows depends on the
split and is drawn by the generator of ``planted``.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch

from proxy_attention.config import TrialConfig
from proxy_attention.data.groups import ALIGNED, CONFLICTING, Groups
from proxy_attention.data.images import ImageSet
from proxy_attention.data.pixels import Streamed, select_images
from proxy_attention.data.planted import COLOURS, PATCH, SIDE, places, square, tell_shortcut
from proxy_attention.data.splits import Split
from proxy_attention.errors import ConfigError
from proxy_attention.shortcut import Shortcut

WITHOUT = "without"
"""The group of images in which nothing is planted."""
CLASSES = len(COLOURS) ** 4
"""The most classes that four colours can tell."""


@dataclass(frozen=True, eq=False)
class _Plan:
    """What each image of a data set shows: ``told`` (N,) the class that is told, or -1; ``place`` (N,) the corner."""

    told: np.ndarray
    place: np.ndarray


def with_shortcut(images: ImageSet, split: Split, config: TrialConfig) -> ImageSet:
    """Return the data set with the config's shortcut in its images, its region and its groups; as it is without one.

    Args:
        images: on the CPU.
    Raises: ConfigError for more classes than a shortcut can tell.
    """
    shortcut = Shortcut.parse(config.shortcut)
    if shortcut is None:
        return images
    if len(images.classes) > CLASSES:
        raise ConfigError(f"shortcut must be none with more than {CLASSES} classes; got {len(images.classes)}")
    plan, size = _plan(images, split, shortcut), images.images.shape[-1]
    pixels, classes = images.images, len(images.classes)

    def fill(ids: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_(select_images(pixels, ids))
        for image, number in zip(out.numpy(), ids.tolist(), strict=True):
            if plan.told[number] >= 0:
                _plant(image, shortcut.kind, int(plan.place[number]), tile(int(plan.told[number]), classes))

    def region(image: int) -> np.ndarray | None:
        if plan.told[image] < 0:
            return None
        found = np.zeros((size, size), dtype=bool)
        found[area(shortcut.kind, int(plan.place[image]), size)] = True
        return found

    return dataclasses.replace(
        images,
        images=Streamed(fill, shape=tuple(pixels.shape), device=torch.device("cpu")),
        region=region,
        groups=_groups(plan.told, images.labels.numpy()),
    )


def _plan(images: ImageSet, split: Split, shortcut: Shortcut) -> _Plan:
    """Draw what each image shows; images outside the split, as under ``train_fraction``, show nothing."""
    labels, classes = images.labels.numpy(), len(images.classes)
    told, part = np.full(len(labels), -1), np.zeros(len(labels), dtype=np.int64)
    shares = {"aligned": 0.0, "conflicting": 1.0}
    conflicting = {"train": 1 - shortcut.share, "val": shares.get(shortcut.val), "test": shares.get(shortcut.test)}
    for number, (name, ids) in enumerate(vars(split).items()):
        inside, share = np.isin(np.arange(len(labels)), ids), conflicting[name]
        part[inside] = number
        if share is not None:
            drawn = tell_shortcut(labels, inside, classes=classes, conflicting=share, name=f"shortcut-{name}")
            told[inside] = drawn[inside]
    return _Plan(told, places(labels, part))


def _groups(told: np.ndarray, labels: np.ndarray) -> Groups:
    names = np.where(told < 0, WITHOUT, np.where(told == labels, ALIGNED, CONFLICTING))
    return Groups.of(names.tolist())


def tile(told: int, classes: int) -> np.ndarray:
    """Return the colours that tell a class: of its quarters, each is a digit of its number.

    Up to ten classes have one colour, up to a hundred two, one a diagonal.

    Returns: (2, 2, 3) uint8.
    """
    digits = len(str(classes - 1))
    quarters = [COLOURS[told // 10 ** (quarter % digits) % 10] for quarter in (0, 1, 3, 2)]
    return np.array(quarters).reshape(2, 2, 3)


def area(kind: str, place: int, size: int) -> tuple[slice, slice]:
    """Return the rows and columns that a shortcut takes in an image of this size.

    A patch lies in a corner and has 12 of 64 pixels; a watermark lies in the middle and has half of the side.
    """
    if kind == "watermark":
        middle = slice(size // 4, size // 4 + size // 2)
        return middle, middle
    return square(place, (size * PATCH + SIDE // 2) // SIDE, size=size)


def _plant(image: np.ndarray, kind: str, place: int, colours: np.ndarray) -> None:
    """Plant a shortcut into an image (3, S, S) uint8: a patch covers it, a watermark is a quarter of each pixel."""
    part = image[:, *area(kind, place, image.shape[-1])]
    halves = 2 * np.arange(part.shape[-1]) // part.shape[-1]
    drawn = colours[halves[:, None], halves].transpose(2, 0, 1)
    part[...] = drawn if kind == "patch" else (3 * part.astype(np.int64) + drawn + 2) // 4
