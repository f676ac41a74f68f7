"""Reads runs as data frames, from plan.json and the trials' own files; starts nothing."""

import dataclasses
import json
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
from study.run_folder import COMPLETE, DAMAGED, LOST, MISSING, RunFolder, TrialFolder, find_runs

JUDGED = ("insertion_auc", "deletion_auc", "average_drop", "average_increase", "sparseness", "pointing_game")
"""The metrics of the trained model's explanations, each in [0, 1]; missing where nothing was judged."""

BY_GROUP = ("worst_group_accuracy", "group_gap")
"""Accuracy of the worst group and its distance to the accuracy, in points; missing where there are no groups."""

METRICS = (
    "epochs_done",
    "val_accuracy",
    "test_accuracy",
    *(f"test_{name}" for name in CLASSIFICATION_METRICS),
    *BY_GROUP,
    "worst_group",
    "group_accuracies",
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
    """Load a run, or all runs of a study folder: one row per planned trial, with the columns ``COLUMNS``.

    Proxy fields are missing where the schedule has no proxy step. Accuracies are percentages; precision, recall, F1,
    ECE and the columns ``JUDGED`` are in [0, 1]. ``group_accuracies`` is JSON: the accuracy of each group by its name,
    null for a group without a test image.

    Raises: ConfigError if there is no run at the path.
    """
    rows = [row for run in find_runs(Path(path)) for row in _rows(run)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    whole = ("epochs_done", "judged_images", "proxy_images", "flat_maps", "seed", "split_seed")
    return frame.astype({**dict.fromkeys(whole, "Int64"), **dict.fromkeys((*JUDGED, *BY_GROUP), "float64")})


def with_weights_named(results: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with short names in place of the paths of weights files, for readers on other machines.

    A file below the project or the current directory is shown relative to it, any other by its file name. Files that
    would have the same short name show as many parent folders as are needed to tell them apart.
    """
    names = _short_names(str(value) for value in results["weights"].dropna().unique())
    return results.assign(weights=results["weights"].map(lambda value: names.get(value, value)))


def _short_names(texts: Iterable[str]) -> dict[str, str]:
    """Shorten absolute paths so that no two have the same short name; text that is no absolute path stays as it is."""
    paths = {text: Path(text) for text in texts}
    counts = {text: _parts_shown(path) for text, path in paths.items()}
    while True:
        names = {text: "/".join(paths[text].parts[-count:]) if count else text for text, count in counts.items()}
        uses = Counter(names.values())
        alike = [text for text, name in names.items() if uses[name] > 1 and 0 < counts[text] < len(paths[text].parts)]
        if not alike:
            return names
        for text in alike:
            counts[text] += 1


def _parts_shown(path: Path) -> int:
    """Count the last parts of a path to show: those below the project or the current directory, else the file name.

    Returns: 0 for text that is no absolute path.
    """
    if not path.is_absolute():
        return 0
    for above in (ROOT, Path.cwd()):
        if path.is_relative_to(above) and len(above.parts) > 1:  # not /, which is above every path
            return max(len(path.parts) - len(above.parts), 1)
    return 1


def load_epochs(path: str | Path) -> pd.DataFrame:
    """Load the epochs of a run, or of all runs of a study folder: one row per epoch of every trial that has begun.

    The columns are ``trial_id``, ``arm``, ``seed`` and the fields of EpochRecord, at their defaults where an older
    record lacks them.

    Raises: ConfigError if there is no run at the path.
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
    known = run.known_trials(plan)
    rows = [_row(plan, trial, run.trial(trial.trial_id)) for trial in known]
    if plan.search == "optuna":
        lost = [folder.trial_id for folder in run.lost_trials(plan, known)]
        begun = sum(1 for row in rows if row["seed"] == plan.seeds[0]) + len(lost)
        rows += [{"trial_id": name, "search": plan.search, "status": DAMAGED, "error": LOST} for name in lost]
        rows += [
            {"trial_id": f"{number:04d}-not-suggested", "search": plan.search, "status": MISSING, "error": ""}
            for number in range(begun, plan.suggestions)
        ]
    return rows


def _as_text(accuracies: Mapping[str, float | None] | None) -> str | None:
    """Write the accuracies of groups as JSON; return None if there are none."""
    return json.dumps(accuracies, ensure_ascii=False) if accuracies else None


def _row(plan: Plan, trial: PlannedTrial, folder: TrialFolder) -> dict[str, Any]:
    fields = trial.config.as_dict()
    if not trial.config.has_proxies:
        fields |= dict.fromkeys(PROXY_FIELDS)
    report = folder.report()
    status, error = folder.status() if report is None else (COMPLETE, "")
    # an incomplete trial shows how many epochs are done, and no accuracy that could be taken for its result
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
        "group_accuracies": _as_text(measured.get("group_accuracies")),
        "split_digest": trial.split_digest,
        "commit": folder.commit(),
    }
