"""Adapts timm models to an image size, so that their last feature map keeps enough positions; knows no weights.

Four families have a row, which changes strides, stem, pools or patches. Any other model is built with each of the
arguments that timm models may take for an image size, until one works.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import timm
from torch import nn

from proxy_attention.errors import ConfigError, unknown

MIN_GRID = 4
"""The fewest positions on a side of a feature map that is explained, if the model can be built to have them."""
STRIDES = (32, 16, 8)


def _unchanged(module: nn.Module) -> None:
    pass


@dataclass(frozen=True)
class Adaptation:
    """One way to adapt a model to an image size.

    Attributes:
        arguments: for ``timm.create_model``.
        adapt: changes the module that timm built.
        note: both in words, for the log and the README.
    """

    arguments: dict[str, Any] = field(default_factory=dict)
    adapt: Callable[[nn.Module], None] = _unchanged
    note: str = "as it is"


Family: TypeAlias = Callable[[str, int, bool], Iterable[Adaptation]]
"""From a model's name, an image size and whether weights are trained to adaptations, the preferred first.

The first that builds and whose last map has ``MIN_GRID`` positions on a side is taken; else the first that has any map
of that size.
"""


def family_of(name: str) -> Family:
    """Look up how a timm model is adapted to an image size: the row of its family, or ``ANY``.

    Raises: ConfigError for a name that timm does not know.
    """
    if not timm.is_model(name):
        raise unknown("model", name, timm.list_models())
    return FAMILIES.get(timm.models.model_entrypoint(name).__module__.rpartition(".")[2], ANY)


def _strides(image_size: int, *, at_least: int) -> int | None:
    """Find the largest output stride, not below ``at_least``, whose map has ``MIN_GRID`` positions; None if none."""
    for stride in STRIDES:
        if stride >= at_least and -(-image_size // stride) >= MIN_GRID:
            return stride
    return None


def _adapt_resnet(name: str, image_size: int, pretrained: bool) -> Iterable[Adaptation]:
    # trained weights expect their stem, so strides are changed first; without them a smaller stem beats dilation
    stride = _strides(image_size, at_least=8 if pretrained else 16)
    if stride is not None:
        return [Adaptation({"output_stride": stride}, note=f"output stride {stride}")]
    stride = 4 * (_strides(image_size, at_least=8) or 4)
    note = f"small-image stem, output stride {stride // 4}"
    return [Adaptation({"output_stride": min(stride, 32)}, _small_stem(pretrained), note)]


def _small_stem(pretrained: bool) -> Callable[[nn.Module], None]:
    def adapt(module: Any) -> None:
        first = module.conv1 if isinstance(module.conv1, nn.Conv2d) else module.conv1[0]
        first.stride = (1, 1)
        if not pretrained and module.conv1 is first and first.kernel_size == (7, 7):
            module.conv1 = nn.Conv2d(3, first.out_channels, kernel_size=3, padding=1, bias=False)
        module.maxpool = nn.Identity()

    return adapt


def _adapt_efficientnet(name: str, image_size: int, pretrained: bool) -> Iterable[Adaptation]:
    stride = _strides(image_size, at_least=8)
    if stride is not None:
        return [Adaptation({"output_stride": stride}, note=f"output stride {stride}")]

    def stem_stride_1(module: Any) -> None:
        module.conv_stem.stride = (1, 1)

    return [Adaptation({"output_stride": 8}, stem_stride_1, "stem stride 1, output stride 4")]


def _adapt_vgg(name: str, image_size: int, pretrained: bool) -> Iterable[Adaptation]:
    kept = max(pools for pools in range(6) if image_size // 2**pools >= MIN_GRID)

    def drop_last_pools(module: Any) -> None:
        pools = [i for i, layer in enumerate(module.features) if isinstance(layer, nn.MaxPool2d)]
        for i in pools[kept:]:
            module.features[i] = nn.Identity()

    return [Adaptation({}, drop_last_pools, f"{kept} of 5 pools, output stride {2**kept}")]


def _adapt_vit(name: str, image_size: int, pretrained: bool) -> Iterable[Adaptation]:
    patch = _patch(name) or 16
    smaller = _patch_for(patch, image_size)
    if smaller is None:
        raise ConfigError(f"image_size must be a multiple of a patch of 4 to {patch} pixels; got {image_size}")
    return [_of_patches(image_size, smaller)]


def _of_patches(image_size: int, patch: int) -> Adaptation:
    return Adaptation({"img_size": image_size, "patch_size": patch}, note=f"patches of {patch} pixels")


def _patch_for(patch: int, image_size: int) -> int | None:
    """Choose this patch or the largest smaller one whose map has ``MIN_GRID`` positions; None if none has."""
    sizes = (patch, *range(patch - 1, 3, -1))
    return next((size for size in sizes if image_size % size == 0 and image_size // size >= MIN_GRID), None)


def _patch(name: str) -> int | None:
    """Look up the side of a patch in pixels, in timm's table or in the model's name; None if neither says."""
    known = timm.get_pretrained_cfg_value(name, "patch_size")
    words = [word.removeprefix("patch") for word in name.split("_") if word.startswith("patch")]
    digits = "".join(c for c in "".join(words[:1]) if c.isdigit())
    return int(known) if known else int(digits) if digits else None


def _adapt_any(name: str, image_size: int, pretrained: bool) -> Iterable[Adaptation]:
    """Offer the arguments that constructors may take, one after another: timm refuses at once what a model lacks."""
    patch = _patch(name)
    smaller = _patch_for(patch or 16, image_size)
    finer = [_of_patches(image_size, smaller)] if smaller is not None and smaller != patch else []
    if patch is not None:
        yield from finer
    yield Adaptation({"img_size": image_size}, note=f"built for {image_size} px")
    if patch is None:
        yield from finer
    for stride in [each for each in STRIDES if -(-image_size // each) >= MIN_GRID] or STRIDES[-1:]:
        yield Adaptation({"output_stride": stride}, note=f"output stride {stride}")
    yield Adaptation()


ANY: Family = _adapt_any
"""The row of every family that has none of its own."""

FAMILIES: dict[str, Family] = {
    "resnet": _adapt_resnet,
    "efficientnet": _adapt_efficientnet,
    "vgg": _adapt_vgg,
    "vision_transformer": _adapt_vit,
}
"""The families with an adaptation of their own, by the name of the timm module that defines them."""
