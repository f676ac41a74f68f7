"""Plain-text tables, and the numbers in their cells: signs, intervals and spreads; draws nothing."""

import math
from dataclasses import dataclass

from study.analysis.estimates import Estimate


@dataclass(frozen=True)
class TextTable:
    """Headings and rows of text; the first column names the row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def points(value: float, *, digits: int = 2) -> str:
    """Write a number with its sign; zero has a plus."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def spread(mean: float, sd: float, *, signed: bool = False) -> str:
    """Write ``83.10 ± 0.40``; empty for NaN, and without the spread for a single value."""
    if math.isnan(mean):
        return ""
    text = points(mean) if signed else f"{mean:.2f}"
    return text if math.isnan(sd) else f"{text} ± {sd:.2f}"


def interval(estimate: Estimate) -> str:
    """Write ``+0.40 [-0.10, +0.90]``; without the brackets for a single value."""
    if math.isnan(estimate.mean):
        return ""
    return points(estimate.mean) + (
        "" if math.isnan(estimate.low) else f" [{points(estimate.low)}, {points(estimate.high)}]"
    )


def marked_val(text: str, leaking: bool) -> str:
    """Mark a val accuracy as LEAKING where it was trained on."""
    return f"{text} LEAKING" if leaking and text else text


def minus_signs(text: str) -> str:
    """Replace hyphens by minus signs, which a line never ends after."""
    return text.replace("-", "\N{MINUS SIGN}")


def minus(text: str) -> str:
    """Write the minus of a difference, as in ``a - b``; hyphens in names stay."""
    return text.replace(" - ", " \N{MINUS SIGN} ")
