"""Pair every trial with its baseline: the trial that agrees with it in all but the proxies; estimates nothing."""

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
"""Fields that a trial shares with its baseline."""
TRAINING = [name for name in OTHER if name not in REPEATS]
"""Fields of the training without proxies, the same in all repeats."""
SETTING = ["schedule", *PROXY_FIELDS, *TRAINING]
"""Fields that may be searched."""

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
    done = results[results["status"] == COMPLETE]
    rows = dict(zip(done.index, records(done), strict=True))
    plain = [row for row in rows.values() if pd.isna(row["threshold"])]
    baselines = {pair_key(row): row for row in reversed(plain)}
    audited = {_audit_key(row): row for row in reversed(plain) if row["split"] not in LEAKING}
    pairs: dict[Any, tuple[Row, Row]] = {}
    for index, row in rows.items():
        baseline: Row | None = baselines.get(pair_key(row)) if pd.notna(row["threshold"]) else None
        if baseline is None and row["split"] in LEAKING:
            baseline = audited.get(_audit_key(row))
        if baseline is not None:
            pairs[index] = (row, baseline)
    frame = results.copy()
    for column, field in (("baseline_id", "trial_id"), ("baseline_arm", "arm")):
        names = [pairs[index][1][field] if index in pairs else pd.NA for index in frame.index]
        frame[column] = pd.Series(names, index=frame.index, dtype="object")
    for accuracy in ACCURACIES:
        found = {index: row[accuracy] - baseline[accuracy] for index, (row, baseline) in pairs.items()}
        frame[difference(accuracy)] = pd.Series(found, dtype=float).reindex(frame.index)
    return frame


def pair_key(row: Row) -> Key:
    """Return the key that a trial shares with its baseline: all but the proxy fields, the split, the epochs."""
    return (*values_of(row, OTHER), str(row["split_digest"]), str(row["epochs_done"]))


def _audit_key(row: Row) -> Key:
    """Return the key that an audit shares with its baseline: as ``pair_key``, without the split."""
    return (*values_of(row, [name for name in OTHER if name != "split"]), str(row["epochs_done"]))


def records(rows: pd.DataFrame) -> list[Row]:
    """Turn rows into mappings from column to plain value."""
    return cast("list[Row]", rows.to_dict("records"))


def values_of(row: Row, fields: Sequence[str]) -> Key:
    """Return the values of these fields as text."""
    return tuple(str(row[field]) for field in fields)
