"""A run from request to end: plan it, start Ray, run its phases, audit what came out; parses and prints nothing."""

import dataclasses
import logging
import math
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from proxy_attention.config import AUTO, TrialConfig
from proxy_attention.models import build
from proxy_attention.storage import write_text
from proxy_attention.training import seconds_per_image
from study.cluster import Machine, Resources, decide
from study.desk import Desk, fingerprint
from study.experiment import Study, to_toml
from study.guard import check_plan, settle_plan
from study.plan import Plan, PlannedTrial, about, folder_of, is_complete
from study.report import NOT_DRAWN, write_report
from study.request import Request
from study.results import COMPLETE, load_results, trials_of
from study.search import confirmation_plan, grid_plan, random_plan
from study.trainable import Workplace, write_error

log = logging.getLogger(__name__)

START_SECONDS = 15.0
"""Ray and its first workers, which import torch and timm."""

EVALUATION_COST = 0.35
"""What looking at an image costs, as a part of training on it: a forward pass against forward, backward and step."""


@dataclass(frozen=True)
class Prepared:
    """A request, planned and checked: what ``conduct`` needs.

    Attributes:
        seconds_per_image: of training, NaN until ``priced`` has measured it.
    """

    request: Request
    plan: Plan
    desk: Desk
    resources: Resources
    seconds_per_image: float = math.nan

    @property
    def first(self) -> TrialConfig:
        """A typical config: the first planned, or the baseline of a search."""
        study = self.request.study
        if self.plan.trials:
            return self.plan.trials[0].config
        return self.desk.resolved(study.config({"schedule": study.baseline_schedule}, study.seeds[0]))

    @property
    def trial_count(self) -> int:
        """Trials of the whole run, those of a search that are not yet known counted in."""
        if self.plan.search == "grid":
            return len(self.plan.trials)
        others = (self.plan.confirm + 1 + len(self.request.study.arms)) * (len(self.plan.seeds) - 1)
        return self.plan.suggestions + others

    @property
    def epoch_count(self) -> int:
        """Epochs of the whole run: every schedule of a study has the same total."""
        return self.trial_count * self.first.planned.total_epochs

    def expected_seconds(self, epochs: int) -> float:
        """How long so many epochs will take, Ray's start included."""
        return START_SECONDS + epochs * self.seconds_per_epoch

    @property
    def seconds_per_epoch(self) -> float:
        """How long an epoch is expected to take, others trained beside it counted in."""
        train, val = self.desk.sizes(self.first)
        return (train + EVALUATION_COST * val) * self.seconds_per_image / self.resources.concurrency


def prepare(request: Request, machine: Machine, *, progress: Callable[[str, int, int], None] | None = None) -> Prepared:
    """Build and check every trial; all bad input ends here.

    What ``auto`` became in an existing plan of this run is taken from it, so that a restore never measures again.

    Raises: ConfigError, DataError.
    """
    study, grid = request.study, request.search == "grid"
    count = len(study.grid()) * len(study.seeds) if grid else request.suggestions
    resources = decide(
        machine,
        trials=count,
        threads=_threads(study),
        cpus_per_trial=request.cpus_per_trial,
        gpus_per_trial=request.gpus_per_trial,
        concurrency=request.concurrency,
    )
    kept = Plan.read(request.run).measured if (request.run / "plan.json").exists() else {}
    measured: dict[str, Any] = dict(kept)
    desk = Desk(
        study,
        data_root=request.data_root,
        device=resources.device,
        auto=partial(_without_auto, measured=measured, resources=resources),
        progress=progress,
    )
    trials = _planned(request, desk)
    asked: dict[str, Any] = {"suggestions": request.suggestions, "confirm": request.confirm}
    if not trials:  # a search: its data and model are checked by its baseline
        baseline = study.config({"schedule": study.baseline_schedule}, study.seeds[0])
        asked["baseline"] = desk.trial(0, "baseline", baseline).config_digest
        for arm in study.arms:
            desk.trial(0, arm.name, study.config(arm.values, study.seeds[0]))
    plan = Plan(
        search=request.search,
        name=request.name,
        question=study.question,
        seeds=study.seeds,
        trials=trials,
        confirmed=(),
        suggestions=request.suggestions,
        confirm=request.confirm,
        measured=measured,
        options=request.options,
        fingerprint=fingerprint(study, request.search, trials, **asked),
        about=about(request.command, resources.device) | {"folder": str(request.run), "skipped_images": desk.skipped},
    )
    check_plan(request.run, plan)
    return Prepared(request, plan, desk, resources)


def priced(prepared: Prepared) -> Prepared:
    """The same with the price of training, measured here and now."""
    first, device = prepared.first, prepared.resources.device
    classes = len(prepared.desk.data(first).classes)
    return dataclasses.replace(prepared, seconds_per_image=_price(first, classes, device))


def _planned(request: Request, desk: Desk) -> tuple[PlannedTrial, ...]:
    if request.search == "grid":
        return grid_plan(request.study, desk)
    if request.search == "random":
        return random_plan(request.study, desk, suggestions=request.suggestions)
    return ()


def conduct(prepared: Prepared, watcher: Any) -> bool:
    """Run what is missing, phase by phase; Ray must be there and the run locked.

    Args:
        watcher: told of epochs, trials and failures (``tuner.Watcher``).
    Returns: whether it was interrupted.
    Raises: ConfigError if the folder holds another plan.
    """
    from study.tuner import run_optuna, run_trials  # here: ray must find its environment, which cluster.py sets, ready

    request, desk, resources = prepared.request, prepared.desk, prepared.resources
    run = request.run
    plan = Plan.read(run)
    workplace = Workplace(run, request.data_root, resources.device, prepared.plan.about["commit"])

    def missing(trials: tuple[PlannedTrial, ...]) -> list[PlannedTrial]:
        return [trial for trial in trials if not is_complete(run, trial.trial_id)]

    if plan.search == "optuna":
        outcome = run_optuna(
            request.study, desk, workplace, resources, watcher, name=plan.name, suggestions=plan.suggestions
        )
    else:
        outcome = run_trials(missing(plan.trials), workplace, resources, watcher)
    _write_down_errors(outcome.errors, trials_of(plan, run), run)
    if outcome.interrupted or plan.search == "grid" or len(plan.seeds) == 1:
        return outcome.interrupted
    if not plan.confirmed:
        suggested = trials_of(plan, run)
        rows = load_results(run)
        done = rows[rows["status"] == COMPLETE]
        accuracies = {str(row["trial_id"]): float(row["val_accuracy"]) for _, row in done.iterrows()}
        confirmed = confirmation_plan(request.study, desk, suggested, accuracies, confirm=plan.confirm)
        plan = dataclasses.replace(plan, confirmed=confirmed)
        plan.write(run)
    outcome = run_trials(missing(plan.confirmed), workplace, resources, watcher)
    _write_down_errors(outcome.errors, trials_of(plan, run), run)
    return outcome.interrupted


def _write_down_errors(errors: dict[str, str], trials: list[PlannedTrial], run: Path) -> None:
    """A worker that was killed could not say so itself: what Ray says of it becomes the trial's error."""
    for trial in trials:
        folder = folder_of(run, trial.trial_id)
        if trial.trial_id in errors and not (folder / "error.json").exists():
            write_error(folder, trial, errors[trial.trial_id])


def begin(prepared: Prepared) -> Plan:
    """Write the plan down, or find that it is there already.

    Raises: ConfigError if the folder holds another.
    """
    return settle_plan(prepared.request.run, prepared.plan, to_toml(prepared.request.study))


def finish(run: Path) -> pd.DataFrame:
    """The audit at the end of every run, however it ended: write results.csv and report.html, and return the rows."""
    results = load_results(run)
    write_text(run / "results.csv", results.to_csv(index=False))
    try:
        write_report(run)
    except NOT_DRAWN as error:  # the run is done and its rows are written: a picture must not take that away
        (run / "report.html").unlink(missing_ok=True)  # an older one would be of other rows
        log.warning("report.html could not be written: %s: %s", type(error).__name__, error, exc_info=True)
    return results


def left_to_do(prepared: Prepared) -> tuple[int, int]:
    """(trials complete, epochs done) so far, from the run's own files."""
    if not (prepared.request.run / "plan.json").exists():
        return 0, 0
    rows = load_results(prepared.request.run)
    return int((rows["status"] == COMPLETE).sum()), int(rows["epochs_done"].fillna(0).sum())


def _threads(study: Study) -> int | None:
    """The most threads that any config of the study names; None if all are left ``auto``."""
    dimension = study.search.get("threads", ())
    named = [study.fixed.get("threads"), *(arm.values.get("threads") for arm in study.arms)]
    named += list(dimension) if isinstance(dimension, tuple) else [int(dimension.high)]
    return max((value for value in named if isinstance(value, int)), default=None)


def _without_auto(config: TrialConfig, *, measured: dict[str, Any], resources: Resources) -> dict[str, Any]:
    """Plain values for what is still ``auto``, measured at most once each."""
    found: dict[str, Any] = {}
    if config.threads == AUTO:
        found["threads"] = measured.setdefault("threads", resources.cpus)
    if config.precision == AUTO:
        key = f"precision of {config.model} at {config.image_size} px in batches of {config.batch_size}"
        if key not in measured:
            measured[key] = _fastest_precision(dataclasses.replace(config, **found), resources.device)
        found["precision"] = measured[key]
    return found


def _fastest_precision(config: TrialConfig, device: str) -> str:
    """fp32, or the half precision of the device where it is at least a twentieth faster."""
    half = "bf16" if device != "cuda" or torch.cuda.is_bf16_supported() else "fp16"
    seconds = {name: _price(dataclasses.replace(config, precision=name), 10, device) for name in ("fp32", half)}
    return half if seconds[half] < 0.95 * seconds["fp32"] else "fp32"


def _price(config: TrialConfig, classes: int, device: str) -> float:
    """Measured seconds to train on one image; on a GPU in a process of its own, whose memory goes with it."""
    if device != "cuda":
        return _measure(config, classes, device)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, config, classes, device).result()


def _measure(config: TrialConfig, classes: int, device: str) -> float:
    before = torch.get_num_threads()
    torch.set_num_threads(int(config.threads))
    try:
        model = build(
            config.model, classes=classes, image_size=config.image_size, weights=config.weights, seed=config.seed
        )
        return seconds_per_image(model, config, device=torch.device(device))
    finally:
        torch.set_num_threads(before)
