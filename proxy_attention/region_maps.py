"""Brings the known places of images (``ImageSet.region``) to the size of the images; explains and changes nothing."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from proxy_attention.config import REGION, TrialConfig
from proxy_attention.errors import ConfigError

Region = Callable[[int], np.ndarray | None]
"""From the number of an image to its known place, (H, W) bool in the original's proportions, or None."""


def check_regions_known(config: TrialConfig, *, known: bool) -> None:
    """Check that the data set tells the places that ``mask = region`` replaces.

    Args:
        known: whether it tells any.
    Raises: ConfigError.
    """
    if config.has_proxies and not config.has_maps and not known:
        raise ConfigError(f"mask must be another than {REGION} where no place is known; got it for {config.dataset!r}")


def nearest(region: np.ndarray, size: int) -> np.ndarray:
    """Resize a region (H, W) bool to (size, size) by nearest neighbour."""
    rows, columns = (((np.arange(size) + 0.5) * side / size).astype(int) for side in region.shape)
    found: np.ndarray = region[np.ix_(rows, columns)]
    return found


def region_maps(region: Region | None, ids: Sequence[int], size: int) -> torch.Tensor:
    """Make a map of each image's known place: true inside, false outside, and everywhere where no place is known.

    Args:
        ids: numbers of the images.
    Returns: (P, size, size) bool on the CPU.
    """
    maps = torch.zeros(len(ids), size, size, dtype=torch.bool)
    for row, number in zip(maps, ids, strict=True):
        place = None if region is None else region(number)
        if place is not None:
            row.copy_(torch.from_numpy(nearest(place, size)))
    return maps
