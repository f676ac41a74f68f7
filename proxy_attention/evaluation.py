"""Evaluates a classifier on images that it does not train on; knows no proxy and no saliency method."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from proxy_attention.data.pixels import Pixels, in_batches
from proxy_attention.errors import DivergedError
from proxy_attention.models.classifier import Classifier, as_float, autocast, eval_batch

ECE_BINS = 15


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics of a classifier on a set of images.

    Attributes:
        accuracy: percent.
        loss: mean cross entropy.
        precision, recall, f1: macro averages over the classes that occur, in [0, 1].
        ece: expected calibration error, in [0, 1].
        confusion: (C, C) counts, ``[true, predicted]``.
        calibration: the reliability diagram that ``calibration_bins`` returns.
    """

    accuracy: float
    loss: float
    precision: float
    recall: float
    f1: float
    ece: float
    confusion: np.ndarray
    calibration: tuple[tuple[int, float, float], ...]


def evaluate(model: Classifier, images: Pixels, labels: torch.Tensor, *, ids: np.ndarray, precision: str) -> Evaluation:
    """Classify images in eval mode and compute the metrics.

    Args:
        images: (N, 3, H, W) uint8 of the whole data set, in memory or streamed.
        labels: (N,) int64 of the whole data set, on the device of the images.
        ids: numbers of the images to classify.
        precision: a key of ``PRECISIONS``.
    Raises: DivergedError if a logit is not finite.
    """
    index = torch.from_numpy(ids)
    model.module.eval()
    with torch.no_grad(), autocast(images.device, precision):
        batches = in_batches(images, index, eval_batch(images.shape[-1]))
        logits = torch.cat([model(as_float(batch)).float() for batch in batches])
    true = labels[index.to(labels.device)]
    if not torch.isfinite(logits).all():
        raise DivergedError("the classifier must give finite logits; got nan or infinity (try a smaller lr)")
    probabilities = logits.softmax(dim=1)
    confidence, predicted = probabilities.max(dim=1)
    y, y_hat = true.cpu().numpy(), predicted.cpu().numpy()
    macro = precision_recall_fscore_support(y, y_hat, average="macro", zero_division=0.0)
    return Evaluation(
        accuracy=100 * float((y == y_hat).mean()),
        loss=float(F.cross_entropy(logits, true)),
        precision=float(macro[0]),
        recall=float(macro[1]),
        f1=float(macro[2]),
        ece=calibration_error(confidence.cpu().numpy(), y == y_hat),
        confusion=confusion_matrix(y, y_hat, labels=range(logits.shape[1])),
        calibration=calibration_bins(confidence.cpu().numpy(), y == y_hat),
    )


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Compute the expected calibration error: the gap between confidence and accuracy, averaged over equal bins.

    Each bin is weighted by its number of images.

    Args:
        confidence: (N,) float of the predicted class, in [0, 1].
        correct: (N,) bool, whether the predicted class is the true one.
    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3; 15 bins (a, b].
    """
    bins = _bins(confidence)
    gap = np.bincount(bins, weights=correct - confidence.astype(np.float64), minlength=ECE_BINS)
    return float(np.abs(gap).sum() / len(confidence))


def calibration_bins(confidence: np.ndarray, correct: np.ndarray) -> tuple[tuple[int, float, float], ...]:
    """Compute the reliability diagram: (images, mean confidence, accuracy) of each bin of ``calibration_error``.

    Args:
        confidence: (N,) float of the predicted class, in [0, 1].
        correct: (N,) bool, whether the predicted class is the true one.
    Returns: ``ECE_BINS`` bins by rising confidence; a bin without images is (0, 0.0, 0.0).
    """
    bins = _bins(confidence)
    counts = np.bincount(bins, minlength=ECE_BINS)
    totals = (np.bincount(bins, weights=values, minlength=ECE_BINS) for values in (confidence.astype(float), correct))
    means = [total / np.maximum(counts, 1) for total in totals]
    return tuple((int(count), float(sure), float(right)) for count, sure, right in zip(counts, *means, strict=True))


def _bins(confidence: np.ndarray) -> np.ndarray:
    """Return the number of each confidence's bin, from 0: (N,) int."""
    bins: np.ndarray = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    return bins
