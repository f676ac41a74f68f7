"""Which settings are tried: a whole grid, random draws, and what is confirmed on other seeds; knows no Ray."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from proxy_attention.seeds import derive_seed
from study.desk import Desk
from study.experiment import Range, Study, arm_of
from study.plan import BASELINE, PlannedTrial


def grid_plan(study: Study, desk: Desk) -> tuple[PlannedTrial, ...]:
    """Every setting and arm on every seed; seed by seed, so that pairs are complete early."""
    settings = study.grid()
    planned = [(arm, study.config(values, seed)) for seed in study.seeds for arm, values in settings]
    return tuple(desk.trial(number, arm, config) for number, (arm, config) in enumerate(planned))


def random_plan(study: Study, desk: Desk, *, suggestions: int) -> tuple[PlannedTrial, ...]:
    """The baseline and ``suggestions - 1`` draws on the first seed, none twice while new ones can be found."""
    rng = np.random.default_rng(derive_seed(study.seeds[0], "random-search"))
    first = study.config({"schedule": study.baseline_schedule}, study.seeds[0])
    configs = [first]
    while len(configs) < suggestions:
        for _ in range(100):
            config = study.config({field: _draw(value, rng) for field, value in study.search.items()}, study.seeds[0])
            if config not in configs:
                break
        configs.append(config)
    return tuple(desk.trial(number, arm_of(config), config) for number, config in enumerate(configs))


def _draw(dimension: Any, rng: np.random.Generator) -> Any:
    """A plain value, never numpy's: it goes into JSON."""
    if not isinstance(dimension, Range):
        return dimension[int(rng.integers(len(dimension)))]
    if dimension.log:
        value = math.exp(rng.uniform(math.log(dimension.low), math.log(dimension.high)))
        return min(max(round(value) if dimension.whole else value, dimension.low), dimension.high)
    if dimension.whole:
        return int(rng.integers(int(dimension.low), int(dimension.high), endpoint=True))
    return float(rng.uniform(dimension.low, dimension.high))


def confirmation_plan(
    study: Study, desk: Desk, suggested: Sequence[PlannedTrial], accuracies: dict[str, float], *, confirm: int
) -> tuple[PlannedTrial, ...]:
    """The best settings by val accuracy on the first seed, the baseline and the arms, on the other seeds.

    Args:
        suggested: the trials of the first seed.
        accuracies: val accuracy by trial_id, of those that are complete.
    """
    ranked = sorted(
        (trial for trial in suggested if trial.trial_id in accuracies and trial.config.has_proxies),
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
    return tuple(desk.trial(first + number, arm, config) for number, (arm, config) in enumerate(others))
