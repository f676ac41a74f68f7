"""How Puzzle Mix lays two images over one another: the mask of least energy, and where blocks move; draws nothing.

The images are cut into a grid of n by n blocks. Where n does not divide a side, blocks differ by one pixel.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

SMOOTHNESS, LOCALLY, PRIOR = 1.2, 0.5, 0.2
"""The official code's beta, gamma and eta."""
NEIGHBOURHOOD = 4
"""Its neigh_size: pixels over which a colour is averaged before it is compared across an edge."""
LEVELS = 3
"""Its n_labels: a block is the partner's, half of each, or the image's own."""
DISTANCE = 0.8
"""Its t_eps: the price of moving a block, against the saliency that is won."""
TINY = 1e-8


@dataclass(frozen=True, eq=False)
class Energy:
    """What a mask z over n by n blocks costs: ``level[z]`` of each block, and weight times (z - z')^2 of each pair.

    Attributes:
        level: (B, LEVELS, n, n), the cost of z = 0, 1/2 and 1.
        down: (B, n - 1, n) > 0, the weight of a block and the one below.
        right: (B, n, n - 1) > 0, the weight of a block and the one to its right.
    """

    level: torch.Tensor
    down: torch.Tensor
    right: torch.Tensor

    def neighbours(self, mask: torch.Tensor) -> torch.Tensor:
        """Add up weight times mask over the neighbours of each block; shaped like the mask (..., B, n, n)."""
        total = torch.zeros_like(mask)
        total[..., 1:, :] += self.down * mask[..., :-1, :]
        total[..., :-1, :] += self.down * mask[..., 1:, :]
        total[..., :, 1:] += self.right * mask[..., :, :-1]
        total[..., :, :-1] += self.right * mask[..., :, 1:]
        return total

    def of(self, mask: torch.Tensor) -> torch.Tensor:
        """Compute the energy (..., B) of masks (..., B, n, n) of 0, 1/2 and 1."""
        chosen = (mask * (LEVELS - 1)).long().unsqueeze(-3)
        alone = self.level.expand(*mask.shape[:-2], LEVELS, *mask.shape[-2:]).gather(-3, chosen)
        down = self.down * (mask[..., 1:, :] - mask[..., :-1, :]) ** 2
        right = self.right * (mask[..., :, 1:] - mask[..., :, :-1]) ** 2
        return alone.sum((-3, -2, -1)) + down.sum((-2, -1)) + right.sum((-2, -1))


def pooled_saliency(saliency: torch.Tensor, blocks: int) -> torch.Tensor:
    """Sum an image's saliency over each block, (B, n, n), to a total of 1; without any, 0 in each."""
    pooled = F.adaptive_avg_pool2d(saliency[:, None], blocks)[:, 0]
    return pooled / pooled.sum((1, 2), keepdim=True).clamp_min(torch.finfo(pooled.dtype).tiny)


def energy_of(
    images: torch.Tensor, others: torch.Tensor, salient: torch.Tensor, other_salient: torch.Tensor, part: torch.Tensor
) -> Energy:
    """Compute the energy of masks that show the image where they are 1 and the other where they are 0.

    What is not seen costs its saliency; neighbours cost where their masks differ, and where colours jump between what
    is seen of them; and a mask costs the more, the less its area is that which was drawn.

    Args:
        images, others: (B, 3, H, W) float in [0, 1].
        salient, other_salient: (B, n, n), of sum 1.
        part: (B,) in [0, 1], of the image's own.
    Source: Kim et al., Puzzle Mix, ICML 2020; the official code's mixup_graph and graphcut_multi.
    """
    blocks = salient.shape[1]
    smoothness = SMOOTHNESS / blocks / 16
    own = other_salient.clone()  # the cost of z = 1, without that of its area
    other = salient.clone()
    weights = []
    for turned in (False, True):  # pairs one below the other, then side by side
        seen = [jump.transpose(1, 2) if turned else jump for jump in jumps(images, others, blocks, turned=turned)]
        both_own, own_first, other_first, both_other = (smoothness * LOCALLY * jump for jump in seen)
        first, second = (
            ((..., slice(None, -1)), (..., slice(1, None)))
            if turned
            else (
                (..., slice(None, -1), slice(None)),
                (..., slice(1, None), slice(None)),
            )
        )
        own[first] += (own_first + both_own) / 2
        other[first] += (other_first + both_other) / 2
        own[second] += (other_first + both_own) / 2
        other[second] += (own_first + both_other) / 2
        weights.append((own_first + other_first - both_own - both_other) / 2 + smoothness)
    part = part[:, None, None]
    areas = ((1 - part) ** 2, 2 * part * (1 - part), part**2)
    level = [
        own * z + other * (1 - z) - PRIOR / blocks**2 * torch.log(area + TINY)
        for z, area in zip((0, 0.5, 1), areas, strict=True)
    ]
    return Energy(torch.stack(level, dim=1), *weights)


def jumps(images: torch.Tensor, others: torch.Tensor, blocks: int, *, turned: bool) -> list[torch.Tensor]:
    """Compute how much colour jumps across each edge between a block and the one below (turned: to its right).

    Returns: four of (B, n - 1, n), turned with the roles of rows and columns exchanged: where both blocks are the
        image's own, the first only, the second only, neither.
    """
    times = max(min(images.shape[-2:]) // blocks // NEIGHBOURHOOD, 1)
    pools = [F.adaptive_avg_pool2d(image, blocks * times) for image in (images, others)]
    own, other = (pool.transpose(2, 3) if turned else pool for pool in pools)
    above, below = slice(times - 1, -1, times), slice(times, None, times)
    return [
        F.avg_pool2d((first[:, :, above] - second[:, :, below]).abs().mean(1), (1, times))
        for first, second in ((own, own), (own, other), (other, own), (other, other))
    ]


def least(energy: Energy) -> torch.Tensor:
    """Find a mask of low energy, (B, n, n) of 0, 1/2 and 1.

    Iterated conditional modes: every second block takes the level that is best beside its neighbours, then the others,
    n times over; from four starts, of which the best is kept. The official code has graph cuts of one image at a time.

    Source: Besag, On the Statistical Analysis of Dirty Pictures, 1986, section 2.5.
    """
    blocks = energy.level.shape[-1]
    alone = energy.level.argmin(1) / (LEVELS - 1)
    mask = torch.stack((alone, *(torch.full_like(alone, z) for z in (0, 0.5, 1))))
    weight = energy.neighbours(torch.ones_like(alone))
    # what half and all of the image cost more than none of it, while the neighbours have none
    half, all_ = (energy.level[:, z] - energy.level[:, 0] + weight * (z / 2) ** 2 for z in (1, 2))
    side = torch.arange(blocks, device=mask.device)
    dark = (side[:, None] + side) % 2 == 0
    for _ in range(blocks):
        for turn in (dark, ~dark):
            pull = energy.neighbours(mask)
            more_half, more_all = half - pull, all_ - 2 * pull
            some = torch.where(more_half <= more_all, 0.5, 1.0)
            mask = torch.where(turn, torch.where(torch.minimum(more_half, more_all) < 0, some, 0.0), mask)
    start = energy.of(mask).argmin(0)
    return mask.gather(0, start[None, :, None, None].expand(1, *mask.shape[1:]))[0]


def origins(salient: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
    """Choose where each block of an image comes from, so that salient blocks are seen and move little.

    Each block bids for its best place; of those that bid for the same, the best gets it, and the others pay more for
    it from then on; n times over. A place that nobody got in the last round keeps its own block, where the official
    code leaves it black.

    Args:
        salient: (B, n, n), of sum 1.
        shown: (B, n, n), how much of a block will be seen.
    Returns: (B, n * n) int64.
    Source: Kim et al., Puzzle Mix, ICML 2020, algorithm 1; the official code's mask_transport.
    """
    blocks = salient.shape[1]
    place = torch.arange(blocks**2, device=salient.device)
    row, column = place // blocks, place % blocks
    away = ((row[:, None] - row) ** 2 + (column[:, None] - column) ** 2) / (blocks - 1) ** 2
    cost = DISTANCE * away - salient.flatten(1)[:, :, None] * (shown.flatten(1) > 0)[:, None, :]
    size = (len(salient), blocks**2)
    for _ in range(blocks):
        price, choice = cost.min(2)
        lowest = torch.full(size, torch.inf, device=cost.device).scatter_reduce(1, choice, price, "amin")
        asking = torch.where(price == lowest.gather(1, choice), place, blocks**2)
        winner = torch.full(size, blocks**2, device=cost.device).scatter_reduce(1, choice, asking, "amin")
        lost = (winner.gather(1, choice) != place).to(cost.dtype)
        cost.scatter_add_(2, choice[:, :, None], lost[:, :, None])  # no saving is worth 1
    return torch.where(winner < blocks**2, winner, place)


def moved(images: torch.Tensor, origin: torch.Tensor, blocks: int) -> torch.Tensor:
    """Take each image's blocks from their origins (B, n * n)."""
    height, width = images.shape[-2:]
    (row, from_row), (column, from_column) = (_blocks_of(pixels, blocks, images.device) for pixels in (height, width))
    source = origin[:, row[:, None] * blocks + column]
    rows, columns = torch.arange(height, device=images.device)[:, None], torch.arange(width, device=images.device)
    # of blocks of different sizes the last pixel may be beyond the image
    rows = (rows - from_row[row][:, None] + from_row[source // blocks]).clamp(max=height - 1)
    columns = (columns - from_column[column] + from_column[source % blocks]).clamp(max=width - 1)
    image = torch.arange(len(images), device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[image, rows, columns].permute(0, 3, 1, 2)


def enlarged(mask: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Enlarge a mask (B, n, n) of blocks to one of pixels, (B, H, W)."""
    blocks = mask.shape[1]
    row, column = (_blocks_of(pixels, blocks, mask.device)[0] for pixels in (height, width))
    return mask[:, row[:, None], column]


def _blocks_of(pixels: int, blocks: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Number the block of each pixel of a side, (pixels,), and the first pixel of each block, (n,)."""
    place = torch.arange(pixels, device=device)
    return place * blocks // pixels, -(-torch.arange(blocks, device=device) * pixels // blocks)
