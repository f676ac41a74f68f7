"""Computes the cost of a prepared run: what its files leave to do for every trial, at a speed that is measured now."""

import dataclasses

from study.plan import PlannedTrial
from study.planning.benchmark import measure_speed
from study.planning.cost import ExpectedProgress, RunCost, expected_progress
from study.planning.planner import Planner
from study.planning.prepare import Prepared
from study.planning.search import expected_configs
from study.planning.work_left import TrialCost, work_left
from study.run_folder import TrialFolder


def with_cost(prepared: Prepared) -> Prepared:
    """Return the prepared run with the cost of the work that is left, at a speed that is measured now."""
    example, data, device = prepared.example, prepared.planner.data, prepared.resources.device
    inspection = data.inspection(example)
    train, val = data.train_and_val_images(example)
    cost = RunCost(
        work=work_left(trial_costs(prepared), prepared.settings.sharing, device=device),
        speed=measure_speed(example, len(inspection.classes), device),
        train_images=train,
        val_images=val,
        test_images=inspection.own_test or round(example.test_fraction * inspection.train_pool),
        concurrency=prepared.resources.concurrency,
        images_mb=(inspection.train_pool + inspection.own_test) * 3 * example.image_size**2 / 2**20,
    )
    return dataclasses.replace(prepared, cost=cost)


def trial_costs(prepared: Prepared) -> list[TrialCost]:
    """Return the cost of every trial; settings that a search has not suggested yet are drawn at random."""
    plan, run, planner = prepared.plan, prepared.run, prepared.planner
    known = run.known_trials(plan)
    costs = [_cost_of(trial, run.trial(trial.trial_id), planner) for trial in known]
    drawn = expected_configs(
        prepared.study, suggestions=plan.suggestions, confirm=plan.confirm, searched=plan.search != "grid"
    )
    return costs + [
        TrialCost.of(
            config,
            data=planner.data.inspection(config).digest,
            weights=planner.weights.digest(config),
            explanation_passes=planner.models.explanation_passes(config),
            judge_passes=planner.judge_passes(config),
        )
        for config in map(planner.resolved, drawn[len(known) : prepared.trial_count])
    ]


def _cost_of(trial: PlannedTrial, folder: TrialFolder, planner: Planner) -> TrialCost:
    """Return the cost of a planned trial, with what its files say is done."""
    return TrialCost.of(
        trial.config,
        data=trial.data_digest,
        weights=planner.weights.digest(trial.config),
        trial_id=trial.trial_id,
        epochs_done=len(folder.epochs()),
        complete=folder.is_complete,
        explanation_passes=planner.models.explanation_passes(trial.config),
        judge_passes=planner.judge_passes(trial.config),
    )


def progress_of(prepared: Prepared) -> ExpectedProgress:
    """Return the expected work and time of a prepared run, for its progress line."""
    if prepared.cost is None:
        return ExpectedProgress()
    run, planner = prepared.run, prepared.planner
    costs = [_cost_of(trial, run.trial(trial.trial_id), planner) for trial in prepared.plan.trials]
    return expected_progress(prepared.cost, costs)
