"""Records of a trial as frozen values that JSON can store: one per epoch, and a report at the end."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """The record of one epoch. Accuracies are percentages; ``train_accuracy`` is that of augmented images in training.

    Attributes:
        epoch, item: number of the epoch in the trial, and of its item in the schedule, from 0.
        proxy_step: whether a proxy step followed this epoch.
        lr: learning rate at the start of the epoch.
        step_skipped: whether the proxy step was skipped, because val accuracy had not stalled (schedule item ``p?``).
        step_subset: the part of the images of ``choose`` that the step chose; 0 without a step, and in older records.
        train_images: how many images the epoch trained on; with ``substitute = add`` more than the split has.
        wrong_images, made_images, flat_maps: numbers of misclassified images, of proxies made, and of maps without
            range, in this epoch's proxy step; 0 without a step.
        proxy_images: number of proxies in the training set after this epoch.
        peak_memory_mb: peak memory of the trial so far, in MiB.
        error_set_precision, error_set_recall: which part of the step's misclassified images conflicts with a shortcut,
            and which part of the conflicting images is misclassified, in [0, 1]; None without a step, in older records,
            and where no group is known to conflict.
    """

    epoch: int
    item: int
    proxy_step: bool
    lr: float
    train_images: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    wrong_images: int
    made_images: int
    flat_maps: int
    proxy_images: int
    train_seconds: float
    proxy_seconds: float
    eval_seconds: float
    peak_memory_mb: float
    step_skipped: bool = False
    step_subset: float = 0.0
    error_set_precision: float | None = None
    error_set_recall: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrialReport:
    """The result of a trial. ``val_*`` and ``test_*`` are measured after the last epoch: no best epoch is chosen.

    Attributes:
        test_metrics: by the names of ``classification_metrics.CLASSIFICATION_METRICS``; in JSON ``f1`` is ``test_f1``.
        confusion: numbers of test images, ``confusion[true][predicted]``.
        calibration: (test images, mean confidence, accuracy) for each of 15 equal bins; empty in an old report.
        proxy_images, flat_maps: numbers of proxies made, and of maps without range, in all proxy steps together.
        train_seconds, proxy_seconds: seconds of all epochs and proxy steps, including those that another trial ran.
        wall_seconds: seconds that this trial took, including set-up and evaluation.
        image_digest: content digest of the images that were read.
        skipped_images: number of unreadable images left out under ``on_bad_image = skip``.
        insertion_auc, deletion_auc, average_drop, average_increase, sparseness, pointing_game: metrics of the trained
            model's explanations, means over some test images, each in [0, 1]; see
            ``explanation_metrics.ExplanationMetrics``. None in an old report, and if nothing was judged.
        judged_by, judged_images, judge_seconds: the method that judged, on how many images, and its seconds.
        group_images, group_accuracies, worst_group, worst_group_accuracy, group_gap: test accuracy by group; see
            ``group_metrics.GroupMetrics``. Empty or None in an old report, and of a data set without groups.
    """

    epochs_done: int
    val_accuracy: float
    val_loss: float
    test_accuracy: float
    test_loss: float
    test_metrics: Mapping[str, float]
    train_seconds: float
    proxy_seconds: float
    wall_seconds: float
    peak_memory_mb: float
    proxy_images: int
    flat_maps: int
    split_digest: str
    image_digest: str
    skipped_images: int
    train_images: int
    val_images: int
    test_images: int
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration: tuple[tuple[int, float, float], ...] = ()
    insertion_auc: float | None = None
    deletion_auc: float | None = None
    average_drop: float | None = None
    average_increase: float | None = None
    sparseness: float | None = None
    pointing_game: float | None = None
    judged_by: str | None = None
    judged_images: int = 0
    judge_seconds: float = 0.0
    group_images: Mapping[str, int] = field(default_factory=dict)
    group_accuracies: Mapping[str, float | None] = field(default_factory=dict)
    worst_group: str | None = None
    worst_group_accuracy: float | None = None
    group_gap: float | None = None


def as_json(record: EpochRecord | TrialReport) -> dict[str, Any]:
    """Return plain values by field name, and each test metric under its own name, such as ``test_f1``."""
    values: dict[str, Any] = {}
    for name, value in dataclasses.asdict(record).items():
        values |= {f"test_{metric}": value[metric] for metric in value} if name == "test_metrics" else {name: value}
    return values
