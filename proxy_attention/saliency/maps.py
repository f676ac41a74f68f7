"""Maps of a batch: explain a class, bring the map to the image's size and to [0, 1]; knows no training set."""

from typing import Protocol

import torch
import torch.nn.functional as F

from proxy_attention.saliency.methods import METHODS

FLAT = 1e-6
"""A map whose range is below this part of its largest value has no range: what is left is rounding."""


class CutModel(Protocol):
    """What an explanation needs of a classifier (``proxy_attention.models.Classifier`` has it)."""

    def cut(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The last feature map as a leaf, and logits that depend on it."""

    def as_map(self, features: torch.Tensor) -> torch.Tensor:
        """Features or gradients as (N, K, h, w)."""


def _predicted(logits: torch.Tensor, predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    return logits.gather(1, predicted[:, None])[:, 0]


def _true(logits: torch.Tensor, predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    return logits.gather(1, true[:, None])[:, 0]


def _contrast(logits: torch.Tensor, predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    return _predicted(logits, predicted, true) - _true(logits, predicted, true)


EXPLAIN = {"predicted": _predicted, "true": _true, "contrast": _contrast}
"""Which score (N,) is explained, from logits (N, C) and the predicted and true classes (N,)."""


def low_resolution_maps(
    model: CutModel, images: torch.Tensor, *, predicted: torch.Tensor, true: torch.Tensor, saliency: str, explain: str
) -> torch.Tensor:
    """Maps at the resolution of the last feature map, positive part only, not yet scaled.

    The model must be in eval mode, so that no image depends on another.

    Args:
        images: (N, 3, H, W) float in [0, 1].
        predicted, true: (N,) int64 classes.
        saliency: a key of ``METHODS``.
        explain: a key of ``EXPLAIN``.
    Returns: (N, h, w) float32 >= 0.
    """
    features, logits = model.cut(images)
    with torch.enable_grad():
        score = EXPLAIN[explain](logits, predicted, true).sum()
    (gradients,) = torch.autograd.grad(score, features)
    with torch.no_grad():
        return METHODS[saliency](model.as_map(features.detach()), model.as_map(gradients)).relu().float()


def upsample(maps: torch.Tensor, size: int) -> torch.Tensor:
    """(N, h, w) to (N, size, size), bilinear, pixel centres aligned as OpenCV does."""
    return F.interpolate(maps[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]


def scale(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale each map on its own to [0, 1]; a map with no range becomes all zeros.

    Args:
        maps: (N, H, W).
    Returns: the scaled maps, and (N,) bool, True where a map had no range.
    """
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    extent = high - low
    flat = ~(extent > FLAT * torch.maximum(high.abs(), low.abs()))  # a map of NaN is flat, too
    scaled = torch.where(flat, 0.0, (maps - low) / torch.where(flat, 1.0, extent))
    return scaled, flat[:, 0, 0]
