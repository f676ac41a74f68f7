"""Which trial is set against which: its twin without proxies, the baseline, the proxies alone; estimates nothing."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, cast

import pandas as pd

from proxy_attention.config import LEAKING, PROXY_FIELDS, TrialConfig
from study.plan import BASELINE, PROXY
from study.run_folder import COMPLETE

ACCURACIES = ("val_accuracy", "test_accuracy")
OTHER = [f.name for f in dataclasses.fields(TrialConfig) if f.name not in (*PROXY_FIELDS, "schedule")]
TRAINING = [name for name in OTHER if name not in ("seed", "split_seed", "fold")]
SETTING = ["schedule", *PROXY_FIELDS, *TRAINING]

COMPARED = ("augment", "train_fraction", "weights")
"""What one may do instead of proxies: change the images, take more of them, start from other weights.

Levels of these that one search goes through are compared with each other. Of another field, a model or a rate, the
tables tell: each further claim takes from the power of these."""

FEW_LEVELS = 4
"""Levels of a search that are claimed against each other. More would be over a dozen claims, of which Holm lets none
stand at five seeds; the arms side by side show them all."""

MOST_LEVELS = 8
"""Levels that stand one by one; a range that was drawn from has more."""

_IMAGES = ("dataset", "label_function", "on_bad_image", "val_fraction", "test_fraction", "folds")
"""With seed, split seed and fold: which images val and test are. ``train_fraction`` only takes a part of train."""

_DRAWN = ("seed", "split_seed", "fold", "epochs_done")

Row = Mapping[str, Any]
Key = tuple[str, ...]


def difference(accuracy: str) -> str:
    """The column of the paired difference in an accuracy."""
    return accuracy.replace("accuracy", "difference")


DIFFERENCES = [difference(accuracy) for accuracy in ACCURACIES]


def with_baselines(results: pd.DataFrame) -> pd.DataFrame:
    """The rows with ``baseline_id``, ``baseline_arm``, ``val_difference`` and ``test_difference`` added.

    The baseline of a trial is the complete trial without a proxy step that agrees with it in every field that is no
    proxy field, and in the split that was drawn. An audit, whose split leaks, is set against the trial that agrees with
    it in all but the split: the leak is what it asks about. Baselines and rows without one have missing values there.
    """
    frame = results.copy()
    for column in ("baseline_id", "baseline_arm"):
        frame[column] = pd.Series(pd.NA, index=frame.index, dtype="object")
    for column in DIFFERENCES:
        frame[column] = math.nan
    done = frame[frame["status"] == COMPLETE]
    plain = done[done["threshold"].isna()]
    baselines = {pair_key(row): row for row in reversed(records(plain))}
    honest = plain[~plain["split"].isin(LEAKING)]
    audited = {_audit_key(row): row for row in reversed(records(honest))}
    others = done[done["threshold"].notna() | done["split"].isin(LEAKING)]
    for index, row in zip(others.index, records(others), strict=True):
        baseline: Row | None = baselines.get(pair_key(row)) if pd.notna(row["threshold"]) else None
        if baseline is None and row["split"] in LEAKING:
            baseline = audited.get(_audit_key(row))
        if baseline is None:
            continue
        frame.loc[index, ["baseline_id", "baseline_arm"]] = [baseline["trial_id"], baseline["arm"]]
        for accuracy in ACCURACIES:
            frame.loc[index, difference(accuracy)] = row[accuracy] - baseline[accuracy]
    return frame


def pair_key(row: Row) -> Key:
    """What a trial and its baseline share: every field that is no proxy field (the seed too), the split, the length."""
    return (*_values(row, OTHER), str(row["split_digest"]), str(row["epochs_done"]))


def _audit_key(row: Row) -> Key:
    """What an audit and its baseline share: as ``pair_key``, but for the split and what was drawn by it."""
    return (*_values(row, [name for name in OTHER if name != "split"]), str(row["epochs_done"]))


def records(rows: pd.DataFrame) -> list[Row]:
    """The rows as plain values by column."""
    return cast("list[Row]", rows.to_dict("records"))


def _values(row: Row, fields: Sequence[str]) -> Key:
    return tuple(str(row[field]) for field in fields)


@dataclass(frozen=True)
class Side:
    """What stands in a row of the arms side by side: an arm, or one level of what a search went through.

    Attributes:
        rows: its planned trials.
        references: of each of its trainings (values of ``TRAINING``) that of the baseline that it is set against.
        claimed: whether claims are made of it, beyond its twin; not of one level among many.
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


def sides(frame: pd.DataFrame) -> list[Side]:
    """The rows of the arms side by side: what was searched, level by level where one compared field varies; the arms.

    The baseline of a level is the level that was planned first. That of an arm is the one that differs from it in the
    fewest fields; it has none where two are as near, or where val and test are other images.

    Args:
        frame: every planned row: a baseline that failed is still the one that was meant.
    """
    search = frame[frame["arm"].isin([BASELINE, PROXY])]
    varying = [field for field in COMPARED if search[field].nunique() > 1]
    one = len(varying) == 1 and search[varying[0]].nunique() <= MOST_LEVELS
    found = _levels(search, varying[0]) if one else []
    if not found:
        for arm in (BASELINE, PROXY):
            rows = search[search["arm"] == arm]
            found += [Side(arm, rows, {own: own for own in _trainings(rows)})] if len(rows) else []
    plain = [own for own in _trainings(search[search["arm"] == BASELINE]) if _value(own, "split") not in LEAKING]
    for arm in _named(frame):
        rows = frame[frame["arm"] == arm]
        nearest = {own: _nearest(own, plain) for own in _trainings(rows)}
        found.append(Side(arm, rows, {own: ref for own, ref in nearest.items() if ref is not None}))
    return found


def _named(frame: pd.DataFrame) -> list[str]:
    """The arms that study.toml names, in its order."""
    return [arm for arm in dict.fromkeys(frame["arm"].dropna()) if arm not in (BASELINE, PROXY)]


def _levels(search: pd.DataFrame, field: str) -> list[Side]:
    place, first = TRAINING.index(field), str(search[field].iloc[0])
    values, found = search[field].unique(), []
    for value in values:
        for arm, more in ((BASELINE, ""), (PROXY, " + proxies")):
            rows = search[(search["arm"] == arm) & (search[field] == value)]
            references = {own: (*own[:place], first, *own[place + 1 :]) for own in _trainings(rows)}
            side = Side(level_name(field, value) + more, rows, references, claimed=len(values) <= FEW_LEVELS)
            found += [side] if len(rows) else []
    return found


def level_name(field: str, value: object) -> str:
    """A level in words: ``augment cutmix``; of a path of this machine, where it ends."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    ends = field == "weights" and PurePath(text).is_absolute()
    return f"{field} {PurePath(text).name if ends else text}"


def _trainings(rows: pd.DataFrame) -> list[Key]:
    return list(dict.fromkeys(_values(row, TRAINING) for row in records(rows)))


def _value(training: Key, field: str) -> str:
    return training[TRAINING.index(field)]


def _nearest(own: Key, others: Sequence[Key]) -> Key | None:
    far = {other: sum(a != b for a, b in zip(own, other, strict=True)) for other in others}
    alike = {o: count for o, count in far.items() if all(_value(o, name) == _value(own, name) for name in _IMAGES)}
    nearest = [other for other, count in alike.items() if count == min(alike.values())]
    return nearest[0] if len(nearest) == 1 else None


class Trials:
    """The complete trials of a run by what they are; of two that are the same, the one planned first."""

    def __init__(self, done: pd.DataFrame) -> None:
        rows = records(done)
        self._by_key = {(_how(row), _values(row, TRAINING), _values(row, _DRAWN)): row for row in reversed(rows)}

    def baseline(self, row: Row, side: Side) -> Row | None:
        """The trial without proxies that a trial of this side is set against; None for itself, or if it is missing."""
        return self._like(row, (), side)

    def alone(self, row: Row, side: Side) -> Row | None:
        """The trial with the same proxies in the training of the baseline."""
        return self._like(row, _how(row), side)

    def _like(self, row: Row, how: Key, side: Side) -> Row | None:
        own = _values(row, TRAINING)
        found = self._by_key.get((how, side.references.get(own, ()), _values(row, _DRAWN)))
        if found is None or found["config_digest"] == row["config_digest"]:
            return None
        told = found["train_fraction"] != row["train_fraction"] or row["split"] in LEAKING  # else one split was drawn
        return found if told or found["split_digest"] == row["split_digest"] else None


def _how(row: Row) -> Key:
    """Schedule and proxies; nothing at all of a trial without them."""
    return _values(row, ("schedule", *PROXY_FIELDS)) if pd.notna(row["threshold"]) else ()


@dataclass(frozen=True)
class Contrast:
    """A difference between sides, pair by pair.

    Attributes:
        side: the name of the side that it is of.
        question: what it answers, where it is told in a sentence.
        pairs: ``seed``, ``split``, ``pair`` (which trials, the same for the same) and both differences.
        control: the arm that attention is set against; empty where that is not what is asked.
    """

    side: str
    text: str
    pairs: pd.DataFrame
    question: str = ""
    control: str = ""


def contrasts(frame: pd.DataFrame, done: pd.DataFrame, *, proxies: str = "proxies") -> Iterator[Contrast]:
    """Every comparison of a side with what is no twin of it: another training, alone and together with proxies.

    A side without proxies is set against the baseline. One with them has its twin (``with_baselines``), and here the
    proxies alone and the baseline, where only the augmentation differs: "augmentation, proxies, both". What proxies add
    to another training is set against what they add to the baseline's. Audits ask about the leak, and have their twins.

    Args:
        frame: every planned row, as ``with_baselines`` gives it.
        done: the complete rows that may be compared, each once.
        proxies: what the proxy trials of the search are called.
    """
    found, trials = sides(frame), Trials(done)
    names = names_of(found, proxies=proxies)
    for side in found:
        if side.changed and side.claimed:
            rows = done[done["trial_id"].isin(side.rows["trial_id"]) & ~done["split"].isin(LEAKING)]
            yield from _of(side, records(rows), trials, names)


def names_of(found: Sequence[Side], *, proxies: str = "proxies") -> dict[str, str]:
    """What a claim calls the side of each trial, by trial_id."""
    return {name: proxies if side.name == PROXY else side.name for side in found for name in side.rows["trial_id"]}


def twins(frame: pd.DataFrame, done: pd.DataFrame, *, proxies: str) -> Iterator[Contrast]:
    """Each named arm against what ``with_baselines`` has found for it, which is named."""
    names = names_of(sides(frame), proxies=proxies)
    paired = done[done["test_difference"].notna()]
    for arm in _named(paired):
        rows = paired[paired["arm"] == arm]
        twin = names.get(rows["baseline_id"].iloc[0], rows["baseline_arm"].iloc[0])
        pairs = rows.assign(pair=rows["config_digest"] + " " + rows["baseline_id"])
        yield Contrast(arm, f"{arm} - {twin}", pairs[["seed", "split", "pair", *DIFFERENCES]])


def controls(done: pd.DataFrame) -> Iterator[Contrast]:
    """The search's proxies against each arm that differs from them in the mask alone: attention against chance."""
    fields = [field for field in (*OTHER, "schedule", *PROXY_FIELDS, "split_digest") if field != "mask"]
    searched = records(done[(done["arm"] == PROXY) & (done["mask"] == "saliency")])  # a searched mask is no attention
    for arm in _named(done):
        rows = records(done[done["arm"] == arm])
        others = {_values(row, fields): row for row in rows if row["mask"] != "saliency"}
        pairs = [(row, others[key]) for row in searched if (key := _values(row, fields)) in others]
        yield Contrast(arm, f"saliency - {arm}", _differences(pairs), control=arm)


def _of(side: Side, rows: Sequence[Row], trials: Trials, names: Mapping[str, str]) -> Iterator[Contrast]:
    base = [(row, other) for row in rows if (other := trials.baseline(row, side)) is not None]
    alone = [(row, other) for row in rows if _how(row) and (other := trials.alone(row, side)) is not None]
    twinned = any(pd.notna(row["baseline_id"]) for row in rows)
    rival = side.changed == {"augment"}
    if alone and (rival or not twinned):
        yield _contrast(side, alone, names)
    if base and (rival or not any(map(_how, rows))):
        yield _contrast(side, base, names)
    both = [(row, other) for row, other in alone if pd.notna(row["baseline_id"]) and pd.notna(other["baseline_id"])]
    if both:
        row, other = both[0]
        twin, plain = (names.get(r["baseline_id"], str(r["baseline_arm"])) for r in (row, other))
        text = f"({side.name} - {twin}) - ({names[other['trial_id']]} - {plain})"
        question = f"Do proxies add to {_the(twin)} what they add to {_the(plain)}?"
        yield Contrast(side.name, text, _differences(both, DIFFERENCES), question)


def _contrast(side: Side, pairs: Sequence[tuple[Row, Row]], names: Mapping[str, str]) -> Contrast:
    row, other = pairs[0]
    data = other_data(row, other)
    text = f"{side.name} - {names[other['trial_id']]}" + f" ({data})" * bool(data)
    return Contrast(side.name, text, _differences(pairs))


def other_data(row: Row, other: Row) -> str:
    """``less data`` or ``more data`` where a trial trains on another part of the same images; else empty."""
    own, theirs = row["train_fraction"], other["train_fraction"]
    return "" if own == theirs else "less data" if own < theirs else "more data"


def _the(name: str) -> str:
    return f"the {name}" if name == BASELINE else name


def _differences(pairs: Sequence[tuple[Row, Row]], columns: Sequence[str] = ACCURACIES) -> pd.DataFrame:
    """The pairs as rows: the first minus the second, in both accuracies or in both differences."""
    rows = [
        {
            "seed": row["seed"],
            "split": row["split"],
            "pair": f"{row['config_digest']} {other['config_digest']} {columns[0]}",
            **{name: row[column] - other[column] for name, column in zip(DIFFERENCES, columns, strict=True)},
        }
        for row, other in pairs
    ]
    return pd.DataFrame(rows, columns=["seed", "split", "pair", *DIFFERENCES])
