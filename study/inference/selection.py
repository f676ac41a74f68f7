"""The complete trials of a study that a query selects, or that are best on val; loads no weights."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from proxy_attention.config import LEAKING
from proxy_attention.errors import ConfigError
from study.analysis.pairs import SETTING, pair_key, records, with_baselines
from study.analysis.query import query, shown_query
from study.plan import PROXY, PlannedTrial
from study.results import load_results
from study.run_folder import COMPLETE, find_runs

MOST_MODELS = 32
"""Models that are held in memory at once."""
MOST_LISTED = 6
"""Trials that an error names."""


@dataclass(frozen=True)
class SelectedTrial:
    """A complete trial of a study.

    Attributes:
        name: its trial_id; after the name of its run where the study has several runs.
        run: the folder of its run.
    """

    name: str
    run: Path
    planned: PlannedTrial


def select_trials(path: Path, expression: str | None) -> tuple[list[SelectedTrial], str]:
    """Select the complete trials for which a query holds; without a query, the one that is best on val.

    Returns: the trials, and a note for the user on what was selected without a query; empty with one.
    Raises: ConfigError for a bad query, or one that selects no complete trial, or too many to hold at once.
    """
    complete = complete_trials(path)
    if expression is None:
        best, reason = _best_on_val(complete)
        return _as_selected(path, best), f"without --query: {_shown_id(best)}, {reason}"
    rows = _rows_of_query(complete, expression)
    if len(rows) > MOST_MODELS:
        raise ConfigError(
            f"--query must select at most {MOST_MODELS} trials; {shown_query(expression)} selects {len(rows)}"
        )
    return _as_selected(path, rows), ""


def select_pair(path: Path, expression: str | None) -> tuple[SelectedTrial, SelectedTrial, str]:
    """Select a trial without proxies and one with proxies.

    A query selects both, or the one with proxies alone, which is then compared with its baseline. Without a query, the
    one with proxies is the best on val of those that have a baseline.

    Returns: the trial without proxies, the one with proxies, and a note for the user; the note may be empty.
    Raises: ConfigError for a bad query, or one that selects no pair, or more than one.
    """
    complete = complete_trials(path)
    plain, note = complete.iloc[:0], ""
    if expression is None:
        proxied, reason = _best_on_val(_with_proxies_and_baseline(complete, path))
        note = f"without --query: {_shown_id(proxied)} with proxies, {reason}, and its baseline"
    else:
        rows = _rows_of_query(complete, expression)
        proxied, plain = rows[rows["threshold"].notna()], rows[rows["threshold"].isna()]
        if len(proxied) != 1:
            raise ConfigError(
                "--query must select one trial with proxies for --compare; "
                f"{shown_query(expression)} selects {len(proxied)}"
                + (f": {_shown_ids(proxied)}" if len(proxied) else "")
            )
    if len(plain) != 1:
        same_run = complete["run"] == proxied["run"].iloc[0]
        plain = complete[same_run & (complete["trial_id"] == proxied["baseline_id"].iloc[0])]
    if plain.empty:
        raise ConfigError(
            f"{_shown_id(proxied)} has no complete baseline: let --query select a trial without proxies, too"
        )
    (first,), (second,) = _as_selected(path, plain), _as_selected(path, proxied)
    return first, second, "; ".join(text for text in (note, _note_on_difference(plain, proxied)) if text)


def complete_trials(path: Path) -> pd.DataFrame:
    """Load the rows of the complete trials of a run, or of all runs of a study, as ``with_baselines`` gives them.

    Two more columns: ``run``, the folder of the trial's run, and ``shown_id``, the trial's name for people.

    Raises: ConfigError if there is no run, or no trial of it is complete.
    """
    frames = []
    runs = [found.path for found in find_runs(path)]
    for run in runs:
        rows = with_baselines(load_results(run))
        shown = f"{run.name}/" + rows["trial_id"] if len(runs) > 1 else rows["trial_id"]
        frames.append(rows.assign(run=str(run), shown_id=shown)[rows["status"] == COMPLETE])
    found = [frame for frame in frames if len(frame)]
    if not found:
        raise ConfigError(f"{str(path)!r} has no complete trial yet; study/run.py --restore finishes its trials")
    return pd.concat(found, ignore_index=True)


def _rows_of_query(complete: pd.DataFrame, expression: str) -> pd.DataFrame:
    """Return the rows for which the query holds.

    Raises: ConfigError for a bad query, or one that holds for no row.
    """
    rows = query(complete, expression)
    if rows.empty:
        raise ConfigError(
            f"--query must hold for a complete trial; {shown_query(expression)} holds for none of {len(complete)}"
        )
    return rows


def _with_proxies_and_baseline(complete: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the rows of trials with proxies whose baseline is complete; those of arms only where there are no others.

    Raises: ConfigError if there are none.
    """
    paired = complete[complete["threshold"].notna() & complete["baseline_id"].notna()]
    if paired.empty:
        raise ConfigError(
            f"--compare needs a trial with proxies and its complete baseline; {str(path)!r} has no such pair"
        )
    searched = paired[paired["arm"] == PROXY]
    return paired if searched.empty else searched


def _best_on_val(complete: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Find the setting that is best on val, and its trial that is best on val.

    A setting's val accuracy is the mean over its seeds; only settings that are complete on the most seeds are compared.
    A trial that was suggested twice, or by two runs, counts once. An audit trains on its validation images, so it is
    taken only where there is nothing else.

    Returns: the trial as a frame of one row, and the reason in words.
    """
    distinct = complete.drop_duplicates(["config_digest", "arm"])
    honest = distinct[~distinct["split"].isin(LEAKING)]
    warning = " (LEAKING: it says nothing)" if honest.empty else ""
    rows = distinct if honest.empty else honest
    setting = rows[["arm", *SETTING]].map(str).agg("|".join, axis=1)
    seeds = setting.groupby(setting).transform("size")
    candidates = rows[seeds == seeds.max()]
    means = candidates.groupby(setting, sort=False)["val_accuracy"].mean()
    trials = candidates[setting.loc[candidates.index] == means.idxmax()]
    best = trials.loc[[trials["val_accuracy"].astype(float).idxmax()]]
    of = f"the best of {len(trials)} trials of" if len(trials) > 1 else "of"
    return best, f"{of} the setting that is best on val{warning} (mean {means.max():.2f} %)"


def _note_on_difference(plain: pd.DataFrame, proxied: pd.DataFrame) -> str:
    """Say that a pair (a frame of one row each) differs in more than proxies; empty if it does not."""
    (without,), (with_proxies,) = records(plain), records(proxied)
    if pair_key(without) == pair_key(with_proxies):
        return ""
    one, other = without["shown_id"], with_proxies["shown_id"]
    if with_proxies["split"] in LEAKING and without["trial_id"] == str(with_proxies["baseline_id"]):
        return f"{other} is an audit, of another split than its baseline {one}: they differ in more than proxies"
    return f"{one} is not the baseline of {other}: they differ in more than proxies"


def _as_selected(path: Path, rows: pd.DataFrame) -> list[SelectedTrial]:
    """Return the trials of these rows as the plans of their runs have them."""
    planned = {
        (str(run.path), trial.trial_id): trial for run in find_runs(path) for trial in run.known_trials(run.read_plan())
    }
    return [
        SelectedTrial(str(row["shown_id"]), Path(row["run"]), planned[row["run"], row["trial_id"]])
        for _, row in rows.iterrows()
    ]


def _shown_id(row: pd.DataFrame) -> str:
    """Return the name for people of the trial in a frame of one row."""
    return str(row["shown_id"].iloc[0])


def _shown_ids(rows: pd.DataFrame) -> str:
    """Join the names of the first few trials, and say how many more there are."""
    names = [str(name) for name in rows["shown_id"]]
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more
