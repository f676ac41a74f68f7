"""Finds the largest batch that trains here, once for all trials of a study, and keeps it; knows no trial and no Ray."""

import dataclasses
import json
import multiprocessing
import os
import platform
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from proxy_attention.config import AUTO, DEFAULTS, TrialConfig
from proxy_attention.data.training_set import Proxies, TrainingSet
from proxy_attention.errors import ConfigError
from proxy_attention.files import read_json, write_json
from proxy_attention.memory import clear_caches, peak_mb, reset_peak
from proxy_attention.models.build import build_for
from proxy_attention.training import new_state, train_epoch
from study.planning.planner import Planner
from study.planning.resources import Resources
from study.planning.search import variants_of
from study.planning.study_file import Study

MB = 2**20
MOST = 65_536
"""The most that the law of ``batch_size`` allows."""
STEPS = 10
"""Steps that an epoch keeps, whatever would fit: with fewer a trial learns so little that its arms cannot differ."""
CPU_PART, MOST_OF_CPU = 0.5, 0.25
"""Of the memory, for all trials at once, and for one: the first batch that is too large takes up to twice as much."""
GPU_PART = 0.9
"""Of the memory of a GPU, for a trial's tensors and images; the rest is the CUDA context's and its kernels'."""
STEP_FIELDS = ("model", "weights", "image_size", "augment", "precision", "freeze_trunk", "threads")
"""The fields that decide what a step needs; a compiled one is taken to need no more than one that is not."""
DATA_FIELDS = ("dataset", "label_function", "on_bad_image", "val_fraction", "test_fraction", "train_fraction", "split",
               "folds")  # fmt: skip
"""The fields that decide how many images there are to take it with."""


def largest(fits: Callable[[int], bool], *, at_most: int) -> int:
    """The largest number that fits: doubled from 1 while it does, then bisected. No number is asked about twice.

    Args:
        fits: true up to some number and for none above it.
        at_most: the largest to ask about, >= 1.
    Returns: 0 if not even 1 fits.
    """
    good, asked = 0, 1
    while fits(asked):
        good, asked = asked, min(2 * asked, at_most)
        if good == at_most:
            return good
    bad = asked
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


@dataclass(frozen=True)
class Need:
    """A way to train, of which the memory of a step depends on the batch alone.

    Attributes:
        config: at a plain precision.
        classes: of its data set.
        device: ``cpu`` or ``cuda``.
        budget_mb: what the step may take: of a CPU, with the process around it; of a GPU, of its tensors.
    """

    config: TrialConfig
    classes: int
    device: str
    budget_mb: float

    def key(self, machine: str) -> str:
        """What the found size is kept under: whatever it may depend on."""
        step = {name: getattr(self.config, name) for name in STEP_FIELDS}
        step["weights"] = "none" if self.config.weights == "none" else "some"  # which fit a model to images otherwise
        place = {"machine": machine, "torch": torch.__version__, "budget_mb": round(self.budget_mb)}
        return json.dumps({**step, **place, "classes": self.classes})


@dataclass(frozen=True)
class Found:
    """The batch size of all trials of a study that leave it ``auto``, and in words why it is that."""

    size: int
    why: str


class Probe:
    """Takes real steps in a process of its own, whose memory goes with it; one that is killed has not fitted.

    Where a peak cannot be measured anew, each step has a process of its own.
    """

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def fits(self, need: Need, size: int) -> bool:
        """Whether a step with so many images stays within the budget."""
        return self.run(step_mb, need, size) <= need.budget_mb

    def run(self, job: Callable[..., float], need: Need, size: int) -> float:
        """The answer of the job in that process; infinite if the system has killed it."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                1,
                mp_context=multiprocessing.get_context("spawn"),
                max_tasks_per_child=None if need.device == "cuda" or _resettable() else 1,
            )
        try:
            return self._pool.submit(job, need, size).result()
        except BrokenProcessPool:
            self._close()
            return float("inf")

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None


def _resettable() -> bool:
    return os.access("/proc/self/clear_refs", os.W_OK)


def step_mb(need: Need, size: int) -> float:
    """The peak of memory of one real step with so many images, in MiB; infinite if the device has not got as much.

    On a CPU it is the peak of a process that takes this step and no other, with all that it has imported. What was
    kept of the sizes before it, such as the kernels that were made for them, is not counted.
    """
    device = torch.device(need.device)
    torch.set_num_threads(int(need.config.threads))
    if device.type == "cuda":
        whole = torch.cuda.get_device_properties(0).total_memory / MB
        torch.cuda.set_per_process_memory_fraction(min(need.budget_mb / whole, 1.0))
    try:
        at_first = 0.0 if device.type == "cuda" else _resident_at_first(need.config, need.classes)
        clear_caches(device)
        reset_peak(device)
        before = peak_mb(device)
        _take_a_step(need.config, need.classes, device, size)
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # else it keeps the step's tensors
        return float("inf")
    finally:
        clear_caches(device)
    return at_first + peak_mb(device) - before


@cache
def _resident_at_first(config: TrialConfig, classes: int) -> float:
    """What the process holds, in MiB, once it has trained a little on the CPU."""
    device = torch.device("cpu")
    _take_a_step(config, classes, device, 2)
    clear_caches(device)
    reset_peak(device)
    return peak_mb(device)


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether the device had not enough memory: what is no error of its own says so in words."""
    words = ("allocate memory", "ALLOC_FAILED", "bad_alloc")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in str(error) for word in words)


def _take_a_step(config: TrialConfig, classes: int, device: torch.device, size: int) -> None:
    """Train on two images, after which AdamW has its averages, and then on a batch of so many.

    A batch of one image stands for no other: some models refuse it, and two are taken for it.
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


def find(
    study: Study,
    planner: Planner,
    *,
    resources: Resources,
    file: Path,
    keep: bool = True,
    tell: Callable[[str], None] | None = None,
) -> Found | None:
    """One size for every trial of the study that leaves it ``auto``: the smallest of what its ways to train allow.

    Args:
        file: where sizes that were found are kept.
        keep: whether what is found now may be written there.
        tell: called with what is tried, in words.
    Returns: None if every trial names its own.
    Raises: ConfigError if a model does not train with a single image; ConfigError, DataError for bad input.
    """
    asking = [config for config in _trials(study) if config.batch_size == AUTO]
    if not asking:
        return None
    machine, memory = _machine(resources)
    bound = min(MOST, *(max(planner.data.train_and_val_images(config)[0] // STEPS, 1) for config in asking))
    size, when = bound, "found before"
    for need in dict.fromkeys(_need(config, planner, resources, memory) for config in asking):
        at_most, key = size, need.key(machine)  # more than fits another is of no use
        known = _known(file, key, at_most)
        if known is None:
            known, when = _largest_of(need, at_most, tell), "found now"
            if keep:
                _keep(file, key, known, at_most)
        size = known
    most = f"which leaves an epoch {STEPS} steps" if size == bound else "the largest that trains here"
    return Found(size, f"{most}: {when}")


def _trials(study: Study) -> list[TrialConfig]:
    """A config for each way to train that the study may have."""
    arms = [study.config(arm.values, study.seeds[0]) for arm in study.arms]
    return list(dict.fromkeys([*variants_of(study, (*DATA_FIELDS, *STEP_FIELDS)), *arms]))


def _need(config: TrialConfig, planner: Planner, resources: Resources, memory_mb: float) -> Need:
    data = planner.data.inspection(config)
    changes: dict[str, Any] = {name: getattr(config, name) for name in STEP_FIELDS}
    if config.precision == AUTO:
        changes["precision"] = "fp32"  # which needs the most
    if config.threads == AUTO:
        changes["threads"] = resources.cpus
    plain = TrialConfig(**changes)
    images_mb = (data.train_pool + data.own_test) * 3 * config.image_size**2 / MB
    return Need(plain, len(data.classes), resources.device, budget(resources, memory_mb, images_mb))


def budget(resources: Resources, memory_mb: float, images_mb: float) -> float:
    """What a step of one trial may take, in MiB.

    On a CPU a trial has its share of half of the memory, but no more than a quarter, and images are the rest's. On a
    GPU it has nine tenths of its share, less the images there and as many proxies, but no less than a quarter of it.

    Args:
        memory_mb: of the machine, or of the GPU.
        images_mb: of the decoded images.
    """
    if resources.device == "cpu":
        return memory_mb * min(CPU_PART / resources.concurrency, MOST_OF_CPU)
    share = memory_mb * min(resources.gpus, 1.0)
    return max(GPU_PART * share - 2 * images_mb, share / 4)


def _largest_of(need: Need, at_most: int, tell: Callable[[str], None] | None) -> int:
    config = need.config
    with Probe() as probe:

        def fits(size: int) -> bool:
            if tell is not None:
                tell(f"finding the batch size: {config.model} at {config.image_size} px with {size} images a step")
            return probe.fits(need, size)

        size = largest(fits, at_most=at_most)
    if not size:
        raise ConfigError(
            f"batch_size must leave a step room in memory; got {AUTO!r}, but {config.model} at {config.image_size} px "
            f"does not train with one image in the {need.budget_mb:.0f} MB that a trial may take here"
        )
    return size


def _machine(resources: Resources) -> tuple[str, float]:
    """What a size that was found holds for, and the memory there is, in MiB."""
    if resources.device == "cuda":
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:  # asking claims some
            return pool.submit(_gpu).result()
    kind = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {kind}, {platform.system()}", memory_mb()


def _gpu() -> tuple[str, float]:
    return torch.cuda.get_device_name(0), torch.cuda.get_device_properties(0).total_memory / MB


LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container's limit stands: of cgroups version 2, and 1."""


def memory_mb(limits: tuple[Path, ...] = LIMITS) -> float:
    """The memory of the machine, or of the container in it, in MiB.

    Not what is free of it now: the same study must find the same size tomorrow.
    """
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / MB
    for path in limits:
        with suppress(OSError, ValueError):  # no container of this kind, or the word max
            whole = min(whole, int(path.read_text()) / MB)
    return whole


def _known(file: Path, key: str, at_most: int) -> int | None:
    """The size that was found under the key, as far as it was searched; None if it was not, or not so far.

    An entry is [size, the most that was tried]; whatever else stands there is as if it were not there.
    """
    kept = read_json(file)
    entry = kept.get(key) if isinstance(kept, dict) else None
    if not isinstance(entry, list) or len(entry) != 2 or not all(type(value) is int for value in entry):
        return None
    size, tried = entry
    if not 1 <= size <= tried <= MOST:
        return None
    return min(size, at_most) if size < tried or at_most <= tried else None


def _keep(file: Path, key: str, size: int, tried: int) -> None:
    kept = read_json(file)
    with suppress(OSError):  # a study does not fail for want of a cache
        write_json(file, {**(kept if isinstance(kept, dict) else {}), key: [size, tried]})
