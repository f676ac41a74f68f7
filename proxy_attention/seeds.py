"""Named random streams: a new stream, or more draws from one, never change the draws of another."""

import hashlib

import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """Return the seed of the stream with this name; it is the same on every machine.

    Args:
        seed: the trial's seed.
        names: the parts of the stream's name, such as ``"order", 3``.
    Returns: an integer in [0, 2**63).
    """
    text = repr((int(seed), *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: str | int) -> torch.Generator:
    """Make a CPU generator for the stream with this name."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))


def table(rows: int, columns: int, seed: int, *names: str | int) -> torch.Tensor:
    """Draw uniform numbers in [0, 1), one row per image, so that an image's draws do not depend on its batch.

    Returns: (rows, columns) float32 on the CPU.
    """
    return torch.rand(rows, columns, generator=stream(seed, *names))
