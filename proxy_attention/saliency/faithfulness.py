"""Formulas for the faithfulness of maps, on a batch of images and maps; knows no model and no training.

Every measure is in [0, 1], one an image. Higher is better for insertion, increase in confidence and pointing game;
lower is better for deletion and drop. Sparseness is neither: a map may be small and wrong.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch

Confidence: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""From changed images (N, 3, H, W), in the order of the images, to the probability (N,) of each image's own class."""

STEPS = 10
"""Equal parts in which the pixels of an image are deleted or inserted."""

PASSES = 2 * STEPS + 2
"""Forward passes that all measures take of an image, beside its map: every step, the whole image and the masked one."""


def places(maps: torch.Tensor) -> torch.Tensor:
    """Rank every pixel from the highest value of its map (0) to the lowest; of equal ones the first is first.

    Args:
        maps: (N, H, W).
    Returns: (N, H, W) int64.
    """
    ranked = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    return ranked.argsort(dim=1).view_as(maps)


def deletion_auc(
    confidence: Confidence,
    images: torch.Tensor,
    maps: torch.Tensor,
    *,
    whole: torch.Tensor,
    blank: torch.Tensor,
    steps: int = STEPS,
) -> torch.Tensor:
    """Compute the area under the confidence while pixels are blanked, the highest of the map first; low is good.

    Args:
        images: (N, 3, H, W) float in [0, 1].
        maps: (N, H, W).
        whole: (N,) confidence in the images as they are.
        blank: what stands for a deleted pixel, of a shape that spreads to that of the images.
        steps: equal parts in which all pixels are deleted.
    Returns: (N,) in [0, 1]: by trapezoids, over the part of the pixels that is deleted.
    Source: Petsiuk et al., RISE, BMVC 2018, section 4.2; its code blanks with zero after the normalisation.
    """
    counts, order = _counts(maps, steps), places(maps)
    curve = [_mixed(confidence, order, count, first=blank, rest=images) for count in counts[1:]]
    return _area([whole, *curve], counts)


def insertion_auc(
    confidence: Confidence,
    images: torch.Tensor,
    maps: torch.Tensor,
    *,
    whole: torch.Tensor,
    blurred: torch.Tensor,
    steps: int = STEPS,
) -> torch.Tensor:
    """Compute the area under the confidence while pixels replace a blurred image's, the highest first; high is good.

    Args:
        images, maps, whole, steps: as ``deletion_auc``.
        blurred: (N, 3, H, W), what is there before anything is inserted.
    Returns: (N,) in [0, 1]: by trapezoids, over the part of the pixels that is inserted.
    Source: Petsiuk et al., RISE, BMVC 2018, section 4.2.
    """
    counts, order = _counts(maps, steps), places(maps)
    curve = [_mixed(confidence, order, count, first=images, rest=blurred) for count in counts[:-1]]
    return _area([*curve, whole], counts)


def drop(whole: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
    """Compute the part of the confidence that is lost in the image times its map; its mean is the average drop.

    Args:
        whole, masked: (N,) confidence in the image, and in the image times its map in [0, 1].
    Returns: (N,) in [0, 1].
    Source: Chattopadhay et al., Grad-CAM++, WACV 2018, section 4.1: there in percent.
    """
    return (whole - masked).relu() / whole


def increase(whole: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
    """Whether the confidence is higher where the image is multiplied by its map; its mean is the average increase.

    Args:
        whole, masked: as ``drop``.
    Returns: (N,) bool.
    Source: as ``drop``.
    """
    return masked > whole


def sparseness(maps: torch.Tensor) -> torch.Tensor:
    """Compute the Gini index of a map: 0 where all pixels are equal, near 1 where few hold everything.

    Args:
        maps: (N, H, W) >= 0.
    Returns: (N,) in [0, 1); 0 for a map of zeros.
    Source: Chalasani et al., Concise Explanations of Neural Networks using Adversarial Training, ICML 2020, after
        Hurley and Rickard, 2009: ``1 - 2 sum_k v_(k) / |v| (d - k + 1/2) / d``, values rising.
    """
    rising = maps.flatten(1).double().sort(dim=1).values
    d, total = rising.shape[1], rising.sum(dim=1)
    shares = (d - torch.arange(1, d + 1, device=maps.device) + 0.5) / d
    found = 1 - 2 * (rising * shares).sum(dim=1) / torch.where(total > 0, total, 1.0)
    return torch.where(total > 0, found, 0.0).to(maps.dtype)


def points_inside(maps: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
    """Whether a map's highest pixel lies on the object (the pointing game); a map with no range points nowhere.

    Args:
        maps: (N, H, W), of the object's class.
        regions: (N, H, W) bool, the object's box or mask.
    Returns: (N,) bool.
    Source: Zhang et al., Top-down Neural Attention by Excitation Backprop, IJCV 2018; no margin around the region.
    """
    highest = places(maps) == 0
    points = maps.amax((1, 2)) > maps.amin((1, 2))
    return (highest & regions).flatten(1).any(dim=1) & points


def _counts(maps: torch.Tensor, steps: int) -> list[int]:
    """List how many pixels are changed at each point of a curve, from none to all."""
    pixels = maps.shape[1] * maps.shape[2]
    return [round(step * pixels / steps) for step in range(steps + 1)]


def _mixed(
    confidence: Confidence, order: torch.Tensor, count: int, *, first: torch.Tensor, rest: torch.Tensor
) -> torch.Tensor:
    """Compute the confidence in images whose ``count`` first pixels are of the one and the rest of the other."""
    return confidence(torch.where((order < count)[:, None], first, rest))


def _area(curve: list[torch.Tensor], counts: list[int]) -> torch.Tensor:
    fractions = torch.tensor([count / counts[-1] for count in counts], device=curve[0].device)
    return torch.trapezoid(torch.stack(curve, dim=1), fractions, dim=1)
