"""Augmentations that keep, paste or label by the saliency of the model in training; knows no architecture.

The saliency is of the image's own label: a map of that class, or the gradient of the loss.
"""

import dataclasses

import torch
import torch.nn.functional as F

from proxy_attention.augment.batch import Augmentation, Batch, Task, per_image, with_partner
from proxy_attention.augment.erasing import CUTOUT_SIDE, own_mean
from proxy_attention.augment.fields import Boxes, boxes_of_area, partner_ring, uniform_field, whole

KEEP_QUANTILE = 0.6
"""Gong et al., section 4: a box is cut where at most this part of all boxes is less important."""

SNAP_DRAWS = 9
"""Huang et al.'s command for CUB draws areas from Beta(5, 5): that is the fifth of nine uniform numbers."""

SNAP_LEAST = 1e-3
"""An image that shows less than this of both maps has no label left: it is labelled by its pixels."""

# Walawalkar et al., sections 2 and 3: six cells of the 7 x 7 that a ResNet-50 has of 224 pixels
ATTENDED_CELLS, ATTENDED_GRID = 6, 7


def keepaugment(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
    """Fill a square that matters little with the mean: one whose gradients are among the lowest 60 percent.

    It is the paper's selective cut, which needs no other augmentation. The paper draws squares until one is below the
    quantile; here one of those below is drawn. Importance is the norm of the gradient of the loss over the channels,
    where the paper has the largest of the logit's, and it is taken at full size: some models take no smaller image.
    What an image becomes does not depend on its batch but for rounding: two squares nearly alike may change places.

    Args:
        draws: (B, 1): which square.
    Source: Gong et al., KeepAugment, CVPR 2021, equations 1 and 2.
    """
    height, width = batch.images.shape[-2:]
    side = int(CUTOUT_SIDE * min(height, width))
    box = spared(task.saliency.gradients(batch.images, batch.labels), draws[:, 0], side=side).inside(height, width)
    return batch.with_images(torch.where(box[:, None], own_mean(batch.images), batch.images))


def spared(importance: torch.Tensor, draws: torch.Tensor, *, side: int) -> Boxes:
    """Draw a square of each image among those of little importance; of equal importance, all may be drawn.

    Args:
        importance: (B, H, W) float32 >= 0.
        draws: (B,).
    """
    one = importance[:, None]
    scores = F.avg_pool2d(F.avg_pool2d(one, (side, 1), stride=1), (1, side), stride=1)[:, 0]
    sums, order = scores.flatten(1).sort(dim=1, stable=True)
    last = max(int(KEEP_QUANTILE * sums.shape[1]) - 1, 0)
    allowed = (sums <= sums[:, last : last + 1]).sum(dim=1)
    # in a diverged model no number is below another: then, too, an error must not come from here
    rank = (draws * allowed).long().minimum(allowed - 1).clamp(min=0)
    chosen = order.gather(1, rank[:, None])[:, 0]
    top, left = chosen // scores.shape[2], chosen % scores.shape[2]
    return Boxes(top=top, bottom=top + side, left=left, right=left + side)


def snapmix(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
    """Paste a box of another image, scaled, into a box elsewhere; label by the share of each map that is seen.

    The parts need not sum to 1: their code doubles them where both are of one class, their paper does not. Maps are
    GradCAM's, without the negative part that the paper shifts up.

    Args:
        draws: (B, 7): partner; area, row and column of the box here; of the box there.
    Source: Huang et al., SnapMix, AAAI 2021, section 3; what a flat map gives is their code's.
    """
    height, width = batch.images.shape[-2:]
    partner = partner_ring(draws[:, 0])
    here, there = (snap_boxes(draws[:, first : first + 3], height=height, width=width) for first in (1, 4))
    maps = task.saliency.class_maps(batch.images, batch.labels)
    hidden, flat = seen_share(maps, here, height=height, width=width)
    shown, flat_there = seen_share(maps[partner], there, height=height, width=width)
    area = here.share(height, width)
    own, other = 1 - torch.where(flat, area, hidden), torch.where(flat_there, area, shown)
    nothing = own + other < SNAP_LEAST
    own, other = torch.where(nothing, 1 - area, own).clamp(min=0), torch.where(nothing, area, other)
    labels = F.one_hot(batch.labels, task.classes).to(torch.float32)
    mixed = labels * own[:, None] + labels[partner] * other[:, None]
    return dataclasses.replace(batch, images=paste_scaled(batch.images, partner, here, there), mixed=mixed)


def snap_boxes(draws: torch.Tensor, *, height: int, width: int) -> Boxes:
    """Draw boxes of at least a pixel, from draws (B, 3) for area, row and column."""
    area = uniform_field(draws[:, 0], (SNAP_DRAWS,)).sort(dim=1).values[:, SNAP_DRAWS // 2]
    area = area.clamp(min=4 / min(height, width) ** 2)  # two pixels a side, lest rounding makes one none
    return boxes_of_area(whole(draws[:, 1], height), whole(draws[:, 2], width), area, height=height, width=width)


def seen_share(maps: torch.Tensor, boxes: Boxes, *, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the share of each map that lies in its box, and say which maps are flat.

    Maps are scaled up to the image and to a sum of 1.

    Args:
        maps: (B, h, w) float32.
    Returns: (B,) float32 in [0, 1], 0 for a flat map; and (B,) bool.
    Source: Huang et al., equations 1 and 4.
    """
    low = maps.amin((1, 2), keepdim=True)
    flat = maps.amax((1, 2), keepdim=True) <= low
    large = F.interpolate(maps[:, None], size=(height, width), mode="bilinear", align_corners=False)[:, 0]
    large = torch.where(flat, 0.0, large - large.amin((1, 2), keepdim=True))
    inside = (large * boxes.inside(height, width)).sum((1, 2))
    share = inside / large.sum((1, 2)).clamp(min=torch.finfo(torch.float32).tiny)
    return share.clamp(max=1), flat[:, 0, 0]


def paste_scaled(images: torch.Tensor, partner: torch.Tensor, here: Boxes, there: Boxes) -> torch.Tensor:
    """Scale the pixels of the partner's box bilinearly, so that its corners fall on those of the box here."""
    height, width = images.shape[-2:]
    from_row = _source(here.top, here.bottom, there.top, there.bottom, side=height)
    from_column = _source(here.left, here.right, there.left, there.right, side=width)
    shape = (len(images), height, width)
    grid = torch.stack((from_column[:, None, :].expand(shape), from_row[:, :, None].expand(shape)), dim=3)
    scaled = F.grid_sample(images[partner], grid.to(images.dtype), padding_mode="border", align_corners=True)
    return torch.where(here.inside(height, width)[:, None], scaled.clamp(0, 1), images)


def _source(
    low: torch.Tensor, high: torch.Tensor, low_there: torch.Tensor, high_there: torch.Tensor, *, side: int
) -> torch.Tensor:
    """Compute where each pixel of a side comes from, (B, side) in [-1, 1] from the image's first pixel to its last."""
    steps, steps_there = (high - low - 1).clamp(min=1), (high_there - low_there - 1).clamp(min=0)
    place = torch.arange(side, device=low.device) - low[:, None]
    source = low_there[:, None] + place * steps_there[:, None] / steps[:, None]
    return source * (2 / (side - 1)) - 1


def attentive_cutmix(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
    """Paste the six cells of a 7 x 7 grid in which another image's class is seen most, at their own place.

    The paper takes the map of a second, pretrained network; here it is the model in training. Where 7 does not divide
    a side, cells differ by a pixel; the label counts the pixels that are pasted.

    Args:
        draws: (B, 2): partner; which of equally attended cells.
    Source: Walawalkar et al., Attentive CutMix, ICASSP 2020, section 2, equation 1.
    """
    height, width = batch.images.shape[-2:]
    partner = partner_ring(draws[:, 0])
    cells = most_attended(task.saliency.class_maps(batch.images, batch.labels)[partner], draws[:, 1])
    rows, columns = (torch.arange(side, device=cells.device) * ATTENDED_GRID // side for side in (height, width))
    pasted = cells[:, rows][:, :, columns]
    images = torch.where(pasted[:, None], batch.images[partner], batch.images)
    return with_partner(batch, images, partner, 1 - pasted.float().mean((1, 2)), task)


def most_attended(maps: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Choose the six highest cells of each map, scaled to 7 x 7, as (B, 7, 7) bool; of equal cells draw.

    Args:
        maps: (B, h, w) float32.
        draws: (B,).
    """
    size = (ATTENDED_GRID, ATTENDED_GRID)
    above = maps - maps.amin((1, 2), keepdim=True)  # scaling leaves zeros equal, of other numbers it may round each
    cells = F.interpolate(above[:, None], size=size, mode="bilinear", antialias=True).flatten(1)
    shuffled = uniform_field(draws, (cells.shape[1],)).argsort(dim=1, stable=True)
    order = cells.gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    chosen = shuffled.gather(1, order[:, :ATTENDED_CELLS])
    return torch.zeros_like(cells, dtype=torch.bool).scatter_(1, chosen, True).view(-1, *size)


ATTENTIVE: dict[str, Augmentation] = {
    "keepaugment": Augmentation(
        what="cutout of a square that the loss depends on little",
        source="Gong et al., CVPR 2021 (selective cut); ours",
        columns=1,
        apply=keepaugment,
        passes=2,
        saliency_methods=("saliency",),
    ),
    "snapmix": per_image(
        snapmix,
        columns=7,
        what="a box of another image scaled into a box elsewhere; labels by the share of each map that is seen",
        source="Huang et al., AAAI 2021; ours",
        passes=1,
        saliency_methods=("gradcam",),
    ),
    "attentive-cutmix": per_image(
        attentive_cutmix,
        columns=2,
        what="the six cells of 7 x 7 that the model looks at most, pasted from another image",
        source="Walawalkar et al., ICASSP 2020; ours",
        passes=1,
        saliency_methods=("gradcam",),
    ),
}
"""The augmentations that use the saliency of the model in training."""
