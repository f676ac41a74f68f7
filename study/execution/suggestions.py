"""Suggests settings by Optuna's TPE, and finishes what an interrupted search had suggested; knows no Ray."""

import logging
from dataclasses import dataclass
from typing import Any

import optuna

from proxy_attention.config import PROXY_FIELDS
from proxy_attention.errors import ConfigError
from proxy_attention.schedule import Schedule
from proxy_attention.seeds import derive_seed
from study.foreign_text import sqlite_url
from study.plan import BASELINE, PlannedTrial
from study.planning.planner import Planner
from study.planning.study_spec import Range, Study, arm_of
from study.run_folder import RunFolder

log = logging.getLogger(__name__)

METRIC = "val_accuracy"
RUNNING, WAITING = optuna.trial.TrialState.RUNNING, optuna.trial.TrialState.WAITING


class _Space:
    """Lets Optuna suggest a trial's fields: proxy fields only if the schedule has a proxy step."""

    def __init__(self, study: Study, planner: Planner) -> None:
        self._study, self._planner = study, planner

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it, and never restores it; the planner may hold a large catalogue

    def __call__(self, trial: optuna.Trial) -> dict[str, Any]:
        values = {"schedule": trial.suggest_categorical("schedule", _schedule_choices(self._study))}
        has_proxies = Schedule.parse(values["schedule"]).proxy_steps > 0
        for field, dimension in self._study.search.items():
            if field != "schedule" and (has_proxies or field not in PROXY_FIELDS):
                values[field] = _suggest(trial, field, dimension)
        return {"trial": self.planned(trial.number, values).as_dict()}

    def planned(self, number: int, values: dict[str, Any]) -> PlannedTrial:
        """Plan the trial of these values on the first seed."""
        config = self._study.config(values, self._study.seeds[0])
        return self._planner.trial(number, arm_of(config), config)


class _Sampler(optuna.samplers.TPESampler):
    """TPE whose suggestion for a trial depends on its number and the results so far, and not on the process.

    So a study that is interrupted and restored, one trial at a time, has the trials of one that was not. A schedule
    without proxies is never suggested: the first trial is the baseline, and one is enough.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed % 2**32)
        self._root_seed = seed

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        return {}  # sample_independent draws every parameter

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        seed = derive_seed(self._root_seed, "suggestion", trial.number, param_name) % 2**32
        fresh = optuna.samplers.TPESampler(seed=seed)
        value = fresh.sample_independent(study, trial, param_name, param_distribution)
        if param_name != "schedule":
            return value
        useful = [choice for choice in param_distribution.choices if Schedule.parse(choice).proxy_steps]
        for _ in range(20):
            if value in useful or not useful:
                return value
            value = fresh.sample_independent(study, trial, param_name, param_distribution)
        return useful[0]


@dataclass(frozen=True)
class Suggestions:
    """The trials on the first seed of a run: those that Optuna suggested, and those that began.

    Attributes:
        study: Optuna's study, kept in ``storage``.
        space: lets Optuna suggest a trial, and plans it.
        baseline_schedule: of the trial that is asked for first.
        seed: the first seed.
    """

    study: optuna.Study
    storage: optuna.storages.BaseStorage
    space: _Space
    run: RunFolder
    baseline_schedule: str
    seed: int

    @classmethod
    def open(
        cls,
        study: Study,
        planner: Planner,
        run: RunFolder,
        name: str,
        storage: optuna.storages.BaseStorage | None = None,
    ) -> "Suggestions":
        """Open the search of a run, or begin it; ``storage`` is optuna.db by default."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        seed = study.seeds[0]
        storage = storage_of(run) if storage is None else storage
        sampler = _Sampler(derive_seed(seed, "optuna"))
        known = optuna.create_study(
            storage=storage, study_name=name, direction="maximize", sampler=sampler, load_if_exists=True
        )
        return cls(known, storage, _Space(study, planner), run, study.baseline_schedule, seed)

    def unfinished(self) -> list[PlannedTrial]:
        """Return the trials that were suggested and are not complete, begun or not; write lost trial.json again."""
        self._write_again()
        begun = self.run.suggested_trials(self.seed)
        return [*self.run.missing_trials(begun), *self._never_begun({trial.number for trial in begun})]

    def settle(self) -> None:
        """Report to Optuna how the trials ended that it still lists as running: val accuracy, or failure."""
        numbers = {trial.number: trial.trial_id for trial in self.run.suggested_trials(self.seed)}
        for trial in self.study.get_trials(deepcopy=False, states=[RUNNING]):
            trial_id = numbers.get(trial.number)
            report = self.run.trial(trial_id).report() if trial_id is not None else None
            if report is not None:
                self.study.tell(trial.number, report[METRIC])
            else:
                self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    def missing(self, suggestions: int) -> int:
        """Return how many trials are still to be suggested until there are so many, the baseline among them."""
        return max(suggestions - len(self.run.suggested_trials(self.seed)), int(self._lacks_baseline()))

    def first_point(self) -> list[dict[str, Any]] | None:
        """Return the setting that must be suggested next: the baseline, where no trial is it and none is queued."""
        queued = self.study.get_trials(deepcopy=False, states=[WAITING])
        return [{"schedule": self.baseline_schedule}] if self._lacks_baseline() and not queued else None

    def _lacks_baseline(self) -> bool:
        return all(trial.arm != BASELINE for trial in self.run.suggested_trials(self.seed))

    def _write_again(self) -> None:
        """Write damaged trial.json of suggested trials again, from the settings in Optuna's database."""
        suggested = {trial.number: trial.params for trial in self.study.get_trials(deepcopy=False)}
        plan = self.run.read_plan()
        for folder in self.run.lost_trials(plan, self.run.known_trials(plan)):
            number = int(folder.trial_id.split("-", 1)[0])
            if suggested.get(number):
                trial = self.space.planned(number, suggested[number])
                if trial.trial_id == folder.trial_id:
                    folder.begin(trial, commit="")  # which commit ran it is lost
                    continue
            log.warning("%s: optuna.db does not know its settings, so it stays damaged; move it away", folder.path)

    def _never_begun(self, begun: set[int]) -> list[PlannedTrial]:
        """Finish the suggestions of trials that Optuna lists as running and that are not among these numbers."""
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        planned = []
        for trial in self.study.get_trials(deepcopy=False, states=[RUNNING]):
            if trial.number not in begun:
                trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
                suggested = self.space(optuna.trial.Trial(self.study, trial_id))
                planned.append(PlannedTrial.of(suggested["trial"]))
        return planned


def storage_of(run: RunFolder) -> optuna.storages.RDBStorage:
    """Open the run's optuna.db, which optuna-dashboard can show, too."""
    return optuna.storages.RDBStorage(sqlite_url(run.optuna_db), engine_kwargs={"connect_args": {"timeout": 60}})


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
