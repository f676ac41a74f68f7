"""Decode the content of an image file and resize it to a square; knows no folder, no data set and no label."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, features

from proxy_attention.data.image_files import MAX_PIXELS, UnreadableImageError, checked_image
from proxy_attention.data.white_level import ValueRange

UNREADABLE = (OSError, ValueError, UnreadableImageError)
"""What is raised where an image cannot be read, is no image, is damaged, or has more pixels than it may."""

VERSION = 3
"""Version of this module; a new number makes every cache decode its images again."""

STRIP_PIXELS = 2**22
"""Pixels that are converted at a time: whole, a large image would need several times its own memory."""


PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
"""The TIFF tag that says which end is white, and its value where 0 is."""


class NoWhiteLevelError(Exception):
    """An image has pixels that are not 8 bits, and nobody said which value of them is white."""


def reason_of(error: Exception) -> str:
    """Say in one line why an image could not be read.

    Args:
        error: one of ``UNREADABLE``.
    """
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(reason.split())[:200] or type(error).__name__


def open_image(content: bytes, *, max_pixels: int = MAX_PIXELS, white_level: float | None = None) -> Image.Image:
    """Decode an image upright and as RGB: grey is repeated, alpha is laid on white, other pixels become 8 bits.

    Args:
        white_level: the value that becomes white in an image of 16 or 32 bits or floats; 0 becomes black.
    Raises: UnreadableImageError, also for values that are not finite; NoWhiteLevelError.
    """
    with checked_image(content, max_pixels=max_pixels) as opened:
        if _is_deep(opened) and white_level is None:
            raise NoWhiteLevelError
        inverted = opened.format == "TIFF" and opened.getexif().get(PHOTOMETRIC) == WHITE_IS_ZERO
        _scale_transparency(opened)
        opened.load()
        ImageOps.exif_transpose(opened, in_place=True)
        if _is_deep(opened):  # Pillow would clip at 255 instead of scaling
            _check_finite(opened)
            return _convert(opened, _eight_bits(opened, float(white_level or 0), inverted=inverted))
        if opened.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in opened.info:
            return _convert(opened, _lay_on_white)
        return opened.convert("RGB")


def value_range(source: bytes | Path, *, max_pixels: int = MAX_PIXELS) -> ValueRange | None:
    """Measure the values of an image of 16 or 32 bits or floats; None if its pixels are 8 bits, which are not decoded.

    Args:
        source: the content of a file, or its path.
    Raises: UnreadableImageError, also for values that are not finite; OSError if the path cannot be opened.
    """
    with checked_image(source, max_pixels=max_pixels) as opened:
        if not _is_deep(opened):
            return None
        opened.load()
        _check_finite(opened)
        return ValueRange.of(np.asarray(opened))


def is_deep_file(content: bytes, *, max_pixels: int = MAX_PIXELS) -> bool:
    """Whether a file holds pixels of more than 8 bits, also where Pillow keeps 8 of them, as in colours of 16 bits.

    Raises: UnreadableImageError.
    """
    with checked_image(content, max_pixels=max_pixels) as opened:
        return _is_deep(opened) or ";16" in _packing(opened)


def _is_deep(image: Image.Image) -> bool:
    """Whether the pixels of an image are 16 or 32 bits, or floats."""
    return image.mode.startswith(("I", "F"))


def _packing(image: Image.Image) -> str:
    """Say in Pillow's words how the pixels of a file are packed that are not decoded yet."""
    tiles: list[Any] = getattr(image, "tile", [])
    return str(tiles[0][3]) if tiles else ""


def _check_finite(image: Image.Image) -> None:
    """Raises: UnreadableImageError for an image with a value that is not a finite number."""
    if image.mode == "F" and (odd := np.count_nonzero(~np.isfinite(np.asarray(image)))):
        pixels = image.width * image.height
        raise UnreadableImageError(f"{odd:,} of its {pixels:,} values are NaN or infinite: put numbers in their place")


def _scale_transparency(image: Image.Image) -> None:
    """Scale the transparent colour of a PNG as Pillow will scale its pixels; call it before they are decoded."""
    transparent = image.info.get("transparency")
    packed = _packing(image) if image.format == "PNG" else ""
    if transparent is not None and packed in ("L;2", "L;4"):
        image.info["transparency"] = transparent * 255 // (2 ** int(packed[2:]) - 1)
    elif transparent is not None and packed == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in transparent)


def _eight_bits(image: Image.Image, white: float, *, inverted: bool) -> Callable[[Image.Image], Image.Image]:
    """Make a function that scales a part of an image to 8 bits.

    Args:
        inverted: whether 0 is white.
    """
    transparent = image.info.get("transparency")  # of a grey PNG: one value

    def scale(part: Image.Image) -> Image.Image:
        values = np.asarray(part, dtype=np.float64)
        eight = (values * 255.0 / white).clip(0, 255).astype(np.uint8)
        if inverted:
            eight = 255 - eight
        return Image.fromarray(eight if transparent is None else np.where(values == transparent, 255, eight))

    return scale


def _lay_on_white(part: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", part.size, "white"), part.convert("RGBA"))


def _convert(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert the image to RGB strip by strip."""
    converted = Image.new("RGB", image.size)
    rows = max(STRIP_PIXELS // image.width, 1)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        converted.paste(convert(strip).convert("RGB"), (0, top))
    return converted


def to_square(image: Image.Image, size: int) -> np.ndarray:
    """Resize to (size, size), bilinear with antialiasing; as in the thesis, the aspect ratio is not kept.

    Returns: (3, size, size) uint8.
    """
    resized = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.uint8).transpose(2, 0, 1)


def decoder() -> str:
    """Name the versions that decide the pixels: of this module, of Pillow, and of the libraries it was built with."""
    built_with = (
        f"{name} {features.version(name)}" for name in ("pil", "jpg", "libjpeg_turbo", "zlib", "webp", "avif")
    )
    return ", ".join((f"version {VERSION}", *built_with))
