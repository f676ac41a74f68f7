"""Turns saliency maps into the masks of controls, and masks into the pixels that change; knows no model.

Maps are (N, H, W) float in [0, 1]; the caller draws the random numbers, so that batches do not change the result.
"""

from collections.abc import Callable

import torch

from proxy_attention.config import REGION
from proxy_attention.field_rules import deviations_of

UNTRAINED = "untrained"
"""The mask whose maps are of the same architecture at random weights, for the same images and classes."""


def keep(maps: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """The map as it is."""
    return maps


def keep_others(maps: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """The map of another chosen image."""
    return maps  # the caller has given each image another's map: see ``partners``


def keep_untrained(maps: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """The map that the same architecture gives at random weights, for the same image and class."""
    return maps  # the caller has explained such a model


def keep_region(maps: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """The place that the data set tells (object, planted patch): 1 inside, 0 outside; explains nothing."""
    return maps  # the caller has made it of the data set's regions


def shift(maps: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """The map shifted circularly by an offset of its own, never by none: same values, area and shape, other place.

    Args:
        maps: (N, H, W).
        draws: (N, 1) in [0, 1), one offset a map.
    """
    count, height, width = maps.shape
    # offsets 1 .. HW-1, of which a float32 draw just below 1 must not make HW
    offset = 1 + (draws[:, 0].double() * (height * width - 1)).long().clamp(max=height * width - 2)
    offset = offset.to(maps.device)
    rows = (torch.arange(height, device=maps.device) - (offset // width)[:, None]) % height
    columns = (torch.arange(width, device=maps.device) - (offset % width)[:, None]) % width
    image = torch.arange(count, device=maps.device)
    return maps[image[:, None, None], rows[:, :, None], columns[:, None, :]]


def invert(maps: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """The map with its values handed out in reverse rank: same values, same area, least salient pixels first.

    Ties keep their order in the image.
    """
    flat = maps.flatten(1)
    values, order = flat.sort(dim=1, stable=True)
    return torch.empty_like(flat).scatter_(1, order, values.flip(1)).view_as(maps)


MASKS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "saliency": keep,
    "random": shift,
    "other": keep_others,
    "inverse": invert,
    UNTRAINED: keep_untrained,
    REGION: keep_region,
}
"""Every mask by name: what it does to the maps of a chunk. The first line of each is its row in the README."""


def partners(count: int, priorities: torch.Tensor) -> torch.Tensor:
    """Give each of ``count`` images another one, each used once; a lone image is its own partner.

    Args:
        priorities: (count,) draws that order the ring.
    """
    ring = torch.argsort(priorities, stable=True)
    partner = torch.empty(count, dtype=torch.int64)
    partner[ring] = ring.roll(1)
    return partner


def reaching(maps: torch.Tensor, threshold: float | str) -> torch.Tensor:
    """Mark the pixels that reach a threshold: a number, or ``mean+Ksd`` of each map's positive values.

    A pixel reaches a number if it is at least that; it must be above ``mean+Ksd``, whose standard deviation is the
    population's. So a map whose positive values are all the same has no pixel above.

    Args:
        maps: (N, H, W).
    Returns: (N, H, W) bool.
    Source: MaskTune, Asgari et al., NeurIPS 2022, of whose files ``mean+2sd`` is the rule.
    """
    if not isinstance(threshold, str):
        return maps >= threshold
    exact, positive = maps.double(), maps > 0
    count = positive.sum((1, 2), keepdim=True).clamp(min=1)
    mean = exact.where(positive, 0.0).sum((1, 2), keepdim=True) / count
    variance = (exact - mean).square().where(positive, 0.0).sum((1, 2), keepdim=True) / count
    return exact > mean + (deviations_of(threshold) or 0) * variance.sqrt()


def changed_pixels(maps: torch.Tensor, *, threshold: float | str, max_area: float) -> torch.Tensor:
    """Mark the pixels that a proxy changes: those ``reaching`` the threshold, the highest first, at most a part.

    Args:
        maps: (N, H, W).
        max_area: fraction of the image, rounded down to whole pixels; of equal values the first in the image stay.
    Returns: (N, H, W) bool.
    """
    chosen = reaching(maps, threshold)
    if max_area >= 1:
        return chosen
    flat = maps.flatten(1)
    allowed = int(max_area * flat.shape[1] + 1e-9)
    order = flat.argsort(dim=1, descending=True, stable=True)
    highest = torch.zeros_like(flat, dtype=torch.bool)
    highest.scatter_(1, order[:, :allowed], True)
    return chosen & highest.view_as(chosen)
