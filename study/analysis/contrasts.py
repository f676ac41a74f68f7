"""Pair the trials of two arms: with another training, with the same training without proxies, with a control.

The *counterpart* of a trial is the same training without proxies, which ``with_baselines`` finds. The *baseline* of an
arm is another training: the one that the arm changes. Nothing is estimated here.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from proxy_attention.config import LEAKING, PROXY_FIELDS, REGION, fields_with
from proxy_attention.config_fields import Role
from study.analysis.arms import Arm, named_arms, names_of
from study.analysis.pairs import ACCURACIES, DIFFERENCES, OTHER, REPEATS, TRAINING, Key, Row, records, values_of
from study.plan import BASELINE, PROXY

_DRAWN = (*REPEATS, "epochs_done")
MAP_FIELDS = fields_with(Role.MAP)
"""Fields that say where a map is high; a trial that replaces known places has none of them."""


@dataclass(frozen=True)
class Contrast:
    """A difference between two arms, pair by pair of trials.

    Attributes:
        arm: the name of the first arm.
        text: the difference in words, as in ``a - b``.
        pairs: ``seed``, ``split``, ``pair`` (names the two trials) and the differences in both accuracies.
        question: the question that it answers, where the report asks it in a sentence.
        control: the arm with another mask that attention is compared with; empty for every other contrast.
    """

    arm: str
    text: str
    pairs: pd.DataFrame
    question: str = ""
    control: str = ""


class TrialIndex:
    """Complete trials by their fields; of two that are the same, the one planned first."""

    def __init__(self, done: pd.DataFrame) -> None:
        rows = records(done)
        self._by_id = {row["trial_id"]: row for row in rows}
        self._by_key = {
            (_proxy_key(row), values_of(row, TRAINING), values_of(row, _DRAWN)): row for row in reversed(rows)
        }

    def rows(self, arm: Arm) -> list[Row]:
        """Return the complete trials of an arm, in the order of the plan."""
        return [self._by_id[name] for name in arm.rows["trial_id"] if name in self._by_id]

    def baseline(self, row: Row, arm: Arm) -> Row | None:
        """Return the trial of the arm's baseline without proxies; None for that trial itself, or if it is missing."""
        return self._in_baseline_training(row, (), arm)

    def proxies_alone(self, row: Row, arm: Arm) -> Row | None:
        """Return the trial with the same proxies in the training of the arm's baseline; None if it is missing."""
        return self._in_baseline_training(row, _proxy_key(row), arm)

    def _in_baseline_training(self, row: Row, proxies: Key, arm: Arm) -> Row | None:
        training = arm.references.get(values_of(row, TRAINING), ())
        found = self._by_key.get((proxies, training, values_of(row, _DRAWN)))
        if found is None or found["config_digest"] == row["config_digest"]:
            return None
        # with other data, or in an audit, the splits differ by intent; everywhere else both must have drawn the same
        intended = found["train_fraction"] != row["train_fraction"] or row["split"] in LEAKING
        return found if intended or found["split_digest"] == row["split_digest"] else None


def training_contrasts(arms: Sequence[Arm], done: pd.DataFrame, *, proxies: str) -> Iterator[Contrast]:
    """Compare each arm with the training that it changes, alone and together with proxies.

    An arm without proxies is compared with the baseline. An arm with proxies is compared with the proxies alone and,
    where it differs in the augmentation only, with the baseline: "augmentation, proxies, both". What proxies add to
    another training is compared with what they add to the baseline's. Audits are left out: they ask about the leak, and
    ``counterpart_contrasts`` has them.

    Args:
        arms: the arms of every planned row, as ``arms_of`` lists them.
        done: the complete rows that may be compared, each once, as ``with_baselines`` gives them.
        proxies: what the proxy trials of the search are called.
    """
    trials, names = TrialIndex(done), names_of(arms, proxies=proxies)
    for arm in arms:
        if arm.changed and arm.claimed:
            rows = [row for row in trials.rows(arm) if row["split"] not in LEAKING]
            yield from _of_arm(arm, rows, trials, names)


def counterpart_contrasts(arms: Sequence[Arm], done: pd.DataFrame, *, proxies: str) -> Iterator[Contrast]:
    """Compare each arm of study.toml with its counterpart without proxies, which the text names."""
    names = names_of(arms, proxies=proxies)
    paired = done[done["test_difference"].notna()]
    for arm in named_arms(paired):
        rows = paired[paired["arm"] == arm]
        counterpart = names.get(rows["baseline_id"].iloc[0], rows["baseline_arm"].iloc[0])
        pairs = rows.assign(pair=rows["config_digest"] + " " + rows["baseline_id"])
        yield Contrast(arm, f"{arm} - {counterpart}", pairs[["seed", "split", "pair", *DIFFERENCES]])


def control_contrasts(done: pd.DataFrame) -> Iterator[Contrast]:
    """Compare the search's proxies with each arm that differs from them in the mask alone: attention against chance."""
    every = [field for field in (*OTHER, "schedule", *PROXY_FIELDS, "split_digest") if field != "mask"]
    searched = records(done[(done["arm"] == PROXY) & (done["mask"] == "saliency")])  # a searched mask is no attention
    for arm in named_arms(done):
        rows = records(done[done["arm"] == arm])
        of_places = {row["mask"] for row in rows} == {REGION}  # a known place has no map, and stands beside any
        fields = [field for field in every if not (of_places and field in MAP_FIELDS)]
        pairs = _alike(searched, [row for row in rows if row["mask"] != "saliency"], fields)
        yield Contrast(arm, f"saliency - {arm}", _differences(pairs), control=arm)


def rival_contrasts(done: pd.DataFrame, *, proxies: str) -> Iterator[Contrast]:
    """Compare each arm with its control: another arm that differs in the mask alone, or in drawing at random whom.

    A control takes as many steps as its arm, over as many images. The search's proxies have their controls of whom
    here, and those of the mask in ``control_contrasts``.
    """
    every = [*OTHER, "schedule", *PROXY_FIELDS, "split_digest"]
    of_whom = [field for field in every if field not in ("choose", "order")]  # drawn at random, there is no order
    arms = {arm: records(done[done["arm"] == arm]) for arm in (PROXY, *named_arms(done))}
    for (one, rows), (other, others) in itertools.permutations(arms.items(), 2):
        name = proxies if one == PROXY else one
        random = [row for row in others if row["choose"] == "random"]
        pairs = _alike([row for row in rows if row["choose"] != "random"], random, of_whom)
        yield Contrast(other, f"{name} - {other}", _differences(pairs))
        if PROXY not in (one, other):
            mapped = [row for row in rows if row["mask"] == "saliency"]
            masked = [row for row in others if row["mask"] != "saliency"]
            pairs = _alike(mapped, masked, [field for field in every if field != "mask"])
            yield Contrast(other, f"{one} - {other}", _differences(pairs))


def _alike(rows: Sequence[Row], others: Sequence[Row], fields: Sequence[str]) -> list[tuple[Row, Row]]:
    """Pair the rows with those of the others that agree with them in these fields."""
    found = {values_of(row, fields): row for row in others}
    return [(row, found[key]) for row in rows if (key := values_of(row, fields)) in found]


def _of_arm(arm: Arm, rows: Sequence[Row], trials: TrialIndex, names: Mapping[str, str]) -> Iterator[Contrast]:
    base = [(row, other) for row in rows if (other := trials.baseline(row, arm)) is not None]
    alone = [(row, other) for row in rows if _proxy_key(row) and (other := trials.proxies_alone(row, arm)) is not None]
    has_counterpart = any(pd.notna(row["baseline_id"]) for row in rows)
    augmentation_only = arm.changed == {"augment"}
    if alone and (augmentation_only or not has_counterpart):
        yield _contrast(arm, alone, names)
    if base and (augmentation_only or not any(map(_proxy_key, rows))):
        yield _contrast(arm, base, names)
    both = [(row, other) for row, other in alone if pd.notna(row["baseline_id"]) and pd.notna(other["baseline_id"])]
    if both:
        row, other = both[0]
        counterpart, plain = (names.get(r["baseline_id"], str(r["baseline_arm"])) for r in (row, other))
        text = f"({arm.name} - {counterpart}) - ({names[other['trial_id']]} - {plain})"
        question = f"Do proxies add to {_with_article(counterpart)} what they add to {_with_article(plain)}?"
        yield Contrast(arm.name, text, _differences(both, DIFFERENCES), question)


def _contrast(arm: Arm, pairs: Sequence[tuple[Row, Row]], names: Mapping[str, str]) -> Contrast:
    row, other = pairs[0]
    data = other_data(row, other)
    text = f"{arm.name} - {names[other['trial_id']]}" + f" ({data})" * bool(data)
    return Contrast(arm.name, text, _differences(pairs))


def _proxy_key(row: Row) -> Key:
    """Return schedule and proxy fields; empty for a trial without proxies."""
    return values_of(row, ("schedule", *PROXY_FIELDS)) if pd.notna(row["threshold"]) else ()


def other_data(row: Row, other: Row) -> str:
    """Return ``less data`` or ``more data`` where ``row`` trains on another part of the images; else an empty text."""
    own, theirs = row["train_fraction"], other["train_fraction"]
    return "" if own == theirs else "less data" if own < theirs else "more data"


def _with_article(name: str) -> str:
    return f"the {name}" if name == BASELINE else name


def _differences(pairs: Sequence[tuple[Row, Row]], columns: Sequence[str] = ACCURACIES) -> pd.DataFrame:
    """Make a row a pair: the first minus the second, in the accuracies or in the differences of these columns."""
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
