"""Reads how far a run is from its files, in any process; writes nothing and takes no lock."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy_attention.state_keys import state_keys
from study.console import duration
from study.execution.run_lock import driver_of
from study.plan import PlannedTrial
from study.run_folder import COMPLETE, DAMAGED, FAILED, INTERRUPTED, LOST, RunFolder


@dataclass(frozen=True)
class Running:
    """A trial that has begun and not ended, with its val accuracy after the last epoch (NaN before the first)."""

    trial_id: str
    epochs_done: int
    epochs: int
    val_accuracy: float


@dataclass(frozen=True)
class Status:
    """The state of a run at one moment.

    Attributes:
        driver: the process that drives the run, such as ``4711 on host``; empty if none does.
        planned: number of trials, including those that a search has not suggested yet; trials that confirm its best
            settings count once they are planned.
        running: trials that have begun and not ended; without a driver they are interrupted.
        failed: (trial_id, error) of each failed trial.
        damaged: (trial_id, what is damaged) of each trial whose result is not what was written.
        seconds_left: an estimate from the seconds of the epochs so far; NaN before the first.
    """

    name: str
    search: str
    driver: str
    planned: int
    complete: int
    running: tuple[Running, ...]
    failed: tuple[tuple[str, str], ...]
    damaged: tuple[tuple[str, str], ...]
    seconds_left: float


def status(run: Path) -> Status:
    """Read how far a run is.

    Raises: ConfigError if its plan cannot be read.
    """
    folder = RunFolder(run)
    plan = folder.read_plan()
    known = folder.known_trials(plan)
    states = {trial.trial_id: folder.trial(trial.trial_id).status() for trial in known}
    states |= {lost.trial_id: (DAMAGED, LOST) for lost in folder.lost_trials(plan, known)}
    epochs = {trial.trial_id: folder.trial(trial.trial_id).epochs() for trial in known}
    total = known[0].config.planned.total_epochs if known else 0
    running = tuple(
        Running(trial_id, len(rows), total, rows[-1].val_accuracy if rows else math.nan)
        for trial_id, rows in epochs.items()
        if states[trial_id][0] == INTERRUPTED
    )
    # suggestions that are still to come are counted; confirmations are not, because they are planned after the search
    planned = max(len(states), plan.suggestions)
    seconds = [row.train_seconds + row.proxy_seconds + row.eval_seconds for rows in epochs.values() for row in rows]
    done = {trial_id: len(rows) for trial_id, rows in epochs.items()}
    left = _epochs_left(
        known, done, unknown=planned - len(known), sharing="sharing" not in plan.options.get("without", ())
    )
    at_once = max(len(running), 1)
    return Status(
        name=plan.name,
        search=plan.search,
        driver=driver_of(run),
        planned=planned,
        complete=sum(state == COMPLETE for state, _ in states.values()),
        running=running,
        failed=tuple((trial_id, error) for trial_id, (state, error) in states.items() if state == FAILED),
        damaged=tuple((trial_id, error) for trial_id, (state, error) in states.items() if state == DAMAGED),
        seconds_left=sum(seconds) / len(seconds) * left / at_once if seconds else math.nan,
    )


def status_lines(found: Status) -> list[str]:
    """Format a status: a line for the run, and one for each trial that is under way or has failed."""
    driver = f"run by process {found.driver}" if found.driver else "nobody runs it now"
    left = f", {duration(found.seconds_left)} left" if found.driver and found.complete < found.planned else ""
    lines = [f"{found.name} · {found.search} · {found.complete} of {found.planned} trials complete{left} · {driver}"]
    for trial in found.running:
        val = "" if math.isnan(trial.val_accuracy) else f", val {trial.val_accuracy:.1f} %"
        word = "running" if found.driver else "interrupted"
        lines.append(f"{trial.trial_id} {word}: epoch {trial.epochs_done}/{trial.epochs}{val}")
    lines += [f"{trial_id} damaged: {error}" for trial_id, error in found.damaged]
    return lines + [f"{trial_id} failed: {error}" for trial_id, error in found.failed]


def _epochs_left(trials: Sequence[PlannedTrial], done: dict[str, int], *, unknown: int, sharing: bool) -> float:
    """Count the epochs to train; a shared epoch counts once, and a trial that is not known yet as the mean."""
    keys = {trial.trial_id: state_keys(trial.config, data=trial.data_digest, weights=None) for trial in trials}
    if not sharing:
        keys = {trial_id: tuple(f"{trial_id} {name}" for name in names) for trial_id, names in keys.items()}
    every = {name for names in keys.values() for name in names}
    seen = {name for trial_id, names in keys.items() for name in names[: done[trial_id]]}
    return len(every - seen) + unknown * len(every) / max(len(trials), 1)
