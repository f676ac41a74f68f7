"""Load a data set at one size: check every image, leave out the unreadable, compute the digest; knows no layout."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from proxy_attention.data.cache import LIMIT_MB
from proxy_attention.data.catalogue import MAX_NAMED, Catalogue, ProgressCallback, named
from proxy_attention.data.decoding import UNREADABLE, reason_of
from proxy_attention.data.groups import Groups
from proxy_attention.data.loading import DecodedImages, decode_images, digest_of, streamed
from proxy_attention.data.pixels import Pixels, to_device
from proxy_attention.data.white_level import WhiteLevel
from proxy_attention.errors import DataError, unknown

ON_BAD_IMAGE = ("error", "skip")


class UnreadableImagesError(DataError):
    """Some images of a data set cannot be read; the text names them, with the reason of each."""


@dataclass(frozen=True)
class Inspection:
    """Result of reading a whole data set without keeping its pixels.

    Attributes:
        white: the white that was found; None if it was given, or no image needs one.
    """

    digest: str
    classes: tuple[str, ...]
    class_counts: tuple[int, ...]
    train_pool: int
    own_test: int
    skipped: tuple[str, ...]
    white: WhiteLevel | None = None


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A data set with every image at one size; read-only.

    Attributes:
        images: (N, 3, S, S) uint8, in memory, mapped or streamed.
        labels: (N,) int64, an index into ``classes``.
        own_test: (N,) bool, True for the data set's own test split; all False where it has none.
        own_val: (N,) bool, True for the data set's own val; None where it has none.
        digest: SHA-256 over labels, split, contents and, where there are any, groups, in order.
        skipped: names of the unreadable images that were left out.
        region: returns where the object of image i is, (H, W) bool in the original's proportions, or None where that
            is not known; None for a data set without regions.
        groups: the group of each image, on the CPU; None for a data set without groups.
    """

    images: Pixels
    labels: torch.Tensor
    own_test: torch.Tensor
    names: tuple[str, ...]
    classes: tuple[str, ...]
    digest: str
    skipped: tuple[str, ...] = ()
    region: Callable[[int], np.ndarray | None] | None = None
    groups: Groups | None = None
    own_val: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def on(self, device: torch.device) -> "ImageSet":
        """Move the labels to this device, and the pixels if they fit (see ``pixels.to_device``)."""
        return dataclasses.replace(self, images=to_device(self.images, device), labels=self.labels.to(device))


def inspect(
    catalogue: Catalogue,
    on_bad_image: str = "error",
    progress: ProgressCallback | None = None,
    *,
    size: int | None = None,
    cache: Path | None = None,
    limit_mb: int = LIMIT_MB,
) -> Inspection:
    """Read every image and check that it decodes, without keeping any in memory.

    Args:
        progress: called with (images read, images in all) about a hundred times; again from the start where a cache
            lacks the images: they are read, then decoded.
        size: the size at which the images are put into the cache, if there is one.
        cache, limit_mb: as ``load``.
    Raises: as ``load``.
    """
    _check_on_bad_image(on_bad_image)
    decoded = decode_images(catalogue, size, cache=cache, limit_mb=limit_mb, progress=progress)
    if decoded.white is not None:
        catalogue = catalogue.with_white_level(decoded.white.value)
    kept, digest, skipped = _keep_readable(catalogue, on_bad_image, decoded)
    counts = np.bincount([catalogue.labels[i] for i in kept], minlength=len(catalogue.classes))
    own_test = sum(catalogue.own_test[i] for i in kept)
    return Inspection(
        digest=digest,
        classes=catalogue.classes,
        class_counts=tuple(int(count) for count in counts),
        train_pool=len(kept) - own_test,
        own_test=own_test,
        skipped=skipped,
        white=decoded.white,
    )


def load(
    catalogue: Catalogue,
    size: int,
    on_bad_image: str = "error",
    *,
    cache: Path | None = None,
    limit_mb: int = LIMIT_MB,
    progress: ProgressCallback | None = None,
) -> ImageSet:
    """Load every image at this size: mapped from the cache, which is filled first, or in memory where there is none.

    Args:
        cache: a folder that all trials of the host share, of which ``images`` is used. If it cannot be written to, the
            images are kept in memory.
        limit_mb: the MB that all arrays in the cache may take; a data set that is larger is decoded while it is trained
            on.
        progress: as ``inspect``.
    Raises: DataError that names the unreadable images under ``on_bad_image = error``, a class that skipping them
        would leave empty, or images that change meanwhile; ConfigError for another ``on_bad_image``.
    """
    _check_on_bad_image(on_bad_image)
    decoded = decode_images(catalogue, size, cache=cache, limit_mb=limit_mb, progress=progress)
    if decoded.white is not None:
        catalogue = catalogue.with_white_level(decoded.white.value)
    kept, digest, skipped = _keep_readable(catalogue, on_bad_image, decoded)
    region, groups, own_val = catalogue.region, catalogue.groups, catalogue.own_val
    return ImageSet(
        images=streamed(catalogue, decoded.digests, kept, size) if decoded.pixels is None else decoded.pixels,
        labels=torch.tensor([catalogue.labels[i] for i in kept], dtype=torch.int64),
        own_test=torch.tensor([catalogue.own_test[i] for i in kept], dtype=torch.bool),
        names=tuple(catalogue.names[i] for i in kept),
        classes=catalogue.classes,
        digest=digest,
        skipped=skipped,
        region=None if region is None else lambda i: region(kept[i]),
        groups=None if groups is None else groups.at(kept),
        own_val=torch.tensor([own_val[i] for i in kept], dtype=torch.bool) if any(own_val) else None,
    )


def _check_on_bad_image(on_bad_image: str) -> None:
    if on_bad_image not in ON_BAD_IMAGE:
        raise unknown("on_bad_image", on_bad_image, ON_BAD_IMAGE)


def _with_reason(catalogue: Catalogue, number: int) -> str:
    """Name an unreadable image, and say why it is."""
    name = catalogue.names[number]
    try:
        catalogue.decode(catalogue.read(number))
    except UNREADABLE as error:
        return f"{name} ({reason_of(error)})"
    return name


def _keep_readable(
    catalogue: Catalogue, on_bad_image: str, decoded: DecodedImages
) -> tuple[list[int], str, tuple[str, ...]]:
    """Apply ``on_bad_image``: the numbers of the readable images, their digest, and the names of the unreadable."""
    total = len(catalogue.names)
    bad = [catalogue.names[i] for i in sorted(decoded.unreadable)]
    if bad and on_bad_image == "error":
        told = [_with_reason(catalogue, i) for i in sorted(decoded.unreadable)[:MAX_NAMED]] + bad[MAX_NAMED:]
        raise UnreadableImagesError(
            f"every image must be readable (or set on_bad_image = skip); {len(bad)} of {total} "
            f"{'is' if len(bad) == 1 else 'are'} not: {named(told)}"
        )
    kept = [i for i in range(total) if i not in decoded.unreadable]
    left = {catalogue.labels[i] for i in kept}
    if empty := [name for number, name in enumerate(catalogue.classes) if number not in left]:
        raise DataError(f"every class must have a readable image; none is left in {', '.join(empty)}")
    return kept, digest_of(catalogue, decoded.digests, kept), tuple(bad)
