"""How a timm model is built for an image size so that its last map stays usable; knows no weights and no layer.

Four families have a row: their strides, stem, pools or patches. Every other model is tried with what it may take.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import timm
from torch import nn

from proxy_attention.errors import ConfigError, unknown

MIN_GRID = 4
STRIDES = (32, 16, 8)


def _unchanged(module: nn.Module) -> None:
    pass


@dataclass(frozen=True)
class Fit:
    """How a model fits an image size: arguments for timm, a change to the built module, and both in words."""

    arguments: dict[str, Any] = field(default_factory=dict)
    adapt: Callable[[nn.Module], None] = _unchanged
    note: str = "as it is"


@dataclass(frozen=True)
class Family:
    """A row of the table: what to build for a model's name and image size, with or without trained weights.

    The first that builds and has a last map of at least ``MIN_GRID`` is taken; else the first with any such map.
    """

    fit: Callable[[str, int, bool], Iterable[Fit]]


def family_of(name: str) -> Family:
    """How a timm model fits small images: the row of its family, or what is tried with every other.

    Raises: ConfigError for a name that timm does not know.
    """
    if not timm.is_model(name):
        raise unknown("model", name, timm.list_models())
    return FAMILIES.get(timm.models.model_entrypoint(name).__module__.rpartition(".")[2], ANY)


def _strides(image_size: int, *, at_least: int) -> int | None:
    """The largest output stride that leaves a usable map, not below ``at_least``; None if none does."""
    for stride in STRIDES:
        if stride >= at_least and -(-image_size // stride) >= MIN_GRID:
            return stride
    return None


def _fit_resnet(name: str, image_size: int, pretrained: bool) -> Iterable[Fit]:
    # A trained stem is kept as long as strides alone can help; an untrained one is better small than dilated.
    stride = _strides(image_size, at_least=8 if pretrained else 16)
    if stride is not None:
        return [Fit({"output_stride": stride}, note=f"output stride {stride}")]
    stride = 4 * (_strides(image_size, at_least=8) or 4)
    note = f"small-image stem, output stride {stride // 4}"
    return [Fit({"output_stride": min(stride, 32)}, _small_stem(pretrained), note)]


def _small_stem(pretrained: bool) -> Callable[[nn.Module], None]:
    def adapt(module: Any) -> None:
        first = module.conv1 if isinstance(module.conv1, nn.Conv2d) else module.conv1[0]
        first.stride = (1, 1)
        if not pretrained and module.conv1 is first and first.kernel_size == (7, 7):
            module.conv1 = nn.Conv2d(3, first.out_channels, kernel_size=3, padding=1, bias=False)
        module.maxpool = nn.Identity()

    return adapt


def _fit_efficientnet(name: str, image_size: int, pretrained: bool) -> Iterable[Fit]:
    stride = _strides(image_size, at_least=8)
    if stride is not None:
        return [Fit({"output_stride": stride}, note=f"output stride {stride}")]

    def stem_stride_1(module: Any) -> None:
        module.conv_stem.stride = (1, 1)

    return [Fit({"output_stride": 8}, stem_stride_1, "stem stride 1, output stride 4")]


def _fit_vgg(name: str, image_size: int, pretrained: bool) -> Iterable[Fit]:
    kept = max(pools for pools in range(6) if image_size // 2**pools >= MIN_GRID)

    def drop_last_pools(module: Any) -> None:
        pools = [i for i, layer in enumerate(module.features) if isinstance(layer, nn.MaxPool2d)]
        for i in pools[kept:]:
            module.features[i] = nn.Identity()

    return [Fit({}, drop_last_pools, f"{kept} of 5 pools, output stride {2**kept}")]


def _fit_vit(name: str, image_size: int, pretrained: bool) -> Iterable[Fit]:
    patch = _patch(name) or 16
    fitting = _fitting_patch(patch, image_size)
    if fitting is None:
        raise ConfigError(f"image_size must be a multiple of a patch of 4 to {patch} pixels; got {image_size}")
    return [_of_patches(image_size, fitting)]


def _of_patches(image_size: int, patch: int) -> Fit:
    return Fit({"img_size": image_size, "patch_size": patch}, note=f"patches of {patch} pixels")


def _fitting_patch(patch: int, image_size: int) -> int | None:
    """The patch if it leaves a usable map, else the largest smaller one that does; None if none does."""
    sizes = (patch, *range(patch - 1, 3, -1))
    return next((size for size in sizes if image_size % size == 0 and image_size // size >= MIN_GRID), None)


def _patch(name: str) -> int | None:
    """Pixels of a patch, as timm's table or the model's name has them."""
    known = timm.get_pretrained_cfg_value(name, "patch_size")
    words = [word.removeprefix("patch") for word in name.split("_") if word.startswith("patch")]
    digits = "".join(c for c in "".join(words[:1]) if c.isdigit())
    return int(known) if known else int(digits) if digits else None


def _fit_any(name: str, image_size: int, pretrained: bool) -> Iterable[Fit]:
    """What constructors may take, one after another: timm refuses at once what a model does not know."""
    patch = _patch(name)
    fitting = _fitting_patch(patch or 16, image_size)
    finer = [_of_patches(image_size, fitting)] if fitting is not None and fitting != patch else []
    if patch is not None:
        yield from finer
    yield Fit({"img_size": image_size}, note=f"built for {image_size} px")
    if patch is None:
        yield from finer
    for stride in [each for each in STRIDES if -(-image_size // each) >= MIN_GRID] or STRIDES[-1:]:
        yield Fit({"output_stride": stride}, note=f"output stride {stride}")
    yield Fit()


ANY = Family(_fit_any)
"""What is tried with a model of any family without a row."""

FAMILIES: dict[str, Family] = {
    "resnet": Family(_fit_resnet),
    "efficientnet": Family(_fit_efficientnet),
    "vgg": Family(_fit_vgg),
    "vision_transformer": Family(_fit_vit),
}
"""The families whose fit to small images is their own, by the timm module that defines them."""
