"""Reads and writes study.toml: question, seeds, fixed fields, search space and arms; knows no plan and no Ray."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from proxy_attention.config import AUTO, DEFAULTS, RULES, TrialConfig
from proxy_attention.config_fields import check_field_name
from proxy_attention.errors import ConfigError, unknown
from proxy_attention.schedule import Schedule
from proxy_attention.validation import check
from study.plan import BASELINE, PROXY
from study.planning.study_spec import ArmSpec, Dimension, Range, Study, choices_of
from study.run_folder import STUDY_FILE

TABLES = ("study", "fixed", "search", "arm")
STUDY_KEYS = ("question", "seeds")
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def load_study(
    path: Path,
    *,
    settings: Iterable[str] = (),
    seeds: tuple[int, ...] | None = None,
    fixed: Mapping[str, Any] | None = None,
) -> Study:
    """Read a study.toml (or the folder that holds one) and apply the command line to it.

    Args:
        settings: ``key=value`` texts of ``--set``; a list makes the field a dimension.
        seeds: seeds in place of the file's.
        fixed: further fixed fields that the command line implies.
    Raises: ConfigError for an unknown name or a value that breaks a rule.
    """
    file = study_file(path)
    try:
        text = file.read_text(encoding="utf-8-sig")  # an editor may have put a byte-order mark first
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"study.toml must be TOML, text in UTF-8; {str(file)!r} cannot be read: {error}") from error
    return parse_study(text, settings=settings, seeds=seeds, fixed=fixed)


def study_file(path: Path) -> Path:
    """Find the study.toml at this path or in this folder.

    Raises: ConfigError if there is none.
    """
    file = path / STUDY_FILE if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(
            f"--experiment must be a study.toml, its folder, or a name under experiments/; got {str(path)!r}"
        )
    return file


def parse_study(
    text: str,
    *,
    settings: Iterable[str] = (),
    seeds: tuple[int, ...] | None = None,
    fixed: Mapping[str, Any] | None = None,
) -> Study:
    """Parse the text of a study.toml; arguments and errors are those of ``load_study``."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, or 1,000 brackets
        raise ConfigError(f"study.toml must be TOML; got an error: {error}") from error
    for table in document:
        if table not in TABLES:
            raise unknown("a table of study.toml", table, TABLES)
    head = _table(document, "study")
    for key in head:
        if key not in STUDY_KEYS:
            raise unknown("a key of [study]", key, STUDY_KEYS)
    fields = _table(document, "fixed")
    search = {key: _dimension(key, value) for key, value in _table(document, "search").items()}
    for key in [*fields, *search]:
        _check_key(key)
    if both := sorted(set(fields) & set(search)):
        raise ConfigError(f"a field must be in [fixed] or in [search]; got {both[0]!r} in both")
    for key, value in [*map(parse_setting, settings), *(fixed or {}).items()]:
        fields.pop(key, None)
        search.pop(key, None)
        if isinstance(value, list | dict):
            search[key] = _dimension(key, value)
        else:
            fields[key] = value
    question = head.get("question", "")
    if not isinstance(question, str):
        raise ConfigError(f"question must be text; got {question!r}")
    study = Study(
        question=question,
        seeds=check_seeds(list(seeds) if seeds is not None else head.get("seeds", [0])),
        fixed=fields,
        search=search,
        arms=_arms(document.get("arm", [])),
    )
    _check(study)
    return study


def parse_setting(text: str) -> tuple[str, Any]:
    """Parse ``key=value`` with a TOML value or bare text.

    Raises: ConfigError if there is no ``=``, or the key is no field.
    """
    key, equals, raw = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ConfigError(f"--set must be key=value; got {text!r}")
    _check_key(key)
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except (ValueError, RecursionError):
        value = raw.strip()
    may_be_number = key in RULES and {int, float} & {*RULES[key].kinds}  # threads: a count, or the text "auto"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(DEFAULTS[key], str) and number and not may_be_number:
        value = raw.strip()  # schedule=6 means the text "6"
    return key, value


def check_seeds(seeds: Any) -> tuple[int, ...]:
    """Check that the seeds are distinct whole numbers, at least one.

    Raises: ConfigError.
    """
    law = "seeds must be distinct whole numbers >= 0, at least one"
    if not isinstance(seeds, list) or not seeds:
        raise ConfigError(f"{law}; got {seeds!r}")
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ConfigError(f"{law}; got {seed!r}")
        if seeds.count(seed) > 1:
            raise ConfigError(f"{law}; got {seed} twice")
    return tuple(seeds)


def _table(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"[{name}] must be a table; got {table!r}")
    return dict(table)


def _check_key(key: str) -> None:
    check_field_name(key, DEFAULTS)
    if key == "seed":
        raise ConfigError("seed must not be fixed or searched; list the seeds in [study] or in --seeds")


def _dimension(key: str, value: Any) -> Dimension:
    """Read a dimension: a list of distinct choices, or a range.

    Raises: ConfigError for anything else.
    """
    if isinstance(value, list):
        if not value:
            raise ConfigError(f"{key} must be a list of at least one choice in [search]; got []")
        if repeated := [choice for i, choice in enumerate(value) if choice in value[:i]]:
            raise ConfigError(f"{key} must be a list of distinct choices in [search]; got {repeated[0]!r} twice")
        return tuple(value)
    if isinstance(value, dict):
        bounds = [value.get("low"), value.get("high")]
        numbers = all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in bounds)
        known = set(value) <= {"low", "high", "log"} and isinstance(value.get("log", False), bool)
        if not numbers or not known or not value["low"] < value["high"] or isinstance(DEFAULTS.get(key), str | bool):
            raise ConfigError(f"{key} must be {{ low = a, high = b }} of numbers with a < b in [search]; got {value!r}")
        if value.get("log", False) and value["low"] <= 0:
            raise ConfigError(f"{key} must have low > 0 where log = true; got {value!r}")
        return Range(value["low"], value["high"], bool(value.get("log", False)))
    raise ConfigError(f"{key} must be a list or {{ low, high }} in [search]; got {value!r} (a single value is [fixed])")


def _arms(raw: Any) -> tuple[ArmSpec, ...]:
    """Read the named arms.

    Raises: ConfigError for a name that is missing, repeated, taken or unsafe as part of a file name.
    """
    if not isinstance(raw, list) or not all(isinstance(entry, dict) for entry in raw):
        raise ConfigError(f"arms must be [[arm]] tables; got {raw!r}")
    arms: list[ArmSpec] = []
    for entry in raw:
        values = dict(entry)
        name = values.pop("name", None)
        if not isinstance(name, str) or not SAFE_NAME.fullmatch(name) or name in (BASELINE, PROXY):
            raise ConfigError(
                "name of an [[arm]] must be of letters, digits, '.', '_' and '-', at most 64, not baseline or proxy; "
                f"got {name!r}"
            )
        if name in [arm.name for arm in arms]:
            raise ConfigError(f"name of an [[arm]] must be its own; got {name!r} twice")
        for key in values:
            _check_key(key)
        arms.append(ArmSpec(name, values))
    return tuple(arms)


def _check(study: Study) -> None:
    """Check every choice of every dimension, both ends of every range, and every arm.

    Raises: ConfigError.
    """
    for place, value in [
        *(("[search]", choice) for choice in choices_of(study.search.get("batch_size", ()))),
        *((f"[[arm]] {arm.name!r}", arm.values.get("batch_size")) for arm in study.arms),
    ]:
        if value == AUTO:
            raise ConfigError(f"batch_size must be {AUTO!r} for the whole study, in [fixed]; got it in {place}")
    base = {**study.fixed, "schedule": study.schedules[0]}
    TrialConfig.of(base)
    for field, dimension in study.search.items():
        for choice in choices_of(dimension):
            check(TrialConfig.of({**base, field: choice}))
    check(TrialConfig.of(base))
    totals: dict[int, str] = {}
    for text in study.schedules:
        totals.setdefault(Schedule.parse(text).total_epochs, text)
    for arm in study.arms:
        config = check(TrialConfig.of({**study.fixed, **arm.values}))
        totals.setdefault(config.planned.total_epochs, config.schedule)
    if len(totals) > 1:
        (one, first), (two, second) = list(totals.items())[:2]
        raise ConfigError(
            f"schedule must have the same total in all trials of a study; got {first!r} ({one} epochs) and "
            f"{second!r} ({two} epochs)"
        )


def to_toml(study: Study) -> str:
    """Write the study as the text of a study.toml, with what the command line changed."""
    head = {"question": study.question, "seeds": study.seeds}
    texts = [tomli_w.dumps({"study": head, "fixed": study.fixed}), "\n[search]\n"]
    texts += [_dimension_text(field, dimension) for field, dimension in study.search.items()]
    texts += ["\n[[arm]]\n" + tomli_w.dumps({"name": arm.name, **arm.values}) for arm in study.arms]
    return "".join(texts)


def _dimension_text(field: str, dimension: Dimension) -> str:
    """Write one line of [search]; write a range inline, because a table of its own would come after all lists.

    The order of the fields must not change: random draws follow it.
    """
    if not isinstance(dimension, Range):
        return tomli_w.dumps({field: dimension})
    log = ", log = true" if dimension.log else ""
    return f"{field} = {{ low = {dimension.low!r}, high = {dimension.high!r}{log} }}\n"
