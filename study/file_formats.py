"""What each JSON file of a run must hold to be read: the keys that are used, no more; knows no path.

A key that nothing reads may be there, of any shape: older and newer versions wrote others.
"""

import json
from pathlib import Path
from typing import Any, Literal, NotRequired, TypeVar

from pydantic import ConfigDict, InstanceOf, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from proxy_attention.records import EpochRecord

T = TypeVar("T")
FORMAT = 1
"""Of plan.json; a plan of another format is refused."""

Text = InstanceOf[str]
"""Any text: names of files may hold bytes that are no UTF-8, which pydantic's own check refuses."""


@with_config(ConfigDict(extra="forbid"))
class PlannedTrialValues(TypedDict):
    """``PlannedTrial.as_dict``; what the config must be, TrialConfig checks."""

    trial_id: Text
    arm: Text
    config: dict[str, Any]
    config_digest: Text
    data_digest: Text
    split_digest: Text


@with_config(ConfigDict(extra="forbid"))
class PlanFile(TypedDict):
    """plan.json: ``Plan.as_dict`` and the format."""

    format: Literal[1]
    search: Text
    name: Text
    question: Text
    seeds: list[int]
    trials: list[PlannedTrialValues]
    confirmed: list[PlannedTrialValues]
    suggestions: int
    confirm: int
    measured: dict[str, Any]
    options: dict[str, Any]
    fingerprint: Text
    about: dict[str, Any]


class TrialFile(TypedDict):
    """trial.json: what was planned, and the commit that ran it."""

    planned: PlannedTrialValues
    commit: NotRequired[Text]


@with_config(ConfigDict(extra="allow"))
class ReportFile(TypedDict, total=False):
    """report.json: ``TrialReport``, of which an older one lacks fields."""

    epochs_done: int
    val_accuracy: float
    test_accuracy: float
    classes: list[Text]
    same_as: Text


class ErrorFile(TypedDict):
    """error.json: why a trial failed."""

    error: Text


class ProxyRow(TypedDict):
    """An image: its name, its class and what it was taken for."""

    image: Text
    true: Text
    predicted: Text


class ProxiesFile(TypedDict):
    """proxies.json: what the rows of proxies.png show, the epoch of the step, and the pixels between pictures."""

    epoch: int
    padding: int
    rows: list[ProxyRow]


PLAN = TypeAdapter(PlanFile)
TRIAL = TypeAdapter(TrialFile)
REPORT = TypeAdapter(ReportFile)
EPOCHS = TypeAdapter(list[EpochRecord])
ERROR = TypeAdapter(ErrorFile)
PROXIES = TypeAdapter(ProxiesFile)


def read(file: Path, form: TypeAdapter[T]) -> T | None:
    """Read a JSON file of this form; None if it is absent, damaged or of another form."""
    try:
        return form.validate_python(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):  # pydantic's ValidationError is a ValueError
        return None


def reason(error: Exception) -> str:
    """Say in one line why a file cannot be read, with the first key that is wrong."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]
