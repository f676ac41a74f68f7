"""Contents become RGB squares of bytes in one array, checked and hashed; knows no folder layout and no data set."""

import dataclasses
import hashlib
import io
import os
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps

from proxy_attention.errors import DataError, unknown

ON_BAD_IMAGE = ("error", "skip")
MAX_NAMED = 10
UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError),
    *(TypeError, KeyError, IndexError, AttributeError, struct.error),  # escape its parsers, of TIFF above all
)
"""What Pillow raises for a file that is no image, a broken one, or a bomb."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """A data set before any image is decoded; its order is part of what it is.

    Attributes:
        names: for people; unique.
        labels: index into ``classes``.
        own_test: True for the data set's own test split.
        read: the content of image i, as hashed.
        decode: content to RGB image; raises one of ``UNREADABLE``.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...]
    own_test: tuple[bool, ...]
    classes: tuple[str, ...]
    read: Callable[[int], bytes]
    decode: Callable[[bytes], Image.Image]


@dataclass(frozen=True)
class Inspection:
    """What a full read of a data set found, without its pixels."""

    digest: str
    classes: tuple[str, ...]
    class_counts: tuple[int, ...]
    train_pool: int
    own_test: int
    skipped: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A data set in memory: read-only, every image at one size.

    Attributes:
        images: (N, 3, S, S) uint8.
        labels: (N,) int64, an index into ``classes``.
        own_test: (N,) bool, True for the data set's own test split; all False where it has none.
        digest: SHA-256 over labels, split and contents in order.
        skipped: names of the unreadable images that were left out.
    """

    images: torch.Tensor
    labels: torch.Tensor
    own_test: torch.Tensor
    names: tuple[str, ...]
    classes: tuple[str, ...]
    digest: str
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def on(self, device: torch.device) -> "ImageSet":
        """The same set with its pixels and labels on the device."""
        return dataclasses.replace(self, images=self.images.to(device), labels=self.labels.to(device))


def open_image(content: bytes) -> Image.Image:
    """Decode fully, upright, as RGB: grey is repeated, alpha is laid on white, 16 bits become 8.

    Raises: one of ``UNREADABLE``.
    """
    with Image.open(io.BytesIO(content)) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith(("I", "F")):  # 16 and 32 bits: Pillow would clip at 255 instead of scaling
        values = np.asarray(image, dtype=np.float64)
        # of 32 bits only the values tell what they mean; Pillow before 11 reads a PNG of 16 bits as such
        sixteen = image.mode.startswith("I;16") or opened.format == "PNG" or values.max() > 255
        unit = image.mode == "F" and values.max() <= 1
        eight = values / 257.0 if sixteen else values * 255.0 if unit else values
        image = Image.fromarray(eight.clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def to_square(image: Image.Image, size: int) -> np.ndarray:
    """Resize to (size, size), bilinear with antialiasing; the aspect ratio is not kept, as in the thesis.

    Returns: (3, size, size) uint8.
    """
    resized = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.uint8).transpose(2, 0, 1)


def inspect(
    catalogue: Catalogue, on_bad_image: str = "error", progress: Callable[[int, int], None] | None = None
) -> Inspection:
    """Read and decode every image once, keeping none.

    Args:
        progress: called with (images read, images in all), about every hundredth part.
    Raises: as ``load``.
    """
    kept, digest, skipped = _kept(catalogue, on_bad_image, progress=progress)
    counts = np.bincount([catalogue.labels[i] for i, _ in kept], minlength=len(catalogue.classes))
    own_test = sum(catalogue.own_test[i] for i, _ in kept)
    return Inspection(
        digest=digest,
        classes=catalogue.classes,
        class_counts=tuple(int(count) for count in counts),
        train_pool=len(kept) - own_test,
        own_test=own_test,
        skipped=skipped,
    )


def load(catalogue: Catalogue, size: int, on_bad_image: str = "error") -> ImageSet:
    """Read every image into one array.

    Raises: DataError that names the unreadable images under ``on_bad_image = error``, or a class that skipping them
        would leave empty; ConfigError for another ``on_bad_image``.
    """
    kept, digest, skipped = _kept(catalogue, on_bad_image, size=size)
    index = [i for i, _ in kept]
    return ImageSet(
        images=torch.from_numpy(np.stack([pixels for _, pixels in kept if pixels is not None])),
        labels=torch.tensor([catalogue.labels[i] for i in index], dtype=torch.int64),
        own_test=torch.tensor([catalogue.own_test[i] for i in index], dtype=torch.bool),
        names=tuple(catalogue.names[i] for i in index),
        classes=catalogue.classes,
        digest=digest,
        skipped=skipped,
    )


def _kept(
    catalogue: Catalogue,
    on_bad_image: str,
    *,
    size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[tuple[int, np.ndarray | None]], str, tuple[str, ...]]:
    """The readable images by index (with pixels if a size is given), the digest over them, the names of the others."""
    if on_bad_image not in ON_BAD_IMAGE:
        raise unknown("on_bad_image", on_bad_image, ON_BAD_IMAGE)
    kept: list[tuple[int, np.ndarray | None]] = []
    bad: list[str] = []
    sha = hashlib.sha256()
    total = len(catalogue.names)
    for i, (content_digest, pixels, error) in enumerate(_contents(catalogue, size)):
        if error is None:
            kept.append((i, pixels))
            label = catalogue.classes[catalogue.labels[i]]
            sha.update(f"{label}\0{int(catalogue.own_test[i])}\0{content_digest}\n".encode())
        else:
            bad.append(catalogue.names[i])
        if progress is not None and (i + 1) % max(total // 100, 1) == 0:
            progress(i + 1, total)
    if bad and on_bad_image == "error":
        more = f" and {len(bad) - MAX_NAMED} more" if len(bad) > MAX_NAMED else ""
        raise DataError(
            f"every image must be readable (or set on_bad_image = skip); {len(bad)} of {total} "
            f"{'is' if len(bad) == 1 else 'are'} not: {', '.join(bad[:MAX_NAMED])}{more}"
        )
    left = {catalogue.labels[i] for i, _ in kept}
    if empty := [name for number, name in enumerate(catalogue.classes) if number not in left]:
        raise DataError(f"every class must have a readable image; none is left in {', '.join(empty)}")
    return kept, sha.hexdigest(), tuple(bad)


def _contents(catalogue: Catalogue, size: int | None) -> Iterator[tuple[str, np.ndarray | None, Exception | None]]:
    """Digest, pixels and error of every image in order; files are read and decoded in threads."""

    def one(i: int) -> tuple[str, np.ndarray | None, Exception | None]:
        try:
            content = catalogue.read(i)
            image = catalogue.decode(content)
        except UNREADABLE as error:
            return "", None, error
        return hashlib.sha256(content).hexdigest(), None if size is None else to_square(image, size), None

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        yield from pool.map(one, range(len(catalogue.names)))
