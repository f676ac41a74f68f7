"""Check the images of a data set: find broken ones, files that are no images, and the same image twice.

Two images are the same if their decoded pixels are: upright, RGB, size and every value. Knows no terminal.
"""

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from proxy_attention.data.catalogue import CHUNK, THREADS, Catalogue, ProgressCallback
from proxy_attention.data.decoding import UNREADABLE, is_deep_file, reason_of
from proxy_attention.data.folder import hidden, split_files, walk
from proxy_attention.data.image_files import (
    BEGINNINGS,
    MAX_PIXELS_ASKED,
    NoImageError,
    is_image_file,
    known_kind,
    read_image_file,
)
from proxy_attention.data.pixels import map_prefetched
from proxy_attention.data.tools.truncation import describe_truncation
from proxy_attention.data.white_level import FLAT_LEVELS

BROKEN, NO_IMAGE, LEAK, POSSIBLE_LEAK = "broken", "no image", "leak", "possible leak"
DUPLICATE, CONFLICT, FLAT = "duplicate", "label conflict", "flat"
KINDS = {
    BROKEN: "does not decode, or ends too early",
    NO_IMAGE: "lies among images and is none",
    LEAK: "the same pixels in test and in train (or in val)",
    POSSIBLE_LEAK: "the same pixels twice: a drawn split may part them",
    DUPLICATE: "the same pixels twice within one split",
    CONFLICT: "the same pixels under two classes within one split",
    FLAT: f"of more than 8 bits, and comes out in fewer than {FLAT_LEVELS} grey levels",
}
"""The kinds of issues and what they mean, the worst first."""

FAULTS = (BROKEN, NO_IMAGE, LEAK, POSSIBLE_LEAK)
"""The kinds that should be mended; the others are for information."""


@dataclass(frozen=True, order=True)
class Issue:
    """Something wrong or odd about one image.

    Attributes:
        kind: a key of ``KINDS``.
        file: the image's name in its data set, or a path below the root.
        other: the image that it equals; if it is broken, the reason.
    """

    kind: str
    file: str
    other: str


@dataclass(frozen=True)
class _Examined:
    """One image after decoding.

    Attributes:
        digest: of its pixels; empty if there is trouble.
        trouble: the kind of its issue, and the reason.
        flat: its lowest and highest value, if it came out flat.
    """

    digest: bytes
    trouble: tuple[str, str] | None = None
    flat: tuple[int, int] | None = None


def check(
    catalogue: Catalogue,
    stray: Iterable[str] = (),
    *,
    reasons: Mapping[str, str] = MappingProxyType({}),
    splits: Sequence[str] | None = None,
    unlisted: Catalogue | None = None,
    progress: ProgressCallback | None = None,
) -> list[Issue]:
    """Read and decode every image, and compare them by a hash of their pixels.

    Args:
        stray: files among the images that are none, and are not named as one.
        reasons: what some of them are.
        splits: the split of each image, if there are others than the data set's own.
        unlisted: further images, which are only checked to decode.
        progress: called with (images read, images in all).
    Returns: the issues in the order of ``KINDS``, then by name; of each image only the worst.
    """
    found = [Issue(NO_IMAGE, name, reasons.get(name, "no image by its name")) for name in stray]
    groups: dict[bytes, list[int]] = {}
    first: dict[bytes, int] = {}
    flat: list[Issue] = []
    for i, examined in enumerate(_examine_all(catalogue, progress)):
        if examined.flat is not None:
            flat.append(Issue(FLAT, catalogue.names[i], "values of {} to {} of 255".format(*examined.flat)))
        if examined.trouble is not None:
            found.append(Issue(examined.trouble[0], catalogue.names[i], examined.trouble[1]))
        elif examined.digest in first:
            groups.setdefault(examined.digest, [first[examined.digest]]).append(i)
        else:
            first[examined.digest] = i
    parted = splits if splits is not None else [catalogue.own_split(i) for i in range(len(catalogue.names))]
    drawn = len(set(parted)) < 2
    for group in groups.values():
        found += _group_issues(catalogue, group, parted, drawn=drawn)
    known = {one.file for one in found}
    found += [one for one in flat if one.file not in known]
    if unlisted is not None:
        troubles = [examined.trouble for examined in _examine_all(unlisted, progress)]
        found += [Issue(trouble[0], unlisted.names[i], trouble[1]) for i, trouble in enumerate(troubles) if trouble]
    return sorted(found, key=lambda one: (tuple(KINDS).index(one.kind), one.file, one.other))


def _group_issues(catalogue: Catalogue, group: Sequence[int], splits: Sequence[str], *, drawn: bool) -> Iterator[Issue]:
    """Yield the issues of images with the same pixels: how each relates to the first that is not of the own test.

    Args:
        drawn: whether the data set has no split of its own, so that one will be drawn.
    """
    names, labels = catalogue.names, catalogue.labels
    home = next((i for i in group if not catalogue.own_test[i]), group[0])
    for i in group:
        if i != home:
            again = POSSIBLE_LEAK if drawn else DUPLICATE if labels[i] == labels[home] else CONFLICT
            yield Issue(again if splits[i] == splits[home] else LEAK, names[i], names[home])


def _examine_all(catalogue: Catalogue, progress: ProgressCallback | None) -> Iterator[_Examined]:
    """Examine every image in threads; yields the results in order."""
    total, done = len(catalogue.names), 0
    chunks = (range(begin, min(begin + CHUNK, total)) for begin in range(0, total, CHUNK))
    for part in map_prefetched(
        lambda c: [_examine(catalogue, i) for i in c], chunks, threads=THREADS, depth=2 * THREADS
    ):
        yield from part
        done += len(part)
        if progress is not None:
            progress(done, total)


def _examine(catalogue: Catalogue, i: int) -> _Examined:
    """Read one image, decode it, and check that it is complete."""
    try:
        content = catalogue.read(i)
        image = catalogue.decode(content)
        if catalogue.form == "file" and (lacks := describe_truncation(content)):
            return _Examined(b"", (BROKEN, lacks))
    except NoImageError:
        if not content:
            return _Examined(b"", (BROKEN, "empty"))
        if content.startswith(BEGINNINGS):
            return _Examined(b"", (BROKEN, describe_truncation(content) or "damaged: begins as an image does"))
        return _Examined(b"", (NO_IMAGE, known_kind(content) or "no image by its content"))
    except UNREADABLE as error:
        return _Examined(b"", (BROKEN, reason_of(error)))
    return _Examined(_digest(image), flat=_flat_range(image, content) if catalogue.of_files else None)


def _flat_range(image: Image.Image, content: bytes) -> tuple[int, int] | None:
    """Return the lowest and highest value of an image that came out flat of more than 8 bits; None for any other."""
    extrema = np.asarray([band.getextrema() for band in image.split()])
    if (extrema[:, 1] - extrema[:, 0] >= FLAT_LEVELS - 1).any() or not is_deep_file(
        content, max_pixels=MAX_PIXELS_ASKED
    ):
        return None
    return int(extrema.min()), int(extrema.max())


def _digest(image: Image.Image) -> bytes:
    """Hash the size and every value of an RGB image."""
    size = struct.pack("<II", *image.size)
    return hashlib.blake2b(size + image.tobytes(), digest_size=16).digest()


def stray_files(
    root: Path, names: Sequence[str] | None = None, *, straight: bool = False, shipped: Sequence[str] = ()
) -> list[str]:
    """List the files among the images that are none and are not named as one; hidden files are left out.

    Args:
        names: paths of images below a folder near the root; then only the folders of these images are searched,
            without them every folder of the root.
        straight: whether images lie directly in the root, so that its own files count, too.
        shipped: patterns for the names of files that the publisher put there.
    Returns: paths from the same folder as ``names``, sorted.
    """
    top = root if names is None else _base_folder(root, names)
    if top is None:
        return []
    return sorted(
        f"{folder}{file}"
        for folder, files in _image_folders(top, names)
        if folder or straight
        for file in files
        if not any(fnmatchcase(file, pattern) for pattern in shipped)
        and (top / folder / file).is_file()
        and not is_image_file(top / folder / file)
    )


def stray_reasons(root: Path, stray: Sequence[str], names: Sequence[str] | None = None) -> dict[str, str]:
    """Say what the stray files are of which more can be said than that they are no images; arguments as above."""
    top = root if names is None else _base_folder(root, names)
    return {name: known for name in stray if top is not None and (known := known_kind(top / name))}


def unlisted_images(root: Path, catalogue: Catalogue, names: Sequence[str] | None = None) -> Catalogue | None:
    """Find image files among the images of a data set that do not belong to it.

    Args:
        names: as in ``stray_files``.
    Returns: a catalogue of them, each of the first class; None if there is none.
    """
    top = root if names is None else _base_folder(root, names)
    if top is None:
        return None
    base, listed = top, frozenset(catalogue.names)
    folders = ((folder, split_files(top / folder, files)[0]) for folder, files in _image_folders(top, names))
    beside = (f"{folder}{file.name}" for folder, files in folders for file in files)
    others = tuple(sorted(name for name in beside if name not in listed))
    if not others:
        return None
    return replace(
        catalogue,
        names=others,
        labels=(0,) * len(others),
        own_test=(False,) * len(others),
        read=lambda i: read_image_file(base / others[i]),
        region=None,
    )


def _base_folder(root: Path, names: Sequence[str]) -> Path | None:
    """Find the folder from which the names start: the root, the one above, or one up to three below; None without."""
    below = (place for pattern in ("*/", "*/*/", "*/*/*/") for place in sorted(root.glob(pattern)))
    return next((place for place in chain((root, root.parent), below) if (place / names[0]).is_file()), None)


def _image_folders(top: Path, names: Sequence[str] | None) -> Iterator[tuple[str, list[str]]]:
    """Yield every folder of images, a path below ``top`` with a slash at its end, and its files without hidden ones."""
    if names is None:
        for folder, files in walk(top):
            yield "" if folder == top else f"{folder.relative_to(top).as_posix()}/", files
        return
    for parent in {name[: name.rfind("/") + 1] for name in names}:
        if (top / parent).is_dir():
            yield parent, [entry.name for entry in os.scandir(top / parent) if not hidden(entry.name)]
