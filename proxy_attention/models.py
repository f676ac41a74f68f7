"""A timm classifier, cut at its last feature map; knows no data set, method of explanation or training.

Small images keep a usable map, at least 4x4: each family says how (its strides, its stem, its pools, its patches).
"""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data.config import resolve_model_data_config
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from proxy_attention.errors import ConfigError, unknown
from proxy_attention.seeds import derive_seed

MIN_GRID = 4
PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What autocast computes in, by the name of the precision; None: no autocast."""


@dataclass(frozen=True)
class Fit:
    """How a family fits an image size: arguments for timm, a change to the built module, and both in words."""

    arguments: dict[str, Any]
    adapt: Callable[[nn.Module], None]
    note: str


@dataclass(frozen=True)
class Family:
    """A row of the table: the module whose output is the map, and how small images keep a usable one."""

    feature_layer: Callable[[nn.Module], str]
    fit: Callable[[str, int, bool], Fit]


class Classifier:
    """A timm model with its normalisation inside, and its last feature map within reach.

    Attributes:
        module: the timm model. Its ``feature_layer`` (a name for ``get_submodule``) gives the map that is explained.
        image_size: pixels on a side of the images that it was built for.
        grid: (h, w) of that map.
        channels: K of that map.
        classes: C, how many logits there are.
        linear_head: the head, where logits are a linear function of the feature map's mean over positions; else None.
        note: what was chosen for this image size, for the log.
    """

    def __init__(self, module: nn.Module, *, family: Family, image_size: int, normalisation: Any, note: str) -> None:
        self.module = module
        self.feature_layer = family.feature_layer(module)
        self.note, self.image_size = note, image_size
        mean, std = (torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1) for values in normalisation)
        self._mean, self._std = mean, std
        self._prefix_tokens = int(getattr(module, "num_prefix_tokens", 0))
        self.grid, self.channels, self.classes, self.linear_head = self._probe(image_size)

    def _probe(self, image_size: int) -> tuple[tuple[int, int], int, int, nn.Linear | None]:
        """The map's size and channels, the classes, the head if it is linear: seen by trying, not by knowing names."""
        draws = torch.Generator().manual_seed(0)
        images = torch.rand(1, 3, image_size, image_size, generator=draws)
        training = self.module.training
        self.module.eval()
        features, logits = self.look(images)
        self.module.train(training)
        if features.ndim != 4:
            side = round((features.shape[1] - self._prefix_tokens) ** 0.5)
            return (side, side), features.shape[2], logits.shape[1], None
        sizes = (features.shape[2], features.shape[3]), features.shape[1], logits.shape[1]
        module: Any = self.module
        head = module.get_classifier()
        if not isinstance(head, nn.Linear) or head.in_features != features.shape[1] or not head.weight.any():
            return *sizes, None
        with torch.no_grad():
            pooled = head(features.mean((2, 3)))
        return *sizes, head if torch.allclose(pooled, logits, rtol=1e-4, atol=1e-5) else None

    def to(self, device: torch.device) -> "Classifier":
        """Move in place; channels_last, which is the faster layout for convolutions on both CPU and GPU."""
        self.module.to(device).to(memory_format=torch.channels_last)
        self._mean, self._std = self._mean.to(device), self._std.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self._mean.device

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, classes) of images (B, 3, H, W) float in [0, 1], in whatever mode the module is."""
        normalised = (images - self._mean).div_(self._std).contiguous(memory_format=torch.channels_last)
        logits: torch.Tensor = self.module(normalised)
        return logits

    def look(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One forward pass without a graph.

        Args:
            images: (B, 3, H, W) float in [0, 1].
        Returns: the feature layer's output, (B, K, h, w) or (B, tokens, K), and logits (B, classes).
        """
        seen: list[torch.Tensor] = []

        def keep(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
            seen.append(output)
            return output.clone()  # an in-place activation downstream must not write to what is kept

        handle = self.module.get_submodule(self.feature_layer).register_forward_hook(keep)
        try:
            with torch.no_grad():
                logits = self(images)
        finally:
            handle.remove()
        return seen[0], logits

    def cut(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits with a graph that begins at the feature layer: nothing before it is differentiated or kept.

        What follows the layer is computed in float32, whatever the precision around it: gradients are small numbers.

        Args:
            images: (B, 3, H, W) float in [0, 1].
        Returns: the layer's output as a leaf, (B, K, h, w) or (B, tokens, K) float32, and logits (B, classes).
        """
        leaves: list[torch.Tensor] = []

        def begin_graph(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
            torch.set_grad_enabled(True)  # until the no_grad below ends
            torch.set_autocast_enabled(output.device.type, False)  # until the autocast below ends
            half = output.dtype in (torch.bfloat16, torch.float16)
            leaves.append((output.float() if half else output).detach().requires_grad_())
            return leaves[0].clone()  # an in-place activation downstream must not write to the leaf

        handle = self.module.get_submodule(self.feature_layer).register_forward_hook(begin_graph)
        enabled = torch.is_autocast_enabled(self.device.type)
        try:
            with torch.no_grad():
                logits = self(images)
        finally:
            torch.set_autocast_enabled(self.device.type, enabled)
            handle.remove()
        return leaves[0], logits

    def as_map(self, features: torch.Tensor) -> torch.Tensor:
        """Features or their gradient as (B, K, h, w); of tokens, those of patches only."""
        if features.ndim == 4:
            return features
        patches = features[:, self._prefix_tokens :]
        return patches.transpose(1, 2).reshape(len(features), -1, *self.grid)

    def with_zeroed(self, features: torch.Tensor, channel: torch.Tensor) -> torch.Tensor:
        """The feature layer's output with one channel of each image set to zero at every position of the map.

        Args:
            features: (B, K, h, w) or (B, tokens, K). Not modified.
            channel: (B,) int64.
        """
        zeroed, image = features.clone(), torch.arange(len(features), device=features.device)
        if features.ndim == 4:
            zeroed[image, channel] = 0
        else:
            zeroed[image, self._prefix_tokens :, channel] = 0
        return zeroed


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """The context in which a forward pass has this precision."""
    dtype = PRECISIONS[precision]
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def eval_batch(image_size: int) -> int:
    """Images in a batch without gradients: about a million pixels, so that memory does not grow with their size."""
    return max(2**20 // image_size**2, 1)


def as_float(images: torch.Tensor) -> torch.Tensor:
    """uint8 images as float in [0, 1]."""
    return images.to(torch.float32, copy=True).div_(255)


def family_of(name: str) -> Family:
    """The family of a timm model.

    Raises: ConfigError for a name that timm does not know, or a family that this project does not.
    """
    if not timm.is_model(name):
        raise unknown("model", name, timm.list_models())
    module = timm.models.model_entrypoint(name).__module__.rpartition(".")[2]
    if module not in FAMILIES:
        raise ConfigError(f"model must be of a family among {', '.join(sorted(FAMILIES))}; got {name!r} of {module}")
    return FAMILIES[module]


def build(name: str, *, classes: int, image_size: int, weights: str, seed: int) -> Classifier:
    """Build a classifier for images of this size, with a fresh head.

    Args:
        weights: ``none``, ``imagenet`` (timm's hub) or the path of a safetensors or state-dict file.
        seed: the trial's seed; decides every random weight, whatever was drawn before.
    Raises: ConfigError for an unknown model, an image size that it cannot take, or weights that do not fit.
    """
    return _assemble(name, classes, image_size, weights, derive_seed(seed, "init"), load=weights != "none")


def untrained(name: str, *, classes: int, image_size: int, weights: str, seed: int) -> Classifier:
    """The architecture that ``build`` gives for the same arguments, at random weights from a stream of their own.

    Args:
        weights: decides the architecture (how it fits small images) and the normalisation; none are loaded.
    Raises: ConfigError as ``build`` does.
    """
    return _assemble(name, classes, image_size, weights, derive_seed(seed, "untrained"), load=False)


def _assemble(name: str, classes: int, image_size: int, weights: str, init_seed: int, *, load: bool) -> Classifier:
    family = family_of(name)
    fit = family.fit(name, image_size, weights != "none")
    arguments: dict[str, Any] = {"num_classes": classes, **fit.arguments}
    if load:
        arguments["pretrained"] = True
        if weights != "imagenet":
            arguments["pretrained_cfg_overlay"] = {"file": str(_weights_file(weights))}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(init_seed)
        try:
            module = timm.create_model(name, **arguments)
        except Exception as error:  # timm, the hub and the unpickler raise what they like: a person needs one line
            if not load:
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise ConfigError(
                f"weights must be none, imagenet or a file for {name}; got {weights!r}, which does not load: {reason}"
            ) from error
        fit.adapt(module)
    normalisation = (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    if weights != "none":
        data = resolve_model_data_config(module)
        normalisation = (data["mean"], data["std"])
    classifier = Classifier(module, family=family, image_size=image_size, normalisation=normalisation, note=fit.note)
    if min(classifier.grid) < MIN_GRID:
        raise ConfigError(
            f"image_size must give {name} a map of at least {MIN_GRID}x{MIN_GRID}; got {image_size}, "
            f"which gives {classifier.grid[0]}x{classifier.grid[1]}"
        )
    return classifier


def weights_digest(weights: str) -> str | None:
    """SHA-256 of a weights file; None for ``none`` and ``imagenet``, which are names."""
    if weights in ("none", "imagenet"):
        return None
    with _weights_file(weights).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _weights_file(weights: str) -> Path:
    path = Path(weights).expanduser().absolute()
    if not path.is_file():
        raise ConfigError(f"weights must be none, imagenet or an existing file; got {weights!r}")
    return path


def _strides(image_size: int, *, at_least: int) -> int | None:
    """The largest output stride in 32, 16, 8 that leaves a usable map, not below ``at_least``; None if none does."""
    for stride in (32, 16, 8):
        if stride >= at_least and -(-image_size // stride) >= MIN_GRID:
            return stride
    return None


def _unchanged(module: nn.Module) -> None:
    pass


def _fit_resnet(name: str, image_size: int, pretrained: bool) -> Fit:
    # A trained stem is kept as long as strides alone can help; an untrained one is better small than dilated.
    stride = _strides(image_size, at_least=8 if pretrained else 16)
    if stride is not None:
        return Fit({"output_stride": stride}, _unchanged, f"output stride {stride}")
    stride = 4 * (_strides(image_size, at_least=8) or 4)
    return Fit(
        {"output_stride": min(stride, 32)}, _small_stem(pretrained), f"small-image stem, output stride {stride // 4}"
    )


def _small_stem(pretrained: bool) -> Callable[[nn.Module], None]:
    def adapt(module: Any) -> None:
        first = module.conv1 if isinstance(module.conv1, nn.Conv2d) else module.conv1[0]
        first.stride = (1, 1)
        if not pretrained and module.conv1 is first and first.kernel_size == (7, 7):
            module.conv1 = nn.Conv2d(3, first.out_channels, kernel_size=3, padding=1, bias=False)
        module.maxpool = nn.Identity()

    return adapt


def _fit_efficientnet(name: str, image_size: int, pretrained: bool) -> Fit:
    stride = _strides(image_size, at_least=8)
    if stride is not None:
        return Fit({"output_stride": stride}, _unchanged, f"output stride {stride}")

    def stem_stride_1(module: Any) -> None:
        module.conv_stem.stride = (1, 1)

    return Fit({"output_stride": 8}, stem_stride_1, "stem stride 1, output stride 4")


def _fit_vgg(name: str, image_size: int, pretrained: bool) -> Fit:
    kept = max(pools for pools in range(6) if image_size // 2**pools >= MIN_GRID)

    def drop_last_pools(module: Any) -> None:
        pools = [i for i, layer in enumerate(module.features) if isinstance(layer, nn.MaxPool2d)]
        for i in pools[kept:]:
            module.features[i] = nn.Identity()

    return Fit({}, drop_last_pools, f"{kept} of 5 pools, output stride {2**kept}")


def _fit_vit(name: str, image_size: int, pretrained: bool) -> Fit:
    patch = int(timm.get_pretrained_cfg_value(name, "patch_size") or _patch_in_name(name))
    if image_size % patch or image_size // patch < MIN_GRID:
        finer = [size for size in range(4, patch) if image_size % size == 0 and image_size // size >= MIN_GRID]
        if not finer:
            raise ConfigError(f"image_size must be a multiple of a patch of 4 to {patch} pixels; got {image_size}")
        patch = finer[-1]
    return Fit({"img_size": image_size, "patch_size": patch}, _unchanged, f"patches of {patch} pixels")


def _patch_in_name(name: str) -> int:
    word = next((word for word in name.split("_") if word.startswith("patch")), "patch16")
    digits = "".join(c for c in word.removeprefix("patch") if c.isdigit())
    return int(digits or 16)


FAMILIES: dict[str, Family] = {
    "resnet": Family(feature_layer=lambda module: "layer4", fit=_fit_resnet),
    "efficientnet": Family(feature_layer=lambda module: "bn2", fit=_fit_efficientnet),
    "vgg": Family(feature_layer=lambda module: "features", fit=_fit_vgg),
    "vision_transformer": Family(
        # the input of the last attention: after it, a class token no longer depends on the patches
        feature_layer=lambda module: f"blocks.{sum(1 for _ in module.get_submodule('blocks').children()) - 1}.norm1",
        fit=_fit_vit,
    ),
}
"""Every supported family by the timm module that defines it."""
