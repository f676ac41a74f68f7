"""Pair every trial with its baseline: the trial that agrees with it in all but the proxies; estimates nothing."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pandas as pd

from proxy_attention.config import DEFAULTS, LEAKING, PROXY_FIELDS, fields_with
from proxy_attention.config_fields import Role
from study.run_folder import COMPLETE

ACCURACIES = ("val_accuracy", "test_accuracy")
REPEATS = fields_with(Role.REPEAT)
"""Fields that differ between repeats of one setting."""
OTHER = [name for name in DEFAULTS if name not in (*PROXY_FIELDS, "schedule")]
TRAINING = [name for name in OTHER if name not in REPEATS]
SETTING = ["schedule", *PROXY_FIELDS, *TRAINING]
"""Fields of a trial: all but the proxies' and the schedule; of those, all but the repeats'; what may be searched."""

Row = Mapping[str, Any]
Key = tuple[str, ...]


def difference(accuracy: str) -> str:
    """Name the column of the paired difference in an accuracy."""
    return accuracy.replace("accuracy", "difference")


DIFFERENCES = [difference(accuracy) for accuracy in ACCURACIES]


def with_baselines(results: pd.DataFrame) -> pd.DataFrame:
    """Add ``baseline_id``, ``baseline_arm``, ``val_difference`` and ``test_difference`` to the rows.

    The baseline of a trial is the complete trial without a proxy step that agrees with it in every field but the proxy
    fields, and in the split that was drawn. An audit, whose split leaks, asks about the leak: if no trial without
    proxies has its split, its baseline is the trial that agrees with it in all but the split. The new columns are
    missing for baselines, and for trials that have none.
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
    """Key that a trial shares with its baseline: every field but the proxies' (the seed too), the split, the epochs."""
    return (*values_of(row, OTHER), str(row["split_digest"]), str(row["epochs_done"]))


def _audit_key(row: Row) -> Key:
    """Key that an audit shares with its baseline: as ``pair_key``, without the split."""
    return (*values_of(row, [name for name in OTHER if name != "split"]), str(row["epochs_done"]))


def records(rows: pd.DataFrame) -> list[Row]:
    """Turn rows into mappings from column to plain value."""
    return cast("list[Row]", rows.to_dict("records"))


def values_of(row: Row, fields: Sequence[str]) -> Key:
    """The values of these fields as text."""
    return tuple(str(row[field]) for field in fields)
