"""Augmentations that paste boxes and crops of other images of the batch into each; needs no saliency.

Each image has partners and places of its own, and stays the first of those that are mixed. A lone image stays as it is.
The parts of a mixed label are the areas that are seen.
"""

import dataclasses

import torch
import torch.nn.functional as F

from proxy_attention.augment.batch import Augmentation, Batch, Task, per_image, with_partner
from proxy_attention.augment.fields import Boxes, beta, boxes_of_area, partner_ring, whole

CUTMIX_ALPHA = 1.0
"""Yun et al.: parts are uniform in all their experiments."""
RESIZE_LOWEST, RESIZE_HIGHEST = 0.1, 0.8
"""Qin et al.: the sides of the small image, as a part of the large one's."""
RICAP_BETA = 0.3
"""Takahashi et al., on CIFAR and ImageNet."""


def paste_box(images: torch.Tensor, partner: torch.Tensor, boxes: Boxes) -> torch.Tensor:
    """Take the partner's pixels within each box, the image's own elsewhere.

    Source: Yun et al., CutMix, ICCV 2019, equation 1.
    """
    return torch.where(boxes.inside(*images.shape[-2:])[:, None], images[partner], images)


def cutmix(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
    """Paste a box of another image into each, at the same place, cut at the border.

    Args:
        draws: (B, 4): partner, part, the row and the column of the middle.
    Source: Yun et al., CutMix, ICCV 2019, equations 1 and 2.
    """
    height, width = batch.images.shape[-2:]
    partner = partner_ring(draws[:, 0])
    boxes = boxes_of_area(
        whole(draws[:, 2], height),
        whole(draws[:, 3], width),
        1 - beta(draws[:, 1], CUTMIX_ALPHA),
        height=height,
        width=width,
    )
    images = paste_box(batch.images, partner, boxes)
    return with_partner(batch, images, partner, 1 - boxes.share(height, width), task)


def resizemix(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
    """Paste the whole of another image, made small, onto each.

    Args:
        draws: (B, 4): partner, size, the row and the column.
    Source: Qin et al., ResizeMix, 2020, section 3; the small image lies wholly within the large one.
    """
    height, width = batch.images.shape[-2:]
    partner = partner_ring(draws[:, 0])
    side = RESIZE_LOWEST + (RESIZE_HIGHEST - RESIZE_LOWEST) * draws[:, 1]
    high, wide = ((pixels * side).long().clamp(min=1) for pixels in (height, width))
    top, left = whole(draws[:, 2], height - high + 1), whole(draws[:, 3], width - wide + 1)
    boxes = Boxes(top, top + high, left, left + wide)
    images = paste_small(batch.images, partner, boxes)
    return with_partner(batch, images, partner, 1 - boxes.share(height, width), task)


def paste_small(images: torch.Tensor, partner: torch.Tensor, boxes: Boxes) -> torch.Tensor:
    """Resize the whole of each partner bilinearly into the box of its image."""
    height, width = images.shape[-2:]
    rows = (torch.arange(height, device=images.device) - boxes.top[:, None] + 0.5) / (boxes.bottom - boxes.top)[:, None]
    columns = (torch.arange(width, device=images.device) - boxes.left[:, None] + 0.5) / (boxes.right - boxes.left)[
        :, None
    ]
    shape = (len(images), height, width)
    grid = torch.stack((columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)), dim=3) * 2 - 1
    small = F.grid_sample(images[partner], grid, mode="bilinear", padding_mode="border", align_corners=False)
    return torch.where(boxes.inside(height, width)[:, None], small, images)


def ricap(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
    """Set crops of four images around a random point, the first of them the image's own; label by their areas.

    Args:
        draws: (B, 13): three partners, the row and the column of the point, the rows and the columns of the four crops.
    Source: Takahashi et al., RICAP, ACML 2018, section 3.
    """
    height, width = batch.images.shape[-2:]
    itself = torch.arange(len(batch), device=draws.device)
    sources = torch.stack((itself, *(partner_ring(draws[:, ring]) for ring in range(3))), dim=1)
    point = (
        (beta(draws[:, 3], RICAP_BETA) * height).round().long(),
        (beta(draws[:, 4], RICAP_BETA) * width).round().long(),
    )
    images, parts = patched(batch.images, sources, point, draws[:, 5:9], draws[:, 9:13])
    labels = F.one_hot(batch.labels, task.classes).to(torch.float32)
    return dataclasses.replace(batch, images=images, mixed=(labels[sources] * parts[:, :, None]).sum(1))


def patched(
    images: torch.Tensor,
    sources: torch.Tensor,
    point: tuple[torch.Tensor, torch.Tensor],
    row_draws: torch.Tensor,
    column_draws: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Set four crops around a point: above left, above right, below left, below right.

    Args:
        sources: (B, 4) int64, whose crop it is.
        point: row and column, (B,) int64 each, of the first pixel below and right of it.
        row_draws, column_draws: (B, 4), where each crop is taken from.
    Returns: images like those given; (B, 4) float32, the part of each crop.
    """
    (height, width), (row, column) = images.shape[-2:], point
    high = torch.stack((row, row, height - row, height - row), dim=1)
    wide = torch.stack((column, width - column, column, width - column), dim=1)
    zero = torch.zeros_like(row)
    # from a pixel's place in the patchwork to its place in the image it is taken from
    down = whole(row_draws, height - high + 1) - torch.stack((zero, zero, row, row), dim=1)
    right = whole(column_draws, width - wide + 1) - torch.stack((zero, column, zero, column), dim=1)
    rows = torch.arange(height, device=images.device)[:, None]
    columns = torch.arange(width, device=images.device)
    which = 2 * (rows >= row[:, None, None]) + (columns >= column[:, None, None]).long()
    of = [values.gather(1, which.flatten(1)).view_as(which) for values in (sources, down, right)]
    patchwork = images.permute(0, 2, 3, 1)[of[0], rows + of[1], columns + of[2]].permute(0, 3, 1, 2)
    return patchwork, (high * wide).to(torch.float32) / (height * width)


PASTING: dict[str, Augmentation] = {
    "cutmix": per_image(
        cutmix, columns=4, what="a box of another image in each, labels by area", source="Yun et al., ICCV 2019; ours"
    ),
    "resizemix": per_image(
        resizemix,
        columns=4,
        what="the whole of another image, made small, on each, labels by area",
        source="Qin et al., 2020; ours",
    ),
    "ricap": per_image(
        ricap,
        columns=13,
        what="crops of four images side by side, four labels by area",
        source="Takahashi et al., ACML 2018; ours",
    ),
}
"""The augmentations that paste parts of other images."""
