"""Compute the statistics of each arm: its accuracy, its explanations, and its differences to other arms."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from proxy_attention.config import LEAKING
from study.analysis.arms import Arm, arms_of, names_of
from study.analysis.contrasts import TrialIndex, other_data
from study.analysis.estimates import Estimate, estimate
from study.analysis.pairs import Row
from study.plan import BASELINE

MEASURES = {
    "insertion_auc": ("insertion", "higher is better"),
    "deletion_auc": ("deletion", "lower is better"),
    "average_drop": ("average drop", "lower is better"),
    "average_increase": ("average increase", "higher is better"),
    "sparseness": ("sparseness", "neither is better"),
    "pointing_game": ("pointing game", "higher is better"),
}
"""Measures of explanations by their column: the name, and which way is better."""


NOTHING = estimate([])


@dataclass(frozen=True)
class ArmStatistics:
    """Accuracy of one arm, or of one level of what was searched.

    Attributes:
        trials: how many trials are complete; ``seeds``: of how many seeds.
        val, test, ece: over the trials.
        to_baseline: test accuracy minus that of the arm's baseline, paired: the mean of each seed, over the seeds.
            Empty (n = 0) where there is no pair, or the arm is the baseline.
        to_counterpart: the same difference to the same training without proxies. The honest baseline of an audit, which
            has another split, is no counterpart.
        baseline, counterpart: their names; empty where there is none.
        data: ``less data`` or ``more data``, where it trains on another part of the images than the baseline.
        rival: whether its training differs from its baseline's in more than the split, with proxies or without.
        leaking: whether a trial of it trains on validation images.
        worst_group, group_gap: test accuracy of the worst group of images, and its distance to the accuracy, over the
            trials; empty (n = 0) where there are no groups.
    """

    name: str
    trials: int
    seeds: int
    val: Estimate
    test: Estimate
    ece: float
    to_baseline: Estimate
    to_counterpart: Estimate
    baseline: str
    counterpart: str
    data: str
    rival: bool
    leaking: bool
    worst_group: Estimate = NOTHING
    group_gap: Estimate = NOTHING


@dataclass(frozen=True)
class ExplanationStatistics:
    """A measure of the explanations of one arm: over its trials, and minus the baseline's over the seeds."""

    measure: str
    arm: str
    value: Estimate
    to_baseline: Estimate


def arm_statistics(frame: pd.DataFrame, done: pd.DataFrame) -> list[ArmStatistics]:
    """Compute the statistics of every arm that has a complete trial, in the order of study.toml.

    Args:
        frame: every planned row, as ``with_baselines`` gives it.
        done: the complete rows of it that may be compared.
    """
    arms, distinct = arms_of(frame), done.drop_duplicates(["config_digest", "arm"])
    names, trials = names_of(arms), TrialIndex(distinct)
    paired = _with_counterpart(frame, distinct)
    return [
        _statistics(arm, rows, _rows_of(paired, arm), trials, names)
        for arm in arms
        if len(rows := _rows_of(distinct, arm))
    ]


def _with_counterpart(frame: pd.DataFrame, done: pd.DataFrame) -> pd.DataFrame:
    """Select the rows with proxies whose baseline is the same training without them.

    An audit may have a baseline of another split: its difference is of the leak, too.
    """
    split = done["baseline_id"].map(dict(zip(frame["trial_id"], frame["split"], strict=True)))
    return done[done["test_difference"].notna() & done["threshold"].notna() & (split == done["split"])]


def _rows_of(done: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    return done[done["trial_id"].isin(arm.rows["trial_id"])]


def _statistics(
    arm: Arm, rows: pd.DataFrame, paired: pd.DataFrame, trials: TrialIndex, names: dict[str, str]
) -> ArmStatistics:
    pairs = _pairs(arm, trials.rows(arm), trials)
    counterpart = paired[["baseline_id", "baseline_arm"]].to_numpy().tolist()[:1]
    return ArmStatistics(
        name=arm.name,
        trials=len(rows),
        seeds=int(rows["seed"].nunique()),
        val=estimate(rows["val_accuracy"]),
        test=estimate(rows["test_accuracy"]),
        ece=float(rows["test_ece"].astype(float).mean()),
        to_baseline=_by_seed(pairs, "test_accuracy"),
        to_counterpart=estimate(paired.groupby("seed")["test_difference"].mean()),
        baseline=names[pairs[0][1]["trial_id"]] if pairs else "",
        counterpart=names.get(*counterpart[0]) or "" if counterpart else "",
        data=other_data(*pairs[0]) if pairs else "",
        rival=bool(arm.changed - {"split"}),
        leaking=not LEAKING.isdisjoint(rows["split"]),
        worst_group=estimate(rows["worst_group_accuracy"]),
        group_gap=estimate(rows["group_gap"]),
    )


def _pairs(arm: Arm, rows: Sequence[Row], trials: TrialIndex) -> list[tuple[Row, Row]]:
    return [(row, other) for row in rows if (other := trials.baseline(row, arm)) is not None]


def _by_seed(pairs: Sequence[tuple[Row, Row]], column: str) -> Estimate:
    """Estimate a difference over the seeds: of each seed the mean of its pairs."""
    differences = pd.Series([row[column] - other[column] for row, other in pairs], dtype=float)
    return estimate(differences.groupby([int(row["seed"]) for row, _ in pairs]).mean() if pairs else [])


def explanation_statistics(frame: pd.DataFrame, done: pd.DataFrame) -> list[ExplanationStatistics]:
    """Compute every measure of every arm whose explanations were evaluated; empty where no trial's were.

    Two trials are a pair only if they were evaluated by the same method on as many images: otherwise their difference
    would be one of the methods. Args: as ``arm_statistics``.
    """
    arms, distinct = arms_of(frame), done.drop_duplicates(["config_digest", "arm"])
    trials, found = TrialIndex(distinct), []
    for measure in MEASURES:
        for arm in arms if measure in distinct.columns else []:
            rows = [row for row in trials.rows(arm) if pd.notna(row[measure])]
            pairs = [pair for pair in _pairs(arm, rows, trials) if _evaluated_alike(*pair)]
            if rows:
                value = estimate(row[measure] for row in rows)
                found.append(ExplanationStatistics(measure, arm.name, value, _by_seed(pairs, measure)))
    return found


def _evaluated_alike(row: Row, other: Row) -> bool:
    return all(str(row[name]) == str(other[name]) for name in ("judged_by", "judged_images"))


def has_groups(statistics: Sequence[ArmStatistics]) -> bool:
    """Whether an arm has accuracies by group."""
    return any(arm.worst_group.n for arm in statistics)


def has_rivals(statistics: Sequence[ArmStatistics]) -> bool:
    """Whether an arm was trained otherwise than its baseline."""
    return any(arm.rival for arm in statistics if arm.name != BASELINE)
