"""Random fields, quantiles, partners and boxes from an image's own draws, on the device; knows no augmentation.

Draws are (B,) float32 in [0, 1), one an image. No global random state is read, and nothing waits for the device.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

LOW_32 = 0xFFFFFFFF
GOLDEN = 0x9E3779B9
KNOTS = 4096
STRIPS = 1 << 16


def uniform_field(draws: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """White noise, a field an image: the same on every device, and of an image the same in every batch.

    Args:
        draws: (B,). Equal draws give equal fields.
        shape: of one field.
    Returns: (B, *shape) float32 in [0, 1), multiples of 2^-24.
    """
    return (_hashed(draws, shape) >> 8).to(torch.float32) * 2.0**-24


def normal_field(draws: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """White noise of mean 0 and deviation 1, as ``uniform_field``; between devices equal but for rounding.

    Returns: (B, *shape) float32 in [-5.3, 5.3].
    """
    middles = ((_hashed(draws, shape) >> 9).to(torch.float32) + 0.5) * 2.0**-22 - 1  # exact, and never -1 or 1
    return torch.erfinv(middles) * 2**0.5


def _hashed(draws: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Hash each draw's bits with each position, to (B, *shape) int64 in [0, 2^32)."""
    keys = _mix(draws.to(torch.float32).contiguous().view(torch.int32).to(torch.int64) & LOW_32)
    positions = torch.arange(1, 1 + int(np.prod(shape)), device=draws.device)
    # the positions are mixed on their own first: one round on each pair then suffices
    return _mix(_mix(positions * GOLDEN & LOW_32) ^ keys[:, None]).view(len(draws), *shape)


def _mix(bits: torch.Tensor) -> torch.Tensor:
    """Mix 32 bits one to one, held in int64.

    Source: Wellons, hash-prospector, ``[16 21f0aaad 15 d35a2d97 15]``.
    """
    bits = (bits ^ bits >> 16) * 0x21F0AAAD & LOW_32
    # the second factor less 2^32: of 32 bits the product keeps the same, and stays within int64
    bits = (bits ^ bits >> 15) * (0xD35A2D97 - (1 << 32)) & LOW_32
    return bits ^ bits >> 15


def beta(draws: torch.Tensor, alpha: float) -> torch.Tensor:
    """Beta(alpha, alpha) numbers: the quantile at each draw, off by less than 1e-6.

    Args:
        alpha: from 0.1 to 1; above, the table is too coarse.
    Returns: (B,) float32 in [0, 1].
    """
    if alpha == 1:
        return draws
    table = _quantiles(alpha, draws.device)
    tail = torch.where(draws < 0.5, draws, 1 - draws)  # the other half is its mirror image
    place = tail * (2 * KNOTS)
    knot = place.long().clamp(max=KNOTS - 1)
    low = (table[knot] + (table[knot + 1] - table[knot]) * (place - knot)) ** (1 / alpha)
    return torch.where(draws < 0.5, low, 1 - low)


@lru_cache(maxsize=32)
def _quantiles(alpha: float, device: torch.device) -> torch.Tensor:
    """Tabulate quantiles of Beta(alpha, alpha) from 0 to a half, each to the power of alpha, (KNOTS + 1,) float32.

    With t = x^alpha its density is (1 - t^(1/alpha))^(alpha - 1), up to a factor: smooth where that of x may have a
    pole. So a sum over strips integrates it, and between knots t is nearly a line.
    """
    edges = np.linspace(0, 0.5**alpha, STRIPS + 1)
    density = (1 - ((edges[1:] + edges[:-1]) / 2) ** (1 / alpha)) ** (alpha - 1)
    mass = np.concatenate(([0.0], density.cumsum()))
    quantiles = np.interp(np.linspace(0, 1, KNOTS + 1), mass / mass[-1], edges)
    return torch.as_tensor(quantiles, dtype=torch.float32, device=device)


def whole(draws: torch.Tensor, count: int | torch.Tensor) -> torch.Tensor:
    """Numbers from 0 to ``count - 1``, each as likely, int64.

    Args:
        count: for all draws, or int64 for each.
    """
    return (draws * count).long().clamp(max=count - 1)  # a draw just below 1 is rounded up


def partner_ring(draws: torch.Tensor) -> torch.Tensor:
    """Give each image of a batch another one, each used once; a lone image is its own partner.

    Args:
        draws: (B,), which order the ring.
    Returns: (B,) int64, where the draws are.
    """
    ring = torch.argsort(draws, stable=True)
    return torch.empty_like(ring).scatter_(0, ring, ring.roll(1))


@dataclass(frozen=True, eq=False)
class Boxes:
    """A box in each image, each edge (B,) int64; ``bottom`` and ``right`` are the first that are outside."""

    top: torch.Tensor
    bottom: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor

    def inside(self, height: int, width: int) -> torch.Tensor:
        """Mark the pixels of an image of this size that are in the box, (B, H, W) bool."""
        rows = torch.arange(height, device=self.top.device)
        columns = torch.arange(width, device=self.top.device)
        high = (rows >= self.top[:, None]) & (rows < self.bottom[:, None])
        wide = (columns >= self.left[:, None]) & (columns < self.right[:, None])
        return high[:, :, None] & wide[:, None, :]

    def share(self, height: int, width: int) -> torch.Tensor:
        """Compute the part of an image of this size that each box covers, (B,) float32."""
        pixels = (self.bottom - self.top) * (self.right - self.left)
        return pixels.to(torch.float32) / (height * width)


def boxes_around(
    row: torch.Tensor, column: torch.Tensor, *, high: torch.Tensor, wide: torch.Tensor, height: int, width: int
) -> Boxes:
    """Make boxes of ``high`` by ``wide`` pixels around a middle, cut at the border of the image.

    Args:
        row, column, high, wide: (B,) int64. An even side has one pixel more before its middle than behind it.
        height, width: of the image.
    """
    return Boxes(
        top=(row - high // 2).clamp(0, height),
        bottom=(row + (high + 1) // 2).clamp(0, height),
        left=(column - wide // 2).clamp(0, width),
        right=(column + (wide + 1) // 2).clamp(0, width),
    )


def boxes_of_area(row: torch.Tensor, column: torch.Tensor, area: torch.Tensor, *, height: int, width: int) -> Boxes:
    """Make boxes of the image's own shape and of this part of its area, around a middle, cut at the border.

    Args:
        row, column: (B,) int64.
        area: (B,) float in [0, 1]; sides are rounded down to whole pixels.
    Source: Yun et al., CutMix, ICCV 2019, equation 2.
    """
    side = area.sqrt()
    return boxes_around(
        row, column, high=(height * side).long(), wide=(width * side).long(), height=height, width=width
    )
