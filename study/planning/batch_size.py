"""Finds the largest batch size that this machine can train with, once per study, and stores it; knows no Ray."""

import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from proxy_attention.config import AUTO, TrialConfig, fields_with
from proxy_attention.config_fields import Role
from proxy_attention.errors import ConfigError
from proxy_attention.files import read_json, write_json
from study.planning.device_memory import MB, gpu_name_and_memory_mb, machine_memory_mb
from study.planning.resources import Resources
from study.planning.step_memory import STEP_FIELDS, StepProcess, TrainingStep
from study.planning.study_data import StudyData

LARGEST = 65_536
"""The largest ``batch_size`` that a config allows."""
STEPS = 10
"""The fewest steps per epoch that a batch size leaves: with fewer, trials learn so little that arms cannot differ."""
CPU_PART, MOST_OF_CPU = 0.5, 0.25
"""Fractions of the machine's memory for all trials at once, and for one trial at most.

While it is tried, the first batch that is too large may take up to twice as much.
"""
GPU_PART = 0.9
"""Fraction of a GPU's memory for a trial's tensors and images; the rest is for the CUDA context and its kernels."""
DATA_FIELDS = frozenset(fields_with(Role.CATALOGUE, Role.SPLIT)) - {*fields_with(Role.REPEAT)}
"""The fields that decide how many training images there are."""


@dataclass(frozen=True)
class BatchSize:
    """The batch size of all trials of a study that leave it ``auto``, and the reason for it in words."""

    size: int
    reason: str


def find_batch_size(
    configs: Sequence[TrialConfig],
    data: StudyData,
    *,
    resources: Resources,
    file: Path,
    keep: bool = True,
    tell: Callable[[str], None] | None = None,
) -> BatchSize | None:
    """Find one batch size for all configs that leave it ``auto``: the largest at which each of them can train.

    Args:
        configs: one for each way in which the study may train.
        file: the JSON file of the sizes that were found before.
        keep: whether to write a size that is found now to the file.
        tell: called with what is tried, in words.
    Returns: the size; None if every config names its own.
    Raises: ConfigError if a model does not train with a single image; ConfigError, DataError for bad input.
    """
    automatic = [config for config in configs if config.batch_size == AUTO]
    if not automatic:
        return None
    machine, memory_mb = _machine(resources)
    bound = min(LARGEST, *(max(data.train_and_val_images(config)[0] // STEPS, 1) for config in automatic))
    size, when = bound, "found before"
    for step in dict.fromkeys(_training_step(config, data, resources, memory_mb) for config in automatic):
        at_most, key = size, step.key(machine)  # a larger one would not fit an earlier step
        known = _read_size(file, key, at_most)
        if known is None:
            known, when = _largest_of(step, at_most, tell), "found now"
            if keep:
                _write_size(file, key, known, at_most)
        size = known
    most = f"which leaves an epoch {STEPS} steps" if size == bound else "the largest that trains here"
    return BatchSize(size, f"{most}: {when}")


def largest_that_fits(fits: Callable[[int], bool], *, at_most: int) -> int:
    """Find the largest number that fits: double from 1 while it fits, then bisect; try no number twice.

    Args:
        fits: returns True up to some number, and False for all above it.
        at_most: the largest to try, >= 1.
    Returns: 0 if not even 1 fits.
    """
    good, tried = 0, 1
    while fits(tried):
        good, tried = tried, min(2 * tried, at_most)
        if good == at_most:
            return good
    bad = tried
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def _training_step(config: TrialConfig, data: StudyData, resources: Resources, memory_mb: float) -> TrainingStep:
    """Make the training step of a config, with the memory that it may take."""
    inspection = data.inspection(config)
    changes: dict[str, Any] = {name: getattr(config, name) for name in STEP_FIELDS}
    if config.precision == AUTO:
        changes["precision"] = "fp32"  # it needs the most memory
    if config.threads == AUTO:
        changes["threads"] = resources.cpus
    plain = TrialConfig(**changes)
    images_mb = (inspection.train_pool + inspection.own_test) * 3 * config.image_size**2 / MB
    return TrainingStep(
        plain, len(inspection.classes), resources.device, step_budget_mb(resources, memory_mb, images_mb)
    )


def step_budget_mb(resources: Resources, memory_mb: float, images_mb: float) -> float:
    """Return the memory that a step of one trial may take, in MiB.

    On a CPU, all trials together get half of the memory, and one trial at most a quarter; the rest is for images. On a
    GPU, a trial gets nine tenths of its share, minus the images and as many proxies, but at least a quarter of its
    share.

    Args:
        memory_mb: memory of the machine, or of the GPU, in MiB.
        images_mb: size of the decoded images, in MiB.
    """
    if resources.device == "cpu":
        return memory_mb * min(CPU_PART / resources.concurrency, MOST_OF_CPU)
    share = memory_mb * min(resources.gpus, 1.0)
    return max(GPU_PART * share - 2 * images_mb, share / 4)


def _largest_of(step: TrainingStep, at_most: int, tell: Callable[[str], None] | None) -> int:
    """Find the largest batch size at which a step stays within its budget.

    Raises: ConfigError if a single image takes more.
    """
    config = step.config
    with StepProcess() as process:

        def fits(size: int) -> bool:
            if tell is not None:
                tell(f"finding the batch size: {config.model} at {config.image_size} px with {size} images a step")
            return process.fits(step, size)

        size = largest_that_fits(fits, at_most=at_most)
    if not size:
        raise ConfigError(
            f"batch_size must leave a step room in memory; got {AUTO!r}, but {config.model} at {config.image_size} px "
            f"does not train with one image in the {step.budget_mb:.0f} MB that a trial may take here"
        )
    return size


def _machine(resources: Resources) -> tuple[str, float]:
    """Return the name of the hardware for which a batch size is valid, and its memory in MiB."""
    if resources.device == "cuda":
        return gpu_name_and_memory_mb()
    kind = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {kind}, {platform.system()}", machine_memory_mb()


def _read_size(file: Path, key: str, at_most: int) -> int | None:
    """Read the size that is stored under a key; return None if there is none, or if larger ones must be tried.

    An entry is [size, the largest that was tried]; anything else is ignored.
    """
    kept = read_json(file)
    entry = kept.get(key) if isinstance(kept, dict) else None
    if not isinstance(entry, list) or len(entry) != 2 or not all(type(value) is int for value in entry):
        return None
    size, tried = entry
    if not 1 <= size <= tried <= LARGEST:
        return None
    return min(size, at_most) if size < tried or at_most <= tried else None


def _write_size(file: Path, key: str, size: int, tried: int) -> None:
    """Store a size under a key, with the largest that was tried."""
    kept = read_json(file)
    with suppress(OSError):  # a cache that cannot be written must not stop a study
        write_json(file, {**(kept if isinstance(kept, dict) else {}), key: [size, tried]})
