"""Measures the memory of real training steps, in a process of its own; knows no study and no file."""

import dataclasses
import json
import multiprocessing
import os
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Self

import numpy as np
import torch

from proxy_attention.config import DEFAULTS, TrialConfig, fields_with
from proxy_attention.config_fields import Role
from proxy_attention.data.training_set import Proxies, TrainingSet
from proxy_attention.memory import clear_caches, peak_mb, reset_peak
from proxy_attention.models.build import build_for
from proxy_attention.training import new_state, train_epoch
from study.planning.device_memory import MB

STEP_FIELDS = fields_with(Role.STEP_MEMORY)
"""The fields that decide the memory of a step; ``compile`` is assumed to add none."""


@dataclass(frozen=True)
class TrainingStep:
    """A training step of which everything but the batch size is fixed.

    Attributes:
        config: with no ``auto`` precision or threads.
        classes: number of classes of its data set.
        device: ``cpu`` or ``cuda``.
        budget_mb: memory that the step may take: on a CPU with the process around it, on a GPU its tensors alone.
    """

    config: TrialConfig
    classes: int
    device: str
    budget_mb: float

    def key(self, machine: str) -> str:
        """Return the key under which a batch size is stored: everything that the size may depend on, as JSON."""
        step = {name: getattr(self.config, name) for name in STEP_FIELDS}
        # a model with pretrained weights may be adapted to the image size in another way
        step["weights"] = "none" if self.config.weights == "none" else "some"
        threads = step.pop("threads")  # last, as in the keys that were stored before
        place = {"machine": machine, "torch": torch.__version__, "budget_mb": round(self.budget_mb)}
        return json.dumps({**step, "threads": threads, **place, "classes": self.classes})


class StepProcess:
    """Runs real training steps in another process; a step whose process is killed does not fit.

    If the peak memory of a process cannot be reset, each step has a new process.
    """

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def fits(self, step: TrainingStep, size: int) -> bool:
        """Whether a step with so many images stays within the budget."""
        return self.run(step_mb, step, size) <= step.budget_mb

    def run(self, job: Callable[..., float], step: TrainingStep, size: int) -> float:
        """Run the job in the other process; return its result, or infinity if the system killed the process."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                1,
                mp_context=multiprocessing.get_context("spawn"),
                max_tasks_per_child=None if step.device == "cuda" or _resettable() else 1,
            )
        try:
            return self._pool.submit(job, step, size).result()
        except BrokenProcessPool:
            self._close()
            return float("inf")

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None


def _resettable() -> bool:
    """Whether the peak memory of a process can be reset."""
    return os.access("/proc/self/clear_refs", os.W_OK)


def step_mb(step: TrainingStep, size: int) -> float:
    """Measure the peak of memory of one real step with so many images, in MiB; infinite if the device has too little.

    On a CPU it is the peak of the whole process, with its imports, as if it ran this step alone: memory that earlier
    steps left behind, such as their kernels, is not counted.
    """
    device = torch.device(step.device)
    torch.set_num_threads(int(step.config.threads))
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory / MB
        torch.cuda.set_per_process_memory_fraction(min(step.budget_mb / total, 1.0))
    try:
        at_first = 0.0 if device.type == "cuda" else _first_resident_mb(step.config, step.classes)
        clear_caches(device)
        reset_peak(device)
        before = peak_mb(device)
        _train_step(step.config, step.classes, device, size)
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # else the traceback keeps the step's tensors
        return float("inf")
    finally:
        clear_caches(device)
    return at_first + peak_mb(device) - before


@cache
def _first_resident_mb(config: TrialConfig, classes: int) -> float:
    """Measure, once, how much memory this process holds after a first small step on the CPU, in MiB."""
    device = torch.device("cpu")
    _train_step(config, classes, device, 2)
    clear_caches(device)
    reset_peak(device)
    return peak_mb(device)


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether the error means too little memory; some libraries say so only in the error's text."""
    words = ("allocate memory", "ALLOC_FAILED", "bad_alloc")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in str(error) for word in words)


def _train_step(config: TrialConfig, classes: int, device: torch.device, size: int) -> None:
    """Train a step on two images, so that AdamW has its averages, and then a step on ``size`` images.

    A batch of one image is measured as one of two: some models refuse a single image.
    """
    count = max(size, 2)
    plain = {"compile": False, "schedule": "2", "lr": DEFAULTS["lr"], "weight_decay": DEFAULTS["weight_decay"]}
    config = dataclasses.replace(config, batch_size=count, **plain)
    state = new_state(build_for(config, classes=classes).to(device), config, images=count, device=device)
    for epoch, images in enumerate((2, count)):
        pixels = torch.randint(0, 256, (images, 3, config.image_size, config.image_size), dtype=torch.uint8).to(device)
        labels = torch.arange(images, device=device) % classes
        none = Proxies.none(pixels)
        given = TrainingSet(pixels, labels, train=np.arange(images), proxies=none, substitute="replace")
        train_epoch(state, given, config, epoch=epoch)
