"""Decides how many CPUs and GPUs a trial gets, and how many trials run at once; knows no Ray."""

import dataclasses
import os
from dataclasses import dataclass

from proxy_attention.errors import ConfigError


@dataclass(frozen=True)
class Machine:
    """The CPUs and GPUs of this machine, or of a cluster.

    Attributes:
        cpus, gpus: of the largest node, which one trial cannot exceed.
        total_cpus, total_gpus: of all nodes together.
    """

    cpus: int
    gpus: int
    total_cpus: int
    total_gpus: int


@dataclass(frozen=True)
class Resources:
    """The CPUs, GPUs and device of one trial, and how many trials run at once."""

    cpus: int
    gpus: float
    concurrency: int
    device: str


def this_machine() -> Machine:
    """Count the CPUs that this process may use, and its GPUs."""
    import torch

    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = torch.cuda.device_count()
    return Machine(cpus=cpus, gpus=gpus, total_cpus=cpus, total_gpus=gpus)


def share_machine(
    machine: Machine,
    *,
    trials: int,
    threads: int | None,
    cpus_per_trial: int | None,
    gpus_per_trial: float | None,
    concurrency: int | None,
) -> Resources:
    """Share the machine among the trials: a lone trial uses all cores, and a GPU is used where there is one.

    Args:
        trials: number of trials to run.
        threads: the most threads that any config names; None if all leave them ``auto``.
        cpus_per_trial, gpus_per_trial, concurrency: what the user asked for; None where the user did not say.
    Raises: ConfigError if more is asked for than there is.
    """
    gpus = float(gpus_per_trial if gpus_per_trial is not None else min(machine.gpus, 1))
    if cpus_per_trial is not None and cpus_per_trial > machine.cpus:
        raise ConfigError(f"--cpus-per-trial must be at most {machine.cpus}, the CPUs there are; got {cpus_per_trial}")
    if gpus > machine.gpus:
        raise ConfigError(f"--gpus-per-trial must be at most {machine.gpus}, the GPUs there are; got {gpus:g}")
    wanted = cpus_per_trial or (min(threads, machine.cpus) if threads else None)
    at_once = min(max(trials, 1), machine.total_cpus // (wanted or 1))
    if gpus > 0:
        at_once = min(at_once, int(machine.total_gpus / gpus + 1e-9))
    at_once = max(min(at_once, concurrency or at_once), 1)
    cpus = wanted or max(min(machine.total_cpus // at_once, machine.cpus), 1)
    return Resources(cpus=cpus, gpus=gpus, concurrency=at_once, device="cuda" if gpus > 0 else "cpu")


CONTEXT_MB = 600
"""GPU memory in MiB that a process takes beside its tensors, for the CUDA context and its kernels."""


def pack_gpus(resources: Resources, *, peak_mb: float, memory_mb: float, cpus: int) -> Resources:
    """Put as many trials on one GPU as fit in nine tenths of its memory, and as there are CPUs for.

    Args:
        peak_mb: measured peak memory of a trial's tensors, in MiB; 0 if unknown: then a GPU holds one trial.
        memory_mb: memory of the GPU, in MiB.
        cpus: CPUs of the machine.
    """
    if not peak_mb or resources.gpus != 1:
        return resources
    fit = min(int(0.9 * memory_mb / (peak_mb + CONTEXT_MB)), cpus // resources.cpus)
    if fit < 2:
        return resources
    return dataclasses.replace(resources, gpus=1 / fit, concurrency=resources.concurrency * fit)
