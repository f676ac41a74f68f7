"""How the output of a layer holds a feature map: channels first, channels last, or tokens; knows no network."""

import math
from dataclasses import dataclass

import torch

MIN_SIDE = 2
"""A map of one position says nothing of where."""


@dataclass(frozen=True)
class Layout:
    """How a layer's output holds a map.

    Attributes:
        kind: ``nchw`` (B, K, h, w), ``nhwc`` (B, h, w, K) or ``tokens`` (B, prefix + h * w, K).
        grid: (h, w).
        channels: K.
        prefix: tokens before those of the patches, such as a class token.
    """

    kind: str
    grid: tuple[int, int]
    channels: int
    prefix: int = 0

    def as_map(self, features: torch.Tensor) -> torch.Tensor:
        """Bring features or their gradient to (B, K, h, w); of tokens, those of patches only."""
        if self.kind == "nchw":
            return features
        if self.kind == "nhwc":
            return features.permute(0, 3, 1, 2)
        return features[:, self.prefix :].transpose(1, 2).reshape(len(features), -1, *self.grid)

    def with_zeroed(self, features: torch.Tensor, channel: torch.Tensor) -> torch.Tensor:
        """Copy the layer's output with one channel (B,) int64 of each image set to zero at every position."""
        zeroed, image = features.clone(), torch.arange(len(features), device=features.device)
        if self.kind == "nchw":
            zeroed[image, channel] = 0
        elif self.kind == "nhwc":
            zeroed[image, :, :, channel] = 0
        else:
            zeroed[image, self.prefix :, channel] = 0
        return zeroed


def layout_of(
    shape: tuple[int, ...], *, prefix: int = 0, nhwc: bool = False, at_least: int = MIN_SIDE
) -> Layout | None:
    """Read how an output of this shape, for one square image, holds a map; None if it holds none.

    Args:
        prefix: tokens that the model says stand before those of the patches; a layer may be given others.
        nhwc: how to read a shape of three equal sizes.
        at_least: positions on a side.
    """
    if len(shape) == 4 and shape[0] == 1:
        _, a, b, c = shape
        if b == c >= at_least and not (a == b and nhwc):
            return Layout("nchw", (b, c), a)
        if a == b >= at_least:
            return Layout("nhwc", (a, b), c)
    if len(shape) == 3 and shape[0] == 1:
        for before in dict.fromkeys((prefix, 0, 1, 2)):
            side = math.isqrt(max(shape[1] - before, 0))
            if side >= at_least and side**2 == shape[1] - before:
                return Layout("tokens", (side, side), shape[2], before)
    return None
