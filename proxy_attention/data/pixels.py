"""Hand out batches of a data set's pixels; knows no label and no file format.

The pixels are one tensor, in memory or mapped from a file, or ``Streamed``: fetched some batches ahead.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

PREFETCHED_BATCHES = 4
"""How many batches a stream fetches ahead."""

In = TypeVar("In")
Out = TypeVar("Out")


def map_prefetched(work: Callable[[In], Out], items: Iterable[In], *, threads: int, depth: int) -> Iterator[Out]:
    """Map ``work`` over the items in threads, up to ``depth`` items ahead of the caller; results keep the order."""
    begun: deque[Future[Out]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                begun.append(pool.submit(work, item))
                if len(begun) > depth:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:  # also where the caller stops early
            for future in begun:
                future.cancel()


class Streamed:
    """Pixels that are fetched when they are asked for, because memory or device cannot hold all; indexed as a tensor.

    Args:
        fill: takes image numbers, (B,) int64, and writes these images into a (B, 3, S, S) uint8; both on the CPU.
        shape: (N, 3, S, S).
        device: where batches are handed out.
    """

    def __init__(
        self, fill: Callable[[torch.Tensor, torch.Tensor], object], *, shape: tuple[int, ...], device: torch.device
    ) -> None:
        self._fill = fill
        self.shape, self.device = torch.Size(shape), device

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, ids: torch.Tensor) -> torch.Tensor:
        return self._hand_out(self._fetch(ids.cpu()))

    def to(self, device: torch.device) -> "Streamed":
        """Hand out the same pixels on another device."""
        return Streamed(self._fill, shape=self.shape, device=device)

    def prefetch(self, parts: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Yield the images of each part, (B, 3, S, S) uint8 on the device; the next parts are fetched meanwhile."""
        # handed out here, not in the thread: the copy belongs on the stream of those who compute with it
        yield from map(self._hand_out, map_prefetched(self._fetch, parts, threads=1, depth=PREFETCHED_BATCHES))

    def _fetch(self, ids: torch.Tensor) -> torch.Tensor:
        # only from pinned memory can a GPU copy while it computes
        out = torch.empty((len(ids), *self.shape[1:]), dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        self._fill(ids, out)
        return out

    def _hand_out(self, images: torch.Tensor) -> torch.Tensor:
        return images.to(self.device, non_blocking=True)


Pixels = torch.Tensor | Streamed
"""(N, 3, S, S) uint8; never written to."""


def stream_from_host(images: torch.Tensor, device: torch.device) -> Streamed:
    """Stream a tensor on the CPU to the device, batch by batch."""
    return Streamed(
        lambda ids, out: torch.index_select(images, 0, ids, out=out), shape=tuple(images.shape), device=device
    )


def to_device(pixels: Pixels, device: torch.device) -> Pixels:
    """Move the pixels to the device if they take at most half of its free memory; else stream them batch by batch."""
    if device.type == "cuda" and isinstance(pixels, torch.Tensor) and pixels.device.type == "cpu":
        free, _ = torch.cuda.mem_get_info(device)
        if pixels.numel() > free // 2:
            return stream_from_host(pixels, device)
    return pixels.to(device)


def select_images(pixels: Pixels, ids: torch.Tensor) -> torch.Tensor:
    """Copy the images with these numbers, (B, 3, S, S) uint8 on the device of the pixels."""
    if isinstance(pixels, Streamed):
        return pixels[ids]
    return pixels.index_select(0, ids.to(pixels.device))  # whole images at a time: plain indexing is 30 x slower


def in_batches(pixels: Pixels, ids: torch.Tensor, size: int | list[int]) -> Iterator[torch.Tensor]:
    """Yield copies of the images with these numbers in this order, (B, 3, S, S) uint8 on the device of the pixels.

    The numbers go to the device once, so that no batch waits for it.

    Args:
        ids: (M,) int64 on the CPU.
        size: of every batch, of which the last may be smaller; or the sizes of all batches.
    """
    if not len(ids):
        return
    if isinstance(pixels, Streamed):
        yield from pixels.prefetch(ids.split(size))
    else:
        for part in ids.to(pixels.device).split(size):
            yield pixels.index_select(0, part)
