"""Pages of small pictures with words beside them, as PNG files: the same bytes for the same page; knows no model."""

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
"""Pixels between pictures, and of a line of small words."""
TITLE_LINE = 20
LEAST_WIDTH = 820
"""Pixels, so that a title has room; a README shows about 900."""
LARGEST = 240_000
"""Bytes of a file, so that a README is soon there."""
PALETTES = ((256, True), (256, False), (96, False), (48, False), (24, False))
"""What a file may do to be small, best first: so many colours, strewn in place of others or not."""
STYLE: dict[Any, Any] = {"font.family": ["DejaVu Sans"], "text.parse_math": False, "text.antialiased": True}


@dataclass(frozen=True, eq=False)
class Cell:
    """A picture (H, W, 3) uint8, and what is written under it, a line of words or more."""

    pixels: np.ndarray
    label: str = ""


@dataclass(frozen=True, eq=False)
class Row:
    """Pictures side by side, and what is written before them."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, eq=False)
class Page:
    """A picture of pictures.

    Attributes:
        title: what is seen; a line of words or more.
        blocks: rows, block beside block.
        side: of every picture, in pixels.
        margin: room for the rows' names, in pixels.
    """

    title: str
    blocks: tuple[tuple[Row, ...], ...]
    side: int
    margin: int

    @property
    def labels(self) -> list[str]:
        """Everything that is written beside a picture."""
        rows = [row for block in self.blocks for row in block]
        return [row.name for row in rows] + [cell.label for row in rows for cell in row.cells]


def in_blocks(header: Row, rows: Sequence[Row], blocks: int) -> tuple[tuple[Row, ...], ...]:
    """The rows cut into so many blocks of about the same height, each under the header."""
    height = -(-len(rows) // blocks)
    return tuple((header, *rows[start : start + height]) for start in range(0, len(rows), height))


def heat(maps: np.ndarray) -> np.ndarray:
    """Maps (..., H, W) in [0, 1] in the colours that the whole project shows maps in: (..., H, W, 3) uint8."""
    return (matplotlib.colormaps["inferno"](maps)[..., :3] * 255).round().astype(np.uint8)


def png(page: Page) -> bytes:
    """The page as a file."""
    return _file(drawn(page))


def drawn(page: Page) -> np.ndarray:
    """The page as pixels (H, W, 3) uint8."""
    bands = [_band(rows, page.side) for rows in zip_longest(*page.blocks)]
    across = max(len(row.cells) for block in page.blocks for row in block)
    block_width = page.margin + across * (page.side + GAP)
    title = page.title.splitlines()
    width = max(len(page.blocks) * block_width + (len(page.blocks) + 1) * GAP, LEAST_WIDTH)
    top = len(title) * TITLE_LINE + 2 * GAP
    height = top + sum(bands)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
        canvas = FigureCanvasAgg(figure)

        def write(x: float, y: float, text: str, size: float, **look: Any) -> None:
            figure.text(x / width, 1 - y / height, text, fontsize=size, va="center", **look)

        for number, line in enumerate(title):
            weight = "bold" if not number else "normal"
            write(GAP, GAP + (number + 0.5) * TITLE_LINE, line, 9.5 if number else 11, weight=weight)
        below: list[tuple[int, int, np.ndarray]] = []
        for column, block in enumerate(page.blocks):
            left, y = GAP + column * (block_width + GAP), top
            for row, band in zip(block, bands, strict=False):
                write(left + page.margin - GAP, y + page.side / 2, row.name, 8, ha="right")
                for place, cell in enumerate(row.cells):
                    x = left + page.margin + place * (page.side + GAP)
                    below.append((x, y, _resized(cell.pixels, page.side)))
                    for number, line in enumerate(cell.label.splitlines()):
                        write(x + page.side / 2, y + page.side + (number + 0.5) * LINE, line, 8, ha="center")
                y += band
        canvas.draw()
        whole = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    for x, y, pixels in below:
        whole[y : y + page.side, x : x + page.side] = pixels
    return whole


def _band(rows: Sequence[Row | None], side: int) -> int:
    """How high these rows are, which stand side by side."""
    cells = [cell for row in rows if row is not None for cell in row.cells]
    return side + GAP + LINE * max((len(cell.label.splitlines()) for cell in cells), default=0)


def _resized(pixels: np.ndarray, side: int) -> np.ndarray:
    """The picture at this size: small ones in whole pixels where they fit, others smoothly."""
    if pixels.shape[:2] == (side, side):
        return pixels
    whole = side % pixels.shape[0] == 0
    how = Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(pixels).resize((side, side), how))


def _file(pixels: np.ndarray) -> bytes:
    """PNG bytes without a date or the name of a program, in as many colours as leave it small."""
    picture = Image.fromarray(pixels)
    content = _bytes(picture)
    part = Image.fromarray(pixels[::2, ::2])  # enough to find colours by, in a quarter of the time
    for colours, strewn in PALETTES:
        if len(content) <= LARGEST:
            break
        palette = part.quantize(colours, method=Image.Quantize.MEDIANCUT, kmeans=3)
        how = Image.Dither.FLOYDSTEINBERG if strewn else Image.Dither.NONE
        content = _bytes(picture.quantize(palette=palette, dither=how))
    return content


def _bytes(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, format="PNG", optimize=True)
    return out.getvalue()
