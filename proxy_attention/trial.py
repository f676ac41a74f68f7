"""One trial, read top to bottom: split, train, proxy step, evaluate, and once, at the end, test."""

import json
import logging
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from proxy_attention.augment.masks import MASKS
from proxy_attention.augment.replacement import REPLACEMENTS, SCOPES
from proxy_attention.augment.transforms import AUGMENTATIONS
from proxy_attention.config import AUTO, TrialConfig
from proxy_attention.data.folder import LABEL_FUNCTIONS
from proxy_attention.data.images import ON_BAD_IMAGE, ImageSet
from proxy_attention.data.sources import SOURCES
from proxy_attention.data.splits import SPLITS, Split, draw_split, redraw
from proxy_attention.data.training_set import SUBSTITUTES, Proxies, TrainingSet
from proxy_attention.errors import unknown
from proxy_attention.evaluation import Evaluation, evaluate
from proxy_attention.memory import clear_caches, peak_mb, reset_peak
from proxy_attention.models import PRECISIONS, build, family_of, weights_digest
from proxy_attention.proxies import COLLECT, ORDERS, Examples, clean_scores, online_scores, proxy_step
from proxy_attention.records import EpochRecord, TrialReport, as_json
from proxy_attention.saliency.maps import EXPLAIN
from proxy_attention.saliency.methods import METHODS
from proxy_attention.storage import drop_checkpoints, newest_checkpoint, save_checkpoint, write_atomic, write_json
from proxy_attention.training import TrainState, new_state, train_epoch

log = logging.getLogger(__name__)

CHOICES: dict[str, Collection[str]] = {
    "dataset": SOURCES,
    "saliency": METHODS,
    "explain": EXPLAIN,
    "mask": MASKS,
    "replacement": REPLACEMENTS,
    "scope": SCOPES,
    "collect": COLLECT,
    "order": ORDERS,
    "substitute": SUBSTITUTES,
    "augment": AUGMENTATIONS,
    "precision": (*PRECISIONS, AUTO),
    "split": SPLITS,
    "on_bad_image": ON_BAD_IMAGE,
    "label_function": LABEL_FUNCTIONS,
}
"""The table behind every field that is a name. Models are timm's: see ``models.family_of``."""


def check(config: TrialConfig) -> TrialConfig:
    """The config, if every name in it is known. Ranges were checked when it was made.

    Raises: ConfigError that names the field and what is known.
    """
    for field, known in CHOICES.items():
        if getattr(config, field) not in known:
            raise unknown(field, getattr(config, field), known)
    family_of(config.model)
    return config


@dataclass(frozen=True, eq=False)
class Progress:
    """What a trial hands out: after every epoch its record, and one item more, at the end, with the report.

    Attributes:
        examples: of this epoch's proxy step; None where there was none.
        report: in the last item only.
    """

    record: EpochRecord
    examples: Examples | None = None
    report: TrialReport | None = None


def run_trial(
    config: TrialConfig, images: ImageSet, *, device: str = "cpu", directory: Path | None = None
) -> Iterator[Progress]:
    """Run a trial, epoch by epoch: a pure function of the config and the images, cut and resumed at any epoch.

    Args:
        config: with no field left ``auto``.
        images: the whole data set; never written to.
        directory: where checkpoints, ``epochs.json``, ``weights.safetensors`` and ``report.json`` go; a trial found
            there goes on after its newest readable checkpoint. None keeps nothing.
    Yields: Progress after every epoch that was not done before, then one item with the report.
    Raises: ConfigError, DataError, DivergedError, CheckpointError.
    """
    started = time.perf_counter()
    check(config)
    identity = config.digest(data=images.digest, weights=weights_digest(config.weights))
    _make_deterministic(int(config.threads))
    where = torch.device(device)
    reset_peak(where)
    images = images.on(where)

    labels = images.labels.cpu().numpy()
    split = draw_split(labels, images.own_test.numpy(), config)
    model = build(
        config.model,
        classes=len(images.classes),
        image_size=config.image_size,
        weights=config.weights,
        seed=config.seed,
    )
    log.info("%s at %d px: map %dx%d, %s", config.model, config.image_size, *model.grid, model.note)
    state = new_state(model.to(where), config, images=len(split.train), device=where)
    training_set = TrainingSet(
        images.images,
        images.labels,
        train=split.train,
        proxies=Proxies.none(images.images),
        substitute=config.substitute,
    )
    records, training_set, wall_before = _resume(state, training_set, directory, identity)
    steps_done = sum(record.proxy_step for record in records)

    for planned in config.planned.epochs():
        if planned.index < len(records):
            continue
        today = redraw(split, labels, config, planned.item) if config.split == "redrawn" else split
        if config.split == "redrawn":
            training_set = training_set.with_train(today.train)
        totals = train_epoch(state, training_set, config, epoch=planned.index)
        trained, step = len(training_set), None
        if planned.ends_with_proxy_step:
            clear_caches(where)
            scores = (
                clean_scores(model, training_set, config)
                if config.collect == "clean"
                else online_scores(
                    training_set, predicted=totals.predicted, losses=totals.losses, correct=totals.correct
                )
            )
            step = proxy_step(model, training_set, scores, config, step=steps_done)
            training_set = step.training_set
            steps_done += 1
            clear_caches(where)
        evaluated = time.perf_counter()
        val = evaluate(model, images.images, images.labels, ids=today.val, precision=config.precision)
        record = EpochRecord(
            epoch=planned.index,
            item=planned.item,
            proxy_step=planned.ends_with_proxy_step,
            lr=totals.lr,
            train_images=trained,
            train_loss=float(totals.losses.mean()),
            train_accuracy=100 * float(totals.correct.float().mean()),
            val_loss=val.loss,
            val_accuracy=val.accuracy,
            wrong_images=step.wrong if step else 0,
            made_images=step.made if step else 0,
            flat_maps=step.flat if step else 0,
            proxy_images=len(training_set.active_ids),
            train_seconds=totals.seconds,
            proxy_seconds=step.seconds if step else 0.0,
            eval_seconds=time.perf_counter() - evaluated,
            peak_memory_mb=max([peak_mb(where), *(done.peak_memory_mb for done in records[-1:])]),
        )
        records.append(record)
        if directory is not None:
            wall = wall_before + time.perf_counter() - started
            _cut(state, training_set, records, directory, identity, wall)
        yield Progress(record=record, examples=step.examples if step else None)

    test = evaluate(model, images.images, images.labels, ids=split.test, precision=config.precision)
    wall = wall_before + time.perf_counter() - started
    report = _report(records, images, split, test, wall_seconds=wall, peak=peak_mb(where))
    if directory is not None:
        weights = {name: tensor.contiguous() for name, tensor in model.module.state_dict().items()}
        write_atomic(directory / "weights.safetensors", lambda path: save_file(weights, path))
        write_json(directory / "report.json", {"identity": identity, **as_json(report)})
        drop_checkpoints(directory / "checkpoints")
    yield Progress(record=records[-1], report=report)


def _make_deterministic(threads: int) -> None:
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False  # it would choose kernels by the clock
    torch.backends.cudnn.deterministic = True


def _resume(
    state: TrainState, training_set: TrainingSet, directory: Path | None, identity: str
) -> tuple[list[EpochRecord], TrainingSet, float]:
    """Records so far, the training set with its proxies, and the seconds already spent."""
    saved = newest_checkpoint(directory / "checkpoints", identity=identity) if directory is not None else None
    if saved is None:
        return [], training_set, 0.0
    state.load_state_dict(saved["training"])
    pixels = saved["proxy_pixels"].to(training_set.device)
    training_set = training_set.with_proxies(Proxies(ids=saved["proxy_ids"], pixels=pixels))
    records = [EpochRecord(**record) for record in json.loads(saved["records"])]
    log.info("resuming after epoch %d", len(records) - 1)
    return records, training_set, float(saved["wall_seconds"])


def _cut(
    state: TrainState,
    training_set: TrainingSet,
    records: list[EpochRecord],
    directory: Path,
    identity: str,
    wall_seconds: float,
) -> None:
    """Write everything that the rest of the trial depends on."""
    rows = [as_json(record) for record in records]
    saved = {
        "identity": identity,
        "training": state.state_dict(),
        "proxy_ids": training_set.proxies.ids,
        "proxy_pixels": training_set.proxies.pixels,
        "records": json.dumps(rows),
        "wall_seconds": wall_seconds,
    }
    save_checkpoint(directory / "checkpoints", len(records), saved)
    write_json(directory / "epochs.json", rows)


def _report(
    records: list[EpochRecord],
    images: ImageSet,
    split: Split,
    test: Evaluation,
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
    )
