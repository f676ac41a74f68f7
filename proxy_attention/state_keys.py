"""Keys of a trial's states: two trials whose keys after an epoch are equal are in the same state, bit for bit."""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from proxy_attention.checksums import source_digest
from proxy_attention.config import FIELDS, TrialConfig
from proxy_attention.config_fields import Enters

PACKAGES = ("torch", "torchvision", "timm", "captum", "numpy", "scipy", "scikit-learn", "pillow")
"""Libraries whose versions decide the bits of a state, or of the maps made from it; scikit-learn uses scipy."""

PROCESSOR = ("vendor_id", "cpu family", "model", "stepping", "flags", "CPU", "Features")
"""Lines of /proc/cpuinfo that tell processors apart; virtual ones of several generations share a model name."""


def state_keys(config: TrialConfig, *, data: str, weights: str | None) -> tuple[str, ...]:
    """Hash everything that the state after each epoch depends on.

    Key ``n - 1`` belongs to the state after ``n`` epochs were trained and evaluated, before the proxy step that may
    follow. Proxy fields become part of the keys with the first epoch that trains on proxies. Whether a step is skipped
    depends on the earlier epochs and on ``patience``, which becomes part of the keys where a step may be skipped.

    Args:
        config: with no field left ``auto``.
        data: content digest of the images.
        weights: content digest of a weights file; None if ``weights`` is a name, not a file.
    Returns: a key of 64 hexadecimal digits for each epoch.
    """
    config = config.canonical()
    values = config.as_dict()
    training = {name: values[name] for name in _entering(Enters.FIRST_EPOCH)}
    training |= _set_values(values, Enters.WHERE_SET)
    training |= {"data": data, "weights": weights or config.weights, "epochs": config.planned.total_epochs}
    redrawn = config.split == "redrawn"
    if redrawn:
        training["split"] = "fixed"  # it is first drawn like a fixed split; the items below tell where it is redrawn
    proxy_values = {name: values[name] for name in _entering(Enters.FIRST_PROXIES)}
    proxy_values |= _set_values(values, Enters.SET_PROXIES)
    keep_values = [values[name] for name in _entering(Enters.EARLIER_PROXIES)]
    keeps_earlier = not config.clear_every_step or config.compound
    key, proxies, keys = key_of(training), "", []
    for planned in config.planned.epochs():
        key = key_of([key, proxies, planned.item if redrawn else 0])
        keys.append(key)
        if planned.step is not None:
            earlier = [proxies, *keep_values] if proxies and keeps_earlier else []
            part = config.subset_at(planned.step)
            chosen = [f"{part.numerator:x}", f"{part.denominator:x}"]  # Python refuses to print so long decimals
            if_stalled = [config.patience] if planned.only_if_stalled else []
            proxies = key_of([key, proxy_values, earlier, chosen, if_stalled])
    return tuple(keys)


def branch_points(keys_of_trials: Iterable[Sequence[str]]) -> frozenset[str]:
    """Return the keys of the states worth sharing: those after which trials differ, or at which several trials end.

    Args:
        keys_of_trials: the state keys of each trial.
    """
    following: dict[str, set[str]] = {}
    for number, keys in enumerate(keys_of_trials):
        for key, next_key in zip(keys, (*keys[1:], f"end of {number}"), strict=True):
            following.setdefault(key, set()).add(next_key)
    return frozenset(key for key, next_keys in following.items() if len(next_keys) > 1)


def _entering(when: Enters) -> list[str]:
    """List the fields that become part of the keys at this point."""
    return [name for name, declared in FIELDS.items() if declared.enters is when]


def _set_values(values: Mapping[str, Any], when: Enters) -> dict[str, Any]:
    """Return the values of the fields that enter at this point and are not left out of the digest."""
    return {name: values[name] for name in _entering(when) if values[name] != FIELDS[name].omitted_at}


def key_of(value: Any) -> str:
    """Hash a value that JSON can store; return 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@cache
def environment(device: str) -> str:
    """Hash what else decides the bits of a state: the source of this package, the libraries, the processor."""
    import torch  # imported here: the functions above need no torch

    processor = torch.cuda.get_device_name() if device == "cuda" else _processor()
    about = [platform.python_version(), device, processor, *(version(package) for package in PACKAGES)]
    return key_of([source_digest(Path(__file__).parent), *about])


def _processor() -> str:
    """Describe the processor as exactly as the operating system tells."""
    import torch

    with suppress(OSError):
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
        lines = [line for line in first.splitlines() if line.startswith(PROCESSOR)]
        return " ".join([*lines, torch.backends.cpu.get_cpu_capability()])
    return f"{platform.machine()} {platform.processor()} {torch.backends.cpu.get_cpu_capability()}"
