"""A timm classifier that gives logits, the features of one layer, and a graph from there; knows no saliency method."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from proxy_attention.models.feature_layers import FeatureLayer, heads_of

PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What autocast computes in, by the name of the precision; None: no autocast."""


class Classifier:
    """A timm model with its normalisation inside, and one layer whose features can be read and differentiated.

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
        self, module: nn.Module, *, layer: FeatureLayer, image_size: int, normalisation: Any, note: str
    ) -> None:
        self.module, self.image_size = module, image_size
        self.feature_layer, self.layout, self.note = layer.name, layer.layout, note
        self.grid, self.channels = layer.layout.grid, layer.layout.channels
        self.classes, self.linear_head = layer.classes, layer.linear_head
        self._mean, self._std = (torch.tensor(values).view(1, 3, 1, 1) for values in normalisation)

    def to(self, device: torch.device) -> "Classifier":
        """Move in place; channels_last, which is the faster layout for convolutions on both CPU and GPU."""
        self.module.to(device).to(memory_format=torch.channels_last)
        self._mean, self._std = self._mean.to(device), self._std.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self._mean.device

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Compute logits (B, classes) of images (B, 3, H, W) float in [0, 1], in whatever mode the module is."""
        normalised = (images - self._mean).div_(self._std).contiguous(memory_format=torch.channels_last)
        logits: torch.Tensor = self.module(normalised)
        return logits

    def forward_with_features(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Run one forward pass without a graph, and keep the feature layer's output.

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
        """Run one forward pass whose graph begins at the feature layer: nothing before it is differentiated or kept.

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
        """Bring features or their gradient to (B, K, h, w); of tokens, those of patches only."""
        return self.layout.as_map(features)

    def with_zeroed(self, features: torch.Tensor, channel: torch.Tensor) -> torch.Tensor:
        """Copy the feature layer's output with one channel of each image set to zero at every position of the map.

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
        """The classifier heads: one, or a distilled model's two."""
        return heads_of(self.module)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Make the context in which a forward pass has this precision."""
    dtype = PRECISIONS[precision]
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def eval_batch(image_size: int) -> int:
    """Choose a batch size for passes without gradients: about a million pixels, whatever the size of an image."""
    return max(2**20 // image_size**2, 1)


def as_float(images: torch.Tensor) -> torch.Tensor:
    """Convert uint8 images to float in [0, 1]."""
    return images.to(torch.float32, copy=True).div_(255)
