"""Runs one trial: split, train, proxy step, evaluate, and once, at the end, test and judge."""

import time
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from proxy_attention.config import TrialConfig
from proxy_attention.data.images import ImageSet
from proxy_attention.evaluation import Evaluation, evaluate
from proxy_attention.explanation_metrics import ExplanationMetrics, judge_explanations
from proxy_attention.files import BackgroundWriter
from proxy_attention.group_metrics import group_metrics
from proxy_attention.memory import clear_caches, peak_mb
from proxy_attention.proxies.scoring import Scores, clean_scores, online_scores, scoring_key
from proxy_attention.proxies.step import Examples, ProxyStep, proxy_step
from proxy_attention.records import EpochRecord, TrialReport
from proxy_attention.shared_states import SharedStates, Sharing
from proxy_attention.training import EpochTotals, train_epoch
from proxy_attention.trial_setup import TrialSetup
from proxy_attention.trial_state import TrialState
from proxy_attention.trial_store import TrialStore


@dataclass(frozen=True, eq=False)
class Progress:
    """The progress of a trial: one value after every epoch, and at the end one with the report.

    Attributes:
        record: of the last epoch.
        earlier: records of epochs before it that were taken over with it from another trial, and not yielded.
        borrowed: whether the epoch was taken over from another trial.
        examples: a few proxies of the epoch's proxy step; None without a step.
        report: the result, in the last value only.
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
    """Run a trial, epoch by epoch; the result depends on config and images alone, even if the trial is resumed.

    Args:
        config: with no field left ``auto``.
        images: the whole data set; never modified.
        directory: where checkpoints, ``epochs.json``, ``weights.safetensors``, ``recipes.safetensors`` and
            ``report.json`` are written; a trial that is found there resumes from its newest readable checkpoint. None
            writes nothing.
        sharing: the states that trials share: an epoch that another trial has trained is not trained again.
            Close the generator if the trial is not run to its end: until then it holds the locks of states that it
            must make for others.
    Yields: Progress after every epoch that was not done before, then one with the report.
    Raises: ConfigError, DataError, DivergedError, CheckpointError.
    """
    started = time.perf_counter()
    trial = TrialSetup.of(config, images, torch.device(device))
    state = TrialState(trial)
    store = TrialStore(directory, trial.identity, started=started)
    store.restore(state)

    # the writer is closed first: a state is written before its lock is released
    with _share(trial, sharing) as shared, BackgroundWriter() as writer:
        while state.epochs_done < len(trial.epochs):
            yielded = state.epochs_done
            saved = shared.borrow(after=yielded)
            borrowed = saved is not None
            if saved is not None:  # another trial has trained more epochs
                totals = state.take_over(saved)
                epoch = trial.epochs[state.epochs_done - 1]
                state.begin_item(epoch.item)
                del saved
            else:
                epoch = trial.epochs[state.epochs_done]
                state.begin_item(epoch.item)
                totals = train_epoch(state.training, state.training_set, config, epoch=epoch.index)
                evaluated = time.perf_counter()
                val = _evaluate(trial, state, "val", item=epoch.item)
                state.record_epoch(epoch, totals, val, eval_seconds=time.perf_counter() - evaluated)
                if shared.is_shared(state.epochs_done):
                    writer.submit(partial(shared.publish, state.epochs_done, state.snapshot(totals)))
            step = None
            if epoch.only_if_stalled and not state.has_stalled:
                state.skip_step()
            elif epoch.step is not None:
                step = _make_proxies(trial, state, totals, shared, step=epoch.step)
                state.apply(step)
                clear_caches(trial.device)
            store.checkpoint(state, writer)
            yield Progress(
                record=state.records[-1],
                earlier=tuple(state.records[yielded:-1]),
                borrowed=borrowed,
                examples=step.examples if step else None,
            )
        test = _evaluate(trial, state, "test")
        explanations = _judge(trial, state)
        writer.wait()
    report = _report(trial, state, test, explanations, wall_seconds=store.wall_seconds)
    store.complete(state, report)
    yield Progress(record=state.records[-1], report=report)


def _share(trial: TrialSetup, sharing: Sharing | None) -> SharedStates:
    """Return the states that this trial shares with others; without ``sharing`` there are none."""
    sharing = sharing or Sharing(Path())
    return sharing.of(trial.config, data=trial.images.digest, weights=trial.weights, device=trial.device.type)


def _evaluate(trial: TrialSetup, state: TrialState, part: str, *, item: int = 0) -> Evaluation:
    """Evaluate the model on a part of the split, ``val`` or ``test``."""
    images, ids = trial.images, getattr(trial.split_at(item), part)
    return evaluate(state.training.model, images.images, images.labels, ids=ids, precision=trial.config.precision)


def _make_proxies(
    trial: TrialSetup, state: TrialState, totals: EpochTotals, shared: SharedStates, *, step: int
) -> ProxyStep:
    """Score the training images and make proxies of the chosen; read what another trial has computed already."""
    clear_caches(trial.device)
    scores = _score_training_images(trial, state, totals, shared)
    return proxy_step(
        state.training.model,
        state.training_set,
        scores,
        trial.config,
        step=step,
        region=trial.images.region,
        compute_once=partial(shared.compute_once, state.epochs_done),
    )


def _score_training_images(trial: TrialSetup, state: TrialState, totals: EpochTotals, shared: SharedStates) -> Scores:
    """Find the wrong training images: by this epoch's predictions (``collect = online``), or by a pass of their own."""
    config, model, training_set = trial.config, state.training.model, state.training_set
    if config.collect == "online":
        own = training_set.labels_of(training_set.slot_ids).cpu()
        # right: any class of a mixed label, and the image's own class, even if mixing has left nothing of it
        right = (totals.correct > 0) | (totals.predicted == own)
        return online_scores(training_set, predicted=totals.predicted, losses=totals.losses, correct=right)
    key = scoring_key(config)
    return Scores(
        **shared.compute_once(state.epochs_done, key, lambda: vars(clean_scores(model, training_set, config)))
    )


def _judge(trial: TrialSetup, state: TrialState) -> ExplanationMetrics:
    """Judge the trained model's explanations on test images; return empty metrics if no method judges."""
    if trial.judge is None:
        return ExplanationMetrics()
    return judge_explanations(
        state.training.model,
        trial.images,
        ids=trial.judged_ids,
        saliency=trial.judge,
        precision=trial.config.precision,
        seed=trial.config.seed,
    )


def _report(
    trial: TrialSetup, state: TrialState, test: Evaluation, explanations: ExplanationMetrics, *, wall_seconds: float
) -> TrialReport:
    """Collect the results of a trial."""
    records, images, split = state.records, trial.images, trial.split
    return TrialReport(
        epochs_done=len(records),
        val_accuracy=records[-1].val_accuracy,
        val_loss=records[-1].val_loss,
        test_accuracy=test.accuracy,
        test_loss=test.loss,
        test_metrics=test.metrics,
        train_seconds=sum(record.train_seconds for record in records),
        proxy_seconds=sum(record.proxy_seconds for record in records),
        wall_seconds=wall_seconds,
        peak_memory_mb=max([peak_mb(trial.device), *(record.peak_memory_mb for record in records)]),
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
        **vars(explanations),
        **vars(group_metrics(images.groups, split.test, test.correct)),
    )
