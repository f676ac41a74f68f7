"""Named random streams: adding a stream, or drawing more from one, never shifts another."""

import hashlib

import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """A seed for the stream with this name, the same on every machine.

    Args:
        seed: the trial's seed.
        names: the stream's name, such as ``"order", 3``.
    Returns: an integer in [0, 2**63).
    """
    text = repr((int(seed), *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator for the stream with this name."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))


def table(rows: int, columns: int, seed: int, *names: str | int) -> torch.Tensor:
    """Uniform draws in [0, 1), one row an image: which image is asked for, in which batch, changes nothing.

    Returns: (rows, columns) float32 on the CPU.
    """
    return torch.rand(rows, columns, generator=stream(seed, *names))
