"""The sheet of a comparison: a PNG file of each image beside the maps and predictions of two models; runs no model."""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
from matplotlib.font_manager import findfont, get_font
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from proxy_attention.data.image_files import UnreadableImageError, checked_image
from proxy_attention.errors import ConfigError
from proxy_attention.files import write_atomic
from study.inference.compare_models import MAP_SIZE, ComparedImage, ModelPair
from study.inference.predictions import Prediction, percent
from study.inference.trained_model import TrainedModel
from study.reporting.image_grid import GridRow, ImageGrid, LabelledImage, draw_grid, heatmap

SHEET = "compare.png"
"""The file of a sheet for which the user names none."""
LONGEST_FILE_NAME = 240
"""Bytes: the temporary file of an atomic write has a longer name."""
MOST_ROWS = 6
"""Images that stand in one column before there are two columns."""
MARGIN, FRAME = 18, 5
"""Pixels before a row, and of the frame that says right or wrong."""
RIGHT, WRONG = (0, 114, 178), (213, 94, 0)
"""Blue and vermillion, which colour-blind people tell apart (Okabe and Ito's palette)."""
SIGNS = {True: "✓", False: "✗", None: ""}
LONGEST_NAME, LONGEST_CLASS = 24, 16
"""Characters of a file name and of a class on the sheet."""
KEY = "proxy-attention"
"""Keyword of the PNG text that marks a sheet."""


# ---- the file


def check_sheet_file(file: Path) -> None:
    """Raises: ConfigError if no sheet can be written there, or another file would be replaced."""
    if file.suffix.lower() != ".png":
        raise ConfigError(f"--out must name a .png file; got {file.name!r}")
    try:
        if not file.parent.is_dir() or not os.access(file.parent, os.W_OK):
            raise ConfigError(f"--out must lie in a folder that can be written to; got {str(file)!r}")
        if file.exists() and not (file.is_file() and is_sheet(file)):
            raise ConfigError(f"--out must name a new file, or a sheet drawn before; {str(file)!r} is another file")
    except OSError as error:
        raise ConfigError(
            f"--out must be a path that can be written to; got {str(file)!r}: {error.strerror}"
        ) from error
    if len(os.fsencode(file.name)) > LONGEST_FILE_NAME:
        raise ConfigError(f"--out must name a file in at most {LONGEST_FILE_NAME} bytes; got {file.name!r}")


def is_sheet(file: Path) -> bool:
    """Whether a file is a sheet that this module drew."""
    try:
        with checked_image(file) as opened:
            return KEY in opened.info
    except (OSError, UnreadableImageError):
        return False


def write_sheet(file: Path, pair: ModelPair, images: Sequence[ComparedImage]) -> None:
    """Draw the sheet and write it, whole or not at all."""
    picture = Image.fromarray(draw_grid(_grid(pair, images)))
    mark = PngInfo()
    mark.add_text(KEY, f"without={pair.plain.name} with={pair.proxied.name} saliency={pair.saliency}")
    write_atomic(file, lambda path: picture.save(path, format="PNG", pnginfo=mark))


# ---- the grid


def _grid(pair: ModelPair, images: Sequence[ComparedImage]) -> ImageGrid:
    """Lay out a row for each image: the image, then what each model makes of it."""
    rows = [_row(image) for image in images]
    columns = 1 if len(rows) <= MOST_ROWS else 2
    height = -(-len(rows) // columns)
    columns_of_rows = tuple(tuple(rows[first : first + height]) for first in range(0, len(rows), height))
    any_true = any(image.predictions[0].true for image in images)
    title = (
        "Where two classifiers look: trained without proxies, and with\n"
        f"without: {_describe_training(pair.plain)}\n"
        f"with: {_describe_training(pair.proxied)}\n"
        f"Maps of the predicted class by {pair.saliency}, bright where it speaks for the class."
        + ("  Blue frame and ✓: right.  Orange frame and ✗: wrong." if any_true else "")
    )
    return ImageGrid(title, columns_of_rows, MAP_SIZE, MARGIN)


def _describe_training(model: TrainedModel) -> str:
    """Name the trial, its model and schedule, and the settings of its proxies if it has any."""
    config = model.config
    parts = [model.name, config.model, f"schedule {config.schedule}"]
    if config.has_proxies:
        threshold = config.threshold if isinstance(config.threshold, str) else f"{config.threshold:g}"
        by = f"{config.saliency}, threshold {threshold}" if config.has_maps else "known places"
        parts.append(f"proxies by {by}, weight {config.weight:g}")
    return _drawable(" · ".join(parts))


def _row(image: ComparedImage) -> GridRow:
    picture = image.pixels.transpose(1, 2, 0)
    true = image.predictions[0].true
    name = _shorten(PurePosixPath(image.name).name, LONGEST_NAME)
    label = f"{name}\n{f'true: {_shorten(true, LONGEST_CLASS)}' if true else 'true class unknown'}"
    maps = [
        _labelled_map(picture, prediction, saliency_map, heading)
        for heading, prediction, saliency_map in zip(
            ("without proxies", "with proxies"), image.predictions, image.maps, strict=True
        )
    ]
    return GridRow("", (LabelledImage(picture, label), *maps))


def _labelled_map(picture: np.ndarray, prediction: Prediction, saliency_map: np.ndarray, heading: str) -> LabelledImage:
    """Lay the map over the darkened picture (S, S, 3), framed as right or wrong, with the prediction below it."""
    pixels = np.maximum(0.4 * picture, heatmap(saliency_map)).round().astype(np.uint8)
    if prediction.correct is not None:
        inside = pixels[FRAME:-FRAME, FRAME:-FRAME].copy()
        pixels[:] = RIGHT if prediction.correct else WRONG
        pixels[FRAME:-FRAME, FRAME:-FRAME] = inside
    flat = "" if saliency_map.any() else " (flat map)"
    predicted, share = _shorten(prediction.predicted, LONGEST_CLASS), percent(prediction.top[0][1])
    return LabelledImage(pixels, f"{heading}{flat}\n{f'{SIGNS[prediction.correct]} {predicted} {share}'.strip()}")


# ---- its words


def _shorten(text: str, longest: int) -> str:
    """Leave out the middle of a long text: file names differ at their ends."""
    text = _drawable(text)
    half = longest // 2
    return text if len(text) <= longest else f"{text[: longest - half - 1]}…{text[-half:]}"


def _drawable(text: str) -> str:
    """Put a question mark for each character that the sheet's font lacks."""
    return "".join(sign if ord(sign) in _font_characters() and sign.isprintable() else "?" for sign in text)


@cache
def _font_characters() -> frozenset[int]:
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())
