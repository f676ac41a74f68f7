"""Computes maps of a batch for a class, and brings them to the image's size and to [0, 1]; knows no training set."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeAlias

import torch
import torch.nn.functional as F

from proxy_attention.saliency.cam import combined, gradcam
from proxy_attention.saliency.interface import ExplainedModel, SaliencyInput, at_least_float32
from proxy_attention.saliency.registry import METHODS

Score: TypeAlias = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]

FLAT = 1e-6
"""A map whose range is below this part of its largest value has no range: what is left is rounding."""


def _one_hot(named: torch.Tensor, classes: int) -> torch.Tensor:
    return F.one_hot(named, classes).float()


EXPLAIN: dict[str, Score] = {
    "predicted": lambda predicted, true, classes: _one_hot(predicted, classes),
    "true": lambda predicted, true, classes: _one_hot(true, classes),
    "contrast": lambda predicted, true, classes: _one_hot(predicted, classes) - _one_hot(true, classes),
}
"""Which score is explained, as its coefficients (N, C) on the logits, from the predicted and true classes (N,)."""


def classify_and_explain(
    model: ExplainedModel,
    images: torch.Tensor,
    *,
    true: torch.Tensor,
    saliency: str,
    explain: str,
    predicted: torch.Tensor | None = None,
    eigen_smooth: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Classify a batch and explain the predictions, from one forward pass.

    Under a linear head the gradient is the class's row of weights over the area: no backward pass is needed. Under any
    other head, only the part after the feature map is differentiated. The pass is in eval mode, so that no image
    depends on another; the mode is restored.

    Args:
        images: (N, 3, H, W) float in [0, 1].
        true: (N,) int64 classes.
        saliency: a key of ``METHODS`` whose row says ``one_pass``.
        explain: a key of ``EXPLAIN``.
        predicted: (N,) int64 classes; None is what the model says here.
        eigen_smooth: the first principal component of the weighted features, instead of their sum.
    Returns: logits (N, C) and maps (N, h, w) >= 0, positive part only, not yet scaled; both float32, whatever the
        precision around the pass.
    Raises: ValueError for a method that needs passes of its own.
    """
    method = METHODS[saliency]
    if method.weights is None:
        raise ValueError(f"{saliency} needs passes of its own: see low_resolution_maps")
    with in_eval_mode(model, images) as images:
        features, logits = (
            model.forward_with_features(images)
            if model.linear_head is not None
            else model.forward_from_features(images)
        )
        with torch.autocast(images.device.type, enabled=False):
            with torch.no_grad():
                guessed = logits.argmax(dim=1) if predicted is None else predicted
                coefficients = EXPLAIN[explain](guessed, true, logits.shape[1])
            if model.linear_head is not None:
                gradients = _of_pooled_features(coefficients, model.linear_head, model.as_map(features))
            else:
                with torch.enable_grad():
                    score = (coefficients * logits).sum()
                gradients = model.as_map(torch.autograd.grad(score, features)[0])
            with torch.no_grad():
                maps = at_least_float32(model.as_map(features.detach()))
                towards = combined(maps, gradcam(maps, gradients)) if method.eigen else None
                eigen = method.eigen or eigen_smooth
                maps = combined(maps, method.weights(maps, gradients), towards=towards, eigen=eigen)
                return at_least_float32(logits.detach()), maps.relu()


@contextmanager
def in_eval_mode(model: ExplainedModel, images: torch.Tensor) -> Iterator[torch.Tensor]:
    """Put the whole model in eval mode for a while, and yield images that a graph may hold, even in inference mode."""
    training = [module for module in model.module.modules() if module.training]
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
        try:
            for module in training:
                module.training = False
            yield images.clone() if images.is_inference() else images
        finally:
            for module in training:
                module.training = True


def _of_pooled_features(coefficients: torch.Tensor, head: torch.nn.Linear, features: torch.Tensor) -> torch.Tensor:
    """Compute the gradient (N, K, 1, 1) of a linear head's score by the features that it pools, without a backward."""
    with torch.no_grad():
        rows = coefficients.to(head.weight) @ head.weight
        return (rows / (features.shape[2] * features.shape[3]))[:, :, None, None]


def low_resolution_maps(
    model: ExplainedModel,
    images: torch.Tensor,
    *,
    predicted: torch.Tensor,
    true: torch.Tensor,
    saliency: str,
    explain: str,
    eigen_smooth: bool = False,
    seeds: Sequence[int] | None = None,
) -> torch.Tensor:
    """Compute maps of a batch for given classes, by any method, however many passes it needs.

    A method with passes of its own computes in the precision of the weights, whatever the autocast around it.

    Args:
        images: (N, 3, H, W) float in [0, 1].
        predicted, true: (N,) int64 classes.
        saliency: a key of ``METHODS`` that ``check_method`` has nothing against.
        explain: a key of ``EXPLAIN``.
        seeds: an int an image, for methods that draw; None is 0 for each.
    Returns: (N, h, w) of the feature map's size, or (N, H, W), float32 >= 0: positive part only, not yet scaled.
    """
    method = METHODS[saliency]
    if method.one_pass:
        return classify_and_explain(
            model,
            images,
            true=true,
            saliency=saliency,
            explain=explain,
            predicted=predicted,
            eigen_smooth=eigen_smooth,
        )[1]
    with in_eval_mode(model, images) as images, torch.autocast(images.device.type, enabled=False):
        coefficients = EXPLAIN[explain](predicted, true, model.classes)
        inputs = SaliencyInput(model, images, coefficients, seeds if seeds is not None else [0] * len(images))
        if method.weigh is not None:
            maps = combined(*method.weigh(inputs), eigen=eigen_smooth)
        elif method.maps is not None:
            maps = method.maps(inputs)
        return at_least_float32(maps.detach()).relu()


def upsample(maps: torch.Tensor, size: int) -> torch.Tensor:
    """Upsample (N, h, w) to (N, size, size), bilinear, pixel centres aligned as OpenCV does."""
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
