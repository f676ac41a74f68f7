"""Augmentations that mix the images of a batch and their labels; needs no saliency.

Each image has a partner of its own and a part of its own (timm calls that ``mode="elem"``), and stays the first of
those that are mixed. A lone image stays as it is. Of a mixed label the parts are those that are really seen.
"""

import dataclasses
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from proxy_attention.augment.batch import Augmentation, Batch, Task
from proxy_attention.augment.fields import Boxes, beta, boxes_of_area, normal_field, partner_ring, whole

MIXUP_ALPHA = 1.0
"""Zhang et al., on CIFAR; on ImageNet they found 0.1 to 0.4 best."""
CUTMIX_ALPHA = 1.0
"""Yun et al.: parts are uniform in all their experiments."""
RESIZE_LOWEST, RESIZE_HIGHEST = 0.1, 0.8
"""Qin et al.: the sides of the small image, as a part of the large one's."""
RICAP_BETA = 0.3
"""Takahashi et al., on CIFAR and ImageNet."""
PAIRED_PART = 0.8
"""Inoue: 8 epochs of 10 are with pairs."""
SMOOTH_LOWEST, SMOOTH_HIGHEST = 0.25, 0.5
"""Lee et al.: the deviation of the gaussian mask, in sides of the image."""
COW_FINEST, COW_COARSEST = 4 / 32, 16 / 32
"""French et al.: the deviation of the filter on CIFAR, 4 to 16 of 32 pixels."""
COW_LEAST, COW_MOST = 0.2, 0.8
"""French et al., their code's ``mix_cow_prop_range``: which part of the image is the partner's."""
REMIX_KAPPA, REMIX_TAU = 3, 0.5
"""Chou et al.: how many times as large a class must be, and below which part of it."""


def per_image(
    mix: Callable[[Batch, torch.Tensor, Task], Batch],
    *,
    columns: int,
    what: str,
    source: str,
    passes: int = 0,
    saliency_methods: tuple[str, ...] = (),
) -> Augmentation:
    """A row that mixes each image with others of its batch; a lone image stays as it is."""

    def apply(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
        return mix(batch, draws, task) if len(batch) > 1 else batch

    return Augmentation(what, source, columns, apply, mixes=True, passes=passes, saliency_methods=saliency_methods)


def mixed_labels(labels: torch.Tensor, partner: torch.Tensor, part: torch.Tensor, *, classes: int) -> torch.Tensor:
    """How much of each class is in each image, (B, C) float32: ``part`` (B,) of its own, the rest of its partner's."""
    own = F.one_hot(labels, classes).to(torch.float32)
    return own * part[:, None] + own[partner] * (1 - part[:, None])


def with_partner(batch: Batch, images: torch.Tensor, partner: torch.Tensor, part: torch.Tensor, task: Task) -> Batch:
    """These images, ``part`` (B,) of each its own, the rest its partner's."""
    mixed = mixed_labels(batch.labels, partner, part, classes=task.classes)
    return dataclasses.replace(batch, images=images, mixed=mixed)


def blend(images: torch.Tensor, partner: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """``part`` (B,) times each image, and the rest of its partner.

    Source: Zhang et al., mixup, ICLR 2018, section 2.
    """
    part = part[:, None, None, None]
    return images * part + images[partner] * (1 - part)


def paste_box(images: torch.Tensor, partner: torch.Tensor, boxes: Boxes) -> torch.Tensor:
    """The partner's pixels within each box, the image's own elsewhere.

    Source: Yun et al., CutMix, ICCV 2019, equation 1.
    """
    return torch.where(boxes.inside(*images.shape[-2:])[:, None], images[partner], images)


def mixup(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
    """Each image and its label blended with another's.

    Args:
        draws: (B, 2): partner, part.
    Source: Zhang et al., mixup, ICLR 2018, section 2.
    """
    partner, part = partner_ring(draws[:, 0]), beta(draws[:, 1], MIXUP_ALPHA)
    return with_partner(batch, blend(batch.images, partner, part), partner, part, task)


def remix(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
    """As mixup; but of a frequent and a rare class, an image that is mostly the rare one's is of the rare class alone.

    Args:
        draws: (B, 2): partner, part.
    """
    partner, part = partner_ring(draws[:, 0]), beta(draws[:, 1], MIXUP_ALPHA)
    counts = task.class_counts[batch.labels]
    labelled = rebalanced(part, counts, counts[partner])
    return with_partner(batch, blend(batch.images, partner, part), partner, labelled, task)


def rebalanced(part: torch.Tensor, count: torch.Tensor, count_of_partner: torch.Tensor) -> torch.Tensor:
    """How much of its own label an image keeps, (B,), of which ``part`` is its own.

    Args:
        count, count_of_partner: (B,) int64, training images of the two classes.
    Source: Chou et al., Remix: Rebalanced Mixup, ECCV workshops 2020, the three cases of lambda_y.
    """
    to_partner = (count >= REMIX_KAPPA * count_of_partner) & (part < REMIX_TAU)
    to_own = (count_of_partner >= REMIX_KAPPA * count) & (1 - part < REMIX_TAU)
    return torch.where(to_partner, 0.0, torch.where(to_own, 1.0, part))


def samplepairing(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
    """Four of five images averaged with another one; the label stays that of the first, whole.

    The paper switches pairing off for 2 epochs of 10, before the first epochs and for the last. A row knows no epoch:
    here each image is left alone one time in five instead, from the first epoch to the last.

    Args:
        draws: (B, 2): partner, and whether there is one.
    Source: Inoue, Data Augmentation by Pairing Samples, 2018, section 3.
    """
    half = torch.full_like(draws[:, 0], 0.5)
    part = torch.where(draws[:, 1] < PAIRED_PART, half, 1.0)
    return batch.with_images(blend(batch.images, partner_ring(draws[:, 0]), part))


def cutmix(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
    """A box of another image in each, at the same place, cut at the border.

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
    """The whole of another image, made small, on each.

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
    """The whole of each partner, resized bilinearly into the box of its image."""
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
    """Crops of four images around a random point, the first of them of the image itself; four labels by their areas.

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
    """Four crops around a point: above left, above right, below left, below right.

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


def smoothmix(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
    """Another image shining through a gaussian spot, without an edge.

    Args:
        draws: (B, 4): partner, the spot's size, the row and the column of its middle.
    Source: Lee et al., SmoothMix, CVPR workshops 2020, section 3.
    """
    height, width = batch.images.shape[-2:]
    partner = partner_ring(draws[:, 0])
    deviation = (SMOOTH_LOWEST + (SMOOTH_HIGHEST - SMOOTH_LOWEST) * draws[:, 1]) * min(height, width)
    spot = bell(draws[:, 2], height, deviation)[:, :, None] * bell(draws[:, 3], width, deviation)[:, None, :]
    return seen_through(batch, partner, spot, task)


def bell(middle: torch.Tensor, pixels: int, deviation: torch.Tensor) -> torch.Tensor:
    """A gaussian of height 1 along a side, (B, pixels); its middle (B,) runs from 0 to 1 over the side."""
    away = torch.arange(pixels, device=middle.device) + 0.5 - (middle * pixels)[:, None]
    return torch.exp(-0.5 * (away / deviation[:, None]) ** 2)


def seen_through(batch: Batch, partner: torch.Tensor, mask: torch.Tensor, task: Task) -> Batch:
    """Each image with its partner seen as far as the mask (B, H, W) in [0, 1] lets it; the label by the mask's mean."""
    images = torch.lerp(batch.images, batch.images[partner], mask[:, None])
    return with_partner(batch, images, partner, 1 - mask.mean((1, 2)), task)


def cowmask(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
    """Another image in patches like those of a cow: smoothed noise, above and below a level.

    Args:
        draws: (B, 4): partner, smoothness, level, noise.
    """
    height, width = batch.images.shape[-2:]
    partner = partner_ring(draws[:, 0])
    finest, coarsest = (math.log(side * min(height, width)) for side in (COW_FINEST, COW_COARSEST))
    deviation = torch.exp(finest + (coarsest - finest) * draws[:, 1])
    part = COW_LEAST + (COW_MOST - COW_LEAST) * draws[:, 2]
    mask = cow_mask(normal_field(draws[:, 3], (height, width)), deviation, part)
    return seen_through(batch, partner, mask, task)


def cow_mask(noise: torch.Tensor, deviation: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """Where smoothed noise is below its quantile, were it normal: (B, H, W) float32 of 0 and 1.

    Args:
        noise: (B, H, W), normal.
        deviation: (B,) pixels, of the gaussian filter; beyond the border the noise is 0.
        part: (B,) in (0, 1), how much of the mask is 1; of a coarse mask more or less than that.
    Source: French et al., Milking CowMask, 2020, algorithm 1.
    """
    for side in (1, 2):
        place = torch.arange(noise.shape[side], device=noise.device)
        # the filter along this side as a matrix: one product for all images, each with its own deviation
        kernel = torch.exp(-0.5 * ((place[:, None] - place) / deviation[:, None, None]) ** 2)
        noise = kernel @ noise if side == 1 else noise @ kernel
    smooth = noise.flatten(1)
    level = smooth.mean(1) + smooth.std(1, correction=0) * torch.special.ndtri(part)
    mask: torch.Tensor = noise <= level[:, None, None]
    return mask.to(torch.float32)


MIXING: dict[str, Augmentation] = {
    "mixup": per_image(
        mixup, columns=2, what="each image and its label blended with another's", source="Zhang et al., ICLR 2018; ours"
    ),
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
    "samplepairing": per_image(
        samplepairing,
        columns=2,
        what="four of five images averaged with another, the label unchanged; in every epoch, where the paper pauses",
        source="Inoue, 2018; ours",
    ),
    "smoothmix": per_image(
        smoothmix,
        columns=4,
        what="another image through a gaussian spot, labels by its mean",
        source="Lee et al., CVPR workshops 2020; ours",
    ),
    "cowmask": per_image(
        cowmask,
        columns=4,
        what="another image in irregular patches of smoothed noise, labels by area",
        source="French et al., 2020; ours",
    ),
    "remix": per_image(
        remix,
        columns=2,
        what="mixup whose label leans to the rarer class, for imbalanced classes",
        source="Chou et al., ECCV workshops 2020; ours",
    ),
}
"""The augmentations that mix images."""
