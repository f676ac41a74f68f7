"""Prefixes that trials share: what each state of a trial depends on, and where a state lies once one has trained it.

A trial is a road of epochs. Two trials whose roads agree up to an epoch are in the same state there, bit for bit, so
one trains it and the others branch from it. Knows no model and no image; says nothing of how a state is made.
"""

import fcntl
import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from proxy_attention.config import JUDGE_FIELDS, PROXY_FIELDS, TrialConfig
from proxy_attention.storage import read_state, write_atomic

PACKAGES = ("torch", "torchvision", "timm", "captum", "numpy", "scipy", "scikit-learn", "pillow")
"""Libraries that decide the bits of a state, or of the maps made from it; scikit-learn solves by scipy."""
POLL_SECONDS = 0.05
STALE_SECONDS = 3600
PROCESSOR = ("vendor_id", "cpu family", "model", "stepping", "flags", "CPU", "Features")
"""Lines of /proc/cpuinfo that tell processors apart: virtual ones of several generations share a model name."""
LIMIT_MB = 20 * 1024
LATER_FIELDS = ("clear_every_step", "compound")
"""Proxy fields that mean something only where earlier proxies exist."""
AT_A_STEP = ("subset", "subset_decay", "patience")
"""Proxy fields of which a step tells what they come to there."""
log = logging.getLogger(__name__)


def road(config: TrialConfig, *, data: str, weights: str | None) -> tuple[str, ...]:
    """What the state after each epoch depends on: equal names, equal states.

    Name ``n - 1`` is of the state after ``n`` epochs were trained and evaluated, before the proxy step that may end the
    last of them. A field of a proxy enters with the first epoch that trains on proxies, and not before. Whether a step
    is skipped follows from the road so far and ``patience``, which enters where a step may be.

    Args:
        config: with no field left ``auto``.
        data: content digest of the images.
        weights: content digest of a weights file, or None.
    Returns: a name (64 hexadecimal digits) an epoch.
    """
    config = config.canonical()
    values = config.as_dict()
    enters_elsewhere = (*PROXY_FIELDS, *JUDGE_FIELDS, "schedule", "dataset")
    about = {name: value for name, value in values.items() if name not in enters_elsewhere}
    about |= {"data": data, "weights": weights or config.weights, "epochs": config.planned.total_epochs}
    redrawn = config.split == "redrawn"
    if redrawn:
        about["split"] = "fixed"  # as which it is drawn; the items below tell where it is drawn again
    made_of = {name: values[name] for name in PROXY_FIELDS if name not in (*LATER_FIELDS, *AT_A_STEP)}
    keeps = not config.clear_every_step or config.compound
    here, proxies, names = _name(about), "", []
    for planned in config.planned.epochs():
        here = _name([here, proxies, planned.item if redrawn else 0])
        names.append(here)
        if planned.step is not None:
            earlier = [proxies, *(values[name] for name in LATER_FIELDS)] if proxies and keeps else []
            part = config.subset_at(planned.step)
            chosen = [f"{part.numerator:x}", f"{part.denominator:x}"]  # many steps make numbers too long for decimals
            if_stalled = [config.patience] if planned.only_if_stalled else []
            proxies = _name([here, made_of, earlier, chosen, if_stalled])
    return tuple(names)


def forks(roads: Iterable[Sequence[str]]) -> frozenset[str]:
    """The states from which roads of several trials part, or at which several end: those worth keeping."""
    following: dict[str, set[str]] = {}
    for number, names in enumerate(roads):
        for here, there in zip(names, (*names[1:], f"end of {number}"), strict=True):
            following.setdefault(here, set()).add(there)
    return frozenset(name for name, there in following.items() if len(there) > 1)


def _name(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@cache
def environment(device: str) -> str:
    """A name for what else decides the bits of a state: this source, the libraries, the machine's arithmetic."""
    import torch  # here, because counting epochs needs no more than names

    sha = hashlib.sha256()
    package = Path(__file__).parent
    for source in sorted(package.rglob("*.py")):
        sha.update(f"{source.relative_to(package)}\0".encode() + hashlib.sha256(source.read_bytes()).digest())
    processor = torch.cuda.get_device_name() if device == "cuda" else _processor()
    about = [platform.python_version(), device, processor, *(version(package) for package in PACKAGES)]
    return _name([sha.hexdigest(), *about])


def _processor() -> str:
    import torch

    with suppress(OSError):
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
        lines = [line for line in first.splitlines() if line.startswith(PROCESSOR)]
        return " ".join([*lines, torch.backends.cpu.get_cpu_capability()])
    return f"{platform.machine()} {platform.processor()} {torch.backends.cpu.get_cpu_capability()}"


@dataclass(frozen=True)
class Prefixes:
    """What trials of a run share, and where.

    Attributes:
        folder: may be shared by runs, and by hosts whose file system carries ``flock``.
        names: states that several trials of the run pass, by name (see ``forks``).
        epochs: counts of epochs at which trials that are not planned yet may part, as long as no proxy is in use.
        limit_mb: of the folder; what was not used for longest goes first.
    """

    folder: Path
    names: frozenset[str] = frozenset()
    epochs: frozenset[int] = frozenset()
    limit_mb: int = LIMIT_MB

    def path(self, name: str, *, device: str, part: str = "state") -> Path:
        """The file of a state, for this source, these libraries and this machine."""
        return self.folder / f"{_name([name, environment(device), part])[:40]}-{part.split()[0]}.pt"

    def of(self, config: TrialConfig, *, data: str, weights: str | None, device: str) -> "Road":
        """The road of one trial."""
        names = road(config, data=data, weights=weights)
        steps = config.planned.steps
        before_proxies = steps[0].index + 1 if steps else len(names)
        shared = {n for n, name in enumerate(names, start=1) if name in self.names}
        shared |= {n for n in self.epochs if n <= before_proxies}
        return Road(self, {n: names[n - 1] for n in sorted(shared)}, device)


@dataclass
class Road:
    """The shared states on one trial's road, and the locks that it holds on those it is the one to make.

    A state is made once: whoever holds its lock makes it, the others wait. The system releases the lock of a process
    that dies, and the next in line takes over.
    """

    prefixes: Prefixes
    names: dict[int, str]
    device: str
    _locks: dict[Path, int] = field(default_factory=dict)

    def __enter__(self) -> "Road":
        return self

    def __exit__(self, *error: object) -> None:
        for path in list(self._locks):
            self._release(path)

    def take(self, after: int) -> dict[str, Any] | None:
        """The furthest state beyond this many epochs that is there, waiting for one that another trial is making.

        Returns: what was published; None if this trial must train on, by itself or for all.
        """
        ahead = [n for n in self.names if n > after]
        for n in reversed(ahead):
            state = self._read(self._path(n))
            if state is not None:
                for passed in ahead[: ahead.index(n) + 1]:
                    self._release(self._path(passed))  # this trial will not make them any more
                return state
        return self._claim(self._path(ahead[0])) if ahead else None

    def publish(self, epochs: int, state: dict[str, Any]) -> None:
        """Hand a state to the others. Where it cannot be written they train it themselves, and nothing is lost."""
        if epochs in self.names:
            self._write(self._path(epochs), state)

    def once(self, epochs: int, part: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What is made from the state at ``epochs``: by the first trial that asks, and read by the others."""
        if epochs not in self.names:
            return make()
        path = self._path(epochs, part)
        found = self._claim(path)
        if found is None:
            found = make()
            self._write(path, found)
        return found

    def is_fork(self, epochs: int) -> bool:
        """Whether the state after so many epochs is shared."""
        return epochs in self.names

    def _path(self, epochs: int, part: str = "state") -> Path:
        return self.prefixes.path(self.names[epochs], device=self.device, part=part)

    def _claim(self, path: Path) -> dict[str, Any] | None:
        """Wait until the file is there, and read it; None as soon as it is ours to make."""
        while True:
            if path in self._locks:
                return None
            found = self._read(path)
            if found is not None:
                return found
            try:
                handle = self._lock(path)
            except OSError as error:  # a file system without locks, or one that cannot be written
                log.warning("a shared prefix could not be locked (%s); this trial shares nothing", error)
                self.names.clear()
                return None
            if handle is None:
                time.sleep(POLL_SECONDS)
                continue
            self._locks[path] = handle
            found = self._read(path)  # its maker may have finished between the look and the lock
            if found is not None:
                self._release(path)
            return found

    def _lock(self, path: Path) -> int | None:
        """A lock on the file's name, or None while another holds it."""
        lock = path.with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_ino == lock.stat().st_ino:
                return handle
        except (BlockingIOError, FileNotFoundError):
            pass  # held by another, or just removed by one who was done
        except OSError:
            os.close(handle)
            raise
        os.close(handle)
        return None

    def _release(self, path: Path) -> None:
        handle = self._locks.pop(path, None)
        if handle is not None:
            path.with_suffix(".lock").unlink(missing_ok=True)
            os.close(handle)

    def _read(self, path: Path) -> dict[str, Any] | None:
        found = read_state(path)
        if found is None or found.get("of") != path.name:
            return None
        with suppress(OSError):
            os.utime(path)  # used now: the last to be removed
        state: dict[str, Any] = found["state"]
        return state

    def _write(self, path: Path, state: dict[str, Any]) -> None:
        import torch

        try:
            write_atomic(path, lambda temporary: torch.save({"of": path.name, "state": state}, temporary))
            _keep_below(path.parent, self.prefixes.limit_mb << 20, newest=path)
        except (OSError, RuntimeError) as error:  # torch.save raises the latter on a full disk
            log.warning("a shared prefix could not be kept (%s); every trial trains it", error)
        finally:
            self._release(path)


def _keep_below(folder: Path, limit: int, *, newest: Path) -> None:
    """Remove what was not used for longest until the folder is within its limit; the newest goes last of all."""
    for path in folder.glob(".*"):  # half-written by a process that was killed
        with suppress(OSError):  # just gone, or not ours to remove
            if path.stat().st_mtime < time.time() - STALE_SECONDS:
                path.unlink()
    found = []
    for path in folder.glob("*.pt"):
        with suppress(FileNotFoundError):
            about = path.stat()
            found.append((path == newest, about.st_mtime, about.st_size, path))
    total = sum(size for _, _, size, _ in found)
    for _, _, size, path in sorted(found):
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= size
