"""Computes the pixels of proxies; knows no model and draws no random number itself.

Images are (N, 3, H, W) float in [0, 1], before normalisation; the weight blends, so weight 0 changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torchvision.transforms.v2.functional import gaussian_blur


@dataclass(frozen=True)
class Statistics:
    """Per-channel statistics, each (N or 1, 3, 1, 1)."""

    mean: torch.Tensor
    std: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    @classmethod
    def per_image(cls, images: torch.Tensor) -> "Statistics":
        """Compute the statistics of each image on its own."""
        dims = (2, 3)
        return cls(
            mean=images.mean(dims, keepdim=True),
            std=images.std(dims, keepdim=True, correction=0),
            low=images.amin(dims, keepdim=True),
            high=images.amax(dims, keepdim=True),
        )

    @classmethod
    def over(cls, parts: list["Statistics"], counts: list[int]) -> "Statistics":
        """Join the statistics of images of equal size to those of all together: then moments average exactly."""
        total = sum(counts)
        mean = torch.stack([part.mean.sum(0, keepdim=True) for part in parts]).sum(0) / total
        square = torch.stack([(part.std**2 + part.mean**2).sum(0, keepdim=True) for part in parts]).sum(0) / total
        return cls(
            mean=mean,
            std=(square - mean**2).clamp(min=0).sqrt(),
            low=torch.cat([part.low.amin(0, keepdim=True) for part in parts]).amin(0, keepdim=True),
            high=torch.cat([part.high.amax(0, keepdim=True) for part in parts]).amax(0, keepdim=True),
        )


SCOPES: dict[str, str] = {
    "image": "the image itself",
    "batch": "the `batch_size` proxies that are made together",
    "dataset": "the originals of all training images",
}
"""Every scope by name: what statistics are taken over."""


def statistics(images: torch.Tensor, *, scope: str, dataset: Statistics | None) -> Statistics:
    """Return the statistics of a scope.

    Raises: ValueError if the scope is the data set's, and its statistics are not given.
    """
    if scope == "dataset":
        if dataset is None:
            raise ValueError("scope dataset needs statistics of the training images; got none")
        return dataset
    own = Statistics.per_image(images)
    return own if scope == "image" else Statistics.over([own], [len(images)])


def turn_down(images: torch.Tensor, maps: torch.Tensor, *, threshold: float, weight: float) -> torch.Tensor:
    """Scale each pixel by ``1 - weight * map`` where the map reaches the threshold.

    Args:
        images: (N, 3, H, W) float in [0, 1], before normalisation. Not modified.
        maps: (N, H, W) float in [0, 1], each scaled on its own.
    Raises: ValueError if ``maps`` does not fit ``images``.
    """
    return replace(images, maps, maps >= threshold, weight=weight, replacement="multiply", stats=None, noise=None)


def replace(
    images: torch.Tensor,
    maps: torch.Tensor,
    changed: torch.Tensor,
    *,
    weight: float,
    replacement: str,
    stats: Statistics | None,
    noise: torch.Tensor | None,
) -> torch.Tensor:
    """Change the marked pixels, and no other.

    ``multiply`` gives ``(1 - weight * map) * pixel``; any other ``(1 - weight) * pixel + weight * value``.

    Args:
        images: (N, 3, H, W) float in [0, 1]. Not modified.
        maps: (N, H, W) float in [0, 1].
        changed: (N, H, W) bool.
        replacement: a key of ``REPLACEMENTS``.
        stats: needed by those of ``NEED_STATISTICS``.
        noise: (N, 3, H, W) standard normal draws; needed by ``noise``.
    Returns: (N, 3, H, W) float in [0, 1].
    Raises: ValueError if ``maps`` or ``changed`` does not fit ``images``.
    """
    expected = (images.shape[0], *images.shape[2:])
    if maps.shape != expected or changed.shape != expected:
        raise ValueError(f"maps must be {expected} for these images; got {tuple(maps.shape)}, {tuple(changed.shape)}")
    made = REPLACEMENTS[replacement](Ingredients(images, maps, weight, stats, noise))
    return torch.where(changed[:, None], made.clamp(0, 1), images)


@dataclass(frozen=True)
class Ingredients:
    """What a replacement may draw on."""

    images: torch.Tensor
    maps: torch.Tensor
    weight: float
    stats: Statistics | None
    noise: torch.Tensor | None

    def needed(self) -> Statistics:
        """Return the statistics; ValueError if the caller gave none."""
        if self.stats is None:
            raise ValueError("this replacement needs statistics; got none")
        return self.stats

    def blend(self, value: torch.Tensor | float) -> torch.Tensor:
        """Lay the value over the pixel at the weight."""
        return (1 - self.weight) * self.images + self.weight * value


def _multiply(given: Ingredients) -> torch.Tensor:
    """The pixel, darker the higher its map: `(1 - weight * map) * pixel`."""
    return (1 - given.weight * given.maps[:, None]) * given.images


def _mean(given: Ingredients) -> torch.Tensor:
    """The mean of each channel over the scope."""
    return given.blend(given.needed().mean)


def _max(given: Ingredients) -> torch.Tensor:
    """The largest value of each channel over the scope."""
    return given.blend(given.needed().high)


def _min(given: Ingredients) -> torch.Tensor:
    """The smallest value of each channel over the scope."""
    return given.blend(given.needed().low)


def _halfmax(given: Ingredients) -> torch.Tensor:
    """Half the largest value of each channel over the scope."""
    return given.blend(given.needed().high / 2)


def _black(given: Ingredients) -> torch.Tensor:
    """Black."""
    return given.blend(0.0)


def _white(given: Ingredients) -> torch.Tensor:
    """White."""
    return given.blend(1.0)


def _blur(given: Ingredients) -> torch.Tensor:
    """The image blurred by a gaussian with a sigma of a sixteenth of its side."""
    side = min(given.images.shape[-2:])
    return given.blend(smooth(given.images, sigma=side / 16))


def _noise(given: Ingredients) -> torch.Tensor:
    """Normal noise with the mean and standard deviation of each channel over the scope."""
    if given.noise is None:
        raise ValueError("replacement noise needs draws; got none")
    return given.blend((given.needed().mean + given.needed().std * given.noise).clamp(0, 1))


REPLACEMENTS: dict[str, Callable[[Ingredients], torch.Tensor]] = {
    "multiply": _multiply,
    "mean": _mean,
    "max": _max,
    "min": _min,
    "halfmax": _halfmax,
    "black": _black,
    "white": _white,
    "blur": _blur,
    "noise": _noise,
}
"""Every replacement by name. The first line of each is its row in the README."""

NEED_STATISTICS = frozenset({"mean", "max", "min", "halfmax", "noise"})
"""The replacements that use statistics; the scope changes no other."""


def smooth(images: torch.Tensor, *, sigma: float) -> torch.Tensor:
    """Blur the last two dimensions with a gaussian of this sigma in pixels, cut at three sigma or at the image."""
    if sigma <= 0:
        return images
    side = min(images.shape[-2:])
    radius = min(max(int(3 * sigma + 0.5), 1), side - 1)
    blurred: torch.Tensor = gaussian_blur(images, kernel_size=[2 * radius + 1] * 2, sigma=[sigma, sigma])
    return blurred
