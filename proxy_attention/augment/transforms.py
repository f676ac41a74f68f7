"""Augmentation of a batch from a table of draws; keeps no random state of its own."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

MAX_DEGREES = 10.0


@dataclass(frozen=True)
class Augmentation:
    """A row of the table: how many uniform draws an image needs, and what they do.

    ``apply`` takes images (B, 3, H, W) float in [0, 1] and draws (B, columns) in [0, 1), and returns new images.
    """

    columns: int
    apply: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def flip_rotate(images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Mirror every second image, and rotate each by up to 10 degrees; what comes in from outside is black.

    One bilinear resampling does both. torchvision's transforms draw one angle for a whole batch, from global state.

    Args:
        images: (B, 3, H, W) float in [0, 1]. Not modified.
        draws: (B, 2) in [0, 1): mirrored below 0.5; the angle from -10 to 10 degrees.
    """
    sign = torch.where(draws[:, 0] < 0.5, -1.0, 1.0)
    angle = (draws[:, 1] * 2 - 1) * math.radians(MAX_DEGREES)
    cos, sin, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    height, width = images.shape[-2:]
    # affine_grid works in units of half a side: the aspect ratio keeps a rotation a rotation
    rows = (cos * sign, -sin * height / width, zero, sin * sign * width / height, cos, zero)
    matrix = torch.stack(rows, dim=1).view(-1, 2, 3).to(images)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(columns=0, apply=lambda images, draws: images),
    "flip-rotate": Augmentation(columns=2, apply=flip_rotate),
}
"""Every augmentation by name."""
