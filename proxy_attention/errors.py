"""The errors a user can cause, and the wording they share; knows no field of any configuration."""

from collections.abc import Iterable
from difflib import get_close_matches

MOST_LISTED = 60


class ProxyAttentionError(Exception):
    """Base of every error that this project raises on purpose; its text is one line for a person."""


class ConfigError(ProxyAttentionError, ValueError):
    """A configuration breaks a law: a range, a name, or two fields that contradict each other."""


class DataError(ProxyAttentionError):
    """Images are missing, unreadable, or not what they were when the study was planned."""


class DivergedError(ProxyAttentionError, ArithmeticError):
    """Training left the finite numbers."""


class CheckpointError(ProxyAttentionError):
    """A checkpoint cannot be read, or belongs to another trial."""


def unknown(field: str, given: object, known: Iterable[str]) -> ConfigError:
    """The error for a name that no table holds: it lists the names, the likeliest only if there are many."""
    names = sorted(known)
    near = get_close_matches(str(given), names, n=6, cutoff=0.4)
    if len(names) <= MOST_LISTED:
        return ConfigError(f"{field} must be one of {', '.join(names)}; got {given!r}")
    listed = f"one of {len(names)} known names"
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    return ConfigError(f"{field} must be {listed}; got {given!r}{hint}")
