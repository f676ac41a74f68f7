"""The errors that a user can cause, and the wording that they share; knows no configuration field."""

from collections.abc import Iterable
from difflib import get_close_matches

MOST_LISTED = 60
"""The most names that an error lists."""


class ProxyAttentionError(Exception):
    """Base of every error that this project raises on purpose; its text is one line for a person."""


class ConfigError(ProxyAttentionError, ValueError):
    """A configuration breaks a rule: a value out of range, an unknown name, or fields that contradict each other."""


class DataError(ProxyAttentionError):
    """Images are missing, unreadable, or not what they were when the study was planned."""


class DivergedError(ProxyAttentionError, ArithmeticError):
    """A loss or a logit is no longer finite: it is NaN or infinity."""


class CheckpointError(ProxyAttentionError):
    """A checkpoint cannot be read, or belongs to another trial."""


def unknown(field: str, given: object, known: Iterable[str]) -> ConfigError:
    """Make the error for an unknown name: it lists all known names, or only the most similar if there are many."""
    names = sorted(known)
    near = get_close_matches(str(given), names, n=6, cutoff=0.4)
    if len(names) <= MOST_LISTED:
        return ConfigError(f"{field} must be one of {', '.join(names)}; got {given!r}")
    listed = f"one of {len(names)} known names"
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    return ConfigError(f"{field} must be {listed}; got {given!r}{hint}")
