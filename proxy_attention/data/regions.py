"""Read where the object of an image is, from a box or a trimap, upright as the image is shown; knows no list."""

from pathlib import Path

import numpy as np
from PIL import Image

from proxy_attention.data.decoding import UNREADABLE
from proxy_attention.data.image_files import checked_image
from proxy_attention.errors import DataError

ORIENTATION = 0x0112
"""The EXIF tag that says how an image is turned when it is shown."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Box = tuple[float, float, float, float]
"""Left, top, width and height, in pixels of the image as it is stored."""

TRIMAP_BACKGROUND = 2


def box_region(image: Path, box: Box) -> np.ndarray:
    """Mark the pixels that a box touches; of the image only the header is read.

    Returns: (H, W) bool.

    Raises: DataError if the image is none, or the box lies outside it.
    """
    (width, height), turn = _header(image)
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    right, bottom = min(box[0] + box[2], width), min(box[1] + box[3], height)
    if not (left < right and top < bottom):
        raise DataError(f"a bounding box must lie in its image of {width} x {height}; {image.name} has {box}")
    region = np.zeros((height, width), dtype=bool)
    region[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = True
    return _upright(region, turn)


def trimap_region(trimap: Path, image: Path) -> np.ndarray | None:
    """Mark the animal and its border in a trimap of 1 (animal), 2 (background) and 3 (border).

    Returns: (H, W) bool; None if there is no trimap.

    Raises: DataError if the trimap is no image, or not of the image's size.
    """
    if not trimap.exists():
        return None
    size, turn = _header(image)
    try:
        with checked_image(trimap) as opened:
            values = np.asarray(opened) if opened.size == size else np.empty(0)
    except UNREADABLE as error:
        raise DataError(f"a trimap must be readable; {str(trimap)!r} is not") from error
    if values.shape != (size[1], size[0]):
        raise DataError(f"a trimap must be of its image's size, {size[0]} x {size[1]}; {str(trimap)!r} is not")
    return _upright(values != TRIMAP_BACKGROUND, turn)


def _header(image: Path) -> tuple[tuple[int, int], int]:
    """Read the width and height of an image as it is stored, and its EXIF orientation.

    Raises: DataError.
    """
    try:
        with checked_image(image) as opened:
            return opened.size, int(opened.getexif().get(ORIENTATION, 1))
    except UNREADABLE as error:
        raise DataError(f"an image must be readable to tell its size; {str(image)!r} is not") from error


def _upright(region: np.ndarray, orientation: int) -> np.ndarray:
    if orientation not in TURNS:
        return region
    return np.asarray(Image.fromarray(region.astype(np.uint8)).transpose(TURNS[orientation])).astype(bool)
