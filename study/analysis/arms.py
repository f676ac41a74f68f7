"""Find the arms of a study (what was searched, level by level, and what study.toml names), each with its baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import pandas as pd

from proxy_attention.config import LEAKING, fields_with
from proxy_attention.config_fields import Role
from study.analysis.pairs import TRAINING, Key, records, values_of
from study.plan import BASELINE, PROXY

COMPARED = fields_with(Role.RIVAL)
"""Fields that rival the proxies: augmentation, more data, other weights.

If a search varies one of these, its levels are compared with each other. Levels of another field, such as a model or a
learning rate, have tables only, because each further claim takes power from the others."""

FEW_LEVELS = 4
"""Most levels of a search that are claimed against each other. Five would make over a dozen claims, and with five seeds
none of so many can be significant after Holm; the table of arms shows all levels."""

MOST_LEVELS = 8
"""Most levels that have a row each; a searched range has more."""

_IMAGES = fields_with(Role.HELD_OUT)
"""With seed, split seed and fold these fix which images val and test are; ``train_fraction`` only takes a part of
train."""


@dataclass(frozen=True)
class Arm:
    """An arm of the study, or one level of the field that a search went through.

    Attributes:
        rows: its planned trials.
        references: from each training of the arm (its values of ``TRAINING``) to the training of its baseline.
        claimed: whether it is compared in claims of other training; False for one level among many.
    """

    name: str
    rows: pd.DataFrame
    references: Mapping[Key, Key]
    claimed: bool = True

    @property
    def changed(self) -> frozenset[str]:
        """The fields of training in which it differs from its baseline."""
        both = self.references.items()
        return frozenset(name for own, ref in both for name, a, b in zip(TRAINING, own, ref, strict=True) if a != b)


def arms_of(frame: pd.DataFrame) -> list[Arm]:
    """List what was searched, level by level where one compared field varies, then the arms of study.toml.

    The baseline of a level is the level that was planned first. The baseline of a named arm is the one that differs
    from it in the fewest fields. An arm has none where two are as near, or where its val and test are other images.

    Args:
        frame: every planned row: a baseline that failed is still the one that was meant.
    """
    training = dict(zip(frame["trial_id"], (values_of(row, TRAINING) for row in records(frame[TRAINING])), strict=True))
    search = frame[frame["arm"].isin([BASELINE, PROXY])]
    varying = [field for field in COMPARED if search[field].nunique() > 1]
    one = len(varying) == 1 and search[varying[0]].nunique() <= MOST_LEVELS
    found = _level_arms(search, varying[0], training) if one else []
    if not found:
        for name in (BASELINE, PROXY):
            rows = search[search["arm"] == name]
            found += [Arm(name, rows, {own: own for own in _distinct(rows, training)})] if len(rows) else []
    baselines = _distinct(search[search["arm"] == BASELINE], training)
    honest = [own for own in baselines if _value(own, "split") not in LEAKING]
    for name in named_arms(frame):
        rows = frame[frame["arm"] == name]
        nearest = {own: _nearest(own, honest) for own in _distinct(rows, training)}
        found.append(Arm(name, rows, {own: ref for own, ref in nearest.items() if ref is not None}))
    return found


def named_arms(frame: pd.DataFrame) -> list[str]:
    """List the arms that study.toml names, in its order."""
    return [arm for arm in dict.fromkeys(frame["arm"].dropna()) if arm not in (BASELINE, PROXY)]


def _level_arms(search: pd.DataFrame, field: str, training: Mapping[str, Key]) -> list[Arm]:
    place, first = TRAINING.index(field), str(search[field].iloc[0])
    values, found = search[field].unique(), []
    for value in values:
        for arm, more in ((BASELINE, ""), (PROXY, " + proxies")):
            rows = search[(search["arm"] == arm) & (search[field] == value)]
            references = {own: (*own[:place], first, *own[place + 1 :]) for own in _distinct(rows, training)}
            level = Arm(level_name(field, value) + more, rows, references, claimed=len(values) <= FEW_LEVELS)
            found += [level] if len(rows) else []
    return found


def level_name(field: str, value: object) -> str:
    """Name a level, as in ``augment cutmix``; an absolute path is named by its last part."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    by_file = field == "weights" and PurePath(text).is_absolute()
    return f"{field} {PurePath(text).name if by_file else text}"


def _distinct(rows: pd.DataFrame, training: Mapping[str, Key]) -> list[Key]:
    """List the different trainings of these rows, given the training of each trial_id."""
    return list(dict.fromkeys(training[name] for name in rows["trial_id"]))


def _value(training: Key, field: str) -> str:
    return training[TRAINING.index(field)]


def _nearest(own: Key, others: Sequence[Key]) -> Key | None:
    distances = {other: sum(a != b for a, b in zip(own, other, strict=True)) for other in others}
    alike = {o: far for o, far in distances.items() if all(_value(o, name) == _value(own, name) for name in _IMAGES)}
    nearest = [other for other, far in alike.items() if far == min(alike.values())]
    return nearest[0] if len(nearest) == 1 else None


def names_of(arms: Sequence[Arm], *, proxies: str = "proxies") -> dict[str, str]:
    """Map each trial_id to the name that claims give its arm; the search's proxy trials are called ``proxies``."""
    return {name: proxies if arm.name == PROXY else arm.name for arm in arms for name in arm.rows["trial_id"]}
