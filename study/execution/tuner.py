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

import optuna
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from proxy_attention.config import PROXY_FIELDS
from proxy_attention.errors import ConfigError
from proxy_attention.memory import freeze_imports
from proxy_attention.schedule import Schedule
from proxy_attention.seeds import derive_seed
from study.execution.run_lock import storage_trouble
from study.execution.worker import WorkerSettings, memory_came_back, run_planned
from study.plan import PlannedTrial
from study.planning.planner import Planner
from study.planning.resources import Resources
from study.planning.study_spec import Range, Study, arm_of
from study.run_folder import RunFolder

log = logging.getLogger(__name__)

METRIC = "val_accuracy"
RETRIES = 1
"""How often Tune tries a failed trial again, from its newest checkpoint: a worker may be killed by chance."""


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
        self._watcher.failure(trial.config["trial"]["trial_id"])
        self._stop_if_disk_is_full()

    def _stop_if_disk_is_full(self) -> None:
        """Stop the run as Ctrl-C does if the disk cannot be written: every other trial would fail, too."""
        if storage_trouble(self._run.path):
            signal.raise_signal(signal.SIGUSR1)  # on this signal Tune stops its trials in good order


class _Space:
    """Lets Optuna suggest a trial's fields: proxy fields only if the schedule has a proxy step."""

    def __init__(self, study: Study, planner: Planner) -> None:
        self._study, self._planner = study, planner

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as in _Watch, Tune never restores it; and the planner may hold a large catalogue

    def __call__(self, trial: optuna.Trial) -> dict[str, Any]:
        values = {"schedule": trial.suggest_categorical("schedule", _schedule_choices(self._study))}
        has_proxies = Schedule.parse(values["schedule"]).proxy_steps > 0
        for field, dimension in self._study.search.items():
            if field != "schedule" and (has_proxies or field not in PROXY_FIELDS):
                values[field] = _suggest(trial, field, dimension)
        config = self._study.config(values, self._study.seeds[0])
        return {"trial": self._planner.trial(trial.number, arm_of(config), config).as_dict()}


class _Sampler(optuna.samplers.TPESampler):
    """TPE that never suggests a schedule without proxies: the first trial is the baseline, and one is enough."""

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        space = super().infer_relative_search_space(study, trial)
        return {name: value for name, value in space.items() if name != "schedule"}  # sample_independent draws it

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        value = super().sample_independent(study, trial, param_name, param_distribution)
        if param_name != "schedule":
            return value
        useful = [choice for choice in param_distribution.choices if Schedule.parse(choice).proxy_steps]
        for _ in range(20):
            if value in useful or not useful:
                return value
            value = super().sample_independent(study, trial, param_name, param_distribution)
        return useful[0]


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


def storage_of(run: RunFolder) -> optuna.storages.RDBStorage:
    """Open the run's optuna.db, which optuna-dashboard can show, too."""
    return optuna.storages.RDBStorage(f"sqlite:///{run.optuna_db}", engine_kwargs={"connect_args": {"timeout": 60}})


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

    An interrupted run is continued: suggested trials that have begun are finished and reported to Optuna, those that
    never began are reported as failed, and only as many as are missing are suggested.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = _Sampler(seed=derive_seed(study.seeds[0], "optuna") % 2**32)
    known = optuna.create_study(
        storage=storage_of(settings.run), study_name=name, direction="maximize", sampler=sampler, load_if_exists=True
    )
    _write_again(known, study, planner, settings.run)
    cut = settings.run.missing_trials(settings.run.suggested_trials(study.seeds[0]))
    outcome = run_trials(cut, settings, resources, watcher)
    if outcome.interrupted:
        return outcome
    _settle(known, settings.run, study.seeds[0])
    missing = suggestions - len(settings.run.suggested_trials(study.seeds[0]))
    if missing <= 0:
        return outcome

    searcher = OptunaSearch(
        space=_Space(study, planner),
        metric=METRIC,
        mode="max",
        sampler=sampler,
        study_name=name,
        storage=storage_of(settings.run),
        points_to_evaluate=None if known.trials else [{"schedule": study.baseline_schedule}],
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


def _write_again(known: optuna.Study, study: Study, planner: Planner, run: RunFolder) -> None:
    """Write the trial.json of suggested trials again where it is damaged, from the settings in Optuna's database."""
    suggested = {trial.number: trial.params for trial in known.get_trials(deepcopy=False)}
    for folder in run.lost_trials(run.read_plan()):
        number = int(folder.trial_id.split("-", 1)[0])
        if suggested.get(number):
            config = study.config(suggested[number], study.seeds[0])
            trial = planner.trial(number, arm_of(config), config)
            if trial.trial_id == folder.trial_id:
                folder.begin(trial, commit="")  # which commit ran it is lost
                continue
        log.warning("%s: optuna.db does not know its settings, so it stays damaged; move it away", folder.path)


def _settle(known: optuna.Study, run: RunFolder, seed: int) -> None:
    """Report to Optuna how the trials ended that it still lists as running: val accuracy, or failure."""
    numbers = {trial.number: trial.trial_id for trial in run.suggested_trials(seed)}
    for trial in known.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
        trial_id = numbers.get(trial.number)
        report = run.trial(trial_id).report() if trial_id is not None else None
        if report is not None:
            known.tell(trial.number, report[METRIC])
        else:
            known.tell(trial.number, state=optuna.trial.TrialState.FAIL)


def _schedule_choices(study: Study) -> list[str]:
    """List the schedules that may be suggested, the baseline's among them.

    Raises: ConfigError if the schedule is searched over a range.
    """
    dimension = study.search.get("schedule")
    if isinstance(dimension, Range):
        raise ConfigError("schedule must be a list of schedules in [search]; got a range")
    choices = list(dimension or [study.config({}, study.seeds[0]).schedule])
    return choices if study.baseline_schedule in choices else [study.baseline_schedule, *choices]


def _suggest(trial: optuna.Trial, field: str, dimension: Any) -> Any:
    """Let Optuna suggest a value of a dimension."""
    if not isinstance(dimension, Range):
        return trial.suggest_categorical(field, list(dimension))
    if dimension.whole:
        return trial.suggest_int(field, int(dimension.low), int(dimension.high), log=dimension.log)
    return trial.suggest_float(field, dimension.low, dimension.high, log=dimension.log)


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

    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
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
            name=f"{label}-{stamp}",
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            storage_path=str(settings.run.ray),
            verbose=0,
            callbacks=[_Watch(watcher, settings.run)],
        ),
    )
    try:
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
