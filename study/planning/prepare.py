"""A run from request to end: plan it, start Ray, run its phases, audit what came out; parses and prints nothing."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from proxy_attention.config import TrialConfig
from proxy_attention.shared_states import Sharing
from study.plan import Plan, PlannedTrial
from study.planning.batch_size import Found, find
from study.planning.benchmark import fastest_threads, is_open, measure, named_threads, without_auto
from study.planning.cost import Price, TrialCost, work
from study.planning.fingerprint import fingerprint
from study.planning.plan_check import check_plan, settle_plan
from study.planning.planner import Planner
from study.planning.request import Request
from study.planning.resources import Machine, Resources, decide
from study.planning.search import (
    expected_configs,
    grid_plan,
    models_of,
    random_plan,
)
from study.planning.study_file import to_toml
from study.provenance import about
from study.results import load_results
from study.run_folder import COMPLETE, RunFolder, TrialFolder


@dataclass(frozen=True)
class Prepared:
    """A request, planned and checked: what ``conduct`` needs.

    Attributes:
        cpus: of the largest node.
        batch: what ``batch_size = auto`` became; None if every trial names its own.
        price: of what is left to do; None until ``priced`` has measured it.
    """

    request: Request
    plan: Plan
    planner: Planner
    resources: Resources
    cpus: int
    batch: Found | None = None
    price: Price | None = None

    @property
    def first(self) -> TrialConfig:
        """A typical config: the first planned, or the baseline of a search."""
        study = self.request.study
        if self.plan.trials:
            return self.plan.trials[0].config
        return self.planner.resolved(study.config({"schedule": study.baseline_schedule}, study.seeds[0]))

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

    @property
    def images_mb(self) -> float:
        """Of the decoded images in memory and in the cache."""
        data = self.planner.data.inspection(self.first)
        return (data.train_pool + data.own_test) * 3 * self.first.image_size**2 / 2**20

    @property
    def sharing(self) -> Sharing | None:
        """Where the run's shared sharing lie; None if nothing is to be shared."""
        if "sharing" in self.request.without:
            return None
        return Sharing(RunFolder(self.request.run).shared_states, limit_mb=self.request.cache_gb * 1024)


def prepare(
    request: Request,
    machine: Machine,
    *,
    progress: Callable[[str, int, int], None] | None = None,
    tell: Callable[[str], None] | None = None,
    caching: bool = True,
) -> Prepared:
    """Build and check every trial; all bad input ends here.

    Args:
        tell: called with what is tried, in words, while the batch size is found.
        caching: whether the images that are decoded for it may be kept for the trials; a dry run writes nothing.

    What ``auto`` became in an existing plan of this run is taken from it, so that a restore never measures again.

    Raises: ConfigError, DataError.
    """
    study, grid = request.study, request.search == "grid"
    count = len(study.grid()) * len(study.seeds) if grid else request.suggestions
    folder = RunFolder(request.run)
    measured: dict[str, Any] = dict(folder.read_plan().measured) if folder.has_plan else {}
    share = partial(
        decide,
        machine,
        trials=count,
        cpus_per_trial=request.cpus_per_trial,
        gpus_per_trial=request.gpus_per_trial,
        concurrency=request.concurrency,
    )
    resources = share(threads=named_threads(study) or measured.get("threads"))
    if is_open(request, resources, measured):
        example = study.config({"schedule": study.baseline_schedule}, study.seeds[0])
        measured["threads"] = fastest_threads(example, resources.cpus * resources.concurrency)
        resources = share(threads=measured["threads"])
    planner = Planner.of(
        study,
        data_root=request.data_root,
        device=resources.device,
        auto=partial(without_auto, measured=measured, resources=resources),
        progress=progress,
        cache=folder.caches if caching and "cache" not in request.without else None,
        cache_mb=request.cache_gb * 1024,
    )
    batch = Found(measured["batch_size"], "as planned") if "batch_size" in measured else None
    if batch is None:  # before precision, which is measured at it
        batch = find(study, planner, resources=resources, file=folder.batch_sizes, keep=caching, tell=tell)
        measured |= {"batch_size": batch.size} if batch is not None else {}
    trials = _planned(request, planner)
    asked: dict[str, Any] = {"suggestions": request.suggestions, "confirm": request.confirm}
    if not trials:  # a search: its data and model are checked by its baseline
        baseline = study.config({"schedule": study.baseline_schedule}, study.seeds[0])
        asked["baseline"] = planner.trial(0, "baseline", baseline).config_digest
        for arm in study.arms:
            planner.trial(0, arm.name, study.config(arm.values, study.seeds[0]))
        for config in models_of(study):  # what is suggested later must not fail then
            planner.check_model(config)
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
        about=about(request.command, resources.device)
        | {"folder": str(request.run), "skipped_images": planner.data.skipped},
    )
    check_plan(request.run, plan)
    return Prepared(request, plan, planner, resources, machine.cpus, batch)


def priced(prepared: Prepared) -> Prepared:
    """The same with the price of what is left, measured here and now."""
    first, planner, device = prepared.first, prepared.planner, prepared.resources.device
    data = planner.data.inspection(first)
    train, val = planner.data.train_and_val_images(first)
    price = Price(
        work=work(trial_costs(prepared), prepared.sharing, device=device),
        speed=measure(first, len(data.classes), device),
        train=train,
        val=val,
        test=data.own_test or round(first.test_fraction * data.train_pool),
        concurrency=prepared.resources.concurrency,
    )
    return dataclasses.replace(prepared, price=price)


def trial_costs(prepared: Prepared) -> list[TrialCost]:
    """Every trial of the run with what its files hold of it; of a search, what is not known yet is drawn at random."""
    plan, run, planner = prepared.plan, RunFolder(prepared.request.run), prepared.planner
    known = run.known_trials(run.read_plan()) if run.has_plan else list(plan.trials)
    found = [_cost_of(trial, run.trial(trial.trial_id), planner) for trial in known]
    drawn = expected_configs(
        prepared.request.study, suggestions=plan.suggestions, confirm=plan.confirm, searched=plan.search != "grid"
    )
    return found + [
        TrialCost.of(
            config,
            data=planner.data.inspection(config).digest,
            weights=planner.weights.digest(config),
            passes=planner.models.explanation_passes(config),
            judging=planner.judge_passes(config),
        )
        for config in map(planner.resolved, drawn[len(known) : prepared.trial_count])
    ]


def _cost_of(trial: PlannedTrial, folder: TrialFolder, planner: Planner) -> TrialCost:
    return TrialCost.of(
        trial.config,
        data=trial.data_digest,
        weights=planner.weights.digest(trial.config),
        done=len(folder.epochs()),
        complete=folder.is_complete,
        passes=planner.models.explanation_passes(trial.config),
        judging=planner.judge_passes(trial.config),
    )


def _planned(request: Request, planner: Planner) -> tuple[PlannedTrial, ...]:
    if request.search == "grid":
        return grid_plan(request.study, planner)
    if request.search == "random":
        return random_plan(request.study, planner, suggestions=request.suggestions)
    return ()


def begin(prepared: Prepared) -> Plan:
    """Write the plan down, or find that it is there already.

    Raises: ConfigError if the folder holds another.
    """
    return settle_plan(prepared.request.run, prepared.plan, to_toml(prepared.request.study))


def complete_trials(prepared: Prepared) -> int:
    """Trials complete so far, from the run's own files."""
    if not RunFolder(prepared.request.run).has_plan:
        return 0
    return int((load_results(prepared.request.run)["status"] == COMPLETE).sum())
