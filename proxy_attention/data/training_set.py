"""The images an epoch trains on: originals, with proxies in place of some or beside them; knows no model.

A slot is a place in the epoch. Slot ``i`` below ``len(train)`` belongs to training image ``train[i]``, whether its
original or its proxy stands there; with ``substitute = add``, the proxies take further slots.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from proxy_attention import seeds
from proxy_attention.errors import CheckpointError

SUBSTITUTES = ("replace", "add")


@dataclass(frozen=True, eq=False)
class Proxies:
    """Proxy images by the number of the original: ``ids`` (P,) int64 ascending, ``pixels`` (P, 3, S, S) uint8."""

    ids: torch.Tensor
    pixels: torch.Tensor

    @classmethod
    def none(cls, like: torch.Tensor) -> "Proxies":
        """No proxies, for images shaped like these."""
        return cls(ids=torch.empty(0, dtype=torch.int64), pixels=like[:0])

    def __len__(self) -> int:
        return len(self.ids)

    def joined(self, newer: "Proxies") -> "Proxies":
        """These and the newer; of one image, the newer."""
        kept = ~torch.isin(self.ids, newer.ids)
        ids = torch.cat([self.ids[kept], newer.ids])
        order = torch.argsort(ids)
        pixels = torch.cat([self.pixels[kept.to(self.pixels.device)], newer.pixels])
        return Proxies(ids=ids[order], pixels=pixels[order.to(pixels.device)])


class TrainingSet:
    """Training images of one trial. The only way from training code to pixels, and it leads to training images only.

    Args:
        images: (N, 3, S, S) uint8 of the whole data set; never written to.
        labels: (N,) int64.
        train: numbers of the training images, ascending.
        proxies: any proxies; those of images outside ``train`` (an audit's redrawn split) wait unused.
        substitute: ``replace`` or ``add``.
    """

    def __init__(
        self, images: torch.Tensor, labels: torch.Tensor, *, train: np.ndarray, proxies: Proxies, substitute: str
    ) -> None:
        self._images, self._labels = images, labels
        self.train = torch.from_numpy(train)
        self.proxies = proxies
        self.substitute = substitute
        active = torch.isin(proxies.ids, self.train)
        self.active_ids = proxies.ids[active]
        if len(proxies) and int(proxies.ids.max()) >= len(labels):
            raise CheckpointError("a proxy names an image that the data set does not hold")
        # where the proxy of an image lies, or -1
        self._proxy_row = torch.full((len(labels),), -1, dtype=torch.int64)
        self._proxy_row[self.active_ids] = active.nonzero().flatten()
        added = self.active_ids if substitute == "add" else self.active_ids[:0]
        self.slot_ids = torch.cat([self.train, added])

    def with_proxies(self, proxies: Proxies) -> "TrainingSet":
        """The same training images with other proxies."""
        return TrainingSet(
            self._images, self._labels, train=self.train.numpy(), proxies=proxies, substitute=self.substitute
        )

    def with_train(self, train: np.ndarray) -> "TrainingSet":
        """AUDIT ONLY: other training images, the same proxies."""
        return TrainingSet(self._images, self._labels, train=train, proxies=self.proxies, substitute=self.substitute)

    def __len__(self) -> int:
        """Slots: how many images an epoch trains on."""
        return len(self.slot_ids)

    @property
    def dataset_size(self) -> int:
        """Images in the whole data set: the height of a table with a row an image."""
        return len(self._labels)

    @property
    def device(self) -> torch.device:
        """Where the pixels lie."""
        return self._images.device

    def slots(self, slots: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What stands in these slots: images (B, 3, S, S) uint8 and labels (B,), on the device."""
        ids = self.slot_ids[slots]
        rows = self._proxy_row[ids]
        if self.substitute == "add":
            rows = torch.where(slots < len(self.train), -1, rows)
        images = self.originals(ids)
        swapped = rows >= 0
        if swapped.any():
            images[swapped.to(self.device)] = self.proxies.pixels[rows[swapped].to(self.device)]
        return images, self._labels[ids.to(self.device)]

    def originals(self, ids: torch.Tensor) -> torch.Tensor:
        """A copy of the originals of these training images, (B, 3, S, S) uint8."""
        return self._images[ids.to(self.device)]

    def current(self, ids: torch.Tensor) -> torch.Tensor:
        """Proxies where there are any, else originals, (B, 3, S, S) uint8: what ``compound`` starts from."""
        images = self.originals(ids)
        rows = self._proxy_row[ids]
        if (rows >= 0).any():
            images[(rows >= 0).to(self.device)] = self.proxies.pixels[rows[rows >= 0].to(self.device)]
        return images

    def labels_of(self, ids: torch.Tensor) -> torch.Tensor:
        """Labels of these images, (B,), on the device."""
        return self._labels[ids.to(self.device)]

    def epoch_order(self, seed: int, epoch: int) -> torch.Tensor:
        """A permutation of the slots: an added proxy never shifts the relative order of the originals."""
        keys = seeds.table(len(self._labels), 1, seed, "order", epoch)[self.train, 0]
        if len(self) > len(self.train):
            added = seeds.table(len(self._labels), 1, seed, "order-added", epoch)[self.active_ids, 0]
            keys = torch.cat([keys, added])
        return torch.argsort(keys, stable=True)

    def augmentation_table(self, columns: int, seed: int, epoch: int) -> torch.Tensor:
        """(slots, columns) uniform draws, indexed by image: batch size and substitution never shift a draw."""
        rows = seeds.table(len(self._labels), columns, seed, "augment", epoch)[self.train]
        if len(self) > len(self.train):
            added = seeds.table(len(self._labels), columns, seed, "augment-added", epoch)[self.active_ids]
            rows = torch.cat([rows, added])
        return rows

    def batches(self, order: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
        """The slots in this order, cut into batches; the last may be smaller."""
        yield from order.split(size)
