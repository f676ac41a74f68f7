"""Read, hash and decode the images of a data set; knows no split and no device.

Every file is read and hashed each time, so that a changed image is noticed; a cache spares only the decoding.
"""

import hashlib
import logging
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from proxy_attention.data.cache import CacheEntry
from proxy_attention.data.catalogue import CHUNK, THREADS, Catalogue, ProgressCallback, named, white_level_of
from proxy_attention.data.decoding import (
    UNREADABLE,
    NoWhiteLevelError,
    decoder,
    to_square,
)
from proxy_attention.data.pixels import Streamed, map_prefetched
from proxy_attention.data.white_level import WhiteLevel
from proxy_attention.errors import DataError

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DecodedImages:
    """What reading a catalogue gave.

    Attributes:
        digests: SHA-256 of each image's content; empty where it could not be read.
        unreadable: numbers of the images that do not decode.
        pixels: (N, 3, S, S) uint8 of the readable images in order; None if they were not asked for or are too many.
        white: the white that was found; None if it was given, or no image needs one.
    """

    digests: list[str]
    unreadable: frozenset[int]
    pixels: torch.Tensor | None
    white: WhiteLevel | None = None


def digest_of(catalogue: Catalogue, digests: list[str], numbers: Sequence[int]) -> str:
    """Hash label, split, content and, where there are any, group of these images with SHA-256.

    A group changes no training, but results by group: trials with other groups are not the same.
    """
    sha = hashlib.sha256()
    for i in numbers:
        label = catalogue.classes[catalogue.labels[i]]
        split = {"train": 0, "test": 1, "val": 2}[catalogue.own_split(i)]
        group = "" if catalogue.groups is None else f"\0{catalogue.groups.name_of(i)}"
        sha.update(f"{label}\0{split}\0{digests[i]}{group}\n".encode())
    return sha.hexdigest()


def decode_images(
    catalogue: Catalogue,
    size: int | None,
    *,
    cache: Path | None,
    limit_mb: int,
    progress: ProgressCallback | None,
) -> DecodedImages:
    """Read every image; take its pixels from the cache, or decode them.

    Where an image needs a white level and the catalogue has none, it is found over all images first.

    With a cache, pixels that exceed its limit are not returned: the caller streams them.
    Raises: AmbiguousValuesError.
    """
    if cache is None:
        return _in_memory(catalogue, size, progress)
    if size is not None and len(catalogue.names) * 3 * size * size > limit_mb * 2**20:
        size = None
    try:
        return _in_cache(catalogue, size, cache / "images", limit_mb=limit_mb, progress=progress)
    except OSError as error:
        log.info("the image cache %s cannot be used (%s): the images are decoded without it", cache, error)
        return _in_memory(catalogue, size, progress)


def _in_memory(catalogue: Catalogue, size: int | None, progress: ProgressCallback | None) -> DecodedImages:
    """Read and decode every image."""
    try:
        return _decoded_in_memory(catalogue, size, progress)
    except NoWhiteLevelError:
        white = white_level_of(catalogue, progress)
        decoded = _decoded_in_memory(catalogue.with_white_level(white.value), size, progress)
        return replace(decoded, white=white)


def _decoded_in_memory(catalogue: Catalogue, size: int | None, progress: ProgressCallback | None) -> DecodedImages:
    total, filled = len(catalogue.names), 0
    array = None if size is None else np.empty((total, 3, size, size), dtype=np.uint8)
    digests: list[str] = []
    unreadable: set[int] = set()
    for part in _read_chunks(catalogue, range(total), size, progress):
        digests += part.digests
        unreadable |= part.unreadable
        if array is not None:
            array[filled : filled + len(part.pixels)] = part.pixels
            filled += len(part.pixels)
    return DecodedImages(digests, frozenset(unreadable), None if array is None else torch.from_numpy(array[:filled]))


def _in_cache(
    catalogue: Catalogue,
    size: int | None,
    folder: Path,
    *,
    limit_mb: int,
    progress: ProgressCallback | None,
) -> DecodedImages:
    """Read every image; decode them only if the cache has no entry for their contents.

    Raises: OSError if the cache cannot be written to; AmbiguousValuesError.
    """
    parts = _read_chunks(catalogue, range(len(catalogue.names)), None, progress, decode=False)
    digests = [digest for part in parts for digest in part.digests]
    entry = _entry_of(folder, digests, catalogue, limit_mb)
    white = _white_in(entry)
    if white is None:
        try:
            return _through_entry(entry, catalogue, digests, size, progress=progress)
        except NoWhiteLevelError:
            white = white_level_of(catalogue, progress)
            entry.write_white_level(asdict(white))
    catalogue = catalogue.with_white_level(white.value)
    entry = _entry_of(folder, digests, catalogue, limit_mb)
    return replace(_through_entry(entry, catalogue, digests, size, progress=progress), white=white)


def _entry_of(folder: Path, digests: list[str], catalogue: Catalogue, limit_mb: int) -> CacheEntry:
    """Return the cache entry of these contents, as the catalogue decodes them."""
    contents = digest_of(catalogue, digests, range(len(digests)))
    white = "" if catalogue.white_level is None else f", white {catalogue.white_level!r}"
    key = f"{contents}, {catalogue.form}, {catalogue.max_pixels}, {decoder()}{white}"
    return CacheEntry(folder / hashlib.sha256(key.encode()).hexdigest(), limit_mb)


def _white_in(entry: CacheEntry) -> WhiteLevel | None:
    """Read the white that was found for an entry's contents; None where none was needed, or the file is damaged."""
    found = entry.white_level()
    if found is None:
        return None
    value, images, highest, flat = (found.get(name) for name in ("value", "images", "highest", "flat"))
    if not (isinstance(value, float) and isinstance(highest, float) and 0 < value < math.inf and type(images) is int):
        return None
    if not isinstance(flat, list) or not all(isinstance(name, str) for name in flat):
        return None
    return WhiteLevel(value, images, highest, tuple(flat))


def _through_entry(
    entry: CacheEntry,
    catalogue: Catalogue,
    digests: list[str],
    size: int | None,
    *,
    progress: ProgressCallback | None,
) -> DecodedImages:
    """Take the images from a cache entry, which is built first where it lacks them.

    Raises: OSError if the cache cannot be written to; NoWhiteLevelError.
    """

    def from_entry() -> DecodedImages | None:
        unreadable = entry.unreadable()
        if unreadable is None:
            return None
        pixels = None if size is None else entry.array(len(digests) - len(unreadable), size)
        return DecodedImages(digests, unreadable, pixels) if size is None or pixels is not None else None

    decoded = from_entry()
    if decoded is None:
        with entry.locked():
            decoded = from_entry()  # another may have built it while this one waited
            if decoded is None:
                _build(entry, catalogue, digests, size, progress)
                decoded = from_entry()
    if decoded is None:
        raise OSError("what was just written is gone")
    return decoded


def _build(
    entry: CacheEntry, catalogue: Catalogue, digests: list[str], size: int | None, progress: ProgressCallback | None
) -> None:
    """Decode every image and write the cache entry, without holding all images in memory.

    Raises: DataError if an image is no longer what was hashed.
    """
    unreadable = set(entry.unreadable() or ())
    numbers = [i for i in range(len(digests)) if i not in unreadable]

    def arrays() -> Iterator[np.ndarray]:
        for part in _read_chunks(catalogue, numbers, size, progress):
            if changed := [
                catalogue.names[i] for i, d in zip(part.numbers, part.digests, strict=True) if d != digests[i]
            ]:
                raise DataError(f"images must not change while they are read; these did: {named(changed)}")
            unreadable.update(part.unreadable)
            yield part.pixels

    if size is None:
        deque(arrays(), maxlen=0)
    else:
        entry.write_array(arrays(), at_most=len(numbers), size=size)
    entry.write_checked(unreadable)


@dataclass(frozen=True, eq=False)
class _Chunk:
    """A few images after reading: their numbers and digests, which do not decode, and the pixels of the others."""

    numbers: Sequence[int]
    digests: list[str]
    unreadable: set[int]
    pixels: np.ndarray


def _read_chunks(
    catalogue: Catalogue,
    numbers: Sequence[int],
    size: int | None,
    progress: ProgressCallback | None,
    *,
    decode: bool = True,
) -> Iterator[_Chunk]:
    """Read, hash and decode the images with these numbers in threads; yields chunks in order."""

    def work(chunk: Sequence[int]) -> _Chunk:
        digests, unreadable, squares = [], set(), np.empty((len(chunk), 3, size or 0, size or 0), dtype=np.uint8)
        for i in chunk:
            digests.append("")
            try:
                content = catalogue.read(i)
                digests[-1] = hashlib.sha256(content).hexdigest()
                image = catalogue.decode(content) if decode else None
            except UNREADABLE:
                unreadable.add(i)
                continue
            if image is not None and size is not None:
                squares[len(digests) - 1 - len(unreadable)] = to_square(image, size)
        return _Chunk(chunk, digests, unreadable, squares[: len(chunk) - len(unreadable)])

    done, total = 0, len(numbers)
    chunks = (numbers[first : first + CHUNK] for first in range(0, total, CHUNK))
    for part in map_prefetched(work, chunks, threads=THREADS, depth=2 * THREADS):
        for _ in part.numbers:
            done += 1
            if progress is not None and done % max(total // 100, 1) == 0:
                progress(done, total)
        yield part


def streamed(catalogue: Catalogue, digests: list[str], kept: list[int], size: int) -> Streamed:
    """Make pixels that are decoded in threads when they are asked for, of the images in ``kept``.

    Asking for an image that has changed since it was hashed, or is gone, raises DataError.
    """
    pool = ThreadPoolExecutor(THREADS)

    def one(number: int) -> np.ndarray:
        try:
            content = catalogue.read(number)
        except UNREADABLE as error:
            raise DataError(f"images must stay readable during a trial; {catalogue.names[number]} is not") from error
        if hashlib.sha256(content).hexdigest() != digests[number]:
            raise DataError(f"images must not change during a trial; {catalogue.names[number]} has")
        return to_square(catalogue.decode(content), size)

    def fill(ids: torch.Tensor, out: torch.Tensor) -> None:
        target = out.numpy()
        for row, square in enumerate(pool.map(one, [kept[i] for i in ids.tolist()])):
            target[row] = square

    return Streamed(fill, shape=(len(kept), 3, size, size), device=torch.device("cpu"))
