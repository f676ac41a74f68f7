"""The augmentation of the thesis, from a table of draws; keeps no random state of its own."""

import math

import torch
import torch.nn.functional as F

from proxy_attention.augment.batch import Augmentation, of_images

MAX_DEGREES = 10.0


def flip_rotate(images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Mirror every second image, and rotate each by up to 10 degrees; what comes in from outside is black.

    One bilinear resampling does both. torchvision's transforms draw one angle for a whole batch, from global state.

    Args:
        images: (B, 3, H, W) float in [0, 1]. Not modified.
        draws: (B, 2) in [0, 1): mirrored below 0.5; the angle from -10 to 10 degrees.
    """
    draws = draws.to(images)
    sign = torch.where(draws[:, 0] < 0.5, -1.0, 1.0)
    angle = (draws[:, 1] * 2 - 1) * math.radians(MAX_DEGREES)
    cos, sin = torch.cos(angle), torch.sin(angle)
    height, width = images.shape[-2:]
    x, y = _centres(width, images), _centres(height, images)
    # where each pixel comes from, in units of half a side: the aspect ratio keeps a rotation a rotation.
    # One coordinate after the other in memory is four times as fast as both of a pixel side by side (affine_grid's)
    from_x = torch.stack((cos * sign, sin * sign * (width / height)), dim=1)[:, :, None, None] * x
    from_y = torch.stack((-sin * (height / width), cos), dim=1)[:, :, None, None] * y[:, None]
    grid = (from_x + from_y).permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _centres(pixels: int, like: torch.Tensor) -> torch.Tensor:
    """Compute the middles of so many pixels on a side that reaches from -1 to 1."""
    return (torch.arange(pixels, dtype=like.dtype, device=like.device) * 2 + 1) / pixels - 1


TRANSFORMS: dict[str, Augmentation] = {
    "none": of_images(lambda images, draws: images, columns=0, what="nothing", source="the control"),
    "flip-rotate": of_images(
        flip_rotate,
        columns=2,
        what="every second image mirrored, each rotated by up to 10 degrees",
        source="the thesis; ours",
    ),
}
"""The augmentations of the thesis."""
