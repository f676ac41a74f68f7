"""Augmentations that mix images by saliency: the contrasts of the images, or the model's gradients."""

import torch
import torch.nn.functional as F

from proxy_attention.augment.batch import Augmentation, Batch, Task, per_image, with_partner
from proxy_attention.augment.fields import beta, boxes_of_area, partner_ring
from proxy_attention.augment.pasting import paste_box
from proxy_attention.augment.puzzle import energy_of, enlarged, least, moved, origins, pooled_saliency

SALIENCYMIX_ALPHA = 1.0
"""Uddin et al.: as CutMix."""
PUZZLE_ALPHA = 1.0
"""Kim et al., the official code's mixup_alpha."""
PUZZLE_BLOCKS = (2, 4, 8, 16)
"""Its block_num: blocks on a side, each as likely."""
SURROUNDS = (12, 24, 48, 28, 56, 112)
"""OpenCV's neighbourhoods: half the sides, in pixels, of the squares with which a pixel is compared."""
GREY = (0.299, 0.587, 0.114)
"""The parts of red, green and blue in grey, by ITU-R BT.601, as in OpenCV."""


def saliencymix(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
    """Paste a box as cutmix does, around the most salient pixel of the image that it comes from.

    Args:
        draws: (B, 2): partner, part.
    Source: Uddin et al., SaliencyMix, ICLR 2021, section 3; theirs finds one box for a whole batch.
    """
    height, width = batch.images.shape[-2:]
    partner, part = partner_ring(draws[:, 0]), beta(draws[:, 1], SALIENCYMIX_ALPHA)
    peak = fine_grained(batch.images).flatten(1).argmax(1)[partner]
    boxes = boxes_of_area(peak // width, peak % width, 1 - part, height=height, width=width)
    images = paste_box(batch.images, partner, boxes)
    return with_partner(batch, images, partner, 1 - boxes.share(height, width), task)


def fine_grained(images: torch.Tensor) -> torch.Tensor:
    """Measure how much each pixel differs from the mean of its surround, (B, H, W) in [0, 2].

    Brighter and darker pixels are scaled apart.

    OpenCV's StaticSaliencyFineGrained, which SaliencyMix uses, in floats where that rounds to bytes at each step.

    Source: Montabone and Soto, Human detection using a mobile platform and novel features derived from a visual
        saliency mechanism, Image and Vision Computing 28, 2010.
    """
    height, width = images.shape[-2:]
    red, green, blue = images.unbind(1)
    grey = GREY[0] * red + GREY[1] * green + GREY[2] * blue
    for _ in range(2):
        grey = F.pad(grey, (1, 1, 1, 1), mode="reflect")
        grey = (grey[:, :-2] + 2 * grey[:, 1:-1] + grey[:, 2:]) / 4
        grey = (grey[:, :, :-2] + 2 * grey[:, :, 1:-1] + grey[:, :, 2:]) / 4
    brighter, darker = torch.zeros_like(grey), torch.zeros_like(grey)
    for reach in SURROUNDS:
        rows, columns = _near(height, reach, grey), _near(width, reach, grey)
        others = rows.sum(1)[:, None] * columns.sum(1) - 1
        difference = grey - (rows @ grey @ columns.T - grey) / others
        brighter += difference.relu()
        darker += (-difference).relu()
    return _scaled(brighter) + _scaled(darker)


def _near(pixels: int, reach: int, like: torch.Tensor) -> torch.Tensor:
    """Mark which pixels of a side surround which, (pixels, pixels) of 0 and 1."""
    place = torch.arange(pixels, device=like.device)
    away = place - place[:, None]
    return ((away > -reach) & (away <= reach)).to(like.dtype)


def _scaled(maps: torch.Tensor) -> torch.Tensor:
    """Divide maps (B, H, W) by the highest value of each; one of zeros stays so."""
    return maps / maps.amax((1, 2), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)


def puzzlemix(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
    """Lay two images over one another in blocks that move, so that the salient parts of both are seen.

    Where this is not the official code: the part is drawn for each image and the grid for each quarter of the batch
    (theirs: one of both for a batch); the mask is found by iterated conditional modes, not by graph cuts; moved blocks
    are those of the mask; and there is no adversarial noise.

    Args:
        draws: (B, 3): partner, part, grid.
    Source: Kim et al., Puzzle Mix, ICML 2020.
    """
    height, width = batch.images.shape[-2:]
    partner, part = partner_ring(draws[:, 0]), beta(draws[:, 1], PUZZLE_ALPHA)
    saliency = task.saliency.gradients(batch.images, batch.labels)
    order = torch.argsort(draws[:, 2], stable=True)
    images, mask = torch.empty_like(batch.images), torch.empty_like(saliency)
    for number, blocks in enumerate(PUZZLE_BLOCKS[: len(batch)]):
        slots = order[number :: len(PUZZLE_BLOCKS)]
        others = partner[slots]
        own, other = batch.images[slots], batch.images[others]
        salient, other_salient = (pooled_saliency(saliency[of], blocks) for of in (slots, others))
        coarse = least(energy_of(own, other, salient, other_salient, part[slots]))
        own = moved(own, origins(salient, coarse), blocks)
        other = moved(other, origins(other_salient, 1 - coarse), blocks)
        mask[slots] = enlarged(coarse, height, width)
        images[slots] = torch.lerp(other, own, mask[slots][:, None])
    return with_partner(batch, images, partner, mask.mean((1, 2)), task)


SALIENCY_MIXING: dict[str, Augmentation] = {
    "saliencymix": per_image(
        saliencymix,
        columns=2,
        what="a box of another image around its most salient pixel, labels by area",
        source="Uddin et al., ICLR 2021; ours",
    ),
    "puzzlemix": per_image(
        puzzlemix,
        columns=3,
        what="blocks of two images, moved so that the salient ones of both are seen, labels by area",
        source="Kim et al., ICML 2020; ours",
        passes=2,
        saliency_methods=("saliency",),
    ),
}
"""The augmentations that mix images by saliency."""
