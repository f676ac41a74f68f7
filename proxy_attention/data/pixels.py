"""Where the pixels of a data set lie, and how batches of them come from there; knows no label and no file format.

They are one tensor, in memory or mapped from a file, or ``Streamed``: fetched some batches before they are asked for.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

AHEAD = 4
"""Batches that a stream fetches before they are asked for."""

In = TypeVar("In")
Out = TypeVar("Out")


def ahead(work: Callable[[In], Out], items: Iterable[In], *, threads: int, depth: int) -> Iterator[Out]:
    """What ``work`` makes of the items, in their order, begun up to ``depth`` items before it is asked for."""
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
    """Pixels that are not all in memory, or not on the device; asked for by image numbers as a tensor is.

    Args:
        fill: writes the images with these numbers, (B,) int64 on the CPU, into this (B, 3, S, S) uint8 on the CPU.
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
        """The same, handed out on another device."""
        return Streamed(self._fill, shape=self.shape, device=device)

    def ahead(self, parts: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """The images of each part, (B, 3, S, S) uint8 on the device; the next parts are fetched meanwhile."""
        # handed out here, not in the thread: the copy belongs on the stream of those who compute with it
        yield from map(self._hand_out, ahead(self._fetch, parts, threads=1, depth=AHEAD))

    def _fetch(self, ids: torch.Tensor) -> torch.Tensor:
        # only from pinned memory can a GPU copy while it computes
        out = torch.empty((len(ids), *self.shape[1:]), dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        self._fill(ids, out)
        return out

    def _hand_out(self, images: torch.Tensor) -> torch.Tensor:
        return images.to(self.device, non_blocking=True)


Pixels = torch.Tensor | Streamed
"""(N, 3, S, S) uint8; never written to."""


def held_on_host(images: torch.Tensor, device: torch.device) -> Streamed:
    """A tensor on the CPU whose batches go to the device one by one."""
    return Streamed(
        lambda ids, out: torch.index_select(images, 0, ids, out=out), shape=tuple(images.shape), device=device
    )


def place(pixels: Pixels, device: torch.device) -> Pixels:
    """The pixels for this device: on it if they take at most half of its free memory, else fetched batch by batch."""
    if device.type == "cuda" and isinstance(pixels, torch.Tensor) and pixels.device.type == "cpu":
        free, _ = torch.cuda.mem_get_info(device)
        if pixels.numel() > free // 2:
            return held_on_host(pixels, device)
    return pixels.to(device)


def take(pixels: Pixels, ids: torch.Tensor) -> torch.Tensor:
    """A copy of the images with these numbers, (B, 3, S, S) uint8 on the device of the pixels."""
    if isinstance(pixels, Streamed):
        return pixels[ids]
    return pixels.index_select(0, ids.to(pixels.device))  # whole images at a time: plain indexing is 30 x slower


def in_batches(pixels: Pixels, ids: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    """Copies of the images with these numbers, in this order, (B, 3, S, S) uint8 on the device of the pixels.

    The numbers go to the device once, so that no batch waits for it; the last batch may be smaller.

    Args:
        ids: (M,) int64 on the CPU.
    """
    if not len(ids):
        return
    if isinstance(pixels, Streamed):
        yield from pixels.ahead(ids.split(size))
    else:
        for part in ids.to(pixels.device).split(size):
            yield pixels.index_select(0, part)
