"""Forty grey images that need no file, and functions that read them, with a cache of decoded images or without."""

import dataclasses
from pathlib import Path
from typing import Any, NoReturn

import torch
from PIL import Image

from proxy_attention.data.catalogue import Catalogue
from proxy_attention.data.loading import DecodedImages, decode_images

SIZE, COUNT = 4, 40
CONTENTS = [bytes([i]) for i in range(COUNT)]


def decode_grey(content: bytes) -> Image.Image:
    """Decode one byte to a square of this grey.

    Raises: OSError for any other content.
    """
    if len(content) != 1:
        raise OSError("no image")
    return Image.new("RGB", (2, 2), (content[0],) * 3)


CATALOGUE = Catalogue(
    names=tuple(f"{i}.png" for i in range(COUNT)),
    labels=tuple(i % 2 for i in range(COUNT)),
    own_test=tuple(i >= 30 for i in range(COUNT)),
    classes=("cat", "dog"),
    read=CONTENTS.__getitem__,
    decode=decode_grey,
)


def changed(**contents: bytes) -> Catalogue:
    """Return the catalogue with other contents for some images, such as ``changed(i3=b"text")`` for number 3."""
    given = {int(name[1:]): content for name, content in contents.items()}
    return dataclasses.replace(CATALOGUE, read=lambda i: given.get(i, CONTENTS[i]))


def refuse(content: bytes) -> NoReturn:
    """Fail the test."""
    raise AssertionError("an image was decoded")


def undecodable(catalogue: Catalogue) -> Catalogue:
    """Return the same catalogue with a decoder that fails the test."""
    return dataclasses.replace(catalogue, decode=refuse)


def decode(
    catalogue: Catalogue = CATALOGUE, size: int | None = SIZE, cache: Path | None = None, **options: Any
) -> DecodedImages:
    """Read the images, by default at ``SIZE`` and without a cache."""
    usual = {"limit_mb": 1, "progress": None}
    return decode_images(catalogue, size, cache=cache, **(usual | options))


def same(one: DecodedImages, other: DecodedImages) -> bool:
    """Whether two readings gave the same images."""
    return (
        (one.digests, one.unreadable) == (other.digests, other.unreadable)
        and torch.equal(one.pixels, other.pixels)
        and one.pixels.dtype == other.pixels.dtype == torch.uint8
    )


def arrays(cache: Path) -> list[Path]:
    """List the files of pixels in a cache."""
    return sorted(cache.glob("images/*/*.u8"))
