"""Three data sets with an effect that is known beforehand, made from the embedded sample by one generator.

``planted-swapped``: half of the training images show a garment of another class, and test images never do.
``planted-decoy``: a patch whose colour tells the class in 90 % of the training images, and nothing in test images.
``planted-none``: as swapped, with nothing swapped.

Every draw is a SHA-256 (``seeds.derive_seed``) and every pixel is computed in integers, so that the bytes are the same
on every machine and with every version of every library. In every class, each draw gives each value equally often.
"""

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from proxy_attention.data.catalogue import Catalogue
from proxy_attention.data.embedded.sample import open_sample
from proxy_attention.data.groups import ALIGNED, CONFLICTING, Groups
from proxy_attention.seeds import derive_seed

SEED = 2026
SIDE, GARMENT, PATCH = 64, 32, 12
"""Pixels: the side of an image, of a garment in its quadrant, and of the patch in its corner."""
SAMPLE_SIDE = 28
SWAPPED_SHARE, DECOY_SHARE = 0.5, 0.1
"""Which part of each class' training images conflicts with the label."""

COLOURS = np.array(
    [
        (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255), (255, 128, 0),
        (128, 0, 255), (0, 128, 0), (128, 64, 0),
    ],
    dtype=np.uint8,
)  # fmt: skip
"""The colour of the patch that tells each class."""


# ---- the generator


def permuted(count: int, *names: str | int) -> np.ndarray:
    """Draw a permutation of ``range(count)`` from the stream with this name, (count,) int64."""
    return np.argsort([derive_seed(SEED, *names, number) for number in range(count)], kind="stable")


def _classes_of(labels: np.ndarray, part: np.ndarray, name: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each class with the numbers of its images in this part, in an order that is drawn."""
    for cls in np.unique(labels[part]).tolist():
        members = np.flatnonzero(part & (labels == cls))
        yield cls, members[permuted(len(members), name, cls)]


def tell_shortcut(labels: np.ndarray, part: np.ndarray, *, classes: int, conflicting: float, name: str) -> np.ndarray:
    """Draw the class that a shortcut tells of each image: another than its own in a share of each class.

    Of ``n`` such images of class ``y``, each class ``(y + 1 + u) mod classes`` is told of one in ``classes - 1``.

    Args:
        labels: (N,) int64.
        part: (N,) bool, the images that are drawn for; of any other the own class is told.
        conflicting: the share of each class, rounded to whole images.
        name: of the draw.
    Returns: (N,) int64.
    """
    told = labels.copy()
    for cls, members in _classes_of(labels, part, name):
        chosen = members[: round(conflicting * len(members))]
        told[chosen] = (cls + 1 + np.arange(len(chosen)) % (classes - 1)) % classes
    return told


def tell_nothing(labels: np.ndarray, part: np.ndarray, *, classes: int, name: str) -> np.ndarray:
    """Draw the class that a shortcut tells of each image independently of its own: each of them equally often.

    Args and returns: as ``tell_shortcut``.
    """
    told = labels.copy()
    for _, members in _classes_of(labels, part, name):
        told[members] = np.arange(len(members)) % classes
    return told


def deal(labels: np.ndarray, told: np.ndarray) -> np.ndarray:
    """Deal the images that do not tell their class among themselves, so that each shows one of the class it tells.

    No image is shown twice. So what one image shows, no other does, in whatever split it is.

    Args:
        labels, told: (N,) int64; the images to be dealt tell each class as often as they are of it.
    Returns: (N,) int64, the number of the image that each shows.
    """
    shown = np.arange(len(labels))
    swapped = labels != told
    for cls, givers in _classes_of(labels, swapped, "deal"):
        shown[swapped & (told == cls)] = givers
    return shown


def places(labels: np.ndarray, split: np.ndarray) -> np.ndarray:
    """Draw one of four places for each image: every four images of a class and split have a permutation of the four.

    Args:
        labels: (N,) int64.
        split: (N,) int64, the number of the split that each image is of.
    Returns: (N,) int64 in [0, 4): top left, top right, bottom left, bottom right.
    """
    found = np.empty(len(labels), dtype=np.int64)
    for part in np.unique(split).tolist():
        for cls, members in _classes_of(labels, split == part, f"place-order-{part}"):
            for first in range(0, len(members), 4):
                four = members[first : first + 4]
                found[four] = permuted(4, "place", part, cls, first)[: len(four)]
    return found


def enlarge(images: np.ndarray, side: int) -> np.ndarray:
    """Enlarge images bilinearly in integers, pixel centres aligned.

    Args:
        images: (..., s, s) uint8.
    Returns: (..., side, side) uint8, rounded half up.
    """
    source, unit = images.shape[-1], 2 * side
    at = ((2 * np.arange(side) + 1) * source - side).clip(0, unit * (source - 1))  # in units of a pixel / (2 side)
    low, high_part = np.divmod(at, unit)
    high, low_part = np.minimum(low + 1, source - 1), unit - high_part
    whole = images.astype(np.int64)
    rows = whole[..., low, :] * low_part[:, None] + whole[..., high, :] * high_part[:, None]
    both = rows[..., low] * low_part + rows[..., high] * high_part
    found: np.ndarray = ((both + unit * unit // 2) // (unit * unit)).astype(np.uint8)
    return found


def square(place: int, side: int, *, size: int = SIDE) -> tuple[slice, slice]:
    """Return the rows and columns of a square of this side in one of the four corners of an image of this size."""
    top, left = (size - side) * (place // 2), (size - side) * (place % 2)
    return slice(top, top + side), slice(left, left + side)


# ---- the data sets


def open_swapped() -> Catalogue:
    """Open ``planted-swapped``: a garment of 32 px in a quadrant of a black image of 64 px.

    Of half of the 300 training images of each class the garment is of another class: they are ``conflicting``,
    and their region is the quadrant. Of the others, in which nothing is planted, no region is known.
    """
    sample = open_sample()
    labels, own_test, classes = _about(sample)
    told = tell_shortcut(labels, ~own_test, classes=classes, conflicting=SWAPPED_SHARE, name="swapped")
    return _open_quadrants(sample, told)


def open_none() -> Catalogue:
    """Open ``planted-none``: the images of ``planted-swapped`` with nothing swapped; all are ``aligned``."""
    sample = open_sample()
    return _open_quadrants(sample, _about(sample)[0])


def open_decoy() -> Catalogue:
    """Open ``planted-decoy``: garments of 64 px with a patch of 12 px in a corner; the region is the patch.

    The patch has the colour of the class in 90 % of the training images of each class (``aligned``) and of another in
    10 % (``conflicting``). In test images it has each colour equally often.
    """
    sample = open_sample()
    labels, own_test, classes = _about(sample)
    trained = tell_shortcut(labels, ~own_test, classes=classes, conflicting=DECOY_SHARE, name="decoy")
    told = np.where(own_test, tell_nothing(labels, own_test, classes=classes, name="decoy-test"), trained)
    place = places(labels, own_test.astype(np.int64))

    def draw(image: int) -> np.ndarray:
        grey = enlarge(_garment(sample, image), SIDE)
        drawn = np.repeat(grey[:, :, None], 3, axis=2)
        drawn[square(int(place[image]), PATCH)] = COLOURS[told[image]]
        return drawn

    return _planted(sample, told, draw, mode="RGB", region_side=PATCH, place=place)


def _open_quadrants(sample: Catalogue, told: np.ndarray) -> Catalogue:
    labels, own_test, _ = _about(sample)
    shown, place = deal(labels, told), places(labels, own_test.astype(np.int64))

    def draw(image: int) -> np.ndarray:
        drawn = np.zeros((SIDE, SIDE), dtype=np.uint8)
        drawn[square(int(place[image]), GARMENT)] = enlarge(_garment(sample, int(shown[image])), GARMENT)
        return drawn

    return _planted(sample, told, draw, mode="L", region_side=GARMENT, place=place, planted=told != labels)


def _about(sample: Catalogue) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the labels (N,) int64, the own test split (N,) bool, and the number of classes."""
    return np.array(sample.labels, dtype=np.int64), np.array(sample.own_test), len(sample.classes)


def _garment(sample: Catalogue, image: int) -> np.ndarray:
    return np.frombuffer(sample.read(image), dtype=np.uint8).reshape(SAMPLE_SIDE, SAMPLE_SIDE)


def _planted(
    sample: Catalogue,
    told: np.ndarray,
    draw: Callable[[int], np.ndarray],
    *,
    mode: str,
    region_side: int,
    place: np.ndarray,
    planted: np.ndarray | None = None,
) -> Catalogue:
    """Build the catalogue of drawn images, with the names, labels and split of the sample.

    Args:
        planted: (N,) bool, the images into which something is planted, of which alone a region is known; None for all.
    """

    def region(image: int) -> np.ndarray | None:
        if planted is not None and not planted[image]:
            return None
        found = np.zeros((SIDE, SIDE), dtype=bool)
        found[square(int(place[image]), region_side)] = True
        return found

    aligned = told == np.array(sample.labels)
    return Catalogue(
        names=sample.names,
        labels=sample.labels,
        own_test=sample.own_test,
        classes=sample.classes,
        read=lambda i: draw(i).tobytes(),
        decode=lambda raw: Image.frombytes(mode, (SIDE, SIDE), raw).convert("RGB"),
        form=f"{SIDE} x {SIDE} {mode} bytes",
        region=region,
        groups=Groups.of([ALIGNED if one else CONFLICTING for one in aligned.tolist()]),
    )
