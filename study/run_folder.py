"""A run on disk: its paths, JSON files and statuses; plan.json and the trials' own files are the truth."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from proxy_attention.checksums import kept_sha256
from proxy_attention.errors import ConfigError
from proxy_attention.files import EPOCHS_FILE, RECIPES_FILE, REPORT_FILE, WEIGHTS_FILE, find_link, load_json, write_json
from proxy_attention.records import EpochRecord
from study.file_formats import (
    EPOCHS,
    ERROR,
    FORMAT,
    PLAN,
    PROXIES,
    REPORT,
    TRIAL,
    ProxiesFile,
    ReportFile,
    read,
    reason,
    warn_once,
)
from study.plan import SEARCHES, Plan, PlannedTrial

STUDY_FILE = "study.toml"
RESULTS_CSV, REPORT_HTML, ARMS_SVG = PUBLISHED = ("results.csv", "report.html", "arms.svg")
"""The files of a run that ``--publish`` copies up to the study's folder."""
COMPLETE, FAILED, INTERRUPTED, MISSING, DAMAGED = "complete", "failed", "interrupted", "missing", "damaged"
LOST = "trial.json is damaged; --restore writes it again"
"""Statuses of a trial. A damaged one has a report, but not what was written; ``--restore`` trains it again."""


@dataclass(frozen=True)
class TrialFolder:
    """The folder of a trial. A file that does not exist or is damaged is read as None, or as empty."""

    path: Path

    @property
    def trial_id(self) -> str:
        """The trial's id, which is the name of its folder."""
        return self.path.name

    @property
    def trial_file(self) -> Path:
        """The file with the planned trial and the commit that ran it; written first."""
        return self.path / "trial.json"

    @property
    def epochs_file(self) -> Path:
        """The file with one record per epoch; written after every epoch."""
        return self.path / EPOCHS_FILE

    @property
    def report_file(self) -> Path:
        """The file with the result; written last."""
        return self.path / REPORT_FILE

    @property
    def error_file(self) -> Path:
        """The file that says why the trial failed."""
        return self.path / "error.json"

    @property
    def weights_file(self) -> Path:
        """The file with the weights after the last epoch."""
        return self.path / WEIGHTS_FILE

    @property
    def proxies_png(self) -> Path:
        """The picture of a few proxies of the newest step, one image per row: original, map and proxy."""
        return self.path / "proxies.png"

    @property
    def proxies_file(self) -> Path:
        """The file that says what the rows of ``proxies_png`` show."""
        return self.path / "proxies.json"

    def report(self) -> dict[str, Any] | None:
        """Read the result, with all its keys; return None if the trial is not complete, or is damaged."""
        values = read(self.report_file, REPORT)
        return None if values is None or self._damage(values) else dict(values)

    def _damage(self, report: ReportFile) -> str:
        """Say which of the files that a report belongs to is not what was written; return an empty text if all are."""
        identity = report.get("identity")
        twin = report.get("same_as", self.trial_id)
        if identity is not None and {self.trial_id[-9:], twin[-9:]} != {f"-{identity[:8]}"}:
            return "report.json is of another trial"
        sums = report.get("sha256_of")
        if sums is not None:  # an older report has none
            for name in (EPOCHS_FILE, WEIGHTS_FILE, RECIPES_FILE):
                file = self.path / name  # weights and recipes may be deleted to save room
                if os.path.lexists(file) and kept_sha256(file) != sums.get(name):
                    return f"{name} is not what was written"
        return "" if self.epochs() else f"{EPOCHS_FILE} is missing or damaged"

    def epochs(self) -> list[EpochRecord]:
        """Read the records of the epochs so far; fields that an older record lacks have their defaults."""
        return read(self.epochs_file, EPOCHS) or []

    def planned(self) -> PlannedTrial | None:
        """Read the planned trial; return None if it has not begun, or its file is damaged."""
        values = read(self.trial_file, TRIAL)
        if values is None:
            return None
        try:
            trial = PlannedTrial.of(dict(values["planned"]))
            trouble = trial.contradiction() if trial.trial_id == self.trial_id else "it is of another trial"
        except ConfigError as error:
            trouble = str(error)
        if trouble:
            warn_once(f"{self.trial_file} is damaged ({trouble}); it is as if it were not there")
        return None if trouble else trial

    def commit(self) -> str:
        """Read which commit ran the trial; return an empty text if it has not begun."""
        values = read(self.trial_file, TRIAL)
        return "" if values is None else values.get("commit", "")

    def error(self) -> str | None:
        """Read why the trial failed; return None if it did not."""
        values = read(self.error_file, ERROR)
        return None if values is None else values["error"]

    def proxies(self) -> ProxiesFile | None:
        """Read what the rows of ``proxies_png`` show; return None if there is no such file."""
        return read(self.proxies_file, PROXIES)

    @property
    def is_complete(self) -> bool:
        """Whether the trial has a report that can be read; it is written last."""
        return self.report() is not None

    def status(self) -> tuple[str, str]:
        """Read the status of the trial and, if it failed, its error, from its own files."""
        report = read(self.report_file, REPORT)
        if report is not None:
            damage = self._damage(report)
            return (DAMAGED, f"{damage}; --restore trains it again") if damage else (COMPLETE, "")
        if os.path.lexists(self.report_file):
            return DAMAGED, "report.json is damaged; --restore trains it again"
        error = self.error()
        if error is not None:
            return FAILED, error
        begun = self.epochs_file.is_file() or self.trial_file.is_file()
        return (INTERRUPTED if begun else MISSING), ""

    def begin(self, planned: PlannedTrial, commit: str) -> None:
        """Write the planned trial, and delete the error of an earlier attempt."""
        write_json(self.trial_file, {"planned": planned.as_dict(), "commit": commit})
        self.error_file.unlink(missing_ok=True)

    def write_error(self, planned: PlannedTrial, error: str, trace: str = "") -> None:
        """Write why the trial failed, with its config."""
        values = {"error": " ".join(error.split()), "traceback": trace, "config": planned.config.as_dict()}
        write_json(self.error_file, values)


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, ``<storage>/<name>/<search>/``."""

    path: Path

    @property
    def plan_file(self) -> Path:
        """The file with the plan: every trial, what was asked for, and the versions."""
        return self.path / "plan.json"

    @property
    def study_file(self) -> Path:
        """The file with the study as it is run, including what the command line changed."""
        return self.path / STUDY_FILE

    @property
    def results_csv(self) -> Path:
        """The table of results, one row per trial."""
        return self.path / RESULTS_CSV

    @property
    def report_html(self) -> Path:
        """The report."""
        return self.path / REPORT_HTML

    @property
    def lock_file(self) -> Path:
        """The lock file; the process that drives the run holds it, and writes its pid and host into it."""
        return self.path / ".lock"

    @property
    def optuna_db(self) -> Path:
        """Optuna's database: the settings that it suggested, and their val accuracies."""
        return self.path / "optuna.db"

    @property
    def ray(self) -> Path:
        """The folder of Ray's own files; the run can be restored without them."""
        return self.path / "ray"

    @property
    def trials(self) -> Path:
        """The folder that holds one folder per trial."""
        return self.path / "trials"

    @property
    def caches(self) -> Path:
        """The folder of the caches that all runs of one storage share; always safe to delete."""
        return self.path.parent.parent / ".cache"

    @property
    def shared_states(self) -> Path:
        """The folder of the states that trials share."""
        return self.caches / "prefixes"

    @property
    def compiled(self) -> Path:
        """The folder of the code that ``torch.compile`` made."""
        return self.caches / "compiled"

    @property
    def batch_sizes(self) -> Path:
        """The file of the batch sizes that were found on this machine."""
        return self.caches / "batch_sizes.json"

    def trial(self, trial_id: str) -> TrialFolder:
        """Return the folder of a trial, which need not exist."""
        return TrialFolder(self.trials / trial_id)

    def trial_folders(self, pattern: str = "*") -> list[TrialFolder]:
        """Return the folders of trials that exist and match the pattern, sorted by name."""
        return [TrialFolder(path) for path in sorted(self.trials.glob(pattern))]

    @property
    def has_plan(self) -> bool:
        """Whether the run has a plan.json."""
        return self.plan_file.exists()

    def write_plan(self, plan: Plan) -> None:
        """Write plan.json, whole or not at all."""
        write_json(self.plan_file, {"format": FORMAT, **plan.as_dict()})

    def read_plan(self) -> Plan:
        """Read plan.json.

        Raises: ConfigError if there is none, or it cannot be read.
        """
        file = self.plan_file
        try:
            values = dict(PLAN.validate_python(load_json(file)))
        except FileNotFoundError as error:
            raise ConfigError(f"a run must hold a plan.json; there is none in {str(self.path)!r}") from error
        except (OSError, ValueError, RecursionError, OverflowError) as error:
            if isinstance(error, ValidationError) and error.errors()[0]["type"] == "literal_error":
                raise ConfigError(f"{file} must be of format {FORMAT}; it was written by another version") from error
            raise ConfigError(
                f"{file} must be a plan that this project wrote; it cannot be read ({reason(error)})"
            ) from error
        del values["format"]
        try:
            plan = Plan.of(values)
            troubles = [
                f"{trial.trial_id}: {trouble}" for trial in plan.everything if (trouble := trial.contradiction())
            ]
        except ConfigError as error:
            troubles = [str(error)]
        if troubles:
            raise ConfigError(f"{file} must be a plan that this project wrote; {troubles[0]}")
        return plan

    def refuse_links(self) -> None:
        """Check that the run and its caches hold nothing but folders and regular files: a link would lead elsewhere.

        Raises: ConfigError that names the first such path. Ray's own files and compiled code are not looked at.
        """
        link = find_link(self.path, without=(self.ray,)) or find_link(self.caches, without=(self.compiled,))
        if link is None and os.path.lexists(self.lock_file) and self.lock_file.lstat().st_nlink > 1:
            link = self.lock_file
        if link is not None:
            raise ConfigError(
                f"a run and its caches must hold files and folders only; {str(link)!r} is a link or no regular file"
            )

    def known_trials(self, plan: Plan) -> list[PlannedTrial]:
        """Return all trials known so far, by number: those of the plan, and those that the search has suggested."""
        known = {trial.trial_id: trial for trial in plan.trials}
        if plan.search == "optuna":
            known |= {trial.trial_id: trial for trial in self.suggested_trials(plan.seeds[0])}
        known |= {trial.trial_id: trial for trial in plan.confirmed}
        return sorted(known.values(), key=lambda trial: trial.number)

    def suggested_trials(self, seed: int) -> list[PlannedTrial]:
        """Read the trials on this seed that have begun, from their own folders, by number."""
        planned = [folder.planned() for folder in self.trial_folders()]
        return [trial for trial in planned if trial is not None and trial.config.seed == seed]

    def lost_trials(self, plan: Plan, known: Sequence[PlannedTrial]) -> list[TrialFolder]:
        """Return the folders of suggested trials whose trial.json is damaged; only optuna.db knows their settings.

        Args:
            known: the trials of ``known_trials``.
        """
        if plan.search != "optuna":
            return []
        ids = {trial.trial_id for trial in known}
        begun = [folder for folder in self.trial_folders("[0-9]*-*") if os.path.lexists(folder.trial_file)]
        return [folder for folder in begun if folder.trial_id not in ids and folder.planned() is None]

    def missing_trials(self, trials: Sequence[PlannedTrial]) -> list[PlannedTrial]:
        """Return the trials that are not complete."""
        return [trial for trial in trials if not self.trial(trial.trial_id).is_complete]

    def count_complete(self) -> int:
        """Count the complete trials of the run; 0 where it has no plan yet."""
        if not self.has_plan:
            return 0
        return sum(self.trial(trial.trial_id).is_complete for trial in self.known_trials(self.read_plan()))


def find_runs(path: Path) -> list[RunFolder]:
    """Return the run at this path, or the runs of the study folder there.

    Raises: ConfigError if there is none.
    """
    path = path.expanduser().absolute()
    if RunFolder(path).plan_file.is_file():
        return [RunFolder(path)]
    found = [run for run in (RunFolder(path / search) for search in SEARCHES) if run.plan_file.is_file()]
    if not found:
        raise ConfigError(f"a run or study folder must hold a plan.json; got {str(path)!r}")
    return found
