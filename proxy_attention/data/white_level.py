"""Find the one value that becomes white in all images of a data set whose pixels are not 8 bits; opens no file.

Such pixels are whole numbers of 16 or 32 bits, or floats, and their files do not say which value is white: a 12-bit
camera stores up to 4,095 in 16 bits, a float image reaches 1 or 255. One image cannot tell; all of them together can.
Black is 0.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from proxy_attention.errors import DataError

USUAL = (1, 255, 1023, 4095, 16383, 65535)
"""White of floats, and of whole numbers of 8, 10, 12, 14 and 16 bits; whole numbers have at least 255."""

FEW = 1e-3
"""The part of all pixels that may lie above white: so many are outliers, such as a sensor's hot pixels."""

OVERSHOOT = 1.1
"""How far above white the values of few pixels are taken for what resampling adds, and are clipped."""

DARK = 0.1
"""The part of white that the brightest pixel of floats must reach; darker, another white is as likely."""

FLAT_LEVELS = 16
"""An image of fewer grey levels shows nothing: it is flat."""


class AmbiguousValuesError(DataError):
    """The values of a data set do not tell which of them is white.

    Attributes:
        highest: the highest value, which is white if an image must be shown all the same.
    """

    def __init__(self, text: str, highest: float) -> None:
        super().__init__(f"{text}; set white_level to the value that is white")
        self.highest = highest


@dataclass(frozen=True)
class ValueRange:
    """The values of one image.

    Attributes:
        whole: whether they are whole numbers by their type.
        above: how many pixels lie above each of ``USUAL``.
        negative: how many lie below 0.
    """

    whole: bool
    lowest: float
    highest: float
    pixels: int
    above: tuple[int, ...]
    negative: int

    @classmethod
    def of(cls, values: np.ndarray) -> "ValueRange":
        """Measure the values of an image; they must be finite."""
        return cls(
            whole=bool(np.issubdtype(values.dtype, np.integer)),
            lowest=float(values.min()),
            highest=float(values.max()),
            pixels=values.size,
            above=tuple(int(np.count_nonzero(values > white)) for white in USUAL),
            negative=int(np.count_nonzero(values < 0)),
        )


@dataclass(frozen=True)
class WhiteLevel:
    """The white of a data set, as it was found.

    Attributes:
        value: the value that becomes white.
        images: how many images have pixels that are not 8 bits.
        highest: the highest value in them.
        flat: names of those that come out in fewer than ``FLAT_LEVELS`` grey levels, though their pixels differ.
    """

    value: float
    images: int
    highest: float
    flat: tuple[str, ...] = ()

    def __str__(self) -> str:
        bits = {255: " (8 bits)", 1023: " (10 bits)", 4095: " (12 bits)", 16383: " (14 bits)", 65535: " (16 bits)"}
        return f"{self.value:g}{bits.get(int(self.value), '')}"


def find_white_level(ranges: Sequence[tuple[str, ValueRange]]) -> WhiteLevel:
    """Find which value is white.

    It is the lowest of ``USUAL`` that no pixel lies above, or so few and so little that resampling explains them.

    Args:
        ranges: the name and the values of every image whose pixels are not 8 bits.
    Raises: AmbiguousValuesError, which names the images.
    """
    if not ranges:
        return WhiteLevel(float(USUAL[-1]), 0, 0.0)
    _refuse_negative(ranges)
    kinds = [[pair for pair in ranges if pair[1].whole is whole] for whole in (True, False)]
    whites = [_white_of(kind) for kind in kinds if kind]
    highest = max(values.highest for _, values in ranges)
    if len(set(whites)) > 1:
        raise AmbiguousValuesError(
            f"16-bit, 32-bit and float images must share one scale; whole numbers ({_names(n for n, _ in kinds[0])}) "
            f"reach {_highest(kinds[0]):g}, floats ({_names(n for n, _ in kinds[1])}) {_highest(kinds[1]):g}",
            highest,
        )
    white = whites[0]
    flat = (
        name
        for name, values in ranges
        if values.lowest < values.highest and (values.highest - values.lowest) * 255 < white * (FLAT_LEVELS - 1)
    )
    return WhiteLevel(float(white), len(ranges), highest, tuple(flat))


def _highest(ranges: Iterable[tuple[str, ValueRange]]) -> float:
    """Return the highest value of all."""
    return max(values.highest for _, values in ranges)


def _white_of(ranges: Sequence[tuple[str, ValueRange]]) -> int:
    """Find white among images of one kind: whole numbers, or floats.

    Raises: AmbiguousValuesError.
    """
    whole = ranges[0][1].whole
    usual = USUAL[1:] if whole else USUAL
    highest, pixels = _highest(ranges), sum(values.pixels for _, values in ranges)
    above = [sum(values.above[USUAL.index(white)] for _, values in ranges) for white in usual]
    most = next((i for i, white in enumerate(usual) if highest <= white), None)
    body = next((i for i, count in enumerate(above) if count <= FEW * pixels), None)
    if body is not None and highest <= OVERSHOOT * usual[body]:
        most = body
    kind = "whole numbers" if whole else "floats"
    if most is None or body is None:
        raise AmbiguousValuesError(
            f"16-bit, 32-bit and float images must reach at most {usual[-1]:,}; {kind} in "
            f"{_names(name for name, values in ranges if values.highest > usual[-1])} reach {highest:,.10g}",
            highest,
        )
    white = usual[most]
    if most > body + (1 if whole else 0):
        few = [name for name, values in ranges if values.highest > OVERSHOOT * usual[body]]
        raise AmbiguousValuesError(
            f"{kind} in 16-bit, 32-bit and float images must tell which is white; {above[body]:,} of {pixels:,} "
            f"pixels, in {_names(few)}, lie above {usual[body]:,} and reach {highest:,.10g}",
            highest,
        )
    if not whole and white > 1:
        dark = [name for name, values in ranges if 0 < values.highest <= 1] if highest >= DARK * white else None
        if dark is None or dark:
            raise AmbiguousValuesError(
                f"floats in images must tell which is white; they reach {highest:,.10g}"
                + (f", but at most 1 in {_names(dark)}" if dark else f" in {_brightest(ranges)}"),
                highest,
            )
    return white


def _refuse_negative(ranges: Sequence[tuple[str, ValueRange]]) -> None:
    """Refuse values below 0, which is black, unless they are few and small.

    Raises: AmbiguousValuesError.
    """
    lowest, highest = min(values.lowest for _, values in ranges), _highest(ranges)
    negative, pixels = sum(values.negative for _, values in ranges), sum(values.pixels for _, values in ranges)
    if negative and (negative > FEW * pixels or lowest < (1 - OVERSHOOT) * highest):
        below = _names(name for name, values in ranges if values.negative)
        raise AmbiguousValuesError(
            f"16-bit, 32-bit and float images must have values from 0, which is black; {negative:,} of {pixels:,} "
            f"pixels, in {below}, lie below and reach {lowest:,.10g}",
            highest,
        )


def _brightest(ranges: Iterable[tuple[str, ValueRange]]) -> str:
    return max(ranges, key=lambda pair: pair[1].highest)[0]


def _names(names: Iterable[str]) -> str:
    """Join the first three names, and say how many more there are."""
    found = list(names)
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
