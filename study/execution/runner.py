"""Runs a prepared plan under Ray, phase by phase, until nothing is missing."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from proxy_attention.state_keys import branch_points
from study.execution.worker import WorkerSettings
from study.plan import Plan, PlannedTrial
from study.planning.device_memory import gpu_name_and_memory_mb
from study.planning.extension import with_kept_names
from study.planning.prepare import Prepared
from study.planning.resources import Resources, pack_gpus
from study.planning.search import (
    confirmation_plan,
    first_proxy_epochs,
    leaders_first,
)
from study.provenance import code_digest
from study.results import load_results
from study.run_folder import COMPLETE, RunFolder


def run_missing_trials(prepared: Prepared, watcher: Any) -> bool:
    """Run the missing trials, phase by phase; Ray must be running and this process must hold the run's lock.

    Args:
        watcher: told of epochs, trials and failures (``tuner.Watcher``).
    Returns: whether the run was interrupted.
    Raises: ConfigError if the folder holds another plan.
    """
    # imported here, because ray reads its environment at import, and ray_session.py sets that first
    from study.execution.tuner import Outcome, run_optuna, run_trials

    planner, run = prepared.planner, prepared.run
    plan = run.read_plan()
    resources = prepared.resources

    def run_missing(trials: tuple[PlannedTrial, ...], resources: Resources) -> Outcome:
        missing = run.missing_trials(trials)
        settings = worker_settings(prepared, known=trials)
        shared = settings.sharing.names if settings.sharing is not None else frozenset()
        keys = [planner.state_keys(trial) for trial in missing]
        return run_trials(leaders_first(missing, keys, shared, resources.concurrency), settings, resources, watcher)

    def search(suggestions: int, resources: Resources) -> Outcome:
        if plan.search != "optuna":
            return run_missing(plan.trials[:suggestions] if suggestions else plan.trials, resources)
        return run_optuna(
            prepared.study,
            planner,
            worker_settings(prepared, known=()),
            resources,
            watcher,
            name=plan.name,
            suggestions=suggestions or plan.suggestions,
        )

    if prepared.settings.may_pack and resources.device == "cuda":
        outcome = search(1, resources)  # one trial alone: its peak memory tells how many fit a GPU
        if outcome.interrupted:
            return True
        _, memory_mb = gpu_name_and_memory_mb()
        cpus = prepared.settings.node_cpus
        resources = pack_gpus(resources, peak_mb=_peak_mb(run), memory_mb=memory_mb, cpus=cpus)
    outcome = search(0, resources)
    _write_down_errors(outcome.errors, run.known_trials(plan), run)
    if outcome.interrupted or plan.search == "grid" or len(plan.seeds) == 1:
        return outcome.interrupted
    if plan.awaits_confirmation:
        plan = _with_confirmed(prepared, plan)
        run.write_plan(plan)
    outcome = run_missing(plan.confirmed, resources)
    _write_down_errors(outcome.errors, run.known_trials(plan), run)
    return outcome.interrupted


def worker_settings(prepared: Prepared, *, known: Sequence[PlannedTrial]) -> WorkerSettings:
    """Make the settings of workers, with the states that trials may share.

    Args:
        known: the trials that will run; empty if a search suggests them: their schedules decide what they share.
    """
    settings, sharing = prepared.settings, prepared.settings.sharing
    if sharing is not None:
        names = branch_points(map(prepared.planner.state_keys, known))
        epochs = frozenset() if known else first_proxy_epochs(prepared.study)
        sharing = dataclasses.replace(sharing, names=names, epochs=epochs)
    return WorkerSettings(
        run=prepared.run,
        data_root=settings.data_root,
        device=prepared.resources.device,
        commit=prepared.plan.about["commit"],
        sharing=sharing,
        cache=settings.cache,
        cache_mb=settings.cache_mb,
        max_pixels=settings.max_pixels,
        reuse=settings.reuse,
        code=code_digest(),
    )


def _with_confirmed(prepared: Prepared, plan: Plan) -> Plan:
    """Return the plan, with the best settings, the baseline and the arms planned on the other seeds.

    What was planned there before an extension stays.
    """
    rows = load_results(prepared.run.path)
    done = rows[rows["status"] == COMPLETE]
    accuracies = {str(row["trial_id"]): float(row["val_accuracy"]) for _, row in done.iterrows()}
    suggested = prepared.run.known_trials(plan)
    confirmed = confirmation_plan(prepared.study, prepared.planner, suggested, accuracies, confirm=plan.confirm)
    named = with_kept_names(confirmed, plan.confirmed, above=suggested)
    names = {trial.trial_id for trial in plan.confirmed}
    further = [trial for trial in named if trial.trial_id not in names]
    steps = tuple(dataclasses.replace(step, confirmed=True) for step in plan.extensions)
    return dataclasses.replace(plan, confirmed=(*plan.confirmed, *further), extensions=steps)


def _peak_mb(run: RunFolder) -> float:
    """Return the highest peak memory of the run's complete trials, in MiB; 0 if there is none."""
    peaks = load_results(run.path)["peak_memory_mb"].dropna()
    return float(peaks.max()) if len(peaks) else 0.0


def _write_down_errors(errors: dict[str, str], trials: list[PlannedTrial], run: RunFolder) -> None:
    """Write Ray's error into the folders of trials whose worker was killed before it could write one."""
    for trial in trials:
        folder = run.trial(trial.trial_id)
        if trial.trial_id in errors and not folder.error_file.exists() and not folder.is_complete:
            folder.write_error(trial, errors[trial.trial_id])
