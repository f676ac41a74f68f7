"""Keys of the states that a trial passes: trials with equal keys after an epoch are in the same state, bit for bit."""

import hashlib
import json
import platform
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from proxy_attention.config import FIELDS, TrialConfig
from proxy_attention.config_fields import Enters

PACKAGES = ("torch", "torchvision", "timm", "captum", "numpy", "scipy", "scikit-learn", "pillow")
"""Libraries that decide the bits of a state, or of the maps made from it; scikit-learn solves by scipy."""


PROCESSOR = ("vendor_id", "cpu family", "model", "stepping", "flags", "CPU", "Features")
"""Lines of /proc/cpuinfo that tell processors apart: virtual ones of several generations share a model name."""


def state_keys(config: TrialConfig, *, data: str, weights: str | None) -> tuple[str, ...]:
    """Hash everything that the state after each epoch depends on.

    Key ``n - 1`` is of the state after ``n`` epochs were trained and evaluated, before a proxy step at the end of the
    last of them. The proxy fields enter with the first epoch that trains on proxies. Whether a step is skipped follows
    from the earlier epochs and from ``patience``, which enters where a step may be skipped.

    Args:
        config: with no field left ``auto``.
        data: content digest of the images.
        weights: content digest of a weights file, or None.
    Returns: a key of 64 hexadecimal digits for each epoch.
    """
    config = config.canonical()
    values = config.as_dict()
    about = {name: values[name] for name in _entering(Enters.FIRST_EPOCH)}
    about |= {"data": data, "weights": weights or config.weights, "epochs": config.planned.total_epochs}
    redrawn = config.split == "redrawn"
    if redrawn:
        about["split"] = "fixed"  # as which it is drawn; the items below tell where it is drawn again
    made_of = {name: values[name] for name in _entering(Enters.FIRST_PROXIES)}
    how_kept = [values[name] for name in _entering(Enters.EARLIER_PROXIES)]
    keeps = not config.clear_every_step or config.compound
    here, proxies, names = key_of(about), "", []
    for planned in config.planned.epochs():
        here = key_of([here, proxies, planned.item if redrawn else 0])
        names.append(here)
        if planned.step is not None:
            earlier = [proxies, *how_kept] if proxies and keeps else []
            part = config.subset_at(planned.step)
            chosen = [f"{part.numerator:x}", f"{part.denominator:x}"]  # many steps make numbers too long for decimals
            if_stalled = [config.patience] if planned.only_if_stalled else []
            proxies = key_of([here, made_of, earlier, chosen, if_stalled])
    return tuple(names)


def branch_points(keys_of_trials: Iterable[Sequence[str]]) -> frozenset[str]:
    """Return the keys of the states after which trials differ, or at which several end: those worth keeping.

    Args:
        keys_of_trials: the state keys of each trial.
    """
    following: dict[str, set[str]] = {}
    for number, names in enumerate(keys_of_trials):
        for here, there in zip(names, (*names[1:], f"end of {number}"), strict=True):
            following.setdefault(here, set()).add(there)
    return frozenset(name for name, there in following.items() if len(there) > 1)


def _entering(when: Enters) -> list[str]:
    """List the fields that enter keys at this point."""
    return [name for name, declared in FIELDS.items() if declared.enters is when]


def key_of(value: Any) -> str:
    """Hash a value that JSON holds."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@cache
def environment(device: str) -> str:
    """Hash what else decides the bits of a state: the source of this package, the libraries, the processor."""
    import torch  # here, because counting epochs needs no more than names

    sha = hashlib.sha256()
    package = Path(__file__).parent
    for source in sorted(package.rglob("*.py")):
        sha.update(f"{source.relative_to(package)}\0".encode() + hashlib.sha256(source.read_bytes()).digest())
    processor = torch.cuda.get_device_name() if device == "cuda" else _processor()
    about = [platform.python_version(), device, processor, *(version(package) for package in PACKAGES)]
    return key_of([sha.hexdigest(), *about])


def _processor() -> str:
    import torch

    with suppress(OSError):
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
        lines = [line for line in first.splitlines() if line.startswith(PROCESSOR)]
        return " ".join([*lines, torch.backends.cpu.get_cpu_capability()])
    return f"{platform.machine()} {platform.processor()} {torch.backends.cpu.get_cpu_capability()}"
