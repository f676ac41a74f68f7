"""Decode the content of an image file and resize it to a square; knows no folder, no data set and no label."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps, features

from proxy_attention.data.image_files import MAX_PIXELS, UnreadableImageError, checked_image

UNREADABLE = (OSError, ValueError, UnreadableImageError)
"""What is raised where an image cannot be read, is no image, is damaged, or has more pixels than it may."""

VERSION = 2
"""Version of this module; a new number makes every cache decode its images again."""

STRIP_PIXELS = 2**22
"""Pixels that are converted at a time: whole, a large image would need several times its own memory."""


def open_image(content: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image upright and as RGB: grey is repeated, alpha is laid on white, 16 bits become 8.

    Raises: UnreadableImageError.
    """
    with checked_image(content, max_pixels=max_pixels) as opened:
        opened.load()
        ImageOps.exif_transpose(opened, in_place=True)
        if opened.mode.startswith(("I", "F")):  # 16 and 32 bits: Pillow would clip at 255 instead of scaling
            return _convert(opened, _eight_bits(opened))
        if opened.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in opened.info:
            return _convert(opened, _lay_on_white)
        return opened.convert("RGB")


def _eight_bits(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """Make a function that scales a part of the image to 8 bits; the range is that of the whole image."""
    largest = np.asarray(image).max()
    # only the values tell the range of 32-bit pixels; Pillow before 11 reads a 16-bit PNG as 32 bits
    sixteen = image.mode.startswith("I;16") or image.format == "PNG" or largest > 255
    unit = image.mode == "F" and largest <= 1

    def scale(part: Image.Image) -> Image.Image:
        values = np.asarray(part, dtype=np.float64)
        eight = values / 257.0 if sixteen else values * 255.0 if unit else values
        return Image.fromarray(eight.clip(0, 255).astype(np.uint8))

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
    built_with = (f"{name} {features.version(name)}" for name in ("pil", "jpg", "libjpeg_turbo", "zlib", "webp"))
    return ", ".join((f"version {VERSION}", *built_with))
