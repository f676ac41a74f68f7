"""The memory of this machine and of its GPU; allocates none."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path

import torch

MB = 2**20
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Files with a container's limit: of cgroups version 2, and 1."""


def machine_memory_mb(limits: tuple[Path, ...] = LIMITS) -> float:
    """Return the memory of the machine, or of the container in it, in MiB.

    Not what is free of it now: the same study must find the same batch size tomorrow.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / MB
    for path in limits:
        with suppress(OSError, ValueError):  # no container of this kind, or the word max
            memory = min(memory, int(path.read_text()) / MB)
    return memory


def gpu_name_and_memory_mb() -> tuple[str, float]:
    """Ask for the name and the memory of the first GPU, in a process of its own: asking claims some."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_gpu_name_and_memory_mb).result()


def _gpu_name_and_memory_mb() -> tuple[str, float]:
    return torch.cuda.get_device_name(0), torch.cuda.get_device_properties(0).total_memory / MB
