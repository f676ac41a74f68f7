"""A run's folder as data frames: plan.json and the trials' own files are the truth; starts nothing."""

import dataclasses
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from proxy_attention.config import PROXY_FIELDS, TrialConfig
from proxy_attention.errors import ConfigError
from proxy_attention.records import EpochRecord
from study.plan import ROOT, SEARCHES, Plan, PlannedTrial, folder_of, read_json

CONFIG_FIELDS = tuple(field.name for field in dataclasses.fields(TrialConfig))
JUDGED = ("insertion_auc", "deletion_auc", "average_drop", "average_increase", "sparseness", "pointing_game")
"""How well explanations say what the trained model looks at, in [0, 1]; missing where that was not judged."""

METRICS = (
    "epochs_done",
    "val_accuracy",
    "test_accuracy",
    "test_precision",
    "test_recall",
    "test_f1",
    "test_ece",
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
    *CONFIG_FIELDS,
    *METRICS,
    "split_digest",
    "commit",
)
"""The columns of ``load_results``, in order; people and scripts rely on them."""

COMPLETE, FAILED, INTERRUPTED, MISSING = "complete", "failed", "interrupted", "missing"


def runs_of(path: Path) -> list[Path]:
    """The runs at this path: itself, or those in the study folder.

    Raises: ConfigError if there is none.
    """
    path = path.expanduser().absolute()
    if (path / "plan.json").is_file():
        return [path]
    found = [path / search for search in SEARCHES if (path / search / "plan.json").is_file()]
    if not found:
        raise ConfigError(f"a run or study folder must hold a plan.json; got {str(path)!r}")
    return found


def load_results(path: str | Path) -> pd.DataFrame:
    """One row a planned trial, of a run or of all runs of a study folder; columns as ``COLUMNS``.

    Proxy fields are missing where the schedule has no proxy step. Accuracies are percentages; what ``JUDGED`` names and
    the other metrics are in [0, 1].

    Raises: ConfigError if there is no run.
    """
    rows = [row for run in runs_of(Path(path)) for row in _rows(run)]
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
    fields = dataclasses.fields(EpochRecord)
    later = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
    for run in runs_of(Path(path)):
        for trial in trials_of(Plan.read(run), run):
            epochs = read_json(folder_of(run, trial.trial_id) / "epochs.json") or []
            whose = {"trial_id": trial.trial_id, "arm": trial.arm, "seed": trial.config.seed}
            rows += [{**whose, **later, **row} for row in epochs]
    return pd.DataFrame(rows, columns=["trial_id", "arm", "seed", *(field.name for field in fields)])


def trials_of(plan: Plan, run: Path) -> list[PlannedTrial]:
    """Every trial of a run that is known: the planned, and those that its search has suggested."""
    known = {trial.trial_id: trial for trial in plan.trials}
    if plan.search == "optuna":
        known |= {trial.trial_id: trial for trial in suggested_trials(run, plan.seeds[0])}
    known |= {trial.trial_id: trial for trial in plan.confirmed}
    return sorted(known.values(), key=lambda trial: trial.number)


def suggested_trials(run: Path, seed: int) -> list[PlannedTrial]:
    """The trials on the first seed that the search has suggested so far, read from their own folders, by number."""
    values = [read_json(file) for file in sorted((run / "trials").glob("*/trial.json"))]
    started = [PlannedTrial.of(value["planned"]) for value in values if value is not None]  # damaged: never begun
    return [trial for trial in started if trial.config.seed == seed]


def status_of(run: Path, trial_id: str) -> tuple[str, str]:
    """(status, error) of a trial, from its own files."""
    folder = folder_of(run, trial_id)
    if read_json(folder / "report.json") is not None:
        return COMPLETE, ""
    failure = read_json(folder / "error.json")
    if failure is not None:
        return FAILED, str(failure["error"])
    begun = (folder / "epochs.json").is_file() or (folder / "trial.json").is_file()
    return (INTERRUPTED if begun else MISSING), ""


def _rows(run: Path) -> list[dict[str, Any]]:
    plan = Plan.read(run)
    rows = [_row(plan, run, trial) for trial in trials_of(plan, run)]
    if plan.search == "optuna":
        begun = sum(1 for row in rows if row["seed"] == plan.seeds[0])
        rows += [
            {"trial_id": f"{number:04d}-not-suggested", "search": plan.search, "status": MISSING, "error": ""}
            for number in range(begun, plan.suggestions)
        ]
    return rows


def _row(plan: Plan, run: Path, trial: PlannedTrial) -> dict[str, Any]:
    folder = folder_of(run, trial.trial_id)
    status, error = status_of(run, trial.trial_id)
    fields = trial.config.as_dict()
    if not trial.config.has_proxies:
        fields |= dict.fromkeys(PROXY_FIELDS)
    measured = read_json(folder / "report.json") or _so_far(folder)
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
        "commit": (read_json(folder / "trial.json") or {}).get("commit", ""),
    }


def _so_far(folder: Path) -> dict[str, Any]:
    """What a trial that is not complete has to show: its epochs, and no accuracy that could pass for a result."""
    epochs = read_json(folder / "epochs.json") or []
    return {"epochs_done": len(epochs)}
