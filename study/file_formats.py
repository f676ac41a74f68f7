"""The form of each JSON file of a run: the keys that are read, with their types; knows no path.

Except where a form forbids it, a file may hold further keys, because older and newer versions write others.
"""

import json
from pathlib import Path
from typing import Any, Literal, NotRequired, TypeVar

from pydantic import ConfigDict, InstanceOf, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from proxy_attention.records import EpochRecord

T = TypeVar("T")
FORMAT = 1
"""Version of plan.json; a plan of another version is refused."""

Text = InstanceOf[str]
"""Any text. Names of files may hold bytes that are not UTF-8; pydantic's own type for text refuses them."""


@with_config(ConfigDict(extra="forbid"))
class PlannedTrialValues(TypedDict):
    """The values of ``PlannedTrial.as_dict``; TrialConfig checks the config."""

    trial_id: Text
    arm: Text
    config: dict[str, Any]
    config_digest: Text
    data_digest: Text
    split_digest: Text


@with_config(ConfigDict(extra="forbid"))
class PlanFile(TypedDict):
    """plan.json: the values of ``Plan.as_dict``, and the version of the format."""

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
    """trial.json: the planned trial, and the commit that ran it."""

    planned: PlannedTrialValues
    commit: NotRequired[Text]


@with_config(ConfigDict(extra="allow"))
class ReportFile(TypedDict, total=False):
    """report.json: the fields of ``TrialReport``; an older report lacks some."""

    epochs_done: int
    val_accuracy: float
    test_accuracy: float
    classes: list[Text]
    same_as: Text


class ErrorFile(TypedDict):
    """error.json: why a trial failed."""

    error: Text


class ProxyRow(TypedDict):
    """A row of proxies.png: the image's name, its class and the predicted class."""

    image: Text
    true: Text
    predicted: Text


class ProxiesFile(TypedDict):
    """proxies.json: the rows of proxies.png, the epoch of their proxy step, and the pixels between two pictures."""

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
    """Read a JSON file of this form; return None if it does not exist, is damaged, or has another form."""
    try:
        return form.validate_python(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):  # pydantic's ValidationError is a ValueError
        return None


def reason(error: Exception) -> str:
    """Say in one line why a file cannot be read, and name the first wrong key."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]
