"""A timm classifier, cut at the feature layer that is explained; knows no data set, method of explanation or training.

The layer is the last whose output is a map, unless another is named. Small images keep a map of at least 4x4.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.data.config import resolve_model_data_config
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from proxy_attention.config import LAST, TrialConfig
from proxy_attention.errors import ConfigError
from proxy_attention.models.feature_layers import FeatureLayer, find_last, find_named, heads_of
from proxy_attention.models.input_size import MIN_GRID, Fit, family_of
from proxy_attention.models.weights import not_finite, not_loaded, quiet_loading, source_of
from proxy_attention.seeds import derive_seed

PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What autocast computes in, by the name of the precision; None: no autocast."""


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

    def __init__(
        self, module: nn.Module, *, found: FeatureLayer, image_size: int, normalisation: Any, note: str
    ) -> None:
        self.module, self.image_size = module, image_size
        self.feature_layer, self.layout, self.note = found.name, found.layout, note
        self.grid, self.channels = found.layout.grid, found.layout.channels
        self.classes, self.linear_head = found.classes, found.linear_head
        self._mean, self._std = (torch.tensor(values).view(1, 3, 1, 1) for values in normalisation)

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

    def forward_with_features(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One forward pass without a graph.

        Args:
            images: (B, 3, H, W) float in [0, 1].
        Returns: the feature layer's output in its own layout, and logits (B, classes).
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

    def forward_from_features(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits with a graph that begins at the feature layer: nothing before it is differentiated or kept.

        What follows the layer is computed in float32, whatever the precision around it: gradients are small numbers.

        Args:
            images: (B, 3, H, W) float in [0, 1].
        Returns: the layer's output in its own layout, as a float32 leaf, and logits (B, classes).
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
        return self.layout.as_map(features)

    def with_zeroed(self, features: torch.Tensor, channel: torch.Tensor) -> torch.Tensor:
        """The feature layer's output with one channel of each image set to zero at every position of the map.

        Args:
            features: in the layer's own layout. Not modified.
            channel: (B,) int64.
        """
        return self.layout.with_zeroed(features, channel)

    @property
    def blank(self) -> torch.Tensor:
        """The colour (1, 3, 1, 1) in [0, 1] that is zero to the network, once it is normalised."""
        return self._mean

    @property
    def heads(self) -> tuple[nn.Module, ...]:
        """The last layers, which alone know the classes: one, or a distilled model's two."""
        return heads_of(self.module)


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


def build(
    name: str, *, classes: int, image_size: int, weights: str, seed: int, feature_layer: str = LAST
) -> Classifier:
    """Build a classifier for images of this size, with a fresh head.

    Args:
        weights: ``none``, ``imagenet`` (timm's hub) or the path of a safetensors or state-dict file.
        seed: the trial's seed; decides every random weight, whatever was drawn before.
        feature_layer: a module of the network, or ``last``.
    Raises: ConfigError for an unknown model, an image size that it cannot take, weights that do not fit, or a layer
        that gives no map.
    """
    init_seed = derive_seed(seed, "init")
    return _assemble(name, classes, image_size, weights, feature_layer, init_seed, load=weights != "none")


def build_for(config: TrialConfig, *, classes: int) -> Classifier:
    """The classifier that a trial of this config begins with.

    Raises: ConfigError as ``build`` does.
    """
    return build(
        config.model,
        classes=classes,
        image_size=config.image_size,
        weights=config.weights,
        seed=config.seed,
        feature_layer=config.feature_layer,
    )


def untrained(
    name: str, *, classes: int, image_size: int, weights: str, seed: int, feature_layer: str = LAST
) -> Classifier:
    """The architecture that ``build`` gives for the same arguments, at random weights from a stream of their own.

    Args:
        weights: decides the architecture (how it fits small images) and the normalisation; none are loaded.
    Raises: ConfigError as ``build`` does.
    """
    return _assemble(name, classes, image_size, weights, feature_layer, derive_seed(seed, "untrained"), load=False)


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A built model that can serve, and where its map was found."""

    fit: Fit
    module: nn.Module
    found: FeatureLayer

    @property
    def whole(self) -> bool:
        """Whether its very last map is large enough, and not only an earlier one."""
        return min(self.found.last) >= MIN_GRID


def _assemble(
    name: str, classes: int, image_size: int, weights: str, layer: str, init_seed: int, *, load: bool
) -> Classifier:
    fits = family_of(name).fit(name, image_size, weights != "none")
    source = source_of(name, weights) if load else None
    best: _Candidate | None = None
    reasons = []
    for fit in fits:
        try:
            module = _create(name, classes, fit, init_seed, weights, source)
            with _in_one_line():
                found = find_last(module, image_size, at_least=MIN_GRID)
        except _Unfit as unfit:
            reasons.append(str(unfit))
            continue
        if found is None:
            reasons.append("")
        elif best is None or min(found.last) >= MIN_GRID:
            best = _Candidate(fit, module, found)
            if best.whole:
                break
    if best is None:
        raise _no_candidate(name, image_size, reasons)
    found, note = best.found, best.fit.note
    if layer != LAST:
        try:
            found = find_named(best.module, image_size, layer)
        except ConfigError as error:
            raise ConfigError(f"feature_layer must be {LAST} or a layer of {name} that gives a map; {error}") from None
        note += f", map of {found.name} as asked"
    elif not best.whole:
        note += f", map of {found.name} (the last is {found.last[0]}x{found.last[1]})"
    normalisation = (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    if weights != "none":
        data = resolve_model_data_config(best.module)
        normalisation = (data["mean"], data["std"])
    return Classifier(best.module, found=found, image_size=image_size, normalisation=normalisation, note=note)


class _Unfit(Exception):
    """A model cannot be built or run with these arguments; others may do."""


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Whatever timm, the hub, an unpickler or a forward pass raises here becomes one line."""
    try:
        yield
    except Exception as error:
        line = (str(error).splitlines() or [""])[0]
        raise _Unfit((line if " " in line else repr(error))[:200]) from error  # a KeyError tells nothing but its key


def _no_candidate(name: str, image_size: int, reasons: list[str]) -> ConfigError:
    """Why no fit serves: the first reason that is more than an argument that the model does not take."""
    telling = [each for each in reasons if not each or (" " in each and "unexpected keyword argument" not in each)]
    if telling and telling[0]:
        return ConfigError(f"model must build, and give a map at {image_size} px; got {name!r}: {telling[0]}")
    return ConfigError(
        f"image_size must give {name} a map of at least {MIN_GRID}x{MIN_GRID}; got {image_size}, "
        "at which no layer that the logits depend on has one"
    )


def _create(
    name: str, classes: int, fit: Fit, init_seed: int, weights: str, source: dict[str, Any] | None
) -> nn.Module:
    """The model as timm makes it, with weights from their source if there is one."""

    def make(**more: Any) -> nn.Module:
        with _in_one_line(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(init_seed)  # a GPU's generator is left as it is
            module: nn.Module = timm.create_model(name, num_classes=classes, **fit.arguments, **more)
            fit.adapt(module)
        return module

    if source is None:
        return make()
    try:
        with quiet_loading():
            module = make(pretrained=True, pretrained_cfg_overlay=source)
        with _in_one_line():
            missing = not_loaded(module, source["file"], heads_of(module), make) if "file" in source else []
        reason = f"it lacks {len(missing)} tensors of the trunk, such as {missing[0]}" if missing else ""
        if not reason and (broken := not_finite(module)):
            reason = f"not all its numbers are finite: {broken[0]}"
    except _Unfit as unfit:
        make()  # what does not build without weights, either, does not fit; else the weights are at fault
        reason = str(unfit)
    if reason:
        raise ConfigError(
            f"weights must be none, imagenet or a file for {name}; got {weights!r}, which does not load: {reason}"
        )
    return module
