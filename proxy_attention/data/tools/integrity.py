"""What is wrong with the images of a data set: broken ones, files that are none, the same image twice.

Two images are the same if their decoded pixels are: upright, RGB, size and every value. Knows no terminal.
"""

import hashlib
import os
import struct
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from proxy_attention.data.decoding import UNREADABLE
from proxy_attention.data.folder import EXTENSIONS, hidden, is_image, walk
from proxy_attention.data.loading import CHUNK, THREADS, Catalogue, Report
from proxy_attention.data.pixels import map_prefetched
from proxy_attention.data.tools.truncation import BEGINNINGS, missing

BROKEN, NO_IMAGE, LEAK, POSSIBLE_LEAK = "broken", "no image", "leak", "possible leak"
DUPLICATE, CONFLICT = "duplicate", "label conflict"
KINDS = {
    BROKEN: "does not decode, or ends too early",
    NO_IMAGE: "lies among images and is none",
    LEAK: "the same pixels in test and in train (or in val)",
    POSSIBLE_LEAK: "the same pixels twice: a drawn split may part them",
    DUPLICATE: "the same pixels twice within one split",
    CONFLICT: "the same pixels under two classes within one split",
}
"""What can be found, worst first."""

FAULTS = (BROKEN, NO_IMAGE, LEAK, POSSIBLE_LEAK)
"""What should not stay; the rest is for information."""


@dataclass(frozen=True, order=True)
class Issue:
    """Something that is wrong, or odd, with one image.

    Attributes:
        kind: a key of ``KINDS``.
        file: the image's name in its data set, or a path below the root.
        other: the image that it equals; of a broken one the reason.
    """

    kind: str
    file: str
    other: str


@dataclass(frozen=True)
class _Examined:
    """One image after decoding: a hash of its pixels, or its kind of fault and the reason."""

    pixels: bytes
    trouble: tuple[str, str] | None = None


def check(
    catalogue: Catalogue,
    stray: Iterable[str] = (),
    *,
    splits: Sequence[str] | None = None,
    unlisted: Catalogue | None = None,
    progress: Report | None = None,
) -> list[Issue]:
    """Read and decode every image; memory holds a hash of each, not its pixels.

    Args:
        stray: files that lie among the images and have no image's name.
        splits: the split of each image, if there are others than the data set's own test and the rest.
        unlisted: further images, of which only what does not decode is told.
        progress: called with (images read, images in all).
    Returns: issues in the order of ``KINDS``, then by name; each image is told once, by the worst that it is.
    """
    found = [Issue(NO_IMAGE, name, "no image by its name") for name in stray]
    groups: dict[bytes, list[int]] = {}
    first: dict[bytes, int] = {}
    for i, examined in enumerate(_read(catalogue, progress)):
        if examined.trouble is not None:
            found.append(Issue(examined.trouble[0], catalogue.names[i], examined.trouble[1]))
        elif examined.pixels in first:
            groups.setdefault(examined.pixels, [first[examined.pixels]]).append(i)
        else:
            first[examined.pixels] = i
    parted = splits if splits is not None else ["test" if own else "train" for own in catalogue.own_test]
    drawn = len(set(parted)) < 2
    for group in groups.values():
        found += _of_group(catalogue, group, parted, drawn=drawn)
    if unlisted is not None:
        troubles = [examined.trouble for examined in _read(unlisted, progress)]
        found += [Issue(trouble[0], unlisted.names[i], trouble[1]) for i, trouble in enumerate(troubles) if trouble]
    return sorted(found, key=lambda one: (tuple(KINDS).index(one.kind), one.file, one.other))


def _of_group(catalogue: Catalogue, group: Sequence[int], splits: Sequence[str], *, drawn: bool) -> Iterator[Issue]:
    """What is to be said of images with the same pixels: of each but the first to train with, how it relates to that.

    Args:
        drawn: the data set has no split of its own.
    """
    names, labels = catalogue.names, catalogue.labels
    home = next((i for i in group if not catalogue.own_test[i]), group[0])
    for i in group:
        if i != home:
            again = POSSIBLE_LEAK if drawn else DUPLICATE if labels[i] == labels[home] else CONFLICT
            yield Issue(again if splits[i] == splits[home] else LEAK, names[i], names[home])


def _read(catalogue: Catalogue, progress: Report | None) -> Iterator[_Examined]:
    """Every image in order; they are read and decoded in threads."""
    total, done = len(catalogue.names), 0
    chunks = (range(begin, min(begin + CHUNK, total)) for begin in range(0, total, CHUNK))
    with warnings.catch_warnings():  # Pillow warns of odd files: what matters becomes an issue
        warnings.simplefilter("ignore")
        parts = map_prefetched(
            lambda c: [_examine(catalogue, i) for i in c], chunks, threads=THREADS, depth=2 * THREADS
        )
        for part in parts:
            yield from part
            done += len(part)
            if progress is not None:
                progress(done, total)


def _examine(catalogue: Catalogue, i: int) -> _Examined:
    """Read one image, decode it, and see that it is whole."""
    try:
        content = catalogue.read(i)
        image = catalogue.decode(content)
        if catalogue.form == "file" and (lacks := missing(content)):
            return _Examined(b"", (BROKEN, lacks))
    except UnidentifiedImageError:
        if not content or content.startswith(BEGINNINGS):
            return _Examined(
                b"", (BROKEN, missing(content) or "damaged: begins as an image does" if content else "empty")
            )
        return _Examined(b"", (NO_IMAGE, "no image by its content"))
    except UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return _Examined(b"", (BROKEN, " ".join(reason.split()) or type(error).__name__))
    return _Examined(_digest(image))


def _digest(image: Image.Image) -> bytes:
    """Of the size and every value of an RGB image."""
    size = struct.pack("<II", *image.size)
    return hashlib.blake2b(size + image.tobytes(), digest_size=16).digest()


def stray_files(
    root: Path, names: Sequence[str] | None = None, *, straight: bool = False, shipped: Sequence[str] = ()
) -> list[str]:
    """The files that lie among images without an image's name; hidden ones are left out.

    Args:
        names: of images, as paths below a folder near the root: then only what shares a folder with one of them.
            Without names, everything in the root's folders.
        straight: whether images lie straight in the root, so that its own files count, too.
        shipped: patterns of the names of files that the publisher put there.
    Returns: names of the same kind, sorted.
    """
    top = root if names is None else _top(root, names)
    if top is None:
        return []
    return sorted(
        f"{folder}{file}"
        for folder, files in _places(top, names)
        if folder or straight
        for file in files
        if Path(file).suffix.lower() not in EXTENSIONS
        and not any(fnmatchcase(file, pattern) for pattern in shipped)
        and (top / folder / file).is_file()
    )


def unlisted_images(root: Path, catalogue: Catalogue, names: Sequence[str] | None = None) -> Catalogue | None:
    """The image files that lie among a data set's images and are none of them; None if there is none.

    Args:
        names: as of ``stray_files``.
    Returns: a data set of them, each of the first class.
    """
    top = root if names is None else _top(root, names)
    if top is None:
        return None
    base, listed = top, frozenset(catalogue.names)
    beside = (f"{folder}{file}" for folder, files in _places(top, names) for file in files if is_image(file))
    others = tuple(sorted(name for name in beside if name not in listed))
    if not others:
        return None
    return replace(
        catalogue,
        names=others,
        labels=(0,) * len(others),
        own_test=(False,) * len(others),
        read=lambda i: (base / others[i]).read_bytes(),
        region=None,
    )


def _top(root: Path, names: Sequence[str]) -> Path | None:
    """The folder that the names start from: the root, that above it or one near below; None if they are no paths."""
    below = (place for pattern in ("*/", "*/*/", "*/*/*/") for place in sorted(root.glob(pattern)))
    return next((place for place in chain((root, root.parent), below) if (place / names[0]).is_file()), None)


def _places(top: Path, names: Sequence[str] | None) -> Iterator[tuple[str, list[str]]]:
    """(path below the top that ends with a slash, its files) of every folder of images; hidden files are left out."""
    if names is None:
        for folder, files in walk(top):
            yield "" if folder == top else f"{folder.relative_to(top).as_posix()}/", files
        return
    for parent in {name[: name.rfind("/") + 1] for name in names}:
        if (top / parent).is_dir():
            yield parent, [entry.name for entry in os.scandir(top / parent) if not hidden(entry.name)]
