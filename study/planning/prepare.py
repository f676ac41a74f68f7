"""Turns a request into a plan: plans and checks every trial, replaces auto by measured values; starts nothing."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from proxy_attention.config import TrialConfig
from proxy_attention.errors import ConfigError
from proxy_attention.shared_states import Sharing
from study.plan import PROXY, Plan, PlannedTrial
from study.planning.batch_size import DATA_FIELDS, BatchSize, find_batch_size
from study.planning.benchmark import fastest_threads, plain_values
from study.planning.cost import RunCost
from study.planning.extension import Asked, extended, extends, with_kept_names
from study.planning.fingerprint import fingerprint
from study.planning.plan_check import check_plan, settle_plan
from study.planning.planner import Planner
from study.planning.request import Request, study_of
from study.planning.resources import Machine, Resources, share_machine
from study.planning.search import (
    baseline_of,
    grid_plan,
    models_of,
    named_threads,
    random_plan,
    ways_to_train,
)
from study.planning.step_memory import STEP_FIELDS
from study.planning.study_file import to_toml
from study.planning.study_spec import Study
from study.provenance import about
from study.run_folder import RunFolder


@dataclass(frozen=True)
class RunSettings:
    """Settings of a run's workers; no result depends on them.

    Attributes:
        sharing: where the run's shared states lie; None if trials share none.
        cache: where decoded images lie; None to decode in each worker.
        cache_mb: disk space that they may take, in MiB.
        max_pixels: the most pixels of an image.
        reuse: whether a worker trains one trial after another.
        may_pack: whether several trials may share a GPU.
        node_cpus: CPUs of the largest node.
    """

    data_root: Path | None
    sharing: Sharing | None
    cache: Path | None
    cache_mb: int
    max_pixels: int
    reuse: bool
    may_pack: bool
    node_cpus: int


@dataclass(frozen=True)
class Prepared:
    """A run, planned and checked, ready to be shown and run.

    Attributes:
        example: a typical config: of the first planned trial, or the baseline of a search.
        trial_count: number of trials of the whole run, including those that a search has not suggested yet.
        batch_size: the size found for ``batch_size = auto``; None if every trial names its own.
        cost: of what is left to do; None until ``with_cost`` has measured it.
    """

    run: RunFolder
    study: Study
    plan: Plan
    planner: Planner
    resources: Resources
    settings: RunSettings
    example: TrialConfig
    trial_count: int
    batch_size: BatchSize | None = None
    cost: RunCost | None = None

    @classmethod
    def of(
        cls,
        request: Request,
        machine: Machine,
        *,
        progress: Callable[[str, int, int], None] | None = None,
        tell: Callable[[str], None] | None = None,
        caching: bool = True,
    ) -> "Prepared":
        """Plan and check every trial; all bad input is refused here.

        If the run has a plan, its values for ``auto`` are used again, so that a restore never measures anew.

        Args:
            progress: called with (what is being done, images read, images in all) while a data set is read.
            tell: called with what is tried, in words, while the batch size is found.
            caching: whether the images that are decoded here are cached for the trials; a dry run writes nothing.
        Raises: ConfigError, DataError.
        """
        return _Preparation(request, machine, progress, tell, caching).prepared()


class _Preparation:
    """A request on its way to a plan, with what was measured for it.

    Attributes:
        measured: the values that replace ``auto``, by name; those of the run's plan if it has one, else measured here.
    """

    def __init__(
        self,
        request: Request,
        machine: Machine,
        progress: Callable[[str, int, int], None] | None,
        tell: Callable[[str], None] | None,
        caching: bool,
    ) -> None:
        self.request, self.machine = request, machine
        self.study, self.run = request.study, RunFolder(request.run)
        self.tell, self.caching = tell, caching
        if caching:  # before anything is written
            self.run.refuse_links()
        self.kept = self.run.read_plan() if self.run.has_plan else None
        self.measured = dict(self.kept.measured) if self.kept is not None else {}
        self.resources = self._share_machine()
        self.planner = Planner.of(
            self.study,
            data_root=request.data_root,
            device=self.resources.device,
            auto=partial(plain_values, measured=self.measured, cpus=self.resources.cpus, device=self.resources.device),
            progress=progress,
            cache=self.run.caches if caching and "cache" not in request.without else None,
            cache_mb=request.cache_gb * 1024,
            max_pixels=request.max_pixels,
        )

    def prepared(self) -> Prepared:
        """Plan and check the trials."""
        batch_size = self._batch_size()  # before precision, which is measured with this size
        plan, example = self._plan()
        return Prepared(
            run=self.run,
            study=self.study,
            plan=plan,
            planner=self.planner,
            resources=self.resources,
            settings=_run_settings(self.request, self.machine),
            example=example,
            trial_count=_trial_count(plan, arms=len(self.study.arms)),
            batch_size=batch_size,
        )

    def _share_machine(self) -> Resources:
        """Share the machine among the trials; if no number of threads is given, measure which is fastest."""
        request = self.request
        named = named_threads(self.study) or self.measured.get("threads")
        grid = request.search == "grid"
        share = partial(
            share_machine,
            self.machine,
            trials=len(self.study.grid()) * len(self.study.seeds) if grid else request.suggestions,
            cpus_per_trial=request.cpus_per_trial,
            gpus_per_trial=request.gpus_per_trial,
            concurrency=request.concurrency,
        )
        resources = share(threads=named)
        cpus = resources.cpus * resources.concurrency
        if named or request.cpus_per_trial or request.concurrency or resources.device != "cpu":
            return resources
        if cpus == 1 or resources.concurrency == 1:
            return resources
        self.measured["threads"] = fastest_threads(baseline_of(self.study), cpus)
        return share(threads=self.measured["threads"])

    def _batch_size(self) -> BatchSize | None:
        """Take the batch size from the plan, or find it and add it to what was measured."""
        if "batch_size" in self.measured:
            return BatchSize(self.measured["batch_size"], "as planned")
        found = find_batch_size(
            ways_to_train(self.study, (*DATA_FIELDS, *STEP_FIELDS)),
            self.planner.data,
            resources=self.resources,
            file=self.run.batch_sizes,
            keep=self.caching,
            tell=self.tell,
        )
        if found is not None:
            self.measured["batch_size"] = found.size
        return found

    def _plan(self) -> tuple[Plan, TrialConfig]:
        """Plan the trials that are known in advance; return the plan and a typical config."""
        request, study = self.request, self.study
        trials = self._planned_trials()
        asked: dict[str, Any] = {"suggestions": request.suggestions, "confirm": request.confirm}
        if trials:
            example = trials[0].config
        else:
            baseline = self._check_search()
            asked["baseline"], example = baseline.config_digest, baseline.config
        origin = {"folder": str(request.run), "skipped_images": self.planner.data.skipped}
        plan = Plan(
            search=request.search,
            name=request.name,
            question=study.question,
            seeds=study.seeds,
            trials=trials,
            confirmed=(),
            suggestions=request.suggestions,
            confirm=request.confirm,
            measured=self.measured,
            options=request.options,
            fingerprint=fingerprint(study, request.search, trials, **asked),
            about=about(request.command, self.resources.device) | origin,
        )
        return self._beside_kept(plan, asked.get("baseline")), example

    def _beside_kept(self, plan: Plan, baseline: str | None) -> Plan:
        """Return the plan with the names that the folder's plan gives its trials; as an extension of it, if asked.

        Raises: ConfigError if the folder holds another plan, and this one does not extend it.
        """
        kept = self.kept
        if kept is not None:
            names = with_kept_names(plan.trials, kept.everything)
            plan = dataclasses.replace(plan, trials=names, confirmed=kept.confirmed, extensions=kept.extensions)
        if kept is None or kept.fingerprint == plan.fingerprint:
            check_plan(self.run.path, plan)
            return plan
        asked = Asked(plan, self.study, baseline)
        if not self.request.extend:
            check_plan(self.run.path, plan, hint="; --extend adds what is new" * self._extends(kept, asked))
            return plan
        trials, complete = len(self.run.known_trials(kept)), self.run.count_complete()
        before = Asked(kept, study_of(self.run, kept))
        return extended(before, asked, trials=trials, complete=complete, text=to_toml(self.study))

    def _extends(self, kept: Plan, asked: Asked) -> bool:
        try:
            return extends(Asked(kept, study_of(self.run, kept)), asked)
        except ConfigError:
            return False

    def _planned_trials(self) -> tuple[PlannedTrial, ...]:
        """Plan the trials of a grid or of random draws; return none for optuna, which suggests them later."""
        if self.request.search == "grid":
            return grid_plan(self.study, self.planner)
        if self.request.search == "random":
            return random_plan(self.study, self.planner, suggestions=self.request.suggestions)
        return ()

    def _check_search(self) -> PlannedTrial:
        """Check data, arms and every model of a search, so that what is suggested later does not fail.

        Returns: the planned baseline of the search.
        Raises: ConfigError, DataError.
        """
        baseline = self.planner.trial(0, "baseline", baseline_of(self.study))
        for arm in self.study.arms:
            self.planner.trial(0, arm.name, self.study.config(arm.values, self.study.seeds[0]))
        for config in models_of(self.study):
            self.planner.check_model(config)
        return baseline


def _run_settings(request: Request, machine: Machine) -> RunSettings:
    run, cache_mb = RunFolder(request.run), request.cache_gb * 1024
    return RunSettings(
        data_root=request.data_root,
        sharing=None if "sharing" in request.without else Sharing(run.shared_states, limit_mb=cache_mb),
        cache=None if "cache" in request.without else run.caches,
        cache_mb=cache_mb,
        max_pixels=request.max_pixels,
        reuse="reuse" not in request.without,
        may_pack=request.gpus_per_trial is None and "packing" not in request.without,
        node_cpus=machine.cpus,
    )


def _trial_count(plan: Plan, *, arms: int) -> int:
    """Count the trials of the whole run, including those that are not known yet."""
    if plan.search == "grid":
        return len(plan.trials)
    if not plan.awaits_confirmation:
        return plan.suggestions + len(plan.confirmed)
    more = any(step.suggestions_before < plan.suggestions for step in plan.extensions if not step.confirmed)
    # among more suggestions others may be best: then those that were confirmed before are trials beside them
    before = sum(trial.arm == PROXY for trial in plan.confirmed) if more else 0
    return plan.suggestions + (plan.confirm + 1 + arms) * (len(plan.seeds) - 1) + before


def write_plan(prepared: Prepared) -> Plan:
    """Write the plan, unless the folder holds it already; return the folder's plan.

    Raises: ConfigError if the folder holds another plan.
    """
    return settle_plan(prepared.run.path, prepared.plan, to_toml(prepared.study))
