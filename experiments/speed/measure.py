"""Timing in turn, and the values that a table is made of; knows nothing of what is timed."""

import gc
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from study.provenance import commit

PACKAGES = ("torch", "torchvision", "timm", "grad-cam", "captum", "bnnr", "tensorboard", "pandas", "numpy", "pillow")
AS_FAST, THE_TIME = "x as fast", "x the time"
TURN_SECONDS = 0.1
"""Quick work is done over and over for as long in a turn."""


@dataclass(frozen=True)
class Target:
    """What the ratio of a row should be: ``at most`` or ``at least`` this."""

    law: str
    value: float

    def met(self, value: float) -> bool:
        """Whether a measured value keeps it."""
        return value <= self.value if self.law == "at most" else value >= self.value


@dataclass(frozen=True)
class Row:
    """One line of a table: ours beside a rival, their ratio with its spread over the rounds, and its target.

    Attributes:
        ours, rival: a quantity with its unit, for people; empty where there is none.
        ratio: the median over the rounds; low and high are its extremes.
        measure: what the ratio is: ``AS_FAST``, ``THE_TIME``, or a unit.
    """

    what: str
    ours: str
    rival: str
    ratio: float
    low: float
    high: float
    measure: str
    target: Target | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Row":
        """Back from ``dataclasses.asdict``."""
        return cls(**{**values, "target": Target(**values["target"]) if values["target"] else None})


@dataclass(frozen=True)
class Section:
    """One table of the report."""

    title: str
    notes: tuple[str, ...]
    rows: tuple[Row, ...]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Section":
        """Back from ``dataclasses.asdict``."""
        return cls(values["title"], tuple(values["notes"]), tuple(Row.of(row) for row in values["rows"]))


@dataclass(frozen=True)
class Effort:
    """How hard to measure.

    Attributes:
        rounds: how often each contestant is timed.
        tiny: sizes that show that the program runs, and nothing else.
    """

    rounds: int = 5
    threads: int = 2
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    tiny: bool = False


@dataclass(frozen=True)
class Race:
    """Seconds of every contestant in every round, the rounds in the same order for all."""

    seconds: Mapping[str, tuple[float, ...]]

    def row(self, what: str, *, ours: str, rival: str, measure: str, images: int, target: Target | None = None) -> Row:
        """One contestant against another, each in images per second.

        Args:
            images: how many images each of them worked on in a round.
        """
        pairs = list(zip(self.seconds[ours], self.seconds[rival], strict=True))
        ratios = [theirs / own if measure == AS_FAST else own / theirs for own, theirs in pairs]
        own, theirs = (images / statistics.median(self.seconds[name]) for name in (ours, rival))
        return row_of(what, f"{own:,.0f}/s", f"{theirs:,.0f}/s", ratios, measure=measure, target=target)


def row_of(
    what: str, ours: str, rival: str, values: Sequence[float], *, measure: str, target: Target | None = None
) -> Row:
    """A row of measured values: their median, smallest and largest."""
    return Row(what, ours, rival, statistics.median(values), min(values), max(values), measure, target)


def race(contestants: Mapping[str, Callable[[], object]], effort: Effort) -> Race:
    """Time each contestant once a round, in turn, after a round that does not count.

    Whoever comes first in a round comes later in the next, so that nobody always follows the same neighbour.
    """
    names = list(contestants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1, effort.rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()  # the garbage of one is not swept up in the time of another
            _synchronise(effort.device)
            started = time.perf_counter()
            contestants[name]()
            _synchronise(effort.device)
            if number >= 0:
                seconds[name].append(time.perf_counter() - started)
    return Race({name: tuple(values) for name, values in seconds.items()})


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def again(work: Callable[[], object], times: int) -> Callable[[], None]:
    """The same work several times over: a single run of some milliseconds would be timed with the clock's noise."""

    def repeated() -> None:
        for _ in range(times):
            work()

    return repeated


def race_of_calls(contestants: Mapping[str, Callable[[], object]], effort: Effort) -> Race:
    """As ``race``, each contestant in a turn as often as fills ``TURN_SECONDS``; the seconds are those of one call."""
    times = {name: 1 if effort.tiny else _fill(work) for name, work in contestants.items()}
    found = race({name: again(work, times[name]) for name, work in contestants.items()}, effort)
    return Race({name: tuple(value / times[name] for value in values) for name, values in found.seconds.items()})


def _fill(work: Callable[[], object]) -> int:
    """How often work must be done to fill a turn, at least once; its first call does not count."""
    work()
    started = time.perf_counter()
    work()
    return max(math.ceil(TURN_SECONDS / (time.perf_counter() - started)), 1)


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of log cost over log size by least squares: 1 is linear growth."""
    x, y = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    return slope(x, y)


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The slope of y over x by least squares."""
    return float(statistics.linear_regression(x, y).slope)


def installed(module: str) -> bool:
    """Whether a rival can be imported."""
    return find_spec(module) is not None


def status_mb(line: str) -> float:
    """A line of this process' status, such as ``VmRSS`` (resident now) or ``VmHWM`` (peak), in MiB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(entry for entry in status if entry.startswith(line)).split()[1]) / 1024


def machine(effort: Effort) -> dict[str, str]:
    """Where and with what a section was measured."""
    device = torch.cuda.get_device_name(effort.device) if effort.device.type == "cuda" else "none used"
    found = [f"{name} {_version(name)}" for name in PACKAGES if _version(name)]
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores, {effort.threads} threads used",
        "GPU": device,
        "software": f"Python {platform.python_version()}, {', '.join(found)}",
        "commit": commit() or "unknown",
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "")
    extras = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {flag}" in flags]
    return ", ".join([*(names[:1] or [platform.machine()]), *extras])


def as_values(section: Section) -> dict[str, Any]:
    """Plain values, ready for JSON."""
    return asdict(section)
