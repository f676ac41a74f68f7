"""One trial as a frozen value, with the law of every field; knows no data set, model or method by name.

Names (of a model, a method, a data set) are checked against their tables by ``proxy_attention.validation.check``,
because tables live above this file.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from fractions import Fraction
from typing import Any

from proxy_attention.errors import ConfigError
from proxy_attention.schedule import Schedule

AUTO = "auto"
LAST = "last"
"""The feature layer that is found: the last whose output is a map."""
LEAKING = frozenset({"redrawn", "merged"})
"""Audit splits that train on validation images; whatever shows them says LEAKING."""


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """Everything that decides a trial, apart from the images themselves. DESIGN of each field: README, "Fields".

    Raises: ConfigError if a field breaks its law.
    """

    dataset: str = "fashion-mnist-sample"
    model: str = "resnet18"
    weights: str = "none"
    image_size: int = 64
    schedule: str = "20"
    # what a proxy is made of
    threshold: float = 0.5
    weight: float = 0.5
    subset: float = 1.0
    subset_decay: float = 1.0
    patience: int = 2
    saliency: str = "gradcam"
    feature_layer: str = LAST
    eigen_smooth: bool = False
    explain: str = "predicted"
    mask: str = "saliency"
    replacement: str = "multiply"
    scope: str = "image"
    smoothing: float = 0.0
    max_area: float = 1.0
    collect: str = "clean"
    order: str = "random"
    substitute: str = "replace"
    clear_every_step: bool = True
    compound: bool = False
    # how the classifier is trained
    augment: str = "flip-rotate"
    batch_size: int | Any = 32  # or AUTO until it is measured; of a trial that runs always a number
    lr: float = 2e-3
    weight_decay: float = 1e-5
    precision: str = AUTO
    threads: int | str = AUTO
    compile: bool = False
    freeze_trunk: bool = False
    # how the trained model's explanations are judged: decides nothing of the training
    judge: str = "eigengradcam"
    judge_images: int = 50
    # which images it sees
    val_fraction: float = 0.2
    test_fraction: float = 0.2
    train_fraction: float = 1.0
    split: str = "fixed"
    folds: int = 0
    fold: int = 0
    on_bad_image: str = "error"
    label_function: str = "parent-folder"
    split_seed: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, law in LAWS.items():
            object.__setattr__(self, name, law.check(name, getattr(self, name)))
        object.__setattr__(self, "schedule", str(Schedule.parse(self.schedule)))
        if self.val_fraction + self.test_fraction >= 1:
            given = (self.val_fraction, self.test_fraction)
            raise ConfigError(f"val_fraction + test_fraction must leave images to train on (< 1); got {given!r}")
        if self.folds == 1:
            raise ConfigError("folds must be 0 (no folds) or >= 2; got 1")
        if self.fold >= max(self.folds, 1):
            raise ConfigError(f"fold must be in [0, folds) with folds = {self.folds}; got {self.fold!r}")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "TrialConfig":
        """Build from a mapping, such as a table of study.toml.

        Raises: ConfigError for a key that is no field, or a value that breaks its law.
        """
        for key in values:
            check_field_name(key)
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """Plain values by field name, ready for JSON."""
        return dataclasses.asdict(self)

    @property
    def planned(self) -> Schedule:
        """The schedule, parsed."""
        return Schedule.parse(self.schedule)

    @property
    def has_proxies(self) -> bool:
        """Whether the schedule has a proxy step, be it one that may be skipped."""
        return self.planned.proxy_steps > 0

    @property
    def effective_split_seed(self) -> int:
        """``split_seed``, which is ``seed`` unless it was set."""
        return self.seed if self.split_seed is None else self.split_seed

    def subset_at(self, step: int) -> Fraction:
        """The part of the wrong images that a planned proxy step chooses, exactly: ``subset * subset_decay**step``.

        Args:
            step: number of the planned step, from 0; one that is skipped counts, too.
        """
        return Fraction(repr(self.subset)) * Fraction(repr(self.subset_decay)) ** step

    def canonical(self) -> "TrialConfig":
        """The same trial in one spelling: no field that the schedule makes no use of; the split seed named."""
        unused = PROXY_FIELDS if not self.has_proxies else ()
        if not self.planned.may_skip:
            unused = (*unused, "patience")
        if self.planned.proxy_steps < 2:
            unused = (*unused, "subset_decay")
        if not self.judge_images:
            unused = (*unused, "judge")
        return dataclasses.replace(
            self, split_seed=self.effective_split_seed, **{name: DEFAULTS[name] for name in unused}
        )

    def digest(self, *, data: str, weights: str | None) -> str:
        """The identity of the trial: a SHA-256 over all resolved fields and the contents of data and weights.

        Args:
            data: content digest of the images.
            weights: content digest of a weights file; None if ``weights`` is a name, not a file.
        Returns: 64 hexadecimal digits.
        Raises: ConfigError while a field is still ``auto``.
        """
        fields = self.canonical().as_dict()
        for name, value in fields.items():
            if value == AUTO:
                raise ConfigError(f"{name} must be a plain value in a trial; got {AUTO!r} (measure it first)")
        fields = {name: value for name, value in fields.items() if name not in LATER or value != LATER[name]}
        # the name of a data set and the path of a weights file are where the content lay, not what it is
        fields |= {"dataset": data, "weights": weights or self.weights}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


PROXY_FIELDS = (
    "threshold",
    "weight",
    "subset",
    "subset_decay",
    "patience",
    "saliency",
    "feature_layer",
    "eigen_smooth",
    "explain",
    "mask",
    "replacement",
    "scope",
    "smoothing",
    "max_area",
    "collect",
    "order",
    "substitute",
    "clear_every_step",
    "compound",
)
"""The fields that mean something only where the schedule has a proxy step; some of them need more (``canonical``)."""

JUDGE_FIELDS = ("judge", "judge_images")
"""The fields that mean something only once the training is over."""

LATER: dict[str, Any] = {
    "compile": False,
    "subset_decay": 1.0,
    "patience": 2,
    "feature_layer": LAST,
    "eigen_smooth": False,
    "freeze_trunk": False,
    "judge": "eigengradcam",
    "judge_images": 50,
}
"""Fields that joined later, with the value at which a trial is what it was before: it keeps its digest."""

DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(TrialConfig)}
"""The default of every field, by name."""


@dataclass(frozen=True)
class FieldRule:
    """What a field's value must be: a type, a test, and both in words."""

    text: str
    kinds: tuple[type, ...]
    holds: Callable[[Any], bool]

    def check(self, field: str, value: Any) -> Any:
        """The value, an int turned into a float where a float is meant.

        Raises: ConfigError if the value breaks the law.
        """
        if self.kinds == (float,) and isinstance(value, int) and not isinstance(value, bool):
            with suppress(OverflowError):  # a whole number beyond all floats breaks the law as it stands
                value = float(value)
        wrong_bool = isinstance(value, bool) and bool not in self.kinds
        if wrong_bool or not isinstance(value, self.kinds) or not self.holds(value):
            raise ConfigError(f"{field} must be {self.text}; got {value!r}")
        return value + 0.0 if isinstance(value, float) else value  # -0.0 is 0.0, and must have its digest


def _name() -> FieldRule:
    return FieldRule("a name, as text that is not empty", (str,), lambda value: bool(value.strip()))


def _flag() -> FieldRule:
    return FieldRule("true or false", (bool,), lambda value: True)


def _fraction() -> FieldRule:
    return FieldRule("a number in [0, 1]", (float,), lambda value: 0 <= value <= 1)


def _part() -> FieldRule:
    return FieldRule("a fraction in (0, 1]", (float,), lambda value: 0 < value <= 1)


def _share() -> FieldRule:
    return FieldRule("a fraction in (0, 1)", (float,), lambda value: 0 < value < 1)


def _count(low: int, high: int) -> FieldRule:
    return FieldRule(f"a whole number in [{low}, {high}]", (int,), lambda value: low <= value <= high)


def _count_or_auto(low: int, high: int) -> FieldRule:
    count = _count(low, high)
    return FieldRule(
        f"{count.text} or {AUTO!r}",
        (int, str),
        lambda value: value == AUTO if isinstance(value, str) else count.holds(value),
    )


_SEED = _count(0, 2**63 - 1)

LAWS: dict[str, FieldRule] = {
    "dataset": _name(),
    "model": _name(),
    "weights": _name(),
    "image_size": FieldRule("a whole number of pixels >= 16 (at most 4096)", (int,), lambda value: 16 <= value <= 4096),
    "threshold": _fraction(),
    "weight": _fraction(),
    "subset": _part(),
    "subset_decay": _part(),
    "patience": _count(1, 1000),
    "saliency": _name(),
    "feature_layer": _name(),
    "eigen_smooth": _flag(),
    "explain": _name(),
    "mask": _name(),
    "replacement": _name(),
    "scope": _name(),
    "smoothing": FieldRule("a sigma in pixels in [0, 256]", (float,), lambda value: 0 <= value <= 256),
    "max_area": _fraction(),
    "collect": _name(),
    "order": _name(),
    "substitute": _name(),
    "clear_every_step": _flag(),
    "compound": _flag(),
    "augment": _name(),
    "batch_size": _count_or_auto(1, 65_536),
    "lr": FieldRule("a finite number > 0", (float,), lambda value: math.isfinite(value) and value > 0),
    "weight_decay": FieldRule("a finite number >= 0", (float,), lambda value: math.isfinite(value) and value >= 0),
    "precision": _name(),
    "threads": _count_or_auto(1, 1024),
    "compile": _flag(),
    "freeze_trunk": _flag(),
    "val_fraction": _share(),
    "test_fraction": _share(),
    "train_fraction": _part(),
    "split": _name(),
    "folds": _count(0, 1000),
    "fold": _count(0, 999),
    "on_bad_image": _name(),
    "label_function": _name(),
    "judge": _name(),
    "judge_images": _count(0, 1_000_000),
    "split_seed": FieldRule(
        _SEED.text, (int, type(None)), lambda value: value is None or (isinstance(value, int) and _SEED.holds(value))
    ),
    "seed": _SEED,
}


def check_field_name(name: str) -> str:
    """The name, if a TrialConfig has a field of it.

    Raises: ConfigError that lists the fields, the likeliest first.
    """
    if name not in DEFAULTS:
        near = get_close_matches(name, DEFAULTS, n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise ConfigError(f"a field must be one of {', '.join(DEFAULTS)}; got {name!r}{hint}")
    return name
