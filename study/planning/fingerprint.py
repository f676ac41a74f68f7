"""Computes the fingerprint of a plan: two plans are the same if their fingerprints are equal."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from typing import Any

from study.plan import PlannedTrial
from study.planning.study_spec import Study


def fingerprint(study: Study, search: str, trials: Iterable[PlannedTrial], **asked: Any) -> str:
    """Hash everything that was asked for in a run, by content.

    Args:
        asked: further values that were asked for, such as the number of suggestions; None is left out.
    Returns: a SHA-256 digest.
    """
    values: dict[str, Any] = {"search": search, "trials": [[t.arm, t.config_digest] for t in trials]}
    values |= {name: value for name, value in asked.items() if value is not None}
    if search != "grid":  # a grid is its trials; in other searches the space decides what is suggested
        values["space"] = _space(study)
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def _space(study: Study) -> dict[str, Any]:
    """Return everything in a study that decides its trials, as values that JSON can store."""
    return {
        "seeds": study.seeds,
        "fixed": dict(study.fixed),
        "search": {
            field: dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value
            for field, value in study.search.items()
        },
        "arms": [[arm.name, dict(arm.values)] for arm in study.arms],
    }
