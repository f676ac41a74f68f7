"""Augmentations that hide parts of an image, wherever they are; knows no model and no other image.

The papers that fill with one colour take the data set's mean, as a zero after normalisation. Here the image's own mean
stands in for it: what an image becomes follows from the image and its draws alone.
"""

import torch

from proxy_attention.augment.batch import Augmentation, of_images
from proxy_attention.augment.fields import Boxes, boxes_around, uniform_field, whole

# Zhong et al., section 4.2 and their code
ERASE_PROBABILITY = 0.5
ERASE_AREA = (0.02, 0.4)
ERASE_RATIO = (0.3, 1 / 0.3)
ERASE_ATTEMPTS = 10
"""A box that is too long for the image is drawn anew; after as many as torchvision draws, nothing is erased."""

CUTOUT_SIDE = 0.5
"""Of the shorter side: 16 pixels of 32, as DeVries and Taylor found best on CIFAR-10, section 4.3."""

# Singh and Lee, section 4.1 and their code: one of these patches an image, 0 hides nothing
HIDE_PATCHES = (0, 16, 32, 44, 56)
HIDE_OF_PIXELS = 224
HIDE_PROBABILITY = 0.5

# Chen et al., section 4.1 and the command that trained their ResNet-50 on ImageNet
GRID_PERIOD = (96 / 224, 1.0)
GRID_RATIO = 0.6
GRID_PROBABILITY = 0.8


def own_mean(images: torch.Tensor) -> torch.Tensor:
    """Compute the mean colour of each image, (B, 3, 1, 1)."""
    return images.mean((2, 3), keepdim=True)


def random_erasing(images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Fill a box of each second image with noise: a uniform value of its own in each pixel and channel.

    Args:
        images: (B, 3, H, W) float in [0, 1]. Not modified.
        draws: (B, 24) in [0, 1): erased below 0.5; row; column; noise; area and ratio of ten boxes, of which the first
            that fits is taken.
    Source: Zhong et al., Random Erasing, AAAI 2020, algorithm 1.
    """
    height, width = images.shape[-2:]
    area = _between(draws[:, 4::2], *ERASE_AREA) * (height * width)
    ratio = _between(draws[:, 5::2], *ERASE_RATIO)
    high, wide = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
    fits = (high < height) & (wide < width)
    first = fits.int().argmax(dim=1, keepdim=True)
    high, wide = high.gather(1, first)[:, 0], wide.gather(1, first)[:, 0]
    # a box that does not fit is never used: its place must only not be negative
    top = _up_to(draws[:, 1], (height - high).clamp(min=0))
    left = _up_to(draws[:, 2], (width - wide).clamp(min=0))
    box = Boxes(top=top, bottom=top + high, left=left, right=left + wide).inside(height, width)
    erased = fits.any(dim=1) & (draws[:, 0] < ERASE_PROBABILITY)
    noise = random_colours(draws[:, 3], height=height, width=width).to(images.dtype)
    return torch.where((box & erased[:, None, None])[:, None], noise, images)


def random_colours(draws: torch.Tensor, *, height: int, width: int) -> torch.Tensor:
    """Draw a uniform value of 0 to 255 in each pixel and channel, as (B, 3, H, W) float32 in [0, 1]."""
    # a number of 24 random bits is three of eight: a third of the work
    bits = (uniform_field(draws, (height, width)) * 2**24).to(torch.int32)
    return torch.stack((bits >> 16, bits >> 8 & 255, bits & 255), dim=1) / 255


def cutout(images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Fill a square of half the side around any pixel, cut at the border, with the image's mean.

    Args:
        images: (B, 3, H, W) float in [0, 1]. Not modified.
        draws: (B, 2) in [0, 1): row and column of its middle.
    Source: DeVries and Taylor, Cutout, 2017, section 3.
    """
    height, width = images.shape[-2:]
    side = torch.full_like(draws[:, 0], int(CUTOUT_SIDE * min(height, width)), dtype=torch.int64)
    row, column = whole(draws[:, 0], height), whole(draws[:, 1], width)
    box = boxes_around(row, column, high=side, wide=side, height=height, width=width).inside(height, width)
    return torch.where(box[:, None], own_mean(images), images)


def hide_and_seek(images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Cut the image into square patches of a drawn size, and fill each second of them with the image's mean.

    Args:
        images: (B, 3, H, W) float in [0, 1]. Not modified.
        draws: (B, 2) in [0, 1): size of the patches, which of them.
    Source: Singh and Lee, Hide-and-Seek, ICCV 2017, section 3.
    """
    height, width = images.shape[-2:]
    choice = whole(draws[:, 0], len(HIDE_PATCHES))
    patch = torch.zeros_like(choice)
    for number, pixels in enumerate(HIDE_PATCHES):  # of five numbers: no table has to be sent to the device
        patch = patch + (choice == number) * pixels
    image = torch.arange(len(images), device=images.device)[:, None, None]
    row, column = (_patch_of(side, patch) for side in (height, width))
    most = -(-HIDE_OF_PIXELS // min(pixels for pixels in HIDE_PATCHES if pixels))
    hidden = uniform_field(draws[:, 1], (most, most)) < HIDE_PROBABILITY
    hidden = hidden[image, row[:, :, None], column[:, None, :]] & (patch > 0)[:, None, None]
    return torch.where(hidden[:, None], own_mean(images), images)


def _patch_of(side: int, patch: torch.Tensor) -> torch.Tensor:
    """Number the patch in which each pixel of a side lies, (B, side); patches keep their size relative to the image."""
    place = torch.arange(side, device=patch.device) * HIDE_OF_PIXELS
    return place // (side * patch.clamp(min=1)[:, None]) * (patch > 0)[:, None]


def grid_mask(images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Fill the squares of a grid of drawn period, place and angle with the image's mean.

    The probability is constant; the paper lets it grow over most of the training.

    Args:
        images: (B, 3, H, W) float in [0, 1]. Not modified.
        draws: (B, 5) in [0, 1): masked below 0.8; period; shift of rows; of columns; angle in whole degrees.
    Source: Chen et al., GridMask, 2020, section 3.
    """
    height, width = images.shape[-2:]
    least, most = (round(part * min(height, width)) for part in GRID_PERIOD)
    period = least + whole(draws[:, 1], most - least)
    kept = (period * GRID_RATIO + 0.5).long()
    angle = whole(draws[:, 4], 360).to(images).deg2rad()
    cos, sin = (part[:, None, None] for part in (angle.cos(), angle.sin()))
    y = torch.arange(height, device=images.device).to(images)[:, None] - (height - 1) / 2
    x = torch.arange(width, device=images.device).to(images) - (width - 1) / 2
    from_row = cos * y - sin * x + (height - 1) / 2
    from_column = sin * y + cos * x + (width - 1) / 2
    hidden = (draws[:, 0] < GRID_PROBABILITY)[:, None, None]
    for place, shift in ((from_row, draws[:, 2]), (from_column, draws[:, 3])):
        place = (place + 0.5).floor().long() + _up_to(shift, period - 1)[:, None, None]
        hidden = hidden & (place % period[:, None, None] >= kept[:, None, None])
    return torch.where(hidden[:, None], own_mean(images), images)


def _between(draws: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Draws spread evenly from low to high."""
    return low + (high - low) * draws


def _up_to(draws: torch.Tensor, most: torch.Tensor) -> torch.Tensor:
    """Numbers from 0 to each draw's own most, each as likely, (B,) int64."""
    return (draws * (most + 1)).long().minimum(most)


ERASING: dict[str, Augmentation] = {
    "random-erasing": of_images(
        random_erasing,
        columns=4 + 2 * ERASE_ATTEMPTS,
        what="in every second image a box of 2 to 40 percent of it filled with noise",
        source="Zhong et al., AAAI 2020; ours",
    ),
    "cutout": of_images(
        cutout,
        columns=2,
        what="a square of half the side, anywhere and cut at the border, filled with the image's mean",
        source="DeVries and Taylor, 2017; ours",
    ),
    "hide-and-seek": of_images(
        hide_and_seek,
        columns=2,
        what="every second patch of a grid of drawn size filled with the image's mean",
        source="Singh and Lee, ICCV 2017; ours",
    ),
    "grid-mask": of_images(
        grid_mask,
        columns=5,
        what="in four of five images the squares of a shifted and turned grid filled with the image's mean",
        source="Chen et al., 2020; ours",
    ),
}
"""The augmentations that hide parts of an image."""
