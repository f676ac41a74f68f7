"""What is wrong with the images of a data set: broken ones, files that are none, the same image twice.

Two images are the same if their decoded pixels are: upright, RGB, size and every value. Knows no terminal.
"""

import hashlib
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image, UnidentifiedImageError

from proxy_attention.data.decoding import UNREADABLE
from proxy_attention.data.folder import EXTENSIONS
from proxy_attention.data.pixels import ahead
from proxy_attention.data.reading import CHUNK, THREADS, Catalogue, Report

BROKEN, NO_IMAGE, LEAK, POSSIBLE_LEAK = "broken", "no image", "leak", "possible leak"
DUPLICATE, CONFLICT = "duplicate", "label conflict"
KINDS = {
    BROKEN: "does not decode, or ends too early",
    NO_IMAGE: "lies among images and is none",
    LEAK: "the same pixels in test and in train",
    POSSIBLE_LEAK: "the same pixels twice: a drawn split may part them",
    DUPLICATE: "the same pixels twice within one split",
    CONFLICT: "the same pixels under two classes",
}
"""What can be found, worst first."""

FAULTS = (BROKEN, NO_IMAGE, LEAK, POSSIBLE_LEAK)
"""What should not stay; the rest is for information."""

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
BEGINNINGS = (PNG, JPEG, b"RIFF", b"GIF8", b"II*\0", b"MM\0*")
"""Of what began as an image: where Pillow cannot tell what it is, it is broken."""

JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Inside coded pixels 255 is followed by 0 or by a restart marker; what else follows it ends them."""


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: a key of ``KINDS``.
        file: the image's name in its data set, or a path below the root.
        other: the image that it equals; of a broken one the reason.
    """

    kind: str
    file: str
    other: str


@dataclass(frozen=True)
class _Seen:
    """What was read of one image: a hash of its pixels, or what is wrong with it."""

    pixels: bytes
    trouble: tuple[str, str] | None = None


def check(catalogue: Catalogue, stray: Iterable[str] = (), *, progress: Report | None = None) -> list[Finding]:
    """Read and decode every image; memory holds a hash of each, not its pixels.

    Args:
        stray: files that lie among the images and have no image's name.
        progress: called with (images read, images in all).
    Returns: findings in the order of ``KINDS``, then by name.
    """
    found = [Finding(NO_IMAGE, name, "no image by its name") for name in stray]
    groups: dict[bytes, list[int]] = {}
    first: dict[bytes, int] = {}
    for i, seen in enumerate(_read(catalogue, progress)):
        if seen.trouble is not None:
            kind, reason = seen.trouble
            found.append(Finding(kind, catalogue.names[i], reason))
        elif seen.pixels in first:
            groups.setdefault(seen.pixels, [first[seen.pixels]]).append(i)
        else:
            first[seen.pixels] = i
    drawn = not any(catalogue.own_test)
    for group in groups.values():
        found += _of_group(catalogue, group, drawn=drawn)
    return sorted(found, key=lambda one: (tuple(KINDS).index(one.kind), one.file, one.other))


def _of_group(catalogue: Catalogue, group: Sequence[int], *, drawn: bool) -> Iterator[Finding]:
    """What is to be said of images with the same pixels, each compared with the first it equals.

    Args:
        drawn: the data set has no split of its own.
    """
    names, labels = catalogue.names, catalogue.labels
    train = [i for i in group if not catalogue.own_test[i]]
    test = [i for i in group if catalogue.own_test[i]]
    if train:
        yield from (Finding(LEAK, names[i], names[train[0]]) for i in test)
    for split in (train, test):
        again = POSSIBLE_LEAK if drawn else DUPLICATE
        yield from (Finding(again, names[i], names[split[0]]) for i in split[1:])
    yield from (Finding(CONFLICT, names[i], names[group[0]]) for i in group if labels[i] != labels[group[0]])


def _read(catalogue: Catalogue, progress: Report | None) -> Iterator[_Seen]:
    """Every image in order; they are read and decoded in threads."""
    total, done = len(catalogue.names), 0
    chunks = (range(begin, min(begin + CHUNK, total)) for begin in range(0, total, CHUNK))
    with warnings.catch_warnings():  # Pillow warns of odd files: what matters becomes a finding
        warnings.simplefilter("ignore")
        parts = ahead(lambda c: [_look(catalogue, i) for i in c], chunks, threads=THREADS, depth=2 * THREADS)
        for part in parts:
            yield from part
            done += len(part)
            if progress is not None:
                progress(done, total)


def _look(catalogue: Catalogue, i: int) -> _Seen:
    """Read one image, decode it, and see that it is whole."""
    try:
        content = catalogue.read(i)
        image = catalogue.decode(content)
        if catalogue.form == "file" and (missing := _missing(content)):
            return _Seen(b"", (BROKEN, missing))
    except UnidentifiedImageError:
        if not content or content.startswith(BEGINNINGS):
            return _Seen(b"", (BROKEN, _missing(content) or "damaged: begins as an image does" if content else "empty"))
        return _Seen(b"", (NO_IMAGE, "no image by its content"))
    except UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return _Seen(b"", (BROKEN, " ".join(reason.split()) or type(error).__name__))
    return _Seen(_digest(image))


def _digest(image: Image.Image) -> bytes:
    """Of the size and every value of an RGB image."""
    size = struct.pack("<II", *image.size)
    return hashlib.blake2b(size + image.tobytes(), digest_size=16).digest()


def _missing(content: bytes) -> str:
    """What a JPEG, PNG or WebP file lacks of its end, which Pillow may overlook; empty if nothing."""
    try:
        if content.startswith(PNG):
            return _missing_of_png(content)
        if content.startswith(JPEG):
            return "" if _ends(content) else "truncated: a JPEG file without its end marker"
        if content[:4] == b"RIFF" and len(content) < 8 + struct.unpack_from("<I", content, 4)[0]:
            return "truncated: shorter than the file says"
    except struct.error:
        return "truncated: ends within a header"
    return ""


def _missing_of_png(content: bytes) -> str:
    """Walk the chunks to the one that ends the file; those that carry pixels must agree with their sums."""
    at = len(PNG)
    while at < len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        (crc,) = struct.unpack_from(">I", content, at + 8 + length)
        if kind[:1].isupper() and zlib.crc32(content[at + 4 : at + 8 + length]) != crc:
            return f"damaged: the sum of chunk {kind.decode('latin-1')!r} is wrong"
        if kind == b"IEND":
            return ""
        at += 12 + length
    return "truncated: a PNG file without its end chunk"


def _ends(content: bytes) -> bool:
    """Walk the segments of a JPEG file, and the coded pixels after each start of scan, to its end marker."""
    at = 2
    while at < len(content):
        found = JPEG_MARKER.search(content, at)
        if found is None:
            return False
        marker, at = content[found.start() + 1], found.end()
        if marker == 0xD9:
            return True
        if marker not in (0x01, 0xD8):  # these two stand alone; others tell their length
            at += struct.unpack_from(">H", content, at)[0]
    return False


def stray_files(root: Path, names: Sequence[str] | None = None) -> list[str]:
    """The files that lie among images without an image's name; hidden ones are left out.

    Args:
        names: of images, as paths below the root or below a folder of its first two levels: then only what shares a
            folder with one of them. Without names, everything in the root's folders.
    Returns: names of the same kind, sorted.
    """
    top = root if names is None else _top(root, names)
    if top is None:
        return []
    folders = _folders(top) if names is None else {PurePosixPath(name).parent for name in names}
    return sorted(
        (folder / entry.name).as_posix()
        for folder in folders
        if folder.parts and (top / folder).is_dir()
        for entry in os.scandir(top / folder)
        if entry.name[0] != "." and Path(entry.name).suffix.lower() not in EXTENSIONS and entry.is_file()
    )


def _top(root: Path, names: Sequence[str]) -> Path | None:
    """The folder that the names start from; None if they are no paths."""
    places = (root, *sorted(root.glob("*/")), *sorted(root.glob("*/*/")))
    return next((place for place in places if (place / names[0]).is_file()), None)


def _folders(root: Path) -> Iterator[PurePosixPath]:
    """Every folder below the root, each real one once."""
    seen: set[str] = set()
    for folder, children, _ in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            children.clear()
            continue
        seen.add(real)
        children[:] = sorted(child for child in children if not child.startswith("."))
        yield PurePosixPath(Path(folder).relative_to(root).as_posix())
