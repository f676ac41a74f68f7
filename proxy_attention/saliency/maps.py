"""Maps of a batch: explain a class, bring the map to the image's size and to [0, 1]; knows no training set."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

import torch
import torch.nn.functional as F

from proxy_attention.saliency.methods import METHODS

Score: TypeAlias = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]

FLAT = 1e-6
"""A map whose range is below this part of its largest value has no range: what is left is rounding."""


class CutModel(Protocol):
    """What an explanation needs of a classifier (``proxy_attention.models.Classifier`` has it)."""

    linear_head: torch.nn.Linear | None
    """The head, where logits are linear in the mean of the feature map over its positions."""

    def look(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The last feature map and logits, without a graph."""

    def cut(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The last feature map as a leaf, and logits that depend on it."""

    def as_map(self, features: torch.Tensor) -> torch.Tensor:
        """Features or gradients as (N, K, h, w)."""


def _one_hot(named: torch.Tensor, classes: int) -> torch.Tensor:
    return F.one_hot(named, classes).float()


EXPLAIN: dict[str, Score] = {
    "predicted": lambda predicted, true, classes: _one_hot(predicted, classes),
    "true": lambda predicted, true, classes: _one_hot(true, classes),
    "contrast": lambda predicted, true, classes: _one_hot(predicted, classes) - _one_hot(true, classes),
}
"""Which score is explained, as its coefficients (N, C) on the logits, from the predicted and true classes (N,)."""


def look_and_explain(
    model: CutModel,
    images: torch.Tensor,
    *,
    true: torch.Tensor,
    saliency: str,
    explain: str,
    predicted: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Classify a batch and say where the model looked, from one forward pass.

    Under a linear head the gradient is the class row over the area: known without a backward pass. Under any other,
    the part after the feature map is differentiated, and nothing before it. The model must be in eval mode, so that
    no image depends on another.

    Args:
        images: (N, 3, H, W) float in [0, 1].
        true: (N,) int64 classes.
        saliency: a key of ``METHODS``.
        explain: a key of ``EXPLAIN``.
        predicted: (N,) int64 classes; None is what the model says here.
    Returns: logits (N, C) and maps (N, h, w) >= 0, positive part only, not yet scaled; both float32, whatever the
        precision around the pass.
    """
    features, logits = model.look(images) if model.linear_head is not None else model.cut(images)
    with torch.autocast(images.device.type, enabled=False):
        with torch.no_grad():
            guessed = logits.argmax(dim=1) if predicted is None else predicted
            coefficients = EXPLAIN[explain](guessed, true, logits.shape[1])
        if model.linear_head is not None:
            gradients = _of_pooled_features(coefficients, model.linear_head, features)
        else:
            with torch.enable_grad():
                score = (coefficients * logits).sum()
            gradients = model.as_map(torch.autograd.grad(score, features)[0])
        with torch.no_grad():
            maps = METHODS[saliency](_at_least_float32(model.as_map(features.detach())), gradients)
            return _at_least_float32(logits.detach()), maps.relu()


def _of_pooled_features(coefficients: torch.Tensor, head: torch.nn.Linear, features: torch.Tensor) -> torch.Tensor:
    """Gradient of a score of a linear head with respect to the features that it pools, (N, K, 1, 1): no backward."""
    with torch.no_grad():
        rows = coefficients.to(head.weight) @ head.weight
        return (rows / (features.shape[2] * features.shape[3]))[:, :, None, None]


def _at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def low_resolution_maps(
    model: CutModel, images: torch.Tensor, *, predicted: torch.Tensor, true: torch.Tensor, saliency: str, explain: str
) -> torch.Tensor:
    """The maps of ``look_and_explain`` alone, of given classes: (N, h, w) float32 >= 0."""
    return look_and_explain(model, images, true=true, saliency=saliency, explain=explain, predicted=predicted)[1]


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
