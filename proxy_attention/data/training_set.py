"""The images that an epoch trains on: originals, some replaced by proxies or joined by them; knows no model.

A slot is a place in the epoch. Slot ``i`` below ``len(train)`` holds training image ``train[i]``, as its original or
its proxy; with ``substitute = add``, the proxies take further slots: all of them, ``repeats`` times.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from proxy_attention import seeds
from proxy_attention.data.pixels import Pixels, in_batches, select_images
from proxy_attention.errors import CheckpointError

SUBSTITUTES = ("replace", "add")


def batch_sizes(images: int, batch_size: int) -> list[int]:
    """Return the sizes of an epoch's batches; the last may be smaller.

    A lone last image joins the batch before it: BatchNorm cannot train on one image without a spread in space.
    """
    whole, rest = divmod(images, batch_size)
    if rest == 1 and whole and batch_size > 1:
        return [batch_size] * (whole - 1) + [batch_size + 1]
    return [batch_size] * whole + [rest] * (rest > 0)


@dataclass(frozen=True, eq=False)
class Proxies:
    """Proxy images.

    Attributes:
        ids: (P,) int64, the numbers of the originals, ascending.
        pixels: (P, 3, S, S) uint8.
    """

    ids: torch.Tensor
    pixels: torch.Tensor

    @classmethod
    def none(cls, like: Pixels) -> "Proxies":
        """Make an empty set of proxies for images shaped like these."""
        pixels = torch.empty((0, *like.shape[1:]), dtype=torch.uint8, device=like.device)
        return cls(ids=torch.empty(0, dtype=torch.int64), pixels=pixels)

    def __len__(self) -> int:
        return len(self.ids)

    def emptied(self) -> "Proxies":
        """Drop every proxy."""
        return Proxies(ids=self.ids[:0], pixels=self.pixels[:0])

    def joined(self, newer: "Proxies") -> "Proxies":
        """Join these and newer proxies; where both have an image, the newer is kept."""
        kept = ~torch.isin(self.ids, newer.ids)
        ids = torch.cat([self.ids[kept], newer.ids])
        order = torch.argsort(ids)
        pixels = torch.cat([self.pixels[kept.to(self.pixels.device)], newer.pixels])
        return Proxies(ids=ids[order], pixels=pixels[order.to(pixels.device)])


class TrainingSet:
    """The training images of one trial: training code reaches pixels only through it, and only those of train.

    Args:
        images: (N, 3, S, S) uint8 of the whole data set, in memory or streamed; never written to.
        labels: (N,) int64.
        train: numbers of the training images, ascending.
        proxies: of any images; those of images outside ``train``, as after an audit redraws the split, are not used.
        substitute: ``replace`` or ``add``.
        repeats: how often each proxy joins its original under ``add``.
    """

    def __init__(
        self,
        images: Pixels,
        labels: torch.Tensor,
        *,
        train: np.ndarray,
        proxies: Proxies,
        substitute: str,
        repeats: int = 1,
    ) -> None:
        self._images, self._labels = images, labels
        self.train = torch.from_numpy(train)
        self.proxies = proxies
        self.substitute = substitute
        self.repeats = repeats if substitute == "add" else 0
        active = torch.isin(proxies.ids, self.train)
        self.active_ids = proxies.ids[active]
        if len(proxies) and int(proxies.ids.max()) >= len(labels):
            raise CheckpointError("a proxy names an image that the data set does not hold")
        # where the proxy of an image lies, or -1
        self._proxy_row = torch.full((len(labels),), -1, dtype=torch.int64)
        self._proxy_row[self.active_ids] = active.nonzero().flatten()
        self.slot_ids = torch.cat([self.train, *[self.active_ids] * self.repeats])

    def with_proxies(self, proxies: Proxies) -> "TrainingSet":
        """Keep the training images and take other proxies."""
        return self._with(self.train.numpy(), proxies)

    def with_train(self, train: np.ndarray) -> "TrainingSet":
        """AUDIT ONLY: keep the proxies and take other training images."""
        return self._with(train, self.proxies)

    def _with(self, train: np.ndarray, proxies: Proxies) -> "TrainingSet":
        images, labels, repeats = self._images, self._labels, max(self.repeats, 1)
        return TrainingSet(images, labels, train=train, proxies=proxies, substitute=self.substitute, repeats=repeats)

    def __len__(self) -> int:
        """Count the slots: the images that an epoch trains on."""
        return len(self.slot_ids)

    @property
    def dataset_size(self) -> int:
        """Count the images of the whole data set, which is the height of a table with a row for each."""
        return len(self._labels)

    @property
    def device(self) -> torch.device:
        """The device on which images are handed out."""
        return self._images.device

    def stream(self, order: torch.Tensor, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the images and labels of the slots in this order, in batches of ``batch_sizes``.

        All numbers go to the device before the first batch, so that no batch waits for them; streamed images are
        fetched some batches ahead.

        Args:
            order: (M,) slots, int64 on the CPU.
        Returns: images (B, 3, S, S) uint8 and labels (B,), on the device.
        """
        ids, rows = self._slot_content(order)
        sizes = batch_sizes(len(ids), batch_size)
        labels = self._labels[ids.to(self._labels.device)].split(sizes)
        swapped = (rows >= 0).nonzero().flatten()
        # cut on the CPU: a mask on the device would have to be counted there, and waited for
        begins = torch.tensor([0, *sizes]).cumsum(0)
        ends = torch.searchsorted(swapped, begins).tolist()
        place = (swapped - begins[torch.searchsorted(begins, swapped, right=True) - 1]).to(self.device)
        proxies = rows[swapped].to(self.proxies.pixels.device)
        for number, images in enumerate(in_batches(self._images, ids, sizes)):
            part = slice(ends[number], ends[number + 1])
            if part.start < part.stop:
                images.index_copy_(0, place[part], select_images(self.proxies.pixels, proxies[part]).to(self.device))
            yield images, labels[number]

    def stream_originals(self, ids: torch.Tensor, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield these training images without proxies, as ``stream``: ids (B,) and images (B, 3, S, S) uint8."""
        yield from zip(ids.split(batch_size), in_batches(self._images, ids, batch_size), strict=False)

    def slots(self, slots: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Take the content of these slots: images (B, 3, S, S) uint8 and labels (B,), on the device."""
        ids, rows = self._slot_content(slots)
        return self._replaced(self.originals(ids), rows), self.labels_of(ids)

    def originals(self, ids: torch.Tensor) -> torch.Tensor:
        """Copy the originals of these training images, (B, 3, S, S) uint8."""
        return select_images(self._images, ids)

    def current(self, ids: torch.Tensor) -> torch.Tensor:
        """Copy the proxies of these images, or the original where there is none; ``compound`` starts from them."""
        return self._replaced(self.originals(ids), self._proxy_row[ids])

    def _slot_content(self, slots: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Look up the image of each slot, and the row of the proxy that stands there, or -1."""
        ids = self.slot_ids[slots]
        rows = self._proxy_row[ids]
        return ids, torch.where(slots < len(self.train), -1, rows) if self.substitute == "add" else rows

    def _replaced(self, images: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Write the proxies of these rows over the images; a row of -1 leaves its image."""
        swapped = (rows >= 0).nonzero().flatten()
        pixels = select_images(self.proxies.pixels, rows[swapped])
        return images.index_copy_(0, swapped.to(self.device), pixels.to(self.device))

    def labels_of(self, ids: torch.Tensor) -> torch.Tensor:
        """Take the labels of these images, (B,), on the device."""
        return self._labels[ids.to(self._labels.device)]

    def epoch_order(self, seed: int, epoch: int) -> torch.Tensor:
        """Draw the order of the slots; an added proxy never changes the relative order of the originals."""
        return torch.argsort(self._table(1, seed, "order", epoch)[:, 0], stable=True)

    def augmentation_table(self, columns: int, seed: int, epoch: int) -> torch.Tensor:
        """Draw (slots, columns) uniform numbers by image, so that batch size and substitution never shift a draw."""
        return self._table(columns, seed, "augment", epoch)

    def _table(self, columns: int, seed: int, name: str, epoch: int) -> torch.Tensor:
        """Draw (slots, columns) uniform numbers by image, from a stream of the originals and one of each repeat."""
        rows = [seeds.table(len(self._labels), columns, seed, name, epoch)[self.train]]
        for repeat in range(self.repeats if len(self.active_ids) else 0):
            number = [repeat] if repeat else []  # the first draws as it did before there were repeats
            table = seeds.table(len(self._labels), columns, seed, f"{name}-added", epoch, *number)
            rows.append(table[self.active_ids])
        return torch.cat(rows)
