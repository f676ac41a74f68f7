"""Measures a model by the groups of its test images, and its errors against the images that a shortcut misleads about.

Knows no model: it counts what was right and what was wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from proxy_attention.data.groups import Groups


@dataclass(frozen=True, kw_only=True)
class GroupMetrics:
    """Test accuracy by group, in percent; the defaults are those of a data set without groups.

    Attributes:
        group_images: the number of test images, by the name of the group.
        group_accuracies: by the name of the group; None for a group without a test image.
        worst_group: the name of the group with the lowest accuracy, the first of equals.
        worst_group_accuracy: its accuracy.
        group_gap: the accuracy over all test images minus that of the worst group, in points.
    """

    group_images: Mapping[str, int] = field(default_factory=dict)
    group_accuracies: Mapping[str, float | None] = field(default_factory=dict)
    worst_group: str | None = None
    worst_group_accuracy: float | None = None
    group_gap: float | None = None


def group_metrics(groups: Groups | None, test: np.ndarray, correct: np.ndarray) -> GroupMetrics:
    """Measure test accuracy by group; a group without a test image has none, and is never the worst.

    Args:
        groups: of the whole data set; None gives empty metrics.
        test: (M,) numbers of the test images, at least one.
        correct: (M,) bool, whether the model was right about each.
    """
    if groups is None:
        return GroupMetrics()
    images, right = groups.counts(test).tolist(), groups.counts(test[correct]).tolist()
    accuracies = {name: 100 * r / n if n else None for name, n, r in zip(groups.names, images, right, strict=True)}
    worst, lowest = min(((name, found) for name, found in accuracies.items() if found is not None), key=lambda x: x[1])
    return GroupMetrics(
        group_images=dict(zip(groups.names, images, strict=True)),
        group_accuracies=accuracies,
        worst_group=worst,
        worst_group_accuracy=lowest,
        group_gap=100 * sum(right) / len(test) - lowest,
    )


def error_set_metrics(
    groups: Groups | None, *, wrong: torch.Tensor, train: torch.Tensor
) -> tuple[float | None, float | None]:
    """Compare the error set, the training images that the model gets wrong, with the conflicting training images.

    Args:
        groups: of the whole data set.
        wrong, train: numbers of the images, (E,) and (N,) int64 on the CPU.
    Returns: precision, the share of the error set that conflicts, and recall, the share of the conflicting images that
        are in it, each in [0, 1]. None of both where no group is known to conflict, and of one whose set is empty.
    """
    if groups is None or not groups.conflicting:
        return None, None
    conflicting, hits = int(groups.conflicts(train).sum()), int(groups.conflicts(wrong).sum())
    return (hits / len(wrong) if len(wrong) else None, hits / conflicting if conflicting else None)
