"""Measures the speed of training on this machine, and with it chooses values for ``auto``; plans nothing."""

import dataclasses
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from proxy_attention.config import AUTO, DEFAULTS, TrialConfig
from proxy_attention.data.training_set import Proxies, TrainingSet
from proxy_attention.models.build import build, build_for
from proxy_attention.models.classifier import Classifier
from proxy_attention.proxies.scoring import clean_scores
from proxy_attention.training import seconds_per_image
from study.planning.device_memory import MB


@dataclass(frozen=True)
class Speed:
    """The measured speed and memory of training.

    Attributes:
        train_seconds: seconds per image of training.
        pass_seconds: seconds per image of a pass that scores and explains; an evaluation is taken to cost the same.
        weights_mb: size of the trained weights on disk, in MiB.
        peak_mb: peak of the GPU's memory meanwhile, in MiB; 0 on a CPU.
    """

    train_seconds: float
    pass_seconds: float
    weights_mb: float
    peak_mb: float = 0.0


def measure_speed(config: TrialConfig, classes: int, device: str) -> Speed:
    """Measure a few real steps on random pixels; on a GPU in a process of its own, which releases its memory."""
    if device != "cuda":
        return _measure(config, classes, device)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, config, classes, device).result()


def _measure(config: TrialConfig, classes: int, device: str) -> Speed:
    before = torch.get_num_threads()
    torch.set_num_threads(int(config.threads))
    where = torch.device(device)
    try:
        config = dataclasses.replace(config, compile=False)  # else a few steps would measure the compiler
        model = build_for(config, classes=classes)
        train = seconds_per_image(model, config, device=where)
        bytes_kept = sum(tensor.nbytes for tensor in model.module.state_dict().values())
        passes = _pass_seconds(model, config, device=where)
        peak = torch.cuda.max_memory_allocated() / MB if device == "cuda" else 0.0
        return Speed(train, passes, bytes_kept / MB, peak)
    finally:
        torch.set_num_threads(before)


def _pass_seconds(model: Classifier, config: TrialConfig, *, device: torch.device, images: int = 64) -> float:
    """Measure the seconds per image of a pass that scores and explains: the median of the fastest three of four."""
    pixels = torch.randint(0, 256, (images, 3, config.image_size, config.image_size), dtype=torch.uint8)
    given = TrainingSet(
        pixels.to(device),
        torch.zeros(images, dtype=torch.int64, device=device),
        train=np.arange(images),
        proxies=Proxies.none(pixels.to(device)),
        substitute="replace",
    )
    return sorted(clean_scores(model, given, config).seconds for _ in range(4))[1] / images


def fastest_precision(config: TrialConfig, device: str) -> str:
    """Return ``fp32``, or the half precision of the device if a step with it takes at least 5 % less time."""
    half = "bf16" if device != "cuda" or torch.cuda.is_bf16_supported() else "fp16"
    seconds = {
        name: measure_speed(dataclasses.replace(config, precision=name), 10, device).train_seconds
        for name in ("fp32", half)
    }
    return half if seconds[half] < 0.95 * seconds["fp32"] else "fp32"


def fastest_threads(config: TrialConfig, cpus: int) -> int:
    """Return the number of threads per trial with which trials train fastest: 1 or ``cpus``.

    Both are measured as they would run: ``cpus`` processes with one thread each, and one process with ``cpus`` threads.
    """
    usual = {"precision": "fp32", "batch_size": DEFAULTS["batch_size"]}  # measured later, with the threads found here
    config = dataclasses.replace(config, **{name: usual[name] for name in usual if getattr(config, name) == AUTO})
    together = _images_per_second([dataclasses.replace(config, threads=cpus)])
    apart = _images_per_second([dataclasses.replace(config, threads=1)] * cpus)
    return 1 if apart >= together else cpus


def _images_per_second(configs: Sequence[TrialConfig]) -> float:
    """Measure how many images per second these trials train together, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(configs))
    with ProcessPoolExecutor(len(configs), context, initializer=_meet_at, initargs=(barrier,)) as pool:
        return sum(1 / seconds for seconds in pool.map(_train_together, configs))


_barrier: Any = None


def _meet_at(barrier: Any) -> None:
    """Keep the barrier at which this process waits for the others."""
    global _barrier  # a barrier can only be handed to a process as it starts
    _barrier = barrier


def _train_together(config: TrialConfig) -> float:
    """Train at the same time as the other processes; return the median seconds per image."""
    torch.set_num_threads(int(config.threads))
    model = build(config.model, classes=10, image_size=config.image_size, weights="none", seed=config.seed)
    seconds_per_image(model, config, device=torch.device("cpu"), batches=1)
    if _barrier is not None:
        _barrier.wait()
    ends = time.perf_counter() + 2.0
    found: list[float] = []
    while time.perf_counter() < ends or not found:  # every process trains while any is measured
        found.append(seconds_per_image(model, config, device=torch.device("cpu"), batches=2))
    return sorted(found)[len(found) // 2]


def plain_values(config: TrialConfig, *, measured: dict[str, Any], cpus: int, device: str) -> dict[str, Any]:
    """Return values for the fields that are still ``auto``; measure those that were not measured before.

    Args:
        measured: the values measured before, by name; new ones are added to it.
        cpus: CPUs of a trial, and its number of threads if none was measured.
    """
    found: dict[str, Any] = {}
    if config.threads == AUTO:
        found["threads"] = measured.setdefault("threads", cpus)
    if config.batch_size == AUTO and "batch_size" in measured:
        found["batch_size"] = measured["batch_size"]
    if config.precision == AUTO:
        frozen = ", its trunk frozen" if config.freeze_trunk else ""
        plain = dataclasses.replace(config, compile=False, **found)
        key = f"precision of {config.model} at {config.image_size} px in batches of {plain.batch_size}{frozen}"
        if key not in measured:
            measured[key] = fastest_precision(plain, device)
        found["precision"] = measured[key]
    return found
