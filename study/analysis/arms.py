"""The arms side by side: of each its accuracy, its explanations, and its differences to what it is set against."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from proxy_attention.config import LEAKING
from study.analysis.estimates import Estimate, estimate
from study.analysis.pairs import Row, Side, Trials, names_of, other_data, records, sides
from study.plan import BASELINE

MEASURES = {
    "insertion_auc": ("insertion", "higher is better"),
    "deletion_auc": ("deletion", "lower is better"),
    "average_drop": ("average drop", "lower is better"),
    "average_increase": ("average increase", "higher is better"),
    "sparseness": ("sparseness", "neither is better"),
    "pointing_game": ("pointing game", "higher is better"),
}
"""How explanations are judged: what each column is called, and which way is better."""


@dataclass(frozen=True)
class ArmStatistics:
    """One arm, or one level of what was searched.

    Attributes:
        trials: how many are complete; ``seeds`` of how many seeds.
        val, test, ece: over the trials.
        to_baseline, to_twin: test accuracy minus the baseline's, and minus the twin's without proxies: the mean of each
            seed, over the seeds. Of no value where it has none, or is it. The honest baseline of an audit is no twin.
        baseline, twin: what these are called; empty where there is none.
        data: ``less data`` or ``more data``, where it trains on another part of the images than the baseline.
        rival: whether it was trained otherwise than its baseline, be it with proxies or without.
        leaking: whether a trial of it trains on validation images.
    """

    name: str
    trials: int
    seeds: int
    val: Estimate
    test: Estimate
    ece: float
    to_baseline: Estimate
    to_twin: Estimate
    baseline: str
    twin: str
    data: str
    rival: bool
    leaking: bool


@dataclass(frozen=True)
class Judged:
    """One measure of one side's explanations: over its trials, and minus the baseline's over the seeds."""

    measure: str
    name: str
    value: Estimate
    to_baseline: Estimate


def arm_statistics(frame: pd.DataFrame, done: pd.DataFrame) -> list[ArmStatistics]:
    """Every side that has a complete trial, in the order of study.toml.

    Args:
        frame: every planned row, as ``with_baselines`` gives it.
        done: the complete rows of it that may be compared.
    """
    found, once = sides(frame), done.drop_duplicates(["config_digest", "arm"])
    names, trials = names_of(found), Trials(once)
    twins = _with_twin(frame, once)
    return [_standing(side, rows, _of(twins, side), trials, names) for side in found if len(rows := _of(once, side))]


def _with_twin(frame: pd.DataFrame, done: pd.DataFrame) -> pd.DataFrame:
    """The rows with proxies that are set against the same training without them.

    An audit may be set against a baseline of another split: its difference is of the leak, too.
    """
    split = done["baseline_id"].map(dict(zip(frame["trial_id"], frame["split"], strict=True)))
    return done[done["test_difference"].notna() & done["threshold"].notna() & (split == done["split"])]


def _of(done: pd.DataFrame, side: Side) -> pd.DataFrame:
    return done[done["trial_id"].isin(side.rows["trial_id"])]


def _standing(
    side: Side, rows: pd.DataFrame, twins: pd.DataFrame, trials: Trials, names: dict[str, str]
) -> ArmStatistics:
    pairs = _pairs(side, rows, trials)
    twin = twins[["baseline_id", "baseline_arm"]].to_numpy().tolist()[:1]
    return ArmStatistics(
        name=side.name,
        trials=len(rows),
        seeds=int(rows["seed"].nunique()),
        val=estimate(rows["val_accuracy"]),
        test=estimate(rows["test_accuracy"]),
        ece=float(rows["test_ece"].astype(float).mean()),
        to_baseline=_by_seed(pairs, "test_accuracy"),
        to_twin=estimate(twins.groupby("seed")["test_difference"].mean()),
        baseline=names[pairs[0][1]["trial_id"]] if pairs else "",
        twin=names.get(*twin[0]) or "" if twin else "",
        data=other_data(*pairs[0]) if pairs else "",
        rival=bool(side.changed - {"split"}),
        leaking=not LEAKING.isdisjoint(rows["split"]),
    )


def _pairs(side: Side, rows: pd.DataFrame, trials: Trials) -> list[tuple[Row, Row]]:
    return [(row, other) for row in records(rows) if (other := trials.baseline(row, side)) is not None]


def _by_seed(pairs: Sequence[tuple[Row, Row]], column: str) -> Estimate:
    """Of the pairs the mean difference of each seed, over the seeds."""
    differences = pd.Series([row[column] - other[column] for row, other in pairs], dtype=float)
    return estimate(differences.groupby([int(row["seed"]) for row, _ in pairs]).mean() if pairs else [])


def judged(frame: pd.DataFrame, done: pd.DataFrame) -> list[Judged]:
    """Every measure of every side that was judged; none of it where no trial was.

    A pair was judged by the same method, on as many images: else its difference would be one of the judges.
    """
    found, once = sides(frame), done.drop_duplicates(["config_digest", "arm"])
    trials, answers = Trials(once), []
    for measure in MEASURES:
        for side in found if measure in once.columns else []:
            rows = _of(once, side)
            rows = rows[rows[measure].notna()]
            pairs = [pair for pair in _pairs(side, rows, trials) if _judged_alike(*pair)]
            if len(rows):
                answers.append(Judged(measure, side.name, estimate(rows[measure]), _by_seed(pairs, measure)))
    return answers


def _judged_alike(row: Row, other: Row) -> bool:
    return all(str(row[name]) == str(other[name]) for name in ("judged_by", "judged_images"))


def worth_a_table(found: Sequence[ArmStatistics]) -> bool:
    """Whether the sides say more than a table by arm: one of them was trained otherwise than its baseline."""
    return any(side.rival for side in found if side.name != BASELINE)
