"""Records of a trial as frozen values that JSON holds: one an epoch, and the report at the end."""

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch. Accuracies are percentages; ``train_accuracy`` is of the augmented images as they were trained on.

    Attributes:
        proxy_step: a proxy step followed this epoch.
        step_skipped: the proxy step was skipped, because validation accuracy had not stalled (schedule item ``p?``).
        step_subset: the part of the wrong images that the step chose; 0 without a step, and in older records.
        train_images: how many images the epoch trained on (more than the split's with ``substitute = add``).
        wrong_images, made_images, flat_maps: of this epoch's proxy step; 0 where there was none.
        proxy_images: proxies in the training set after this epoch.
        peak_memory_mb: of the trial so far.
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


@dataclass(frozen=True, kw_only=True)
class TrialReport:
    """The end of a trial. ``val_*`` and ``test_*`` are of the last epoch: no epoch is chosen.

    Attributes:
        test_precision, test_recall, test_f1: macro averages over the classes, in [0, 1].
        test_ece: expected calibration error over 15 equal bins, in [0, 1].
        confusion: test images, ``confusion[true][predicted]``.
        calibration: (test images, mean confidence, accuracy) of 15 equal bins; empty in an old report.
        proxy_images: proxies made over all proxy steps.
        train_seconds, proxy_seconds: what the trial's epochs cost, wherever they were trained.
        wall_seconds: what this trial took from its start, set-up and evaluation included.
        image_digest: content digest of the images it really read.
        skipped_images: unreadable images left out under ``on_bad_image = skip``.
        insertion_auc, deletion_auc, average_drop, average_increase, sparseness, pointing_game: how well explanations of
            the trained model say what it looks at, means over some test images, each in [0, 1]; see
            ``explanation_metrics.ExplanationMetrics``. None in an old report, and where nothing was judged.
        judged_by, judged_images, judge_seconds: by which method, on how many images, and what it took.
    """

    epochs_done: int
    val_accuracy: float
    val_loss: float
    test_accuracy: float
    test_loss: float
    test_precision: float
    test_recall: float
    test_f1: float
    test_ece: float
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


def as_json(record: EpochRecord | TrialReport) -> dict[str, Any]:
    """Plain values by field name."""
    return dataclasses.asdict(record)
