"""A study as a value: question, seeds, fixed fields, search space and arms; knows no file and no plan."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy_attention.config import DEFAULTS, TrialConfig
from proxy_attention.errors import ConfigError
from proxy_attention.schedule import Schedule
from proxy_attention.validation import check
from study.plan import BASELINE, PROXY


@dataclass(frozen=True)
class Range:
    """A dimension of all numbers, or all whole numbers, between two ends; for optuna and random."""

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are drawn."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Dimension = tuple[Any, ...] | Range


@dataclass(frozen=True)
class ArmSpec:
    """An [[arm]]: a named trial beside the search, such as a control, a rival or an audit."""

    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """A checked study.toml: every value obeys its field's rule, and every schedule has the same total."""

    question: str
    seeds: tuple[int, ...]
    fixed: Mapping[str, Any]
    search: Mapping[str, Dimension]
    arms: tuple[ArmSpec, ...]

    def config(self, values: Mapping[str, Any], seed: int) -> TrialConfig:
        """Build the config of these values on a seed; other fields are those of [fixed], else the defaults.

        Raises: ConfigError for a value that its field does not allow.
        """
        return check(TrialConfig.of({**self.fixed, **values, "seed": seed})).canonical()

    @property
    def schedules(self) -> list[str]:
        """The schedules of the search, else the fixed one."""
        dimension = self.search.get("schedule")
        return list(dimension) if isinstance(dimension, tuple) else [self.fixed.get("schedule", DEFAULTS["schedule"])]

    @property
    def baseline_schedule(self) -> str:
        """The baseline's schedule: the first of the study's without a proxy step, else plain training as long."""
        for text in self.schedules:
            if not Schedule.parse(text).proxy_steps:
                return text
        return str(Schedule.parse(self.schedules[0]).total_epochs)

    def values_of(self, field: str) -> set[Any]:
        """Return every value of a field that a trial may have, the default included; of a range both ends."""
        places = (self.fixed, *(arm.values for arm in self.arms))
        named = {place[field] for place in places if field in place}
        return {DEFAULTS[field], *named, *choices_of(self.search.get(field, ()))}

    def grid(self) -> list[tuple[str, dict[str, Any]]]:
        """List every setting of the search as (arm, values), each baseline once; then the arms.

        Raises: ConfigError for a range, which has endless settings.
        """
        choices: list[tuple[Any, ...]] = []
        for field, dimension in self.search.items():
            if isinstance(dimension, Range):
                raise ConfigError(f"{field} must be a list of choices for --search grid; got a range (optuna, random)")
            choices.append(dimension)
        settings: dict[TrialConfig, tuple[str, dict[str, Any]]] = {}
        for choice in itertools.product(*choices):
            values = dict(zip(self.search, choice, strict=True))
            config = self.config(values, seed=0)
            settings.setdefault(config, (arm_of(config), values))
        return [*settings.values(), *((arm.name, dict(arm.values)) for arm in self.arms)]


def arm_of(config: TrialConfig) -> str:
    """Return the arm of a setting of the search: ``proxy``, or ``baseline`` without a proxy step."""
    return PROXY if config.has_proxies else BASELINE


def choices_of(dimension: Dimension) -> tuple[Any, ...]:
    """Return the choices of a dimension; of a range its ends."""
    return (dimension.low, dimension.high) if isinstance(dimension, Range) else dimension
