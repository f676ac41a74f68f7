"""Describes where a run comes from: command, commit of the code, versions and machine; knows no plan."""

import hashlib
import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import proxy_attention
from proxy_attention.checksums import source_digest

ROOT = Path(__file__).resolve().parent.parent
"""The project's folder, which holds both packages."""
PACKAGES = ("torch", "torchvision", "timm", "captum", "ray", "optuna", "pandas", "numpy", "scikit-learn")
CODE = ("proxy_attention", "study", "pyproject.toml")
"""The paths whose uncommitted changes mark a commit with ``+changes``."""


def about(command: str, device: str) -> dict[str, Any]:
    """Describe when, where and with what a run is made, as values for its plan.

    Args:
        command: the command line that made the run.
        device: ``cpu`` or ``cuda``.
    """
    return {
        "code": code_digest(),
        "command": command,
        "commit": commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device,
        "host": platform.node(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
    }


@cache
def code_digest() -> str:
    """Hash the source files of both packages as they are installed here, by name and content.

    Returns: 64 hexadecimal digits; the same for this process as long as it lives.
    """
    packages = (Path(proxy_attention.__file__).parent, Path(__file__).parent)
    return hashlib.sha256("".join(map(source_digest, packages)).encode()).hexdigest()


def commit() -> str:
    """Return the commit of the running code, with ``+changes`` where the working tree differs; empty if unknown."""
    try:
        return _git("rev-parse", "HEAD")[:12] + ("+changes" if _git("status", "--porcelain", "--", *CODE) else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
