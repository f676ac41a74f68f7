"""A run's folder as data frames: plan.json and the trials' own files are the truth; starts nothing."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from proxy_attention.classification_metrics import CLASSIFICATION_METRICS
from proxy_attention.config import DEFAULTS, PROXY_FIELDS
from proxy_attention.records import EpochRecord
from study.plan import Plan, PlannedTrial
from study.provenance import ROOT
from study.run_folder import COMPLETE, MISSING, RunFolder, TrialFolder, find_runs

JUDGED = ("insertion_auc", "deletion_auc", "average_drop", "average_increase", "sparseness", "pointing_game")
"""How well explanations say what the trained model looks at, in [0, 1]; missing where that was not judged."""

METRICS = (
    "epochs_done",
    "val_accuracy",
    "test_accuracy",
    *(f"test_{name}" for name in CLASSIFICATION_METRICS),
    *JUDGED,
    "judged_by",
    "judged_images",
    "train_seconds",
    "proxy_seconds",
    "judge_seconds",
    "wall_seconds",
    "peak_memory_mb",
    "proxy_images",
    "flat_maps",
)
COLUMNS = (
    "trial_id",
    "config_digest",
    "search",
    "arm",
    "status",
    "error",
    *DEFAULTS,
    *METRICS,
    "split_digest",
    "commit",
)
"""The columns of ``load_results``, in order; people and scripts rely on them."""


def load_results(path: str | Path) -> pd.DataFrame:
    """One row a planned trial, of a run or of all runs of a study folder; columns as ``COLUMNS``.

    Proxy fields are missing where the schedule has no proxy step. Accuracies are percentages; what ``JUDGED`` names and
    the other metrics are in [0, 1].

    Raises: ConfigError if there is no run.
    """
    rows = [row for run in find_runs(Path(path)) for row in _rows(run)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    whole = ("epochs_done", "judged_images", "proxy_images", "flat_maps", "seed", "split_seed")
    return frame.astype({**dict.fromkeys(whole, "Int64"), **dict.fromkeys(JUDGED, "float64")})


def with_weights_named(results: pd.DataFrame) -> pd.DataFrame:
    """The rows with weights files as they may be told elsewhere, which this machine's folders say nothing to.

    A file below the project or the current directory is told from there, any other by its name. Of two that would be
    told alike, as many of the folders above them are told as it takes.
    """
    names = _told(str(value) for value in results["weights"].dropna().unique())
    return results.assign(weights=results["weights"].map(lambda value: names.get(value, value)))


def _told(texts: Iterable[str]) -> dict[str, str]:
    """What each of these is told as, unlike the others: what is no absolute path as it is."""
    paths = {text: Path(text) for text in texts}
    counts = {text: _parts_told(path) for text, path in paths.items()}
    while True:
        names = {text: "/".join(paths[text].parts[-count:]) if count else text for text, count in counts.items()}
        every = Counter(names.values())
        alike = [text for text, name in names.items() if every[name] > 1 and 0 < counts[text] < len(paths[text].parts)]
        if not alike:
            return names
        for text in alike:
            counts[text] += 1


def _parts_told(path: Path) -> int:
    """How many of an absolute path's last parts are below the project or the current directory; elsewhere its name."""
    if not path.is_absolute():
        return 0
    for above in (ROOT, Path.cwd()):
        if path.is_relative_to(above) and len(above.parts) > 1:  # below the root of the file system is no place
            return max(len(path.parts) - len(above.parts), 1)
    return 1


def load_epochs(path: str | Path) -> pd.DataFrame:
    """One row an epoch of every trial that has begun: ``trial_id``, ``arm``, ``seed`` and every EpochRecord field.

    What an older record lacks is at its default.

    Raises: ConfigError if there is no run.
    """
    rows = []
    for run in find_runs(Path(path)):
        for trial in run.known_trials(run.read_plan()):
            whose = {"trial_id": trial.trial_id, "arm": trial.arm, "seed": trial.config.seed}
            rows += [whose | vars(record) for record in run.trial(trial.trial_id).epochs()]
    fields = [field.name for field in dataclasses.fields(EpochRecord)]
    return pd.DataFrame(rows, columns=["trial_id", "arm", "seed", *fields])


def _rows(run: RunFolder) -> list[dict[str, Any]]:
    plan = run.read_plan()
    rows = [_row(plan, trial, run.trial(trial.trial_id)) for trial in run.known_trials(plan)]
    if plan.search == "optuna":
        begun = sum(1 for row in rows if row["seed"] == plan.seeds[0])
        rows += [
            {"trial_id": f"{number:04d}-not-suggested", "search": plan.search, "status": MISSING, "error": ""}
            for number in range(begun, plan.suggestions)
        ]
    return rows


def _row(plan: Plan, trial: PlannedTrial, folder: TrialFolder) -> dict[str, Any]:
    fields = trial.config.as_dict()
    if not trial.config.has_proxies:
        fields |= dict.fromkeys(PROXY_FIELDS)
    report = folder.report()
    status, error = folder.status() if report is None else (COMPLETE, "")
    # a trial that is not complete shows how far it is, and no accuracy that could pass for a result
    measured: Mapping[str, Any] = {"epochs_done": len(folder.epochs())} if report is None else report
    return {
        "trial_id": trial.trial_id,
        "config_digest": trial.config_digest,
        "search": plan.search,
        "arm": trial.arm,
        "status": status,
        "error": error,
        **fields,
        **{name: measured.get(name) for name in METRICS},
        "split_digest": trial.split_digest,
        "commit": folder.commit(),
    }
