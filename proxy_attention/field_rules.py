"""Rules for the values of fields, alone and together: the types, a test, and both in words."""

import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from proxy_attention.errors import ConfigError

AUTO = "auto"
"""The value of a field that is measured before its trial runs."""


@dataclass(frozen=True)
class FieldRule:
    """The rule for a field's value: its types (``kinds``), a test (``holds``), and both in words (``text``)."""

    text: str
    kinds: tuple[type, ...]
    holds: Callable[[Any], bool]

    def check(self, field: str, value: Any) -> Any:
        """Return the value if it obeys the rule; convert an int to a float if the rule asks for a float and no int.

        Raises: ConfigError if the value breaks the rule.
        """
        if float in self.kinds and int not in self.kinds and isinstance(value, int) and not isinstance(value, bool):
            with suppress(OverflowError):  # an int too large for a float stays an int, which breaks the rule
                value = float(value)
        wrong_bool = isinstance(value, bool) and bool not in self.kinds
        if wrong_bool or not isinstance(value, self.kinds) or not self.holds(value):
            raise ConfigError(f"{field} must be {self.text}; got {value!r}")
        return value + 0.0 if isinstance(value, float) else value  # -0.0 becomes 0.0, so that both have one digest


NAME = FieldRule("a name, as text that is not empty", (str,), lambda value: bool(value.strip()))
FLAG = FieldRule("true or false", (bool,), lambda value: True)
UNIT_INTERVAL = FieldRule("a number in [0, 1]", (float,), lambda value: 0 <= value <= 1)
POSITIVE_FRACTION = FieldRule("a fraction in (0, 1]", (float,), lambda value: 0 < value <= 1)
PROPER_FRACTION = FieldRule("a fraction in (0, 1)", (float,), lambda value: 0 < value < 1)
POSITIVE = FieldRule("a finite number > 0", (float,), lambda value: math.isfinite(value) and value > 0)
POSITIVE_OR_AUTO = FieldRule(
    "a finite number > 0 or 'auto'",
    (float, str),
    lambda value: value == AUTO if isinstance(value, str) else math.isfinite(value) and value > 0,
)
THRESHOLD = FieldRule(
    "a number in [0, 1] or 'mean+Ksd' with K from 1 to 9",
    (float, str),
    lambda value: deviations_of(value) is not None if isinstance(value, str) else 0 <= value <= 1,
)
NOT_NEGATIVE = FieldRule("a finite number >= 0", (float,), lambda value: math.isfinite(value) and value >= 0)
SIDE = FieldRule("a whole number of pixels >= 16 (at most 4096)", (int,), lambda value: 16 <= value <= 4096)
SIGMA = FieldRule("a sigma in pixels in [0, 256]", (float,), lambda value: 0 <= value <= 256)
LARGEST_SEED = 2**63 - 1


def count(low: int, high: int) -> FieldRule:
    """Make the rule for a whole number in a range, both ends included."""
    return FieldRule(f"a whole number in [{low}, {high}]", (int,), lambda value: low <= value <= high)


def count_or_text(low: int, high: int, text: str) -> FieldRule:
    """Make the rule for a whole number in a range, or a text such as ``auto`` for a number that is measured."""
    number = count(low, high)
    return FieldRule(
        f"{number.text} or {text!r}",
        (int, str),
        lambda value: value == text if isinstance(value, str) else number.holds(value),
    )


def count_or_none(low: int, high: int) -> FieldRule:
    """Make the rule for a whole number in a range, or None; the rule's text does not mention None."""
    number = count(low, high)
    return FieldRule(number.text, (int, type(None)), lambda value: value is None or number.holds(value))


def deviations_of(threshold: str) -> int | None:
    """Return the number of standard deviations in a text such as ``mean+2sd``; None for any other text."""
    found = re.fullmatch(r"mean\+([1-9])sd", threshold)
    return int(found[1]) if found else None


def check_fractions(*, val_fraction: float, test_fraction: float) -> None:
    """Check that val and test leave images to train on.

    Raises: ConfigError.
    """
    if val_fraction + test_fraction >= 1:
        given = (val_fraction, test_fraction)
        raise ConfigError(f"val_fraction + test_fraction must leave images to train on (< 1); got {given!r}")


def check_fold(fold: int, *, folds: int) -> None:
    """Check that there is a fold of this number.

    Raises: ConfigError.
    """
    if folds == 1:
        raise ConfigError("folds must be 0 (no folds) or >= 2; got 1")
    if fold >= max(folds, 1):
        raise ConfigError(f"fold must be in [0, folds) with folds = {folds}; got {fold!r}")
