"""Evaluates a classifier on images that it does not train on; knows no proxy and no saliency method."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import confusion_matrix

from proxy_attention.classification_metrics import CLASSIFICATION_METRICS, Classification, calibration_bins
from proxy_attention.data.pixels import Pixels, in_batches
from proxy_attention.errors import DivergedError
from proxy_attention.models.classifier import Classifier, as_float, autocast, eval_batch


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics of a classifier on a set of images.

    Attributes:
        accuracy: percent.
        loss: mean cross entropy.
        metrics: by the names of ``CLASSIFICATION_METRICS``.
        confusion: (C, C) counts, ``[true, predicted]``.
        calibration: the reliability diagram that ``calibration_bins`` returns.
        correct: (M,) bool, whether each image was classified rightly, in the order in which they were given.
    """

    accuracy: float
    loss: float
    metrics: Mapping[str, float]
    confusion: np.ndarray
    calibration: tuple[tuple[int, float, float], ...]
    correct: np.ndarray


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
    found = Classification(true.cpu().numpy(), predicted.cpu().numpy(), confidence.cpu().numpy())
    return Evaluation(
        accuracy=100 * float(found.correct.mean()),
        loss=float(F.cross_entropy(logits, true)),
        metrics={name: metric.compute(found) for name, metric in CLASSIFICATION_METRICS.items()},
        confusion=confusion_matrix(found.labels, found.predicted, labels=range(logits.shape[1])),
        calibration=calibration_bins(found),
        correct=found.correct,
    )
