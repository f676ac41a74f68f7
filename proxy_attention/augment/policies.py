"""Augmentations of torchvision that draw a chain of operations for each image; knows no model and no other image.

They draw from torch's global generator on the CPU, and every image gets operations of its own. So each image is
changed alone, on the CPU, under a generator that its draws seed: a loop, of 0.3 to 1.2 milliseconds an image of 64
pixels. What comes out is the same on every device, and the global state is left as it was.
"""

from collections.abc import Callable

import torch
from torchvision.transforms import v2

from proxy_attention.augment.batch import Augmentation, of_images

SEED_COLUMNS = 2
DRAW_BITS = 24
"""A uniform float32 draw is a multiple of 2^-24: two make a seed, of which the generator takes the lower 32 bits."""

# Cubuk et al., RandAugment, table 2: ResNet-50 on ImageNet
OPERATIONS, MAGNITUDE = 2, 9

# Hendrycks et al., AugMix, section 3 and their code
SEVERITY, CHAINS, ANY_DEPTH, CONCENTRATION = 3, 3, -1, 1.0

Transform = Callable[[torch.Tensor], torch.Tensor]


def rand_augment() -> Transform:
    """Apply two operations of fourteen, each at magnitude 9 of 30.

    Source: Cubuk et al., RandAugment, NeurIPS 2020, section 3.
    """
    transform: Transform = v2.RandAugment(num_ops=OPERATIONS, magnitude=MAGNITUDE)
    return transform


def trivial_augment() -> Transform:
    """Apply one operation of fourteen, at a drawn magnitude.

    Source: Müller and Hutter, TrivialAugment, ICCV 2021, algorithm 1; the wide space of its table 1.
    """
    transform: Transform = v2.TrivialAugmentWide()
    return transform


def aug_mix() -> Transform:
    """Three chains of one to three operations, blended with each other and with the image.

    The operations are the paper's nine: torchvision adds four that its test set consists of. Of the paper's training,
    the consistency loss is left out.

    Source: Hendrycks et al., AugMix, ICLR 2020, algorithm 1.
    """
    transform: Transform = v2.AugMix(
        severity=SEVERITY, mixture_width=CHAINS, chain_depth=ANY_DEPTH, alpha=CONCENTRATION, all_ops=False
    )
    return transform


def each_alone(transform: Transform, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Apply a transform that draws from the global generator to each image, under a seed of its own.

    Args:
        transform: of one image, (3, H, W) uint8.
        images: (B, 3, H, W) float in [0, 1], rounded to 255 steps. Not modified.
        draws: (B, 2) in [0, 1).
    """
    pixels = (images * 255).round().to(device="cpu", dtype=torch.uint8)
    parts = (draws.to("cpu", torch.float64) * 2**DRAW_BITS).long()
    seeds: list[int] = (parts[:, 0] * 2**DRAW_BITS + parts[:, 1]).tolist()
    made = torch.empty_like(pixels)
    with torch.random.fork_rng(devices=[]):
        for number, seed in enumerate(seeds):
            # not torch.manual_seed: that would set the state of the accelerators, too
            torch.default_generator.manual_seed(seed)
            made[number] = transform(pixels[number])
    return made.to(images.device).to(images.dtype) / 255


def _row(transform: Callable[[], Transform], *, what: str, source: str) -> Augmentation:
    """Make a row that makes its transform for each batch."""
    return of_images(
        lambda images, draws: each_alone(transform(), images, draws), columns=SEED_COLUMNS, what=what, source=source
    )


POLICIES: dict[str, Augmentation] = {
    "randaugment": _row(
        rand_augment,
        what="two operations of fourteen (geometry, colour, contrast) at magnitude 9 of 30",
        source="Cubuk et al., NeurIPS 2020; torchvision",
    ),
    "trivialaugment": _row(
        trivial_augment,
        what="one operation of fourteen at a drawn magnitude, up to strong ones",
        source="Müller and Hutter, ICCV 2021; torchvision",
    ),
    "augmix": _row(
        aug_mix,
        what="three chains of one to three operations blended with the image",
        source="Hendrycks et al., ICLR 2020; torchvision",
    ),
}
"""The augmentations that draw operations."""
