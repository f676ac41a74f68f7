"""Memory between trials: give it back, count what stays, measure the peak; knows nothing of training."""

import ctypes
import gc
import resource
import sys
from functools import cache
from pathlib import Path

import torch

_PROC = Path("/proc/self")


def clear_caches(device: torch.device) -> None:
    """Give cached memory back to the device and to the system.

    Call it after the references are dropped: between the phases of a trial, and after every trial.
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
    """Take what a worker has imported out of later collections, once: they cost a tenth of a second each with it."""
    gc.collect()
    gc.freeze()


def live_tensors() -> int:
    """How many tensors the process holds: flat over trials, unless something leaks."""
    gc.collect()
    # type(), not isinstance(): lazily imported modules among the objects answer __class__ by importing
    return sum(1 for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor))


def reset_peak(device: torch.device) -> None:
    """Start a new measurement of the peak, so that a trial in a reused worker is not charged for an earlier one."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        (_PROC / "clear_refs").write_text("5")  # resets VmHWM; see proc(5)
    except OSError:
        return  # no procfs, or a locked one: the peak of the process is the best there is


def peak_mb(device: torch.device) -> float:
    """The peak since ``reset_peak``, in MiB: allocated on a GPU, resident on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        status = (_PROC / "status").read_text()
    except OSError:
        scale = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss: bytes on macOS, KiB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
