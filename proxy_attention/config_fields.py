"""How a field of TrialConfig is declared: default, rule, meaning, and what else the project asks about it.

Knows no field by name; ``proxy_attention.config`` declares each of them once.
"""

import dataclasses
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from proxy_attention.errors import ConfigError

MISSING = object()
"""No value: the field has been part of every digest from the start."""


class Role(Enum):
    """What a field takes part in; a field may have several roles, or none."""

    PROXY = auto()
    """Means something only where the schedule has a proxy step."""
    JUDGE = auto()
    """Means something only once the training is over."""
    CATALOGUE = auto()
    """Decides which images a data set has."""
    SPLIT = auto()
    """Decides how the images are divided into train, val and test."""
    HELD_OUT = auto()
    """Decides which images val and test are, apart from what is drawn again in each repeat."""
    REPEAT = auto()
    """Differs between repeats of one setting."""
    RIVAL = auto()
    """What one may do instead of proxies: change the images, take more of them, start from other weights."""
    MODEL = auto()
    """Decides whether a model can be built, and explained."""
    STEP_MEMORY = auto()
    """Decides how much memory a training step takes."""


class Enters(Enum):
    """When a field becomes part of the keys of a trial's shared states."""

    FIRST_EPOCH = auto()
    """From the first epoch on."""
    FIRST_PROXIES = auto()
    """With the first epoch that trains on proxies."""
    EARLIER_PROXIES = auto()
    """With a proxy step that keeps, or builds on, the proxies of an earlier one."""
    BY_VALUE_OF_STEP = auto()
    """Not as itself: each proxy step enters what the field comes to there."""
    NEVER = auto()
    """Not as itself: it changes no state, or something else stands for it."""


@dataclass(frozen=True)
class FieldRule:
    """What a field's value must be: a type, a test, and both in words."""

    text: str
    kinds: tuple[type, ...]
    holds: Callable[[Any], bool]

    def check(self, field: str, value: Any) -> Any:
        """Return the value, an int turned into a float where a float is meant.

        Raises: ConfigError if the value breaks the rule.
        """
        if self.kinds == (float,) and isinstance(value, int) and not isinstance(value, bool):
            with suppress(OverflowError):  # a whole number beyond all floats breaks the rule as it stands
                value = float(value)
        wrong_bool = isinstance(value, bool) and bool not in self.kinds
        if wrong_bool or not isinstance(value, self.kinds) or not self.holds(value):
            raise ConfigError(f"{field} must be {self.text}; got {value!r}")
        return value + 0.0 if isinstance(value, float) else value  # -0.0 is 0.0, and must have its digest


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """Everything that the project asks about a field, but for its name, type and default.

    Args:
        rule: what its value must be; None where the class itself parses the value.
        meaning: one line for people, the field's row in the README: no capital, no full stop.
        roles: what it takes part in.
        used_if: whether it means something in this config; where not, ``canonical`` resets it to its default.
        enters: when it becomes part of the keys of shared states.
        omitted_at: of a field that joined later, the value that older trials had without saying so: at this value it is
            left out of the digest, so that they keep theirs. ``MISSING`` of any other field.
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

    Returns: a dataclass field, typed as any value, because a class body assigns it to a field of any type.
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
    """Declare a field that means something only where the schedule has a proxy step."""
    return field_of(default, rule, meaning, Role.PROXY, *roles, used_if=used_if, enters=enters, omitted_at=omitted_at)


def declarations_of(config_class: type) -> dict[str, Declaration]:
    """Collect the declarations of a dataclass whose fields are all made by ``field_of``, in order."""
    return {field.name: field.metadata["declaration"] for field in dataclasses.fields(config_class)}


# ---- rules that several fields share

NAME = FieldRule("a name, as text that is not empty", (str,), lambda value: bool(value.strip()))
FLAG = FieldRule("true or false", (bool,), lambda value: True)
UNIT_INTERVAL = FieldRule("a number in [0, 1]", (float,), lambda value: 0 <= value <= 1)
POSITIVE_FRACTION = FieldRule("a fraction in (0, 1]", (float,), lambda value: 0 < value <= 1)
PROPER_FRACTION = FieldRule("a fraction in (0, 1)", (float,), lambda value: 0 < value < 1)
POSITIVE = FieldRule("a finite number > 0", (float,), lambda value: math.isfinite(value) and value > 0)
NOT_NEGATIVE = FieldRule("a finite number >= 0", (float,), lambda value: math.isfinite(value) and value >= 0)


def count(low: int, high: int) -> FieldRule:
    """Make the rule of a whole number in a range, both ends included."""
    return FieldRule(f"a whole number in [{low}, {high}]", (int,), lambda value: low <= value <= high)


def count_or_text(low: int, high: int, text: str) -> FieldRule:
    """Make the rule of a whole number in a range, or one text that stands for a number to be measured."""
    number = count(low, high)
    return FieldRule(
        f"{number.text} or {text!r}",
        (int, str),
        lambda value: value == text if isinstance(value, str) else number.holds(value),
    )


def count_or_none(low: int, high: int) -> FieldRule:
    """Make the rule of a whole number in a range that may be left unset; its words do not offer that."""
    number = count(low, high)
    return FieldRule(number.text, (int, type(None)), lambda value: value is None or number.holds(value))
