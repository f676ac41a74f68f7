"""A run from request to end: plan it, start Ray, run its phases, audit what came out; parses and prints nothing."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from proxy_attention.config import PROXY_FIELDS, TrialConfig
from proxy_attention.prefixes import Prefixes, forks, road
from proxy_attention.schedule import Schedule
from proxy_attention.storage import write_text
from study.batch_size import Found, find
from study.cluster import Machine, Resources, decide, packed
from study.desk import Desk, fingerprint
from study.experiment import Study, to_toml
from study.guard import check_plan, settle_plan
from study.measure import fastest_threads, gpu_memory_mb, is_open, measure, named_threads, without_auto
from study.plan import Plan, PlannedTrial, about, folder_of, is_complete, read_json
from study.price import Passage, Price, work
from study.report import NOT_DRAWN, write_report
from study.request import Request
from study.results import COMPLETE, load_results, trials_of
from study.search import (
    confirmation_plan,
    expected_configs,
    grid_plan,
    leaders_first,
    models_of,
    random_plan,
    schedules_of,
)
from study.trainable import Workplace, write_error

log = logging.getLogger(__name__)


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
    desk: Desk
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

    @property
    def images_mb(self) -> float:
        """Of the decoded images in memory and in the cache."""
        data = self.desk.data(self.first)
        return (data.train_pool + data.own_test) * 3 * self.first.image_size**2 / 2**20

    @property
    def prefixes(self) -> Prefixes | None:
        """Where the run's shared prefixes lie; None if nothing is to be shared."""
        if "sharing" in self.request.without:
            return None
        return Prefixes(self.request.caches / "prefixes", limit_mb=self.request.cache_gb * 1024)


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
    kept = Plan.read(request.run).measured if (request.run / "plan.json").exists() else {}
    measured: dict[str, Any] = dict(kept)
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
    desk = Desk(
        study,
        data_root=request.data_root,
        device=resources.device,
        auto=partial(without_auto, measured=measured, resources=resources),
        progress=progress,
        cache=request.caches if caching and "cache" not in request.without else None,
        cache_mb=request.cache_gb * 1024,
    )
    batch = Found(measured["batch_size"], "as planned") if "batch_size" in measured else None
    if batch is None:  # before precision, which is measured at it
        sizes = request.caches / "batch_sizes.json"
        batch = find(study, desk, resources=resources, file=sizes, keep=caching, tell=tell)
        measured |= {"batch_size": batch.size} if batch is not None else {}
    trials = _planned(request, desk)
    asked: dict[str, Any] = {"suggestions": request.suggestions, "confirm": request.confirm}
    if not trials:  # a search: its data and model are checked by its baseline
        baseline = study.config({"schedule": study.baseline_schedule}, study.seeds[0])
        asked["baseline"] = desk.trial(0, "baseline", baseline).config_digest
        for arm in study.arms:
            desk.trial(0, arm.name, study.config(arm.values, study.seeds[0]))
        for config in models_of(study):  # what is suggested later must not fail then
            desk.check_model(config)
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
    return Prepared(request, plan, desk, resources, machine.cpus, batch)


def priced(prepared: Prepared) -> Prepared:
    """The same with the price of what is left, measured here and now."""
    first, desk, device = prepared.first, prepared.desk, prepared.resources.device
    data = desk.data(first)
    train, val = desk.sizes(first)
    price = Price(
        work=work(passages(prepared), prepared.prefixes, device=device),
        speed=measure(first, len(data.classes), device),
        train=train,
        val=val,
        test=data.own_test or round(first.test_fraction * data.train_pool),
        concurrency=prepared.resources.concurrency,
    )
    return dataclasses.replace(prepared, price=price)


def passages(prepared: Prepared) -> list[Passage]:
    """Every trial of the run with what its files hold of it; of a search, what is not known yet is drawn at random."""
    plan, run, desk = prepared.plan, prepared.request.run, prepared.desk
    known = trials_of(Plan.read(run), run) if (run / "plan.json").exists() else list(plan.trials)
    found = [_passage(trial, run, desk) for trial in known]
    drawn = expected_configs(
        prepared.request.study, suggestions=plan.suggestions, confirm=plan.confirm, searched=plan.search != "grid"
    )
    return found + [
        Passage.of(
            config,
            data=desk.data(config).digest,
            weights=desk.weights(config),
            passes=desk.passes(config),
            judging=desk.judging(config),
        )
        for config in map(desk.resolved, drawn[len(known) : prepared.trial_count])
    ]


def _road(trial: PlannedTrial, desk: Desk) -> tuple[str, ...]:
    return road(trial.config, data=trial.data_digest, weights=desk.weights(trial.config))


def _passage(trial: PlannedTrial, run: Path, desk: Desk) -> Passage:
    epochs = read_json(folder_of(run, trial.trial_id) / "epochs.json") or []
    return Passage.of(
        trial.config,
        data=trial.data_digest,
        weights=desk.weights(trial.config),
        done=len(epochs),
        complete=is_complete(run, trial.trial_id),
        passes=desk.passes(trial.config),
        judging=desk.judging(trial.config),
    )


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
    # here: ray must find its environment, which cluster.py sets, ready
    from study.tuner import Outcome, run_optuna, run_trials

    request, desk = prepared.request, prepared.desk
    run = request.run
    plan = Plan.read(run)
    resources = prepared.resources

    def run_missing(trials: tuple[PlannedTrial, ...], resources: Resources) -> Outcome:
        missing = [trial for trial in trials if not is_complete(run, trial.trial_id)]
        workplace = workplace_of(prepared, known=trials)
        shared = workplace.prefixes.names if workplace.prefixes is not None else frozenset()
        roads = [_road(trial, desk) for trial in missing]
        return run_trials(leaders_first(missing, roads, shared, resources.concurrency), workplace, resources, watcher)

    def search(suggestions: int, resources: Resources) -> Outcome:
        if plan.search != "optuna":
            return run_missing(plan.trials[:suggestions] if suggestions else plan.trials, resources)
        return run_optuna(
            request.study,
            desk,
            workplace_of(prepared, known=()),
            resources,
            watcher,
            name=plan.name,
            suggestions=suggestions or plan.suggestions,
        )

    if _may_pack(request, resources):
        outcome = search(1, resources)  # alone: its peak tells how many fit a GPU
        if outcome.interrupted:
            return True
        resources = packed(resources, peak_mb=_peak_mb(run), memory_mb=gpu_memory_mb(), cpus=prepared.cpus)
    outcome = search(0, resources)
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
    outcome = run_missing(plan.confirmed, resources)
    _write_down_errors(outcome.errors, trials_of(plan, run), run)
    return outcome.interrupted


def workplace_of(prepared: Prepared, *, known: Sequence[PlannedTrial]) -> Workplace:
    """Where trials run, and what they share: of known trials the forks of their roads, of others their schedules'."""
    request, prefixes = prepared.request, prepared.prefixes
    if prefixes is not None:
        names = forks(_road(trial, prepared.desk) for trial in known)
        prefixes = dataclasses.replace(prefixes, names=names, epochs=frozenset() if known else _partings(request.study))
    return Workplace(
        run=request.run,
        data_root=request.data_root,
        device=prepared.resources.device,
        commit=prepared.plan.about["commit"],
        prefixes=prefixes,
        cache=None if "cache" in request.without else request.caches,
        cache_mb=request.cache_gb * 1024,
        reuse="reuse" not in request.without,
    )


def _partings(study: Study) -> frozenset[int]:
    """Epochs after which suggestions may part from the baseline; none if the search changes how they are trained."""
    if set(study.search) - {"schedule", *PROXY_FIELDS}:
        return frozenset()
    steps = (Schedule.parse(text).steps for text in schedules_of(study))
    return frozenset(found[0].index + 1 for found in steps if found)


def _may_pack(request: Request, resources: Resources) -> bool:
    return resources.device == "cuda" and request.gpus_per_trial is None and "packing" not in request.without


def _peak_mb(run: Path) -> float:
    """The highest peak of the run's complete trials; 0 if there is none."""
    peaks = load_results(run)["peak_memory_mb"].dropna()
    return float(peaks.max()) if len(peaks) else 0.0


def _write_down_errors(errors: dict[str, str], trials: list[PlannedTrial], run: Path) -> None:
    """A worker that was killed could not say so itself: what Ray says of it becomes the trial's error."""
    for trial in trials:
        folder = folder_of(run, trial.trial_id)
        told = (folder / "error.json").exists() or is_complete(run, trial.trial_id)
        if trial.trial_id in errors and not told:
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


def complete_trials(prepared: Prepared) -> int:
    """Trials complete so far, from the run's own files."""
    if not (prepared.request.run / "plan.json").exists():
        return 0
    return int((load_results(prepared.request.run)["status"] == COMPLETE).sum())
