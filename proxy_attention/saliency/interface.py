"""The interface of saliency methods: what one needs of a model, its input, its row; knows no method by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch

CHUNK_PIXELS = 2**21
"""Pixels of changed images in flight at once, so that memory does not grow with channels, steps, samples or squares."""


class ExplainedModel(Protocol):
    """What an explanation needs of a classifier (``proxy_attention.models.classifier.Classifier`` has it)."""

    module: Any
    """The network itself, an ``nn.Module`` that takes normalised images."""

    feature_layer: str
    """Name of the module in it whose output is the last feature map."""

    image_size: int
    """Pixels on a side of the images that the classifier was built for."""

    grid: tuple[int, int]
    """(h, w) of that map."""

    channels: int
    """K, the channels of that map."""

    classes: int
    """C, how many logits there are."""

    linear_head: torch.nn.Linear | None
    """The head, where logits are linear in the mean of the feature map over its positions."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Compute logits (N, C) of images (N, 3, H, W) float in [0, 1]; differentiable down to the images."""

    def forward_with_features(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the last feature map and logits, without a graph."""

    def forward_from_features(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the last feature map as a leaf, and logits that depend on it."""

    def as_map(self, features: torch.Tensor) -> torch.Tensor:
        """Bring features or gradients to (N, K, h, w)."""

    def with_zeroed(self, features: torch.Tensor, channel: torch.Tensor) -> torch.Tensor:
        """Copy the feature layer's output with one channel (N,) of each image set to zero all over the map."""


def at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor, in float32 if it is of half precision."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


@dataclass(frozen=True, eq=False)
class SaliencyInput:
    """What a method with passes of its own is given.

    Attributes:
        model: in eval mode; it must be found in the mode, with the hooks and the gradients that it came with.
        images: (N, 3, H, W) float32 in [0, 1].
        coefficients: (N, C) float32; the score that is explained is ``(coefficients * logits).sum(1)``.
        seeds: an int an image. What a method draws for an image follows from its seed alone, so that no image depends
            on the others of its batch.
    """

    model: ExplainedModel
    images: torch.Tensor
    coefficients: torch.Tensor
    seeds: Sequence[int]

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        """Compute the explained score (N,) of logits (N, C)."""
        return (self.coefficients * logits).sum(dim=1)


Weights: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From features (N, K, h, w) and gradients, (N, K, h, w) or (N, K, 1, 1), to weights of either shape."""


@dataclass(frozen=True)
class Method:
    """A row of the table. One of ``weights``, ``weigh`` and ``maps`` is there.

    Attributes:
        source: the paper.
        what: what the map is, in a line for people: the README is made of it.
        cost: forward passes that a batch takes, in words; a backward pass down to the pixels counts as one, too.
        weights: a formula on the last feature map and its gradient. The pass that classifies gives both, so such a
            method costs that one pass.
        weigh: features (N, K, h, w) and their weights, (N, K, h, w) or (N, K, 1, 1), from passes of its own.
        maps: signed maps, (N, h, w) of the feature map's size or (N, H, W) of the images', from passes of its own.
        eigen: the map is the first principal component of the weighted features, not their sum.
        passes: the same as ``cost`` in numbers, of a model and an image size.
        lacks: what a model lacks that the method needs, in words; None if it can be explained by it.
        pooled: the method that this one is, to the bit, where the head is linear in pooled features; or empty.
        seeded: whether it draws random numbers.
    """

    source: str
    what: str = ""
    cost: str = "1"
    weights: Weights | None = None
    weigh: Callable[[SaliencyInput], tuple[torch.Tensor, torch.Tensor]] | None = None
    maps: Callable[[SaliencyInput], torch.Tensor] | None = None
    eigen: bool = False
    passes: Callable[[ExplainedModel, int], int] = lambda model, image_size: 1
    lacks: Callable[[ExplainedModel], str | None] = lambda model: None
    pooled: str = ""
    seeded: bool = False

    @property
    def one_pass(self) -> bool:
        """Whether the pass that classifies gives the map too."""
        return self.weights is not None

    @property
    def can_eigen_smooth(self) -> bool:
        """Whether the map is a weighted sum of features, whose first principal component may stand for it."""
        return self.maps is None and not self.eigen
