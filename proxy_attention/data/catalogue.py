"""What a data set holds before any image is decoded, and the search for its white; knows no split and no device."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from PIL import Image

from proxy_attention.data.decoding import UNREADABLE, open_image, value_range
from proxy_attention.data.groups import Groups
from proxy_attention.data.image_files import MAX_PIXELS
from proxy_attention.data.pixels import map_prefetched
from proxy_attention.data.white_level import ValueRange, WhiteLevel, find_white_level

MAX_NAMED = 10
"""Names that a line lists; it counts the others."""

CHUNK = 32
"""Images that a thread reads and decodes at a time."""

THREADS = min(8, os.cpu_count() or 1)
ProgressCallback = Callable[[int, int], None]


@dataclass(frozen=True)
class OtherFile:
    """A file among the images that is none.

    Attributes:
        reason: what it is, and what to do; empty if that is not known.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})" if self.reason else self.name


@dataclass(frozen=True, eq=False)
class Catalogue:
    """A data set before any image is decoded; the order of the images belongs to its digest.

    Attributes:
        names: unique; they identify an image for people.
        labels: index into ``classes``.
        own_test: True for the data set's own test split.
        own_val: True for the data set's own val, which is never trained on; empty where it has none.
        read: returns the content of image i, which is what is hashed.
        decode: turns a content into an RGB image; raises one of ``UNREADABLE``.
        form: names what ``decode`` takes, since the same bytes in another form are another image.
        max_pixels: the most pixels of an image file that ``decode`` takes.
        others: the files among the images that are none; hidden ones are left out.
        white_level: the value that becomes white in images of 16 or 32 bits or floats; None until it is found.
        region: returns where the object of image i is, (H, W) bool in the image's own proportions, or None if that
            is not known; None for a data set without regions.
        groups: the group of each image; None for a data set without groups.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...]
    own_test: tuple[bool, ...]
    classes: tuple[str, ...]
    read: Callable[[int], bytes]
    decode: Callable[[bytes], Image.Image]
    form: str = "file"
    max_pixels: int = MAX_PIXELS
    region: Callable[[int], np.ndarray | None] | None = None
    groups: Groups | None = None
    own_val: tuple[bool, ...] = ()
    white_level: float | None = None
    others: tuple[OtherFile, ...] = ()

    @property
    def of_files(self) -> bool:
        """Whether the images are files, which ``open_image`` decodes."""
        return getattr(self.decode, "func", self.decode) is open_image

    def own_split(self, image: int) -> str:
        """Return the data set's own split of an image: ``test``, ``val``, or ``train`` for every other."""
        if self.own_val and self.own_val[image]:
            return "val"
        return "test" if self.own_test[image] else "train"

    def with_max_pixels(self, max_pixels: int) -> "Catalogue":
        """Return the catalogue with another limit for image files; images of another form have one fixed size."""
        return self._decoding(max_pixels, self.white_level)

    def with_white_level(self, white_level: float | None) -> "Catalogue":
        """Return the catalogue with this white of image files; images of another form are of 8 bits."""
        return self._decoding(self.max_pixels, white_level)

    def _decoding(self, max_pixels: int, white_level: float | None) -> "Catalogue":
        if not self.of_files or (max_pixels, white_level) == (self.max_pixels, self.white_level):
            return self
        decode = partial(open_image, max_pixels=max_pixels, white_level=white_level)
        return replace(self, decode=decode, max_pixels=max_pixels, white_level=white_level)


def named(names: list[str]) -> str:
    """Join the first few names, and say how many more there are."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def others_line(others: Sequence[OtherFile]) -> str:
    """Count and name files that are no images; those of which something is known come first."""
    known = sorted(others, key=lambda one: not one.reason)
    verb = "is no image" if len(known) == 1 else "are no images"
    return f"{len(known)} {verb}: {named([str(one) for one in known])}"


def white_level_of(catalogue: Catalogue, progress: ProgressCallback | None = None) -> WhiteLevel:
    """Find the white of a data set over all its files; of images of 8 bits only the header is read.

    Args:
        progress: called with (images read, images in all).
    Raises: AmbiguousValuesError.
    """
    return find_white_level(list(_value_ranges(catalogue, progress)))


def _value_ranges(catalogue: Catalogue, progress: ProgressCallback | None) -> Iterator[tuple[str, ValueRange]]:
    """Measure the images that need a white level, in threads; yields their names and values in order."""

    def work(chunk: Sequence[int]) -> list[ValueRange | None]:
        found: list[ValueRange | None] = []
        for i in chunk:
            try:
                found.append(value_range(catalogue.read(i), max_pixels=catalogue.max_pixels))
            except UNREADABLE:
                found.append(None)
        return found

    done, total = 0, len(catalogue.names)
    chunks = (range(first, min(first + CHUNK, total)) for first in range(0, total, CHUNK))
    for part in map_prefetched(work, chunks, threads=THREADS, depth=2 * THREADS):
        for values in part:
            if values is not None:
                yield catalogue.names[done], values
            done += 1
        if progress is not None:
            progress(done, total)
