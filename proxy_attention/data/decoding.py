"""Decode the content of an image file and resize it to a square; knows no folder, no data set and no label."""

import io
import struct

import numpy as np
from PIL import Image, ImageOps, features

UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError),
    *(TypeError, KeyError, IndexError, AttributeError, struct.error),  # from its parsers, above all of TIFF
)
"""What Pillow raises for a file that is no image, is damaged, or decodes to far more pixels than it should."""

VERSION = 1
"""Version of this module; a new number makes every cache decode its images again."""


def open_image(content: bytes) -> Image.Image:
    """Decode an image upright and as RGB: grey is repeated, alpha is laid on white, 16 bits become 8.

    Raises: one of ``UNREADABLE``.
    """
    with Image.open(io.BytesIO(content)) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith(("I", "F")):  # 16 and 32 bits: Pillow would clip at 255 instead of scaling
        values = np.asarray(image, dtype=np.float64)
        # only the values tell the range of 32-bit pixels; Pillow before 11 reads a 16-bit PNG as 32 bits
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
    """Resize to (size, size), bilinear with antialiasing; as in the thesis, the aspect ratio is not kept.

    Returns: (3, size, size) uint8.
    """
    resized = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.uint8).transpose(2, 0, 1)


def decoder() -> str:
    """Name the versions that decide the pixels: of this module, of Pillow, and of the libraries it was built with."""
    built_with = (f"{name} {features.version(name)}" for name in ("pil", "jpg", "libjpeg_turbo", "zlib", "webp"))
    return ", ".join((f"version {VERSION}", *built_with))
