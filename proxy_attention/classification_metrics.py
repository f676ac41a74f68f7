"""The table of the metrics that a trial reports for its test images, beside accuracy and loss; knows no model.

A new metric is a function and a row of the table: the report, the columns of the results and the README follow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

ECE_BINS = 15


@dataclass(frozen=True, eq=False)
class Classification:
    """The predictions of a model for some images.

    Attributes:
        labels: (N,) int, the true classes.
        predicted: (N,) int, the predicted classes.
        confidence: (N,) float32, the probability of the predicted class, in [0, 1].
    """

    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray

    @cached_property
    def correct(self) -> np.ndarray:
        """Whether each prediction is right, (N,) bool."""
        right: np.ndarray = self.labels == self.predicted
        return right

    @cached_property
    def macro_averages(self) -> tuple[float, float, float]:
        """Precision, recall and F1, each averaged over the classes that occur."""
        from sklearn.metrics import precision_recall_fscore_support  # here: an analysis needs only the table

        precision, recall, f1, _ = precision_recall_fscore_support(
            self.labels, self.predicted, average="macro", zero_division=0.0
        )
        return float(precision), float(recall), float(f1)


def precision(found: Classification) -> float:
    """Return the macro-averaged precision, in [0, 1]."""
    return found.macro_averages[0]


def recall(found: Classification) -> float:
    """Return the macro-averaged recall, in [0, 1]."""
    return found.macro_averages[1]


def f1(found: Classification) -> float:
    """Return the macro-averaged F1, in [0, 1]."""
    return found.macro_averages[2]


def calibration_error(found: Classification) -> float:
    """Compute the expected calibration error: the gap between confidence and accuracy, averaged over equal bins.

    Each bin is weighted by its number of images.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3; 15 bins (a, b].
    """
    gaps = found.correct - found.confidence.astype(np.float64)
    gap = np.bincount(_bins(found.confidence), weights=gaps, minlength=ECE_BINS)
    return float(np.abs(gap).sum() / len(found.confidence))


def calibration_bins(found: Classification) -> tuple[tuple[int, float, float], ...]:
    """Compute the reliability diagram: (images, mean confidence, accuracy) of each bin of ``calibration_error``.

    Returns: ``ECE_BINS`` bins by rising confidence; a bin without images is (0, 0.0, 0.0).
    """
    bins = _bins(found.confidence)
    counts = np.bincount(bins, minlength=ECE_BINS)
    summed = (found.confidence.astype(float), found.correct)
    totals = (np.bincount(bins, weights=values, minlength=ECE_BINS) for values in summed)
    means = [total / np.maximum(counts, 1) for total in totals]
    return tuple((int(count), float(sure), float(right)) for count, sure, right in zip(counts, *means, strict=True))


def _bins(confidence: np.ndarray) -> np.ndarray:
    """Return the number of each confidence's bin, from 0: (N,) int."""
    bins: np.ndarray = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    return bins


@dataclass(frozen=True)
class Metric:
    """A row of the table.

    Attributes:
        what: the meaning of the metric, in one line for the README.
        compute: computes the number from a classification.
    """

    what: str
    compute: Callable[[Classification], float]


CLASSIFICATION_METRICS: dict[str, Metric] = {
    "precision": Metric("precision, averaged over the classes, in [0, 1]", precision),
    "recall": Metric("recall, averaged over the classes, in [0, 1]", recall),
    "f1": Metric("F1, averaged over the classes, in [0, 1]", f1),
    "ece": Metric("expected calibration error over 15 equal bins of confidence, in [0, 1]", calibration_error),
}
"""Every metric by name; in the results, the column of ``f1`` is ``test_f1``."""
