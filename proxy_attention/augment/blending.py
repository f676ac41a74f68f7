"""Augmentations that blend each image of a batch with another, evenly or through a mask; needs no saliency.

Each image has a partner of its own and a part of its own (timm calls that ``mode="elem"``). A lone image stays as it
is. The parts of a mixed label are those that are seen.
"""

import math

import torch

from proxy_attention.augment.batch import Augmentation, Batch, Task, per_image, with_partner
from proxy_attention.augment.fields import beta, normal_field, partner_ring

MIXUP_ALPHA = 1.0
"""Zhang et al., on CIFAR; on ImageNet they found 0.1 to 0.4 best."""
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


def blend(images: torch.Tensor, partner: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """Add ``part`` (B,) of each image and the rest of its partner.

    Source: Zhang et al., mixup, ICLR 2018, section 2.
    """
    part = part[:, None, None, None]
    return images * part + images[partner] * (1 - part)


def mixup(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
    """Blend each image and its label with another's.

    Args:
        draws: (B, 2): partner, part.
    Source: Zhang et al., mixup, ICLR 2018, section 2.
    """
    partner, part = partner_ring(draws[:, 0]), beta(draws[:, 1], MIXUP_ALPHA)
    return with_partner(batch, blend(batch.images, partner, part), partner, part, task)


def remix(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
    """Blend as mixup does; an image that is mostly of a class much rarer than the other's is labelled as that alone.

    Args:
        draws: (B, 2): partner, part.
    """
    partner, part = partner_ring(draws[:, 0]), beta(draws[:, 1], MIXUP_ALPHA)
    counts = task.class_counts[batch.labels]
    labelled = rebalanced(part, counts, counts[partner])
    return with_partner(batch, blend(batch.images, partner, part), partner, labelled, task)


def rebalanced(part: torch.Tensor, count: torch.Tensor, count_of_partner: torch.Tensor) -> torch.Tensor:
    """Compute which part of its own label an image keeps, (B,), of which ``part`` is its own.

    Args:
        count, count_of_partner: (B,) int64, training images of the two classes.
    Source: Chou et al., Remix: Rebalanced Mixup, ECCV workshops 2020, the three cases of lambda_y.
    """
    to_partner = (count >= REMIX_KAPPA * count_of_partner) & (part < REMIX_TAU)
    to_own = (count_of_partner >= REMIX_KAPPA * count) & (1 - part < REMIX_TAU)
    return torch.where(to_partner, 0.0, torch.where(to_own, 1.0, part))


def samplepairing(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
    """Average four of five images with another; the label stays whole, that of the first.

    The paper switches pairing off for 2 epochs of 10, before the first epochs and for the last. A row knows no epoch:
    here each image is left alone one time in five instead, from the first epoch to the last.

    Args:
        draws: (B, 2): partner, and whether there is one.
    Source: Inoue, Data Augmentation by Pairing Samples, 2018, section 3.
    """
    half = torch.full_like(draws[:, 0], 0.5)
    part = torch.where(draws[:, 1] < PAIRED_PART, half, 1.0)
    return batch.with_images(blend(batch.images, partner_ring(draws[:, 0]), part))


def smoothmix(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
    """Let another image shine through a gaussian spot, without an edge.

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
    """Compute a gaussian of height 1 along a side, (B, pixels); its middle (B,) runs from 0 to 1 over the side."""
    away = torch.arange(pixels, device=middle.device) + 0.5 - (middle * pixels)[:, None]
    return torch.exp(-0.5 * (away / deviation[:, None]) ** 2)


def seen_through(batch: Batch, partner: torch.Tensor, mask: torch.Tensor, task: Task) -> Batch:
    """Show the partner as far as the mask (B, H, W) in [0, 1] lets it through; label by the mask's mean."""
    images = torch.lerp(batch.images, batch.images[partner], mask[:, None])
    return with_partner(batch, images, partner, 1 - mask.mean((1, 2)), task)


def cowmask(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
    """Show another image in patches like those of a cow: where smoothed noise is below a level.

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
    """Mark where smoothed noise is below its quantile, were it normal: (B, H, W) float32 of 0 and 1.

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


BLENDING: dict[str, Augmentation] = {
    "mixup": per_image(
        mixup, columns=2, what="each image and its label blended with another's", source="Zhang et al., ICLR 2018; ours"
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
"""The augmentations that blend whole images."""
