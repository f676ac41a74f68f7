"""Draw grids of small images with labels as PNG files, the same bytes for the same grid; knows no model."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

DPI = 100
GAP, LINE = 6, 15
"""Pixels between images, and of a line of a label."""
TITLE_LINE = 20
MIN_WIDTH = 820
"""Pixels, so that a title has room; a README shows about 900."""
MOST_BYTES = 240_000
"""Bytes of a file, so that a README loads fast."""
REDUCTIONS = ((256, True), (256, False), (96, False), (48, False), (24, False))
"""Reductions of a file that is too large, best first: how many colours, and whether they are dithered."""
STYLE: dict[Any, Any] = {"font.family": ["DejaVu Sans"], "text.parse_math": False, "text.antialiased": True}


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An image (H, W, 3) uint8 with its label below, of one line or more."""

    pixels: np.ndarray
    label: str = ""


@dataclass(frozen=True, eq=False)
class GridRow:
    """Images side by side, with a name before them."""

    name: str
    images: tuple[LabelledImage, ...]


@dataclass(frozen=True, eq=False)
class ImageGrid:
    """Columns of rows of images, under a title.

    Attributes:
        title: one line or more; the first is bold.
        columns: the rows of each column, left to right.
        side: pixels of the side of every image.
        margin: pixels for the names of the rows.
    """

    title: str
    columns: tuple[tuple[GridRow, ...], ...]
    side: int
    margin: int

    @property
    def labels(self) -> list[str]:
        """The names of the rows, then the labels of the images."""
        rows = [row for column in self.columns for row in column]
        return [row.name for row in rows] + [image.label for row in rows for image in row.images]


def in_columns(header: GridRow, rows: Sequence[GridRow], columns: int) -> tuple[tuple[GridRow, ...], ...]:
    """Split rows into columns of about the same height, each under the header."""
    height = -(-len(rows) // columns)
    return tuple((header, *rows[start : start + height]) for start in range(0, len(rows), height))


def heatmap(maps: np.ndarray) -> np.ndarray:
    """Colour maps (..., H, W) in [0, 1] as the whole project does: (..., H, W, 3) uint8."""
    colours: np.ndarray = (matplotlib.colormaps["inferno"](maps)[..., :3] * 255).round().astype(np.uint8)
    return colours


def png(grid: ImageGrid) -> bytes:
    """Encode a grid as PNG, in fewer colours where the file would be too large."""
    return _small_png(draw_grid(grid))


def draw_grid(grid: ImageGrid) -> np.ndarray:
    """Draw a grid as pixels (H, W, 3) uint8."""
    row_heights = [_row_height(rows, grid.side) for rows in zip_longest(*grid.columns)]
    across = max(len(row.images) for column in grid.columns for row in column)
    column_width = grid.margin + across * (grid.side + GAP)
    title = grid.title.splitlines()
    width = max(len(grid.columns) * column_width + (len(grid.columns) + 1) * GAP, MIN_WIDTH)
    top = len(title) * TITLE_LINE + 2 * GAP
    height = top + sum(row_heights)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
        canvas = FigureCanvasAgg(figure)

        def write(x: float, y: float, text: str, size: float, **look: Any) -> None:
            figure.text(x / width, 1 - y / height, text, fontsize=size, va="center", **look)

        for number, line in enumerate(title):
            weight = "bold" if not number else "normal"
            write(GAP, GAP + (number + 0.5) * TITLE_LINE, line, 9.5 if number else 11, weight=weight)
        placed: list[tuple[int, int, np.ndarray]] = []
        for place, column in enumerate(grid.columns):
            left, y = GAP + place * (column_width + GAP), top
            for row, height_of_row in zip(column, row_heights, strict=False):
                write(left + grid.margin - GAP, y + grid.side / 2, row.name, 8, ha="right")
                for number, image in enumerate(row.images):
                    x = left + grid.margin + number * (grid.side + GAP)
                    placed.append((x, y, _resized(image.pixels, grid.side)))
                    for below, line in enumerate(image.label.splitlines()):
                        write(x + grid.side / 2, y + grid.side + (below + 0.5) * LINE, line, 8, ha="center")
                y += height_of_row
        canvas.draw()
        whole = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    for x, y, pixels in placed:
        whole[y : y + grid.side, x : x + grid.side] = pixels
    return whole


def _row_height(rows: Sequence[GridRow | None], side: int) -> int:
    """Compute the height of rows that stand side by side, in pixels."""
    images = [image for row in rows if row is not None for image in row.images]
    return side + GAP + LINE * max((len(image.label.splitlines()) for image in images), default=0)


def _resized(pixels: np.ndarray, side: int) -> np.ndarray:
    """Resize an image: to whole multiples of its pixels where they fit, else smoothly."""
    if pixels.shape[:2] == (side, side):
        return pixels
    whole = side % pixels.shape[0] == 0
    how = Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(pixels).resize((side, side), how))


def _small_png(pixels: np.ndarray) -> bytes:
    """Encode pixels without a date or the name of a program, in as many colours as leave the file small."""
    picture = Image.fromarray(pixels)
    content = _encode(picture)
    part = Image.fromarray(pixels[::2, ::2])  # enough to find colours by, in a quarter of the time
    for colours, dithered in REDUCTIONS:
        if len(content) <= MOST_BYTES:
            break
        palette = part.quantize(colours, method=Image.Quantize.MEDIANCUT, kmeans=3)
        how = Image.Dither.FLOYDSTEINBERG if dithered else Image.Dither.NONE
        content = _encode(picture.quantize(palette=palette, dither=how))
    return content


def _encode(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, format="PNG", optimize=True)
    return out.getvalue()
