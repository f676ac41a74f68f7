"""Chooses the settings of a run: a whole grid, random draws, and those confirmed on other seeds; knows no Ray."""

import itertools
import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from proxy_attention.config import PROXY_FIELDS, TrialConfig, fields_with
from proxy_attention.config_fields import Role
from proxy_attention.schedule import Schedule
from proxy_attention.seeds import derive_seed
from study.plan import BASELINE, PlannedTrial
from study.planning.planner import Planner
from study.planning.study_spec import Range, Study, arm_of, choices_of


def grid_plan(study: Study, planner: Planner) -> tuple[PlannedTrial, ...]:
    """Plan every setting and arm on every seed; seed by seed, so that pairs are complete early."""
    settings = study.grid()
    planned = [(arm, study.config(values, seed)) for seed in study.seeds for arm, values in settings]
    return tuple(planner.trial(number, arm, config) for number, (arm, config) in enumerate(planned))


def random_plan(study: Study, planner: Planner, *, suggestions: int) -> tuple[PlannedTrial, ...]:
    """Plan the baseline and ``suggestions - 1`` random draws on the first seed, none twice while 100 tries find new."""
    rng = np.random.default_rng(derive_seed(study.seeds[0], "random-search"))
    configs = [baseline_of(study)]
    while len(configs) < suggestions:
        for _ in range(100):
            config = study.config({field: _draw(value, rng) for field, value in study.search.items()}, study.seeds[0])
            if config not in configs:
                break
        configs.append(config)
    return tuple(planner.trial(number, arm_of(config), config) for number, config in enumerate(configs))


def expected_configs(study: Study, *, suggestions: int, confirm: int, searched: bool) -> list[TrialConfig]:
    """Return the configs that a run will try, with random draws in place of settings that a search will suggest.

    Args:
        searched: whether settings are suggested; a grid is known in full.
    """
    if not searched:
        return [study.config(values, seed) for seed in study.seeds for _, values in study.grid()]
    baseline = {"schedule": study.baseline_schedule}
    rng = np.random.default_rng(derive_seed(study.seeds[0], "expected"))
    schedules = [text for text in schedules_of(study) if Schedule.parse(text).proxy_steps] or schedules_of(study)
    drawn = [
        {field: _draw(value, rng) for field, value in study.search.items()}
        | {"schedule": schedules[n % len(schedules)]}
        for n in range(max(suggestions - 1, confirm))
    ]
    first = [baseline, *drawn[: suggestions - 1]]
    others = [baseline, *drawn[:confirm], *(dict(arm.values) for arm in study.arms)]
    return [study.config(values, study.seeds[0]) for values in first] + [
        study.config(values, seed) for seed in study.seeds[1:] for values in others
    ]


MODEL_FIELDS = fields_with(Role.MODEL)
"""The fields that decide whether a model can be built and explained."""


def models_of(study: Study) -> list[TrialConfig]:
    """Return a config for each combination of model and saliency method that a search may suggest."""
    return variants_of(study, MODEL_FIELDS)


def variants_of(study: Study, fields: Collection[str]) -> list[TrialConfig]:
    """Return a config for each combination of these fields that a search may suggest; of a range both ends."""
    choices = {field: choices_of(dimension) for field, dimension in study.search.items() if field in fields}
    every = (dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values()))
    return list(dict.fromkeys(study.config(values, study.seeds[0]) for values in every))


def ways_to_train(study: Study, fields: Collection[str]) -> list[TrialConfig]:
    """Return a config for each combination of these fields that a search may suggest, and one for each arm."""
    arms = [study.config(arm.values, study.seeds[0]) for arm in study.arms]
    return list(dict.fromkeys([*variants_of(study, fields), *arms]))


def baseline_of(study: Study) -> TrialConfig:
    """Return the baseline of a search, on the first seed."""
    return study.config({"schedule": study.baseline_schedule}, study.seeds[0])


def named_threads(study: Study) -> int | None:
    """Return the most threads that any config of the study names; None if all are left ``auto``."""
    return max((value for value in study.values_of("threads") if isinstance(value, int)), default=None)


def first_proxy_epochs(study: Study) -> frozenset[int]:
    """Return the numbers of epochs after which a suggested trial may differ from the baseline.

    The set is empty if the search also changes how the epochs before are trained.
    """
    if set(study.search) - {"schedule", *PROXY_FIELDS}:
        return frozenset()
    steps = (Schedule.parse(text).steps for text in schedules_of(study))
    return frozenset(found[0].index + 1 for found in steps if found)


def schedules_of(study: Study) -> list[str]:
    """Return the schedules that a search may suggest."""
    dimension = study.search.get("schedule", ())
    return list(dimension) if isinstance(dimension, tuple) and dimension else [study.baseline_schedule]


def leaders_first(
    trials: Sequence[PlannedTrial], state_keys: Sequence[Sequence[str]], shared: frozenset[str], at_once: int
) -> list[PlannedTrial]:
    """Order trials so that few wait for another: the one that makes a shared state starts well before the others.

    Trials are grouped by the first shared state that they need. A group's first trial is its leader and makes the
    state. The leaders of the first ``at_once`` groups come first. Then the rest of each group follows in turn, and
    after it the next leader, so that other trials run between a leader and the rest of its group.
    """
    groups: dict[str, list[PlannedTrial]] = {}
    for trial, names in zip(trials, state_keys, strict=True):
        groups.setdefault(next((name for name in names if name in shared), trial.trial_id), []).append(trial)
    leaders = [group[0] for group in groups.values()]
    order = leaders[:at_once]
    for number, group in enumerate(groups.values()):
        order += group[1:]
        order += leaders[at_once + number : at_once + number + 1]
    return order


def _draw(dimension: Any, rng: np.random.Generator) -> Any:
    """Draw a value of a dimension; return it as a plain Python value, because it is written as JSON."""
    if not isinstance(dimension, Range):
        return dimension[int(rng.integers(len(dimension)))]
    if dimension.log:
        value = math.exp(rng.uniform(math.log(dimension.low), math.log(dimension.high)))
        return min(max(round(value) if dimension.whole else value, dimension.low), dimension.high)
    if dimension.whole:
        return int(rng.integers(int(dimension.low), int(dimension.high), endpoint=True))
    return float(rng.uniform(dimension.low, dimension.high))


def confirmation_plan(
    study: Study, planner: Planner, suggested: Sequence[PlannedTrial], accuracies: dict[str, float], *, confirm: int
) -> tuple[PlannedTrial, ...]:
    """Plan the best settings by val accuracy on the first seed, the baseline and the arms, on the other seeds.

    Args:
        suggested: the trials of the first seed, and those on other seeds that are planned already.
        accuracies: val accuracy of the complete trials, by trial_id.
        confirm: how many of the best settings to plan.
    """
    ranked = sorted(
        (
            trial
            for trial in suggested
            if trial.trial_id in accuracies and trial.config.has_proxies and trial.config.seed == study.seeds[0]
        ),
        key=lambda trial: (-accuracies[trial.trial_id], trial.trial_id),
    )
    best: dict[str, PlannedTrial] = {}
    for trial in ranked:
        best.setdefault(trial.config_digest, trial)
    settings: list[tuple[str, dict[str, Any]]] = [(BASELINE, {"schedule": study.baseline_schedule})]
    searched = ("schedule", *study.search)
    settings += [
        (trial.arm, {field: getattr(trial.config, field) for field in searched})
        for trial in list(best.values())[:confirm]
    ]
    settings += [(arm.name, dict(arm.values)) for arm in study.arms]
    others = [(arm, study.config(values, seed)) for seed in study.seeds[1:] for arm, values in settings]
    first = max((trial.number for trial in suggested), default=-1) + 1
    return tuple(planner.trial(first + number, arm, config) for number, (arm, config) in enumerate(others))
