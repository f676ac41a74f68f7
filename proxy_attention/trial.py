"""One trial, read top to bottom: split, train, proxy step, evaluate, and once, at the end, test and judge."""

import dataclasses
import json
import logging
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from proxy_attention.checkpoints import drop_checkpoints, newest_checkpoint, save_checkpoint, snapshot
from proxy_attention.config import TrialConfig
from proxy_attention.data.images import ImageSet
from proxy_attention.data.splits import Split, draw_split, redraw
from proxy_attention.data.training_set import Proxies, TrainingSet
from proxy_attention.evaluation import Evaluation, evaluate
from proxy_attention.explanation_metrics import (
    ExplanationMetrics,
    check_regions,
    judge_explanations,
    judge_of,
    judged_ids,
)
from proxy_attention.files import BackgroundWriter, write_atomic, write_json
from proxy_attention.memory import clear_caches, peak_mb, reset_peak
from proxy_attention.models.classifier import Classifier, build_for
from proxy_attention.models.weights import weights_digest
from proxy_attention.proxies.scoring import Scores, clean_scores, online_scores, scoring_key
from proxy_attention.proxies.step import Examples, ProxyStep, Recipe, apply_recipe, proxy_step
from proxy_attention.records import EpochRecord, TrialReport, as_json
from proxy_attention.saliency.registry import check_method
from proxy_attention.schedule import PlannedEpoch, has_stalled
from proxy_attention.shared_states import SharedStates, Sharing
from proxy_attention.training import EpochTotals, TrainState, new_state, train_epoch
from proxy_attention.validation import check

RECIPES = "recipes.safetensors"
FORMAT = 2
"""Of what a checkpoint holds; one of another format is as if it were not there."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Progress:
    """What a trial hands out: after every epoch its record, and one item more, at the end, with the report.

    Attributes:
        earlier: records of epochs before this one that another trial has trained, and that were not handed out.
        borrowed: whether this epoch, too, was trained by another trial.
        examples: of this epoch's proxy step; None where there was none.
        report: in the last item only.
    """

    record: EpochRecord
    earlier: tuple[EpochRecord, ...] = ()
    borrowed: bool = False
    examples: Examples | None = None
    report: TrialReport | None = None


def run_trial(
    config: TrialConfig,
    images: ImageSet,
    *,
    device: str = "cpu",
    directory: Path | None = None,
    sharing: Sharing | None = None,
) -> Generator[Progress, None, None]:
    """Run a trial, epoch by epoch: a pure function of the config and the images, cut and resumed at any epoch.

    Args:
        config: with no field left ``auto``.
        images: the whole data set; never written to.
        directory: where checkpoints, ``epochs.json``, ``weights.safetensors``, ``recipes.safetensors`` and
            ``report.json`` go; a trial found there goes on after its newest readable checkpoint. None keeps nothing.
        sharing: what the trial shares with others: an epoch that one of them has trained is not trained again.
            Close the trial if it is not run to its end: until then it holds what it is to make for them.
    Yields: Progress after every epoch that was not done before, then one item with the report.
    Raises: ConfigError, DataError, DivergedError, CheckpointError.
    """
    started = time.perf_counter()
    check(config)
    weights = weights_digest(config.weights)
    identity = config.digest(data=images.digest, weights=weights)
    _make_deterministic(int(config.threads))
    where = torch.device(device)
    reset_peak(where)
    images = images.on(where)

    labels = images.labels.cpu().numpy()
    split = draw_split(labels, images.own_test.numpy(), config)
    model = build_for(config, classes=len(images.classes))
    if config.has_proxies:
        check_method(config.saliency, model, name=config.model, eigen_smooth=config.eigen_smooth)
    judge, judged = judge_of(config), judged_ids(split.test, config)
    if judge is not None:
        check_method(judge, model, name=config.model, field="judge")
        check_regions(images, judged)  # they are needed at the end: too late for a bad one
    log.info("%s at %d px: map %dx%d, %s", config.model, config.image_size, *model.grid, model.note)
    state = new_state(model.to(where), config, images=len(split.train), device=where)
    training_set = _originals(images, split, config)
    plan = list(config.planned.epochs())
    saved = newest_checkpoint(directory / "checkpoints", identity=identity) if directory is not None else None
    done, wall_before = _Done(records=[], recipes=[]), 0.0
    if saved is not None and saved.get("format") == FORMAT:
        done, wall_before = _go_to(saved, state), float(saved["wall_seconds"])
        training_set = _proxies_again(done.recipes, training_set, split, labels, config)
        log.info("resuming after epoch %d", len(done.records) - 1)
    del saved
    shared = (sharing or Sharing(Path())).of(config, data=images.digest, weights=weights, device=device)

    with shared, BackgroundWriter() as writer:  # a state is written before its lock is released
        while len(done.records) < len(plan):
            handed_out = len(done.records)
            borrowed = shared.borrow(after=handed_out)
            if borrowed is not None:
                own, done = done.records, _go_to(borrowed, state)
                done.records[:handed_out] = own  # what was told of them stands
                training_set = _proxies_again(done.recipes, training_set, split, labels, config)
                done.records[:] = map(_restated, done.records, plan)
                totals = EpochTotals(**borrowed["totals"])
            planned = plan[len(done.records) - (borrowed is not None)]
            today = redraw(split, labels, config, planned.item) if config.split == "redrawn" else split
            if config.split == "redrawn":
                training_set = training_set.with_train(today.train)
            if borrowed is None:
                totals = train_epoch(state, training_set, config, epoch=planned.index)
                evaluated = time.perf_counter()
                val = evaluate(model, images.images, images.labels, ids=today.val, precision=config.precision)
                seconds = time.perf_counter() - evaluated
                done.records.append(_record(planned, totals, val, training_set, seconds, _peak(where, done)))
                if shared.is_shared(len(done.records)):
                    totals_too = {**_cut(done, state), "totals": snapshot(dataclasses.asdict(totals))}
                    writer.submit(partial(shared.publish, len(done.records), totals_too))
                    del totals_too  # the writer has it, and memory holds one such state
            step = None
            if planned.only_if_stalled and not _has_stalled(done.records, config):  # proxies in use stay as they are
                done.records[-1] = dataclasses.replace(done.records[-1], step_skipped=True)
            elif planned.step is not None:
                clear_caches(where)
                scores = _scores(model, training_set, totals, config, shared, epochs=len(done.records))
                compute_once = partial(shared.compute_once, len(done.records))
                step = proxy_step(model, training_set, scores, config, step=planned.step, compute_once=compute_once)
                training_set = step.training_set
                done.recipes.append(step.recipe)
                clear_caches(where)
                done.records[-1] = dataclasses.replace(
                    done.records[-1],
                    proxy_step=True,
                    step_subset=float(config.subset_at(planned.step)),
                    wrong_images=step.wrong,
                    made_images=step.made,
                    flat_maps=step.flat,
                    proxy_images=len(training_set.active_ids),
                    proxy_seconds=step.seconds,
                    peak_memory_mb=_peak(where, done),
                )
            if directory is not None:
                wall = wall_before + time.perf_counter() - started
                cut = {"identity": identity, "wall_seconds": wall, **_cut(done, state)}
                writer.submit(partial(_keep, cut, list(done.records), directory))
            yield Progress(
                record=done.records[-1],
                earlier=tuple(done.records[handed_out:-1]),
                borrowed=borrowed is not None,
                examples=step.examples if step else None,
            )

        test = evaluate(model, images.images, images.labels, ids=split.test, precision=config.precision)
        judgement = ExplanationMetrics()
        if judge is not None:
            judgement = judge_explanations(
                model, images, ids=judged, saliency=judge, precision=config.precision, seed=config.seed
            )
        writer.wait()
    wall = wall_before + time.perf_counter() - started
    report = _report(done.records, images, split, test, judgement, wall_seconds=wall, peak=peak_mb(where))
    if directory is not None:
        learned = {name: tensor.contiguous() for name, tensor in model.module.state_dict().items()}
        write_atomic(directory / "weights.safetensors", lambda path: save_file(learned, path))
        if done.recipes:
            write_atomic(directory / RECIPES, lambda path: save_file(_flat(done.recipes), path))
        write_json(directory / "report.json", {"identity": identity, **as_json(report)})
        drop_checkpoints(directory / "checkpoints")
    yield Progress(record=done.records[-1], report=report)


@dataclass
class _Done:
    """What a trial has behind it, beside the state of its training: a record an epoch, a recipe a step not skipped."""

    records: list[EpochRecord]
    recipes: list[Recipe]


def _go_to(saved: dict[str, Any], state: TrainState) -> _Done:
    """Bring the training to a state that was cut, by this trial or by another on the same road."""
    state.load_state_dict(saved["training"])
    return _Done(
        records=[EpochRecord(**record) for record in json.loads(saved["records"])],
        recipes=[Recipe(**recipe) for recipe in saved["recipes"]],
    )


def _cut(done: _Done, state: TrainState) -> dict[str, Any]:
    """Everything that the rest of the trial depends on, copied: training goes on while it is written."""
    return {
        "format": FORMAT,
        "training": snapshot(state.state_dict()),
        "recipes": [vars(recipe) for recipe in done.recipes],
        "records": json.dumps([as_json(record) for record in done.records]),
    }


def _keep(cut: dict[str, Any], records: list[EpochRecord], directory: Path) -> None:
    save_checkpoint(directory / "checkpoints", len(records), cut)
    write_json(directory / "epochs.json", [as_json(record) for record in records])


def _restated(record: EpochRecord, planned: PlannedEpoch) -> EpochRecord:
    """A record of another trial in the words of this one's schedule; of steps the two agree, up to the last epoch's."""
    return dataclasses.replace(record, item=planned.item)


def _proxies_again(
    recipes: list[Recipe], training_set: TrainingSet, split: Split, labels: np.ndarray, config: TrialConfig
) -> TrainingSet:
    """The training set with the proxies in use after these steps, made from their recipes."""
    alone = config.clear_every_step and not config.compound  # then a step leaves nothing of those before it
    training_set = training_set.with_proxies(training_set.proxies.emptied())  # the first recipe is of originals
    for recipe in recipes[-1:] if alone else recipes:
        at_step = _at_step(recipe, training_set, split, labels, config)
        training_set = apply_recipe(recipe, at_step, config).training_set
    return training_set


def replay_steps(config: TrialConfig, images: ImageSet, recipes: list[Recipe]) -> Iterator[ProxyStep]:
    """The steps that a complete trial took once more, from what it kept of them: the same proxies, bit for bit.

    Args:
        recipes: as ``read_recipes`` gives them.
    """
    labels = images.labels.numpy()
    split = draw_split(labels, images.own_test.numpy(), config)
    training_set = _originals(images, split, config)
    for number in range(len(recipes)):
        before = _proxies_again(recipes[:number], training_set, split, labels, config)
        yield apply_recipe(recipes[number], _at_step(recipes[number], before, split, labels, config), config)


def _originals(images: ImageSet, split: Split, config: TrialConfig) -> TrainingSet:
    """The training images before any proxy step."""
    none = Proxies.none(images.images)
    return TrainingSet(images.images, images.labels, train=split.train, proxies=none, substitute=config.substitute)


def _at_step(
    recipe: Recipe, training_set: TrainingSet, split: Split, labels: np.ndarray, config: TrialConfig
) -> TrainingSet:
    """The training images of a step, which an audit draws again at every item of the schedule."""
    if config.split != "redrawn":
        return training_set
    item = config.planned.steps[recipe.step].item
    return training_set.with_train(redraw(split, labels, config, item).train)


def _has_stalled(records: list[EpochRecord], config: TrialConfig) -> bool:
    return has_stalled([record.val_accuracy for record in records], patience=config.patience)


def _scores(
    model: Classifier,
    training_set: TrainingSet,
    totals: EpochTotals,
    config: TrialConfig,
    shared: SharedStates,
    *,
    epochs: int,
) -> Scores:
    if config.collect == "online":
        own = training_set.labels_of(training_set.slot_ids).cpu()
        # of a mixed image every class of its label is right, and its own even where the label has none of it left
        right = (totals.correct > 0) | (totals.predicted == own)
        return online_scores(training_set, predicted=totals.predicted, losses=totals.losses, correct=right)
    made = shared.compute_once(epochs, scoring_key(config), lambda: vars(clean_scores(model, training_set, config)))
    return Scores(**made)


def _record(
    planned: PlannedEpoch,
    totals: EpochTotals,
    val: Evaluation,
    training_set: TrainingSet,
    eval_seconds: float,
    peak: float,
) -> EpochRecord:
    """An epoch that was trained and evaluated; a proxy step may still follow."""
    return EpochRecord(
        epoch=planned.index,
        item=planned.item,
        proxy_step=False,
        lr=totals.lr,
        train_images=len(training_set),
        train_loss=float(totals.losses.mean()),
        train_accuracy=100 * float(totals.correct.mean()),
        val_loss=val.loss,
        val_accuracy=val.accuracy,
        wrong_images=0,
        made_images=0,
        flat_maps=0,
        proxy_images=len(training_set.active_ids),
        train_seconds=totals.seconds,
        proxy_seconds=0.0,
        eval_seconds=eval_seconds,
        peak_memory_mb=peak,
    )


def _peak(device: torch.device, done: _Done) -> float:
    return max([peak_mb(device), *(record.peak_memory_mb for record in done.records[-1:])])


def _flat(recipes: list[Recipe]) -> dict[str, torch.Tensor]:
    """Recipes as named tensors, ``<step>.<part>``."""
    parts = ("ids", "predicted", "maps")
    return {f"{recipe.step}.{part}": getattr(recipe, part).contiguous() for recipe in recipes for part in parts}


def read_recipes(directory: Path) -> list[Recipe]:
    """What the proxies of a complete trial were made of, a recipe a step that was not skipped; none if it made none."""
    if not (directory / RECIPES).exists():
        return []
    parts = load_file(directory / RECIPES)
    steps = sorted({int(name.partition(".")[0]) for name in parts})
    return [Recipe(step, *(parts[f"{step}.{part}"] for part in ("ids", "predicted", "maps"))) for step in steps]


def _make_deterministic(threads: int) -> None:
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False  # it would choose kernels by the clock
    torch.backends.cudnn.deterministic = True


def _report(
    records: list[EpochRecord],
    images: ImageSet,
    split: Split,
    test: Evaluation,
    judgement: ExplanationMetrics,
    *,
    wall_seconds: float,
    peak: float,
) -> TrialReport:
    return TrialReport(
        epochs_done=len(records),
        val_accuracy=records[-1].val_accuracy,
        val_loss=records[-1].val_loss,
        test_accuracy=test.accuracy,
        test_loss=test.loss,
        test_precision=test.precision,
        test_recall=test.recall,
        test_f1=test.f1,
        test_ece=test.ece,
        train_seconds=sum(record.train_seconds for record in records),
        proxy_seconds=sum(record.proxy_seconds for record in records),
        wall_seconds=wall_seconds,
        peak_memory_mb=max([peak, *(record.peak_memory_mb for record in records)]),
        proxy_images=sum(record.made_images for record in records),
        flat_maps=sum(record.flat_maps for record in records),
        split_digest=split.digest,
        image_digest=images.digest,
        skipped_images=len(images.skipped),
        train_images=len(split.train),
        val_images=len(split.val),
        test_images=len(split.test),
        classes=images.classes,
        confusion=tuple(tuple(int(count) for count in row) for row in test.confusion),
        calibration=test.calibration,
        **vars(judgement),
    )
