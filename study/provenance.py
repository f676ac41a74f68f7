"""Describes where a run comes from: command, commit of the code, versions and machine; knows no plan."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

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
        "command": command,
        "commit": commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device,
        "host": platform.node(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def commit() -> str:
    """Return the commit of the running code, with ``+changes`` where the working tree differs; empty if unknown."""
    try:
        return _git("rev-parse", "HEAD")[:12] + ("+changes" if _git("status", "--porcelain", "--", *CODE) else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
