"""Memory of this process: releases it between trials, counts tensors, measures the peak; knows nothing of training."""

import ctypes
import gc
import resource
import sys
from functools import cache
from pathlib import Path

import torch

_PROC = Path("/proc/self")


def clear_caches(device: torch.device) -> None:
    """Release cached memory to the device and to the operating system.

    Call it once no reference to the tensors is left: between the phases of a trial, and after every trial.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.ipc_collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl has not
        if trim is not None:
            trim(0)


@cache
def freeze_imports() -> None:
    """Exclude imported objects from garbage collection, once per process: with them a collection takes 0.1 s."""
    gc.collect()
    gc.freeze()


def live_tensors() -> int:
    """Count the tensors that the process holds; a count that grows from trial to trial shows a leak."""
    gc.collect()
    # type(), not isinstance(), which reads __class__: a lazily imported module would then be imported
    return sum(1 for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor))


def reset_peak(device: torch.device) -> None:
    """Restart the measurement of peak memory, so that a trial does not report the peak of an earlier one."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        (_PROC / "clear_refs").write_text("5")  # resets VmHWM; see proc(5)
    except OSError:
        return  # no procfs, or not writable: ``peak_mb`` then gives the peak since the process started


def peak_mb(device: torch.device) -> float:
    """Return the peak memory since ``reset_peak`` in MiB: of tensors on a GPU, of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        status = (_PROC / "status").read_text()
    except OSError:
        scale = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss: bytes on macOS, KiB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
