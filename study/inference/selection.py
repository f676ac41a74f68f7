"""Which trained models of a study are asked: by a query, by val, or as a pair; loads none of them."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from proxy_attention.config import LEAKING
from proxy_attention.errors import ConfigError
from study.analysis.grouping import query
from study.analysis.pairs import SETTING, pair_key, records, with_baselines
from study.plan import PROXY, PlannedTrial
from study.results import load_results
from study.run_folder import COMPLETE, find_runs

MOST_MODELS, MOST_LISTED = 32, 6
"""Models that are held in memory at once, and trials that an error names."""


@dataclass(frozen=True)
class Picked:
    """A complete trial of a study.

    Attributes:
        name: its trial_id; with the run's name before it where the study has several runs.
    """

    name: str
    run: Path
    planned: PlannedTrial


def complete_trials(path: Path) -> pd.DataFrame:
    """The complete trials of a run or of all runs of a study, as ``with_baselines`` gives them.

    Two more columns say where they are from: ``run``, its folder, and ``shown_id``, the trial_id as people are told it.

    Raises: ConfigError if there is no run, or no trial of it is complete.
    """
    frames = []
    runs = find_runs(path)
    for run in (found.path for found in runs):
        rows = with_baselines(load_results(run))
        shown = f"{run.name}/" + rows["trial_id"] if len(runs) > 1 else rows["trial_id"]
        frames.append(rows.assign(run=str(run), shown_id=shown)[rows["status"] == COMPLETE])
    found = [frame for frame in frames if len(frame)]
    if not found:
        raise ConfigError(f"a run must have a complete trial to predict with; {str(path)!r} has none yet")
    return pd.concat(found, ignore_index=True)


def pick(path: Path, expression: str | None) -> tuple[list[Picked], str]:
    """The trials for which a query holds; without one, the best on val, and a line that says so.

    Raises: ConfigError for a bad query, one that holds for no complete trial, or for more than can be held at once.
    """
    done = complete_trials(path)
    if expression is None:
        best, why = _best_on_val(done)
        return _as_picked(path, best), f"without --query: {_id(best.iloc[0])}, {why}"
    rows = _chosen(done, expression)
    if len(rows) > MOST_MODELS:
        raise ConfigError(f"--query must pick at most {MOST_MODELS} trials; {expression!r} picks {len(rows)}")
    return _as_picked(path, rows), ""


def pick_pair(path: Path, expression: str | None) -> tuple[Picked, Picked, str]:
    """A trial without proxies and one with: the two that a query picks, or the one with proxies and its baseline.

    Returns: without, with, and a line that says what was decided for the person; it may be empty.
    Raises: ConfigError for a bad query, or one that picks no pair, or more than one.
    """
    done = complete_trials(path)
    rows = done if expression is None else _chosen(done, expression)
    proxied, plain, line = rows[rows["threshold"].notna()], rows[rows["threshold"].isna()], ""
    if expression is None:
        paired = proxied[proxied["baseline_id"].notna()]
        paired = paired if paired[paired["arm"] == PROXY].empty else paired[paired["arm"] == PROXY]
        if paired.empty:
            raise ConfigError(f"--compare must have a trial with proxies and its baseline; {str(path)!r} has no pair")
        proxied, why = _best_on_val(paired)
        line = f"without --query: {_id(proxied.iloc[0])} with proxies, {why}, and its baseline"
    if len(proxied) != 1:
        raise ConfigError(
            f"--query must pick one trial with proxies for --compare; {expression!r} picks {len(proxied)}"
            + (f": {_ids(proxied)}" if len(proxied) else "")
        )
    own = done[(done["run"] == proxied["run"].iloc[0]) & (done["trial_id"] == proxied["baseline_id"].iloc[0])]
    if expression is not None and len(plain) == 1:
        own = plain
    if own.empty:
        raise ConfigError(
            f"--compare must have a pair; {_id(proxied.iloc[0])} has no complete baseline (let --query pick one, too)"
        )
    (one,), (other,) = _as_picked(path, own), _as_picked(path, proxied)
    return one, other, "; ".join(text for text in (line, _beyond_proxies(own, proxied)) if text)


def _beyond_proxies(own: pd.DataFrame, proxied: pd.DataFrame) -> str:
    """What is to be told of a pair that differs in more than proxies; empty if it does not."""
    (without,), (row,) = records(own), records(proxied)
    if pair_key(without) == pair_key(row):
        return ""
    one, other = without["shown_id"], row["shown_id"]
    if row["split"] in LEAKING and without["trial_id"] == str(row["baseline_id"]):
        return f"{other} is an audit, of another split than its baseline {one}: they differ in more than proxies"
    return f"{one} is not the baseline of {other}: they differ in more than proxies"


def _chosen(done: pd.DataFrame, expression: str) -> pd.DataFrame:
    rows = query(done, expression)
    if rows.empty:
        raise ConfigError(f"--query must hold for a complete trial; {expression!r} holds for none of {len(done)}")
    return rows


def _best_on_val(done: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The best trial on val of the setting that is best on val, as a frame of one row, and why in words.

    A setting's val is the mean over its seeds; only settings that are complete on the most seeds may be chosen: one
    that was suggested twice, or by two runs, has no more for it. An audit, which trains on its validation images, is
    chosen only where there is nothing else.
    """
    done = done.drop_duplicates(["config_digest", "arm"])
    honest = done[~done["split"].isin(LEAKING)]
    note = " (LEAKING: it says nothing)" if honest.empty else ""
    rows = done if honest.empty else honest
    setting = rows[["arm", *SETTING]].map(str).agg("|".join, axis=1)
    counts = setting.groupby(setting).transform("size")
    candidates = rows[counts == counts.max()]
    means = candidates.groupby(setting, sort=False)["val_accuracy"].mean()
    best = candidates[setting.loc[candidates.index] == means.idxmax()]
    one = best.loc[[best["val_accuracy"].astype(float).idxmax()]]
    of = f"the best of {len(best)} trials of" if len(best) > 1 else "of"
    return one, f"{of} the setting that is best on val{note} (mean {means.max():.2f} %)"


def _as_picked(path: Path, rows: pd.DataFrame) -> list[Picked]:
    known = {
        (str(run.path), trial.trial_id): trial for run in find_runs(path) for trial in run.known_trials(run.read_plan())
    }
    return [Picked(_id(row), Path(row["run"]), known[row["run"], row["trial_id"]]) for _, row in rows.iterrows()]


def _id(row: pd.Series) -> str:
    return str(row["shown_id"])


def _ids(rows: pd.DataFrame) -> str:
    names = [str(name) for name in rows["shown_id"]]
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more
