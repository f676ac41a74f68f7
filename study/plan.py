"""A run as a value: every trial of it, what was asked, and the plan.json that holds both; light to import."""

import dataclasses
import json
import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from proxy_attention.config import TrialConfig
from proxy_attention.errors import ConfigError, ProxyAttentionError
from proxy_attention.files import write_json

FORMAT = 1
LOCK = ".lock"
"""In a run's folder: held by the process that runs it, whose pid and host stand in it."""
BASELINE, PROXY = "baseline", "proxy"
SEARCHES = ("grid", "optuna", "random")
ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "torchvision", "timm", "captum", "ray", "optuna", "pandas", "numpy", "scikit-learn")


@dataclass(frozen=True)
class PlannedTrial:
    """One trial: its identity and everything that it needs to be run again."""

    trial_id: str
    arm: str
    config: TrialConfig
    config_digest: str
    data_digest: str
    split_digest: str

    @property
    def number(self) -> int:
        """Its place in the run, with which its trial_id begins."""
        return int(self.trial_id.split("-", 1)[0])

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in plan.json and in the trial's own trial.json."""
        return {**dataclasses.asdict(self), "config": self.config.as_dict()}

    @classmethod
    def of(cls, values: dict[str, Any]) -> "PlannedTrial":
        """Back from ``as_dict``."""
        return cls(**{**values, "config": TrialConfig.of(values["config"])})


def folder_of(run: Path, trial_id: str) -> Path:
    """The folder of a trial in its run."""
    return run / "trials" / trial_id


def read_json(file: Path) -> Any:
    """The JSON in a file; None if there is none, or it is damaged."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def is_complete(run: Path, trial_id: str) -> bool:
    """Whether the trial's report is there and can be read; it is written last."""
    return read_json(folder_of(run, trial_id) / "report.json") is not None


@dataclass(frozen=True)
class Plan:
    """A run: what was asked, and every trial of it that can be known in advance.

    Attributes:
        search: grid, optuna or random.
        trials: all of a grid; of random, the suggestions; of optuna, none until they are suggested.
        confirmed: trials on the other seeds, once the best settings are known (optuna and random).
        suggestions: how many settings are tried on the first seed (optuna and random).
        confirm: how many of the best are confirmed on the other seeds.
        measured: what ``auto`` became here, by the name of the field.
        options: data root and resources as they were asked for, for a restore.
        fingerprint: of everything that was asked; another fingerprint is another plan.
        about: when, where and with what the run was made; changes nothing.
    """

    search: str
    name: str
    question: str
    seeds: tuple[int, ...]
    trials: tuple[PlannedTrial, ...]
    confirmed: tuple[PlannedTrial, ...]
    suggestions: int
    confirm: int
    measured: dict[str, Any]
    options: dict[str, Any]
    fingerprint: str
    about: dict[str, Any]

    @property
    def everything(self) -> tuple[PlannedTrial, ...]:
        """Every trial known so far."""
        return (*self.trials, *self.confirmed)

    def write(self, run: Path) -> None:
        """Write plan.json, whole or not at all."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for group in ("trials", "confirmed"):
            values[group] = [trial.as_dict() for trial in values[group]]
        write_json(run / "plan.json", {"format": FORMAT, **values})

    @classmethod
    def read(cls, run: Path) -> "Plan":
        """The plan of a run.

        Raises: ConfigError if there is none, or it cannot be read.
        """
        file = run / "plan.json"
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            if values.pop("format") != FORMAT:
                raise ConfigError(f"{file} must be of format {FORMAT}; it was written by another version")
            for group in ("trials", "confirmed"):
                values[group] = tuple(PlannedTrial.of(trial) for trial in values[group])
            return cls(**{**values, "seeds": tuple(values["seeds"])})
        except FileNotFoundError as error:
            raise ConfigError(f"a run must hold a plan.json; there is none in {str(run)!r}") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, ProxyAttentionError):
                raise
            raise ConfigError(f"{file} must be a plan that this project wrote; it cannot be read ({error})") from error


def about(command: str, device: str) -> dict[str, Any]:
    """When, where and with what a run was made."""
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
    """The commit of the code that runs, marked ``+changes`` where the working tree differs; empty if unknown."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()

    try:
        code = ("proxy_attention", "study", "pyproject.toml")
        return git("rev-parse", "HEAD")[:12] + ("+changes" if git("status", "--porcelain", "--", *code) else "")
    except (OSError, subprocess.SubprocessError):
        return ""
