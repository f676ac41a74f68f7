"""The interface of augmentations: a batch, the task, a row, and labels of mixed images; draws nothing."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F


@dataclass(frozen=True, eq=False)
class Batch:
    """Images and their labels.

    Attributes:
        images: (B, 3, H, W) float in [0, 1].
        labels: (B,) int64, the class of each slot's own image.
        mixed: (B, C) float32, how much of each class is in each image, where they were mixed; a row need not sum to 1.
            None: each image is of its own class alone.
    """

    images: torch.Tensor
    labels: torch.Tensor
    mixed: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def with_images(self, images: torch.Tensor) -> "Batch":
        """Copy the batch with other images under the same labels."""
        return dataclasses.replace(self, images=images)

    def loss(self, logits: torch.Tensor) -> torch.Tensor:
        """Cross entropy of each image, (B,): of a mixed label the sum over its classes, each times its part.

        Source: Zhang et al., mixup, ICLR 2018, section 2.
        """
        return F.cross_entropy(logits, self.labels if self.mixed is None else self.mixed, reduction="none")

    def right(self, predicted: torch.Tensor) -> torch.Tensor:
        """Compute the part of each image's label that the predicted class has, (B,) float32 in [0, 1]."""
        if self.mixed is None:
            return (predicted == self.labels).float()
        return self.mixed.gather(1, predicted[:, None])[:, 0].clamp(max=1)


class SaliencySource(Protocol):
    """Saliency of the model in training, as it is now; the model is left as it was, and nothing is drawn."""

    def class_maps(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Compute GradCAM maps (B, h, w) float32 >= 0, not scaled, of these images for these classes (B,)."""

    def gradients(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Compute the norm over channels of the gradient of the loss at each pixel, (B, H, W) float32."""


@dataclass(frozen=True, eq=False)
class Task:
    """What all batches of an epoch have in common.

    Attributes:
        class_counts: (C,) int64, training images of each class.
        saliency: of the model that is trained.
    """

    class_counts: torch.Tensor
    saliency: SaliencySource

    @property
    def classes(self) -> int:
        """C."""
        return len(self.class_counts)


@dataclass(frozen=True)
class Augmentation:
    """A row of the table.

    Attributes:
        what: what it does, for the README: no capital, no full stop.
        source: author, place, year; or whose code it is.
        columns: uniform draws that an image needs.
        apply: a batch, draws (B, columns) float32 in [0, 1) where the images are, and the task, to a new batch. It
            writes to nothing that it is given, and draws no random number.
        mixes: whether images or labels of a batch are mixed: an image then depends on which others are in its batch.
        passes: through the model that is trained, counted as forward passes a batch; 0 for most.
        saliency_methods: keys of ``METHODS`` that it computes: a trial with this augmentation trains by them.
    """

    what: str
    source: str
    columns: int
    apply: Callable[[Batch, torch.Tensor, Task], Batch]
    mixes: bool = False
    passes: int = 0
    saliency_methods: tuple[str, ...] = ()


def of_images(
    change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], *, columns: int, what: str, source: str
) -> Augmentation:
    """Make a row that changes each image on its own, and no label.

    Args:
        change: images (B, 3, H, W) float in [0, 1] and draws (B, columns) to new images.
    """

    def apply(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
        return batch.with_images(change(batch.images, draws))

    return Augmentation(what, source, columns, apply)


def per_image(
    mix: Callable[[Batch, torch.Tensor, Task], Batch],
    *,
    columns: int,
    what: str,
    source: str,
    passes: int = 0,
    saliency_methods: tuple[str, ...] = (),
) -> Augmentation:
    """Make a row that mixes each image with others of its batch; a lone image stays as it is."""

    def apply(batch: Batch, draws: torch.Tensor, task: Task) -> Batch:
        return mix(batch, draws, task) if len(batch) > 1 else batch

    return Augmentation(what, source, columns, apply, mixes=True, passes=passes, saliency_methods=saliency_methods)


def mixed_labels(labels: torch.Tensor, partner: torch.Tensor, part: torch.Tensor, *, classes: int) -> torch.Tensor:
    """Mix labels to (B, C) float32: ``part`` (B,) of each image's own class, the rest of its partner's."""
    own = F.one_hot(labels, classes).to(torch.float32)
    return own * part[:, None] + own[partner] * (1 - part[:, None])


def with_partner(batch: Batch, images: torch.Tensor, partner: torch.Tensor, part: torch.Tensor, task: Task) -> Batch:
    """Put these images into the batch, with labels of which ``part`` (B,) is their own, the rest the partner's."""
    mixed = mixed_labels(batch.labels, partner, part, classes=task.classes)
    return dataclasses.replace(batch, images=images, mixed=mixed)
