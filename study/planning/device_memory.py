"""Reads how much memory this machine and its GPU have; allocates none."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path

import torch

MB = 2**20
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""The files that hold a container's memory limit, under cgroups version 2 and version 1."""


def machine_memory_mb(limits: tuple[Path, ...] = LIMITS) -> float:
    """Return the memory of the machine, or of the container in it, in MiB.

    All of the memory, not the free part: the same study must find the same batch size tomorrow.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / MB
    for path in limits:
        with suppress(OSError, ValueError):  # no such file, or no limit (``max``)
            memory = min(memory, int(path.read_text()) / MB)
    return memory


def gpu_name_and_memory_mb() -> tuple[str, float]:
    """Return name and memory (MiB) of the first GPU; ask in a process of its own, because asking takes GPU memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_gpu_name_and_memory_mb).result()


def _gpu_name_and_memory_mb() -> tuple[str, float]:
    return torch.cuda.get_device_name(0), torch.cuda.get_device_properties(0).total_memory / MB
