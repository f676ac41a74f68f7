"""Group rows by the columns that vary."""

from collections.abc import Sequence

import pandas as pd

from proxy_attention.config import PROXY_FIELDS
from proxy_attention.errors import unknown
from study.analysis.arms import MOST_LEVELS
from study.analysis.estimates import estimate
from study.analysis.pairs import ACCURACIES, TRAINING, difference
from study.plan import BASELINE, PROXY
from study.run_folder import COMPLETE

FACTORS = [*TRAINING, "schedule", *PROXY_FIELDS, "arm"]
"""Columns that have a table each where they vary, in this order."""


def group(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Make a row a group: n, mean and sample standard deviation of both accuracies, paired differences to the baseline.

    Trials with the same digest count once: a search may suggest a setting twice, and would count one number twice.

    Args:
        frame: as ``with_baselines`` gives it.
        columns: the columns to group by; rows in which one of them is missing are left out.
    Raises: ConfigError for a column that is not there.
    """
    for column in columns:
        if column not in frame.columns:
            raise unknown("group-by", column, [str(name) for name in frame.columns])
    done = frame[frame["status"] == COMPLETE].drop_duplicates(["config_digest", "arm"])
    rows = []
    for key, part in done.groupby(list(columns), sort=True, dropna=True, observed=True):
        row = dict(zip(columns, key if isinstance(key, tuple) else (key,), strict=True))
        row["n"] = len(part)
        for accuracy in ACCURACIES:
            name = accuracy.split("_")[0]
            overall, paired = estimate(part[accuracy]), estimate(part[difference(accuracy)])
            row |= {f"{name}_mean": overall.mean, f"{name}_sd": overall.sd, f"{name}_difference": paired.mean}
            row |= {f"{name}_difference_sd": paired.sd, "pairs": paired.n}
        rows.append(row)
    tail = [f"{n}_{m}" for n in ("val", "test") for m in ("mean", "sd", "difference", "difference_sd")]
    return pd.DataFrame(rows, columns=[*columns, "n", "pairs", *tail])


def tables(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Make a table for every factor that varies, and always one by arm; proxy fields over searched settings only."""
    found = {}
    for factor in FACTORS:
        if factor == "arm":
            found[factor] = group(frame, ["arm"])
            continue
        named = factor in PROXY_FIELDS
        rows = frame[frame["arm"] == PROXY] if named else frame[frame["arm"].isin([BASELINE, PROXY])]
        if rows[factor].nunique() < 2:
            continue
        rows = rows.assign(**{factor: levels_of(rows[factor])}) if named else rows
        found[factor] = group(rows, [factor] if named or factor == "schedule" else [factor, "arm"])
    return found


def levels_of(values: pd.Series) -> pd.Series:
    """Return the values as they are, or their quarters where a range was searched: a row a draw would say nothing."""
    if values.nunique() <= MOST_LEVELS or not pd.api.types.is_numeric_dtype(values.infer_objects()):
        return values
    return pd.qcut(values.astype(float), 4, precision=2, duplicates="drop")
