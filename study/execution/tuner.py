"""Runs trials with Tune: planned ones as one grid dimension, suggested ones by Optuna's TPE; knows no terminal.

No scheduler, stopper, pruner or time budget is ever set: a trial ends when its schedule does.
"""

import logging
import os
import pickle
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import ray
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from sqlalchemy.exc import SQLAlchemyError

from proxy_attention.memory import freeze_imports
from study.execution.run_lock import storage_trouble
from study.execution.stop import stop_asked, stopping_in_good_order
from study.execution.suggestions import METRIC, Suggestions
from study.execution.worker import WorkerSettings, memory_came_back, run_planned
from study.plan import PlannedTrial
from study.planning.planner import Planner
from study.planning.resources import Resources
from study.planning.study_spec import Study
from study.run_folder import RunFolder

log = logging.getLogger(__name__)

RETRIES = 1
"""How often Tune tries a failed trial again, from its newest checkpoint: a worker may be killed by chance."""

OUTSIDE: tuple[tuple[type[Exception], str], ...] = (
    (SQLAlchemyError, "optuna.db could not be used"),
    (ray.exceptions.RayError, "Ray has stopped"),
    (OSError, "the machine refused"),
)
"""Errors that come from outside of the program, each with words for it."""


@dataclass(frozen=True)
class Outcome:
    """How a phase of a run ended.

    Attributes:
        interrupted: whether it was stopped before every trial had ended.
        errors: Ray's error for each failed trial, by trial_id; a worker that is killed writes no error of its own.
    """

    interrupted: bool
    errors: dict[str, str]


class Watcher(Protocol):
    """Receives the progress of a run, such as the terminal's progress line."""

    def epoch(self) -> None:
        """Note an epoch that a trial has trained itself, not taken over from another."""

    def trial(self, trial_id: str, arm: str, val_accuracy: float) -> None:
        """Note a complete trial."""

    def failure(self, trial_id: str) -> None:
        """Note a failed trial."""


class _Watch(tune.Callback):
    """Passes the callbacks of Tune on to a watcher."""

    def __init__(self, watcher: Watcher, run: RunFolder) -> None:
        self._watcher, self._run = watcher, run

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it for a restore of its own, which is never used; a terminal cannot be pickled

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if stop_asked():
            signal.raise_signal(signal.SIGUSR1)  # the signal may have come before Tune listened

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if result["trained"]:
            self._watcher.epoch()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        result = trial.last_result
        if METRIC in result:
            self._watcher.trial(result["trial"], result["arm"], result[METRIC])

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._stop_if_disk_is_full()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._watcher.failure(trial.custom_dirname)  # its config is empty if no worker has begun it
        self._stop_if_disk_is_full()

    def _stop_if_disk_is_full(self) -> None:
        """Stop the run as Ctrl-C does if the disk cannot be written: every other trial would fail, too."""
        if storage_trouble(self._run.path):
            signal.raise_signal(signal.SIGUSR1)  # on this signal Tune stops its trials in good order


def run_trials(
    trials: Iterable[PlannedTrial], settings: WorkerSettings, resources: Resources, watcher: Watcher
) -> Outcome:
    """Run planned trials, each once, as a grid search over one dimension whose choices are the trials."""
    specs = [trial.as_dict() for trial in trials]
    if not specs:
        return Outcome(interrupted=False, errors={})

    return _fit(
        settings,
        resources,
        watcher,
        label="trials",
        param_space={"trial": tune.grid_search(specs)},
    )


def run_optuna(
    study: Study,
    planner: Planner,
    settings: WorkerSettings,
    resources: Resources,
    watcher: Watcher,
    *,
    name: str,
    suggestions: int,
) -> Outcome:
    """Run trials that TPE suggests on the first seed, the baseline first, until there are ``suggestions`` of them.

    An interrupted run is continued: trials that were suggested before, begun or not, are finished and reported to
    Optuna, and only as many as are missing are suggested. The baseline is asked for whenever none of them is it.
    """
    known = Suggestions.open(study, planner, settings.run, name)
    outcome = run_trials(known.unfinished(), settings, resources, watcher)
    if outcome.interrupted:
        return outcome
    known.settle()
    missing = known.missing(suggestions)
    if not missing:
        return outcome
    searcher = OptunaSearch(
        space=known.space,
        metric=METRIC,
        mode="max",
        sampler=known.study.sampler,
        study_name=name,
        storage=known.storage,
        points_to_evaluate=known.first_point(),
    )
    further = _fit(
        settings,
        resources,
        watcher,
        label="optuna",
        param_space={},
        search_alg=searcher,
        num_samples=missing,
    )
    return Outcome(further.interrupted, outcome.errors | further.errors)


def _fit(
    settings: WorkerSettings,
    resources: Resources,
    watcher: Watcher,
    *,
    label: str,
    param_space: dict[str, Any],
    search_alg: OptunaSearch | None = None,
    num_samples: int = 1,
) -> Outcome:
    """Run trials with Tune until all have ended or the run is interrupted.

    Args:
        label: first part of the name of Tune's own folder.
        param_space: the planned trials; empty if ``search_alg`` suggests ``num_samples`` trials.
    """

    def proxy_attention_trial(space: dict[str, Any], *, settings: WorkerSettings) -> None:  # a name for the dashboard
        freeze_imports()
        run_planned(PlannedTrial.of(space["trial"]), settings, tune.report)
        if settings.reuse and not memory_came_back(settings.device):
            log.warning("memory did not come back after %s: a new worker takes the place of this", space["trial"])
            os._exit(1)  # Tune gives the trial to a fresh worker, which finds it complete

    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(proxy_attention_trial, settings=settings),
            {"cpu": resources.cpus, "gpu": resources.gpus},
        ),
        param_space=param_space,
        tune_config=tune.TuneConfig(
            reuse_actors=settings.reuse,
            search_alg=search_alg,
            num_samples=num_samples,
            max_concurrent_trials=resources.concurrency,
            trial_dirname_creator=lambda trial: str(trial.config["trial"]["trial_id"]),
        ),
        run_config=tune.RunConfig(
            name=f"{label}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}",
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            storage_path=str(settings.run.ray),
            verbose=0,
            callbacks=[_Watch(watcher, settings.run)],
        ),
    )
    try:
        with stopping_in_good_order():
            results = tuner.fit()
    except (EOFError, pickle.UnpicklingError):  # on a full disk, Tune cannot read what it wrote of a failure
        return Outcome(interrupted=True, errors={})
    errors: dict[str, str] = {}
    asked = num_samples * len(param_space.get("trial", {}).get("grid_search", [None]))
    interrupted = len(results) < asked  # after Ctrl-C, trials that still waited for resources have no result
    for result in (results[number] for number in range(len(results))):
        trial_id = Path(result.path).name  # not from its config, which is missing before the first report
        if result.error is not None:
            errors[trial_id] = " ".join(str(result.error).split())[-300:]
        elif not settings.run.trial(trial_id).is_complete:
            interrupted = True
    return Outcome(interrupted=interrupted, errors=errors)
