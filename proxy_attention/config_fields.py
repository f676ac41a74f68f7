"""Declares a field of TrialConfig: its default, rule, meaning and roles; knows no field by name.

``proxy_attention.config`` declares each field once, with the functions of this file.
"""

import dataclasses
import hashlib
import json
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum, auto
from typing import Any

from proxy_attention.errors import ConfigError
from proxy_attention.field_rules import AUTO, FieldRule

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
    MAP = auto()
    """Decides where a map is high, or from where on it counts; has no effect where the data set tells the place."""
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
    SET_PROXIES = auto()
    """From the first epoch that trains on proxies, unless it has the value at which it is left out of the digest."""
    EARLIER_PROXIES = auto()
    """From the first proxy step that keeps, or builds on, the proxies of an earlier step."""
    BY_VALUE_OF_STEP = auto()
    """Not the field itself, but the value that each proxy step computes from it."""
    NEVER = auto()
    """Never: the field changes no state, or another part of the key covers it."""


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


def later_field(default: Any, rule: FieldRule, meaning: str, *roles: Role) -> Any:
    """Declare a field that joined later, and that no older trial has at another value than its default."""
    return field_of(default, rule, meaning, *roles, enters=Enters.WHERE_SET, omitted_at=default)


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


def later_proxy_field(
    default: Any,
    rule: FieldRule,
    meaning: str,
    *roles: Role,
    used_if: Callable[[Any], bool] = lambda trial: trial.has_proxies,
) -> Any:
    """Declare a proxy field that joined later, and that no older trial has at another value than its default."""
    return proxy_field(default, rule, meaning, *roles, used_if=used_if, enters=Enters.SET_PROXIES, omitted_at=default)


def map_field(default: Any, rule: FieldRule, meaning: str, *roles: Role, omitted_at: Any = MISSING) -> Any:
    """Declare a field that has an effect only if proxies are made by maps."""
    used_if = operator.attrgetter("has_maps")
    return proxy_field(default, rule, meaning, Role.MAP, *roles, used_if=used_if, omitted_at=omitted_at)


def judge_field(
    default: Any, rule: FieldRule, meaning: str, *, used_if: Callable[[Any], bool] = lambda trial: True
) -> Any:
    """Declare a field that has an effect only after training, and so on no shared state."""
    return field_of(default, rule, meaning, Role.JUDGE, used_if=used_if, enters=Enters.NEVER, omitted_at=default)


def declarations_of(config_class: type) -> dict[str, Declaration]:
    """Return the declaration of each field of a dataclass, by name; ``field_of`` must have made all of them."""
    return {field.name: field.metadata["declaration"] for field in dataclasses.fields(config_class)}


def digest_of(values: Mapping[str, Any], declared: Mapping[str, Declaration], *, contents: Mapping[str, str]) -> str:
    """Hash the values of a config by SHA-256, without those that are left out of the digest.

    Args:
        contents: digests that stand in the place of names.
    Returns: 64 hexadecimal digits.
    Raises: ConfigError while a field that is measured is still ``auto``.
    """
    for name, value in values.items():
        if value == AUTO != declared[name].omitted_at:
            raise ConfigError(f"{name} must be a plain value in a trial; got {AUTO!r} (measure it first)")
    fields = {name: value for name, value in values.items() if value != declared[name].omitted_at}
    return hashlib.sha256(json.dumps({**fields, **contents}, sort_keys=True).encode()).hexdigest()


def check_field_name(name: str, fields: Collection[str]) -> str:
    """Return the name if it is one of these fields.

    Raises: ConfigError that lists the fields, and the likeliest.
    """
    if name not in fields:
        near = get_close_matches(name, fields, n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise ConfigError(f"a field must be one of {', '.join(fields)}; got {name!r}{hint}")
    return name
