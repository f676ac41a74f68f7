"""The form of each JSON file of a run: the keys that are read, with their types; knows no path.

Except where a form forbids it, a file may hold further keys, because older and newer versions write others.
"""

import dataclasses
import logging
import math
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, Required, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    TypeAdapter,
    ValidationError,
    with_config,
)
from typing_extensions import TypedDict

from proxy_attention.files import load_json
from proxy_attention.records import EpochRecord

T = TypeVar("T")
FORMAT = 1
"""Version of plan.json; a plan of another version is refused."""

log = logging.getLogger(__name__)


def _utf8(text: str) -> str:
    text.encode()  # a lone surrogate raises a ValueError
    return text


Text = Annotated[str, AfterValidator(_utf8)]
AnyText = InstanceOf[str]
"""Text of people: names of files and arguments may hold bytes that are not UTF-8."""
TrialId = Annotated[str, Field(pattern=r"^[0-9]{4,18}-[^/\\\x00-\x1f\x7f]{1,200}$")]
"""A number and a name, which is also that of the trial's folder: it holds no slash."""
RunName = Annotated[str, Field(pattern=r"^[^/\\\x00-\x1f\x7f]{0,200}$")]
Whole = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
Count = Annotated[int, Field(strict=True, ge=0, lt=2**53)]
Percent = Annotated[float, Field(strict=True, ge=0, le=100)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Amount = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
"""Seconds or MiB."""


@with_config(ConfigDict(extra="forbid"))
class PlannedTrialValues(TypedDict):
    """The values of ``PlannedTrial.as_dict``; TrialConfig checks the config."""

    trial_id: TrialId
    arm: Text
    config: dict[str, Text | bool | int | float | None]
    config_digest: Text
    data_digest: Text
    split_digest: Text


@with_config(ConfigDict(extra="forbid"))
class ExtensionValues(TypedDict):
    """The fields of ``Extension``."""

    created: Text
    command: AnyText
    commit: Text
    fingerprint_before: Text
    study: Text
    added: list[Text]
    seeds_before: Count
    trials_before: Count
    complete_before: Count
    suggestions_before: Count
    confirmed: bool


@with_config(ConfigDict(extra="forbid"))
class PlanFile(TypedDict):
    """plan.json: the values of ``Plan.as_dict``, and the version of the format."""

    format: Literal[1]
    search: Literal["grid", "optuna", "random"]
    name: RunName
    question: AnyText
    seeds: list[Whole]
    trials: list[PlannedTrialValues]
    confirmed: list[PlannedTrialValues]
    suggestions: Count
    confirm: Count
    measured: dict[str, Any]
    options: dict[str, Any]
    fingerprint: Text
    about: dict[str, Any]
    extensions: NotRequired[list[ExtensionValues]]


class TrialFile(TypedDict):
    """trial.json: the planned trial, and the commit that ran it."""

    planned: PlannedTrialValues
    commit: NotRequired[Text]


@with_config(ConfigDict(extra="allow"))
class ReportFile(TypedDict, total=False):
    """report.json: the fields of ``TrialReport``, of which an older report lacks some, and what it belongs to.

    ``identity`` is the trial's digest; ``sha256_of`` holds the SHA-256 of the trial's other files, by name.
    """

    epochs_done: Required[Annotated[int, Field(strict=True, ge=1, lt=2**53)]]
    val_accuracy: Required[Percent]
    test_accuracy: Required[Percent]
    test_precision: Share
    test_recall: Share
    test_f1: Share
    test_ece: Share
    insertion_auc: Share | None
    deletion_auc: Share | None
    average_drop: Share | None
    average_increase: Share | None
    sparseness: Share | None
    pointing_game: Share | None
    train_seconds: Amount
    proxy_seconds: Amount
    judge_seconds: Amount
    wall_seconds: Amount
    peak_memory_mb: Amount
    proxy_images: Count
    flat_maps: Count
    judged_images: Count
    judged_by: Text | None
    group_images: dict[Text, Count]
    group_accuracies: dict[Text, Percent | None]
    worst_group: Text | None
    worst_group_accuracy: Percent | None
    group_gap: Percent | None
    classes: list[AnyText]
    identity: Text
    same_as: TrialId
    sha256_of: dict[Text, Text]


def _records_of(value: Any) -> Any:
    """Return the list of records; up to 0.1 the file was that list."""
    return value["epochs"] if isinstance(value, dict) and "epochs" in value else value


def _possible(records: list[EpochRecord]) -> list[EpochRecord]:
    """Refuse records that no trial can write: epochs that do not follow each other, numbers out of range."""
    for number, record in enumerate(records):
        if record.epoch != number:
            raise ValueError(f"epoch must be {number}; got {record.epoch}")
        for name, value in dataclasses.asdict(record).items():
            if value is None:
                continue
            most = 100.0 if name.endswith("_accuracy") else 1.0 if name.startswith("error_set_") else 2.0**53
            if not math.isfinite(value) or not -most <= value <= most or (value < 0 and not name.endswith("_loss")):
                raise ValueError(f"{name} of epoch {number} is out of range")
    return records


class ErrorFile(TypedDict):
    """error.json: why a trial failed."""

    error: Text


class ProxyRow(TypedDict):
    """A row of proxies.png: the image's name, its class and the predicted class."""

    image: AnyText
    true: AnyText
    predicted: AnyText


class ProxiesFile(TypedDict):
    """proxies.json: the rows of proxies.png, the epoch of their proxy step, and the pixels between two pictures."""

    epoch: int
    padding: int
    rows: list[ProxyRow]


class MeasuredValues(TypedDict):
    """The fields of ``Measured``: a difference of the positive control."""

    dataset: Text
    claim: Text
    n: Count
    mean: float
    low: float
    high: float
    expected: Text
    met: bool


class ControlFile(TypedDict):
    """positive_control.json: the judgement of the positive control of a version."""

    version: Text
    commit: Text
    created: Text
    measured: Annotated[list[MeasuredValues], Field(min_length=1)]


PLAN = TypeAdapter(PlanFile)
TRIAL = TypeAdapter(TrialFile)
REPORT = TypeAdapter(ReportFile)
EPOCHS: TypeAdapter[list[EpochRecord]] = TypeAdapter(
    Annotated[list[EpochRecord], BeforeValidator(_records_of), AfterValidator(_possible)]
)
ERROR = TypeAdapter(ErrorFile)
PROXIES = TypeAdapter(ProxiesFile)
CONTROL = TypeAdapter(ControlFile)


def read(file: Path, form: TypeAdapter[T]) -> T | None:
    """Read a JSON file of this form; return None if it does not exist, or is damaged, which the log then says once."""
    try:
        return form.validate_python(load_json(file))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError, OverflowError) as error:  # pydantic's ValidationError is a ValueError
        warn_once(f"{file} is damaged ({reason(error)}); it is as if it were not there")
        return None


@cache
def warn_once(text: str) -> None:
    """Warn in the log, once a process: a file may be read many times."""
    log.warning("%s", text)


def reason(error: Exception) -> str:
    """Say in one line why a file cannot be read, and name the first wrong key."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]
