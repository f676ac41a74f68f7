"""Declares a field of TrialConfig: its default, rule, meaning and roles; knows no field by name.

``proxy_attention.config`` declares each field once, with the functions of this file.
"""

import dataclasses
import math
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum, auto
from typing import Any

from proxy_attention.errors import ConfigError

MISSING = object()
"""``omitted_at`` of a field that has been part of every digest from the start: no value leaves it out."""


class Role(Enum):
    """A part that a field plays in a study; a field may have several roles, or none."""

    PROXY = auto()
    """Has an effect only if the schedule has a proxy step."""
    JUDGE = auto()
    """Has an effect only after training."""
    CATALOGUE = auto()
    """Decides which images a data set has."""
    SPLIT = auto()
    """Decides how the images are divided into train, val and test."""
    HELD_OUT = auto()
    """Decides which images are val and test, and is the same in all repeats."""
    REPEAT = auto()
    """Differs between repeats of one setting."""
    RIVAL = auto()
    """Sets an alternative to proxies: augmentation, number of training images, initial weights."""
    MODEL = auto()
    """Decides whether a model can be built and explained."""
    STEP_MEMORY = auto()
    """Decides how much memory a training step takes."""


class Enters(Enum):
    """The point from which a field is part of the keys of a trial's shared states."""

    FIRST_EPOCH = auto()
    """From the first epoch."""
    WHERE_SET = auto()
    """From the first epoch, unless it has the value at which it is left out of the digest."""
    FIRST_PROXIES = auto()
    """From the first epoch that trains on proxies."""
    EARLIER_PROXIES = auto()
    """From the first proxy step that keeps, or builds on, the proxies of an earlier step."""
    BY_VALUE_OF_STEP = auto()
    """Not the field itself, but the value that each proxy step computes from it."""
    NEVER = auto()
    """Never: the field changes no state, or another part of the key covers it."""


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


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """The declaration of a field, apart from its name, type and default.

    Args:
        rule: the rule for its value; None if TrialConfig parses the value.
        meaning: one line for the field's row in the README: no capital, no full stop.
        roles: see ``Role``.
        used_if: whether the field has an effect in a config; if not, ``canonical`` resets it to its default.
        enters: when it becomes part of the keys of shared states.
        omitted_at: the value at which the field is left out of the digest. A field that was added later has the value
            that older trials used, so that their digests stay the same; any other field has ``MISSING``.
    """

    rule: FieldRule | None
    meaning: str
    roles: frozenset[Role]
    used_if: Callable[[Any], bool]
    enters: Enters
    omitted_at: Any


def field_of(
    default: Any,
    rule: FieldRule | None,
    meaning: str,
    *roles: Role,
    used_if: Callable[[Any], bool] = lambda trial: True,
    enters: Enters = Enters.FIRST_EPOCH,
    omitted_at: Any = MISSING,
) -> Any:
    """Declare a field of TrialConfig; the arguments are those of ``Declaration``.

    Returns: a dataclass field; its type is Any, because the class assigns it to fields of any type.
    """
    declared = Declaration(
        rule=rule, meaning=meaning, roles=frozenset(roles), used_if=used_if, enters=enters, omitted_at=omitted_at
    )
    return dataclasses.field(default=default, metadata={"declaration": declared})


def proxy_field(
    default: Any,
    rule: FieldRule,
    meaning: str,
    *roles: Role,
    used_if: Callable[[Any], bool] = lambda trial: trial.has_proxies,
    enters: Enters = Enters.FIRST_PROXIES,
    omitted_at: Any = MISSING,
) -> Any:
    """Declare a field that has an effect only if the schedule has a proxy step."""
    return field_of(default, rule, meaning, Role.PROXY, *roles, used_if=used_if, enters=enters, omitted_at=omitted_at)


def declarations_of(config_class: type) -> dict[str, Declaration]:
    """Return the declaration of each field of a dataclass, by name; ``field_of`` must have made all of them."""
    return {field.name: field.metadata["declaration"] for field in dataclasses.fields(config_class)}


def check_field_name(name: str, fields: Collection[str]) -> str:
    """Return the name if it is one of these fields.

    Raises: ConfigError that lists the fields, and the likeliest.
    """
    if name not in fields:
        near = get_close_matches(name, fields, n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise ConfigError(f"a field must be one of {', '.join(fields)}; got {name!r}{hint}")
    return name


# ---- rules that several fields share

NAME = FieldRule("a name, as text that is not empty", (str,), lambda value: bool(value.strip()))
FLAG = FieldRule("true or false", (bool,), lambda value: True)
UNIT_INTERVAL = FieldRule("a number in [0, 1]", (float,), lambda value: 0 <= value <= 1)
POSITIVE_FRACTION = FieldRule("a fraction in (0, 1]", (float,), lambda value: 0 < value <= 1)
PROPER_FRACTION = FieldRule("a fraction in (0, 1)", (float,), lambda value: 0 < value < 1)
POSITIVE = FieldRule("a finite number > 0", (float,), lambda value: math.isfinite(value) and value > 0)
POSITIVE_OR_AUTO = FieldRule(
    "a finite number > 0 or 'auto'",
    (float, str),
    lambda value: value == "auto" if isinstance(value, str) else math.isfinite(value) and value > 0,
)
NOT_NEGATIVE = FieldRule("a finite number >= 0", (float,), lambda value: math.isfinite(value) and value >= 0)


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
