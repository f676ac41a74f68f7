"""Finds the largest batch that trains here, once for all trials of a study, and keeps it; knows no trial and no Ray."""

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
"""Steps that an epoch keeps, whatever would fit: with fewer a trial learns so little that its arms cannot differ."""
CPU_PART, MOST_OF_CPU = 0.5, 0.25
"""Fractions of the machine's memory for all trials at once, and for one trial at most.

The first batch that is too large takes up to twice as much.
"""
GPU_PART = 0.9
"""Fraction of a GPU's memory for a trial's tensors and images; the CUDA context and its kernels have the rest."""
DATA_FIELDS = frozenset(fields_with(Role.CATALOGUE, Role.SPLIT)) - {*fields_with(Role.REPEAT)}
"""The fields that decide how many training images there are."""


@dataclass(frozen=True)
class BatchSize:
    """The batch size of all trials of a study that leave it ``auto``, and the reason in words."""

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
    """Find one size for every config that leaves it ``auto``: the smallest of what their training steps allow.

    Args:
        configs: one for each way to train that the study may have.
        file: where sizes that were found are kept.
        keep: whether what is found now may be written there.
        tell: called with what is tried, in words.
    Returns: None if every config names its own.
    Raises: ConfigError if a model does not train with a single image; ConfigError, DataError for bad input.
    """
    automatic = [config for config in configs if config.batch_size == AUTO]
    if not automatic:
        return None
    machine, memory_mb = _machine(resources)
    bound = min(LARGEST, *(max(data.train_and_val_images(config)[0] // STEPS, 1) for config in automatic))
    size, when = bound, "found before"
    for step in dict.fromkeys(_training_step(config, data, resources, memory_mb) for config in automatic):
        at_most, key = size, step.key(machine)  # more than fits another step is of no use
        known = _read_size(file, key, at_most)
        if known is None:
            known, when = _largest_of(step, at_most, tell), "found now"
            if keep:
                _write_size(file, key, known, at_most)
        size = known
    most = f"which leaves an epoch {STEPS} steps" if size == bound else "the largest that trains here"
    return BatchSize(size, f"{most}: {when}")


def largest_that_fits(fits: Callable[[int], bool], *, at_most: int) -> int:
    """Return the largest number that fits: doubled from 1 while it does, then bisected; none is tried twice.

    Args:
        fits: true up to some number and for none above it.
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
    inspection = data.inspection(config)
    changes: dict[str, Any] = {name: getattr(config, name) for name in STEP_FIELDS}
    if config.precision == AUTO:
        changes["precision"] = "fp32"  # which needs the most
    if config.threads == AUTO:
        changes["threads"] = resources.cpus
    plain = TrialConfig(**changes)
    images_mb = (inspection.train_pool + inspection.own_test) * 3 * config.image_size**2 / MB
    return TrainingStep(
        plain, len(inspection.classes), resources.device, step_budget_mb(resources, memory_mb, images_mb)
    )


def step_budget_mb(resources: Resources, memory_mb: float, images_mb: float) -> float:
    """Return the memory that a step of one trial may take, in MiB.

    On a CPU trials share half of the memory, and none has more than a quarter of it; images have the rest. On a GPU a
    trial has nine tenths of its share, less the images there and as many proxies, but no less than a quarter of it.

    Args:
        memory_mb: of the machine, or of the GPU.
        images_mb: of the decoded images.
    """
    if resources.device == "cpu":
        return memory_mb * min(CPU_PART / resources.concurrency, MOST_OF_CPU)
    share = memory_mb * min(resources.gpus, 1.0)
    return max(GPU_PART * share - 2 * images_mb, share / 4)


def _largest_of(step: TrainingStep, at_most: int, tell: Callable[[str], None] | None) -> int:
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
    """Return a name for what a size holds for, and the memory there is, in MiB."""
    if resources.device == "cuda":
        return gpu_name_and_memory_mb()
    kind = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {kind}, {platform.system()}", machine_memory_mb()


def _read_size(file: Path, key: str, at_most: int) -> int | None:
    """Return the size that was found under the key; None if none was, or larger ones were not tried.

    An entry is [size, the largest that was tried]; anything else counts as no entry.
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
    kept = read_json(file)
    with suppress(OSError):  # a study does not fail for want of a cache
        write_json(file, {**(kept if isinstance(kept, dict) else {}), key: [size, tried]})
