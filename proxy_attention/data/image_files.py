"""Open image files safely: the only place that calls Pillow's ``Image.open``; knows no pixel and no data set.

Formats are few and named, so that a file which only says that it is an image starts no other program and reads no
other file. The size is checked in the header, before any pixel is decoded.
"""

import io
import os
import re
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import (  # importing a plug-in registers its format; Pillow would import all of them to find one
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from proxy_attention.errors import DataError

FORMATS = tuple(
    plugin.format
    for plugin in (
        BmpImagePlugin.BmpImageFile,
        GifImagePlugin.GifImageFile,
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        PpmImagePlugin.PpmImageFile,
        TiffImagePlugin.TiffImageFile,
        WebPImagePlugin.WebPImageFile,
        AvifImagePlugin.AvifImageFile,
    )
)
"""The formats that are read, by Pillow's names. The first picture of an MPO file, as phones write it, is a JPEG."""

EXTENSIONS = tuple(ending for kind in FORMATS for ending in sorted(Image.EXTENSION) if Image.EXTENSION[ending] == kind)
"""The endings of their names, as Pillow knows them; an image may have any other."""

SNIFFED_BYTES = 512
"""How much of a file is read to tell what it is."""

BEGINNINGS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"RIFF", b"GIF8", b"II*\0", b"MM\0*")
"""First bytes of image files: a file that begins so and that Pillow cannot identify is broken."""

OTHER_KINDS = {
    re.compile(rb"\Z"): "the file is empty",
    re.compile(rb"version https://git-lfs"): "a Git LFS pointer, not the image itself: git lfs pull fetches it",
    re.compile(rb"....ftyp(?:hei|hev|mif1|msf1)", re.DOTALL): "HEIC, which is not read: convert it to JPEG or PNG",
    re.compile(rb"....ftypavi", re.DOTALL): "AVIF, which this Pillow cannot read: convert it to JPEG or PNG",
    re.compile(rb"\0\0\0\x0cjP |\xff\x4f\xff\x51"): "JPEG 2000, which is not read: convert it to JPEG or PNG",
    re.compile(rb"\0\0\0\x0cJXL |\xff\x0a"): "JPEG XL, which is not read: convert it to JPEG or PNG",
    re.compile(rb"8BPS"): "a Photoshop file, which is not read: export it as PNG",
    re.compile(rb"\x76\x2f\x31\x01"): "OpenEXR, which is not read: convert it to TIFF",
    re.compile(rb".{128}DICM", re.DOTALL): "DICOM, which is not read: convert it to PNG or TIFF",
    re.compile(rb"%PDF|%!PS"): "a document, not an image",
    re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?<svg", re.IGNORECASE): "SVG, which has no pixels: export it as PNG",
    re.compile(rb"\s*<(?:!doctype )?html", re.IGNORECASE): "a web page, not an image: fetch the image itself",
    re.compile(rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!"): "an archive: unpack it",
}
"""What a file is that is none of ``FORMATS``, by its first bytes, and what to do."""

MAX_PIXELS = 100_000_000
"""The most pixels of an image, unless more are allowed: a camera's 61 million pass, and eight threads need 7 GB."""

MAX_PIXELS_ASKED = 2**32
"""The most pixels that a person may allow."""

MAX_BYTES = 2**32
"""The most bytes of a file: no format here reaches further, but BigTIFF."""

PARSER_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(AssertionError, RuntimeError, struct.error, zlib.error),
)
"""What Pillow raises for a file that is damaged, above all its parsers of TIFF and EXIF."""

PILLOW = re.compile(r"PIL\.")
"""The modules of Pillow, as a filter of warnings names them."""


class UnreadableImageError(DataError):
    """A file is no image that can be decoded; the text says why and does not name the file."""


class NoImageError(UnreadableImageError):
    """A file is of none of ``FORMATS``."""


class TooManyPixelsError(UnreadableImageError):
    """An image has more pixels than ``max_pixels`` allows."""

    def __init__(self, pixels: int, max_pixels: int) -> None:
        super().__init__(f"it has {pixels:,} pixels; max_pixels allows {max_pixels:,}")


@contextmanager
def checked_image(source: bytes | Path, *, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Open an image for a ``with`` block: its header is read and its size checked, its pixels are not decoded yet.

    Args:
        source: the content of a file, or its path.
        max_pixels: the most pixels that it may have.
    Raises: UnreadableImageError, also for what Pillow raises inside the block; OSError if the path cannot be opened.
    """
    _ignore_warnings()
    _let_pillow_open(max_pixels)
    with ExitStack() as files:
        file = io.BytesIO(source) if isinstance(source, bytes) else files.enter_context(_open_regular(source))
        try:
            with Image.open(file, formats=FORMATS) as opened:
                if opened.width * opened.height > max_pixels:
                    raise TooManyPixelsError(opened.width * opened.height, max_pixels)
                yield opened
        except UnidentifiedImageError as error:
            file.seek(0)
            known = known_kind(file.read(SNIFFED_BYTES))
            raise NoImageError(known or f"no image of {', '.join(FORMATS)}") from error
        except Image.DecompressionBombError as error:  # Pillow tells the size in its text alone
            pixels = re.search(r"\d+", str(error))
            raise TooManyPixelsError(int(pixels[0]) if pixels else max_pixels + 1, max_pixels) from error
        except PARSER_ERRORS as error:
            raise UnreadableImageError(" ".join(str(error).split())[:200] or type(error).__name__) from error


def is_image_file(path: Path) -> bool:
    """Whether a file is an image: Pillow reads it as one of ``FORMATS``, or its name or first bytes say that it is one.

    What only says so is an image that cannot be read. Of a file that is named as one nothing is read.
    """
    if path.suffix.lower() in EXTENSIONS:
        return True
    try:
        head = _read_head(path)
        if head.startswith(BEGINNINGS):
            return True
        if not any(_accepts(kind, head) for kind in FORMATS):
            return False
        with checked_image(path, max_pixels=MAX_PIXELS_ASKED):
            return True
    except TooManyPixelsError:
        return True
    except (OSError, UnreadableImageError):
        return False


def _accepts(kind: str, head: bytes) -> bool:
    """Whether Pillow's plug-in for a format may read a file that begins so."""
    accept = Image.OPEN[kind][1]
    return accept is None or accept(head) is True


def known_kind(source: bytes | Path) -> str:
    """Say what a file is that is no image, and what to do; empty if no more is known.

    Args:
        source: its content, the first ``SNIFFED_BYTES`` at least, or its path.
    """
    try:
        head = source if isinstance(source, bytes) else _read_head(source)
    except UnreadableImageError as error:
        return str(error)
    except OSError as error:
        return error.strerror or type(error).__name__
    return next((text for pattern, text in OTHER_KINDS.items() if pattern.match(head)), "")


def _read_head(path: Path) -> bytes:
    with _open_regular(path) as file:
        return file.read(SNIFFED_BYTES)


def read_image_file(path: Path) -> bytes:
    """Read a whole image file.

    Raises: UnreadableImageError for a pipe, a device or a folder, which could be read for ever, or too large a file;
        OSError.
    """
    with _open_regular(path) as file:
        return file.read()


def _open_regular(path: Path) -> BinaryIO:
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer would block
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableImageError("no regular file")
        if found.st_size > MAX_BYTES:
            raise UnreadableImageError(f"it has {found.st_size:,} bytes, more than {MAX_BYTES:,}")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _ignore_warnings() -> None:
    """Ignore Pillow's warnings of odd files: what matters is an error here.

    A filter is added once and stays: ``warnings.catch_warnings`` is not safe in threads.
    """
    if not warnings.filters or warnings.filters[0][3] != PILLOW:
        warnings.filterwarnings("ignore", module=PILLOW.pattern)


def _let_pillow_open(max_pixels: int) -> None:
    """Raise Pillow's own limit, which holds for the whole process, where more was allowed; it is never lowered."""
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
