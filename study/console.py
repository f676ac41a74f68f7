"""What a person at the terminal sees: one-line errors and the tables; decides nothing."""

import argparse
import math
import sys
from collections.abc import Container, Sequence
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, NoReturn

import pandas as pd
from rich.console import Console
from rich.table import Table

from proxy_attention.config import LEAKING
from proxy_attention.errors import ConfigError, ProxyAttentionError, unknown
from study.analysis.claims import Claim
from study.analysis.estimates import Estimate

DONE, SOME_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


class UsageError(ProxyAttentionError):
    """A command line that breaks a law. No ValueError: argparse would put its own words in place of ours."""


class Parser(argparse.ArgumentParser):
    """argparse that answers bad input with one line, without usage text."""

    def error(self, message: str) -> NoReturn:
        """Raises: ConfigError with argparse's message."""
        raise ConfigError(message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Raises: ConfigError for a word that is none of the choices."""
        if action.choices is not None and value not in action.choices:
            raise unknown("/".join(action.option_strings) or f"the {action.dest}", value, action.choices)

    def read(self, argv: Sequence[str] | None, *, intermixed: bool = False) -> argparse.Namespace:
        """Parse.

        Args:
            intermixed: whether words may stand before and after options, where the last argument takes several.
        Raises: ConfigError, for an unknown option with the likeliest known ones.
        """
        args, rest = (self.parse_known_intermixed_args if intermixed else self.parse_known_args)(argv)
        if rest:
            options = getattr(args, "parser", self)._actions  # of the sub-command, where there is one
            known = sorted(option for action in options for option in action.option_strings if option[:2] == "--")
            word = rest[0].split("=")[0]
            near = get_close_matches(word, known, n=2)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ConfigError(f"an option must be one of {', '.join(known)}; got {word!r}{hint}")
        return args

    def table(self) -> list[tuple[str, str]]:
        """Return every argument with its value, and its help."""
        rows = []
        for action in self._actions:
            name = action.option_strings[-1] if action.option_strings else ""
            value = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
            if action.help != argparse.SUPPRESS:
                rows.append((f"{name} {value}".strip(), (action.help or "").replace("%%", "%")))
        return rows


def whole(option: str, *, low: int, high: int = 1_000_000) -> Any:
    """An argparse type: a whole number in [low, high]."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise UsageError(f"{option} must be a whole number in [{low}, {high}]; got {text!r}")
        return value

    return convert


def share(option: str) -> Any:
    """An argparse type: a fraction of a GPU, or a whole number of them."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (0 <= value <= 1 or (value > 1 and value.is_integer())):
            raise UsageError(f"{option} must be a fraction in [0, 1] or a whole number; got {text!r}")
        return value

    return convert


def console() -> Console:
    """The terminal: colours where there is one; the machine's width, or wide enough for a table in a log."""
    wide = None if sys.stdout.isatty() else 120
    return Console(highlight=False, width=wide, soft_wrap=False)


def fail(program: str, error: Exception) -> None:
    """One line on the error stream."""
    print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)


def duration(seconds: float) -> str:
    """Seconds as 0:42, 3:05 or 2:10:00."""
    if not math.isfinite(seconds):
        return "?"
    text = str(timedelta(seconds=round(seconds)))
    return text.removeprefix("0:").removeprefix("0") if seconds < 3600 else text


def frame_table(frame: pd.DataFrame, title: str, *, leaking: Container[str] = ()) -> Table:
    """A grouped frame as people read it: mean ± sd, and the paired difference to the baseline.

    Args:
        leaking: the arms of which a trial trains on validation images.
    """
    keys = [c for c in frame.columns if c not in ("n", "pairs") and not c.startswith(("val_", "test_"))]
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for key in keys:
        table.add_column(key)
    for name in ("n", "val %", "test %", "pairs", "val diff", "test diff"):
        table.add_column(name, justify="right")
    for row in frame.to_dict("records"):
        leaks = row.get("arm") in leaking or row.get("split") in LEAKING
        table.add_row(
            *(f"{row[key]:g}" if isinstance(row[key], float) else str(row[key]) for key in keys),
            str(row["n"]),
            marked_val(spread(row["val_mean"], row["val_sd"]), leaks),
            spread(row["test_mean"], row["test_sd"]),
            str(row["pairs"]) if row["pairs"] else "",
            marked_val(spread(row["val_difference"], row["val_difference_sd"], signed=True), leaks),
            spread(row["test_difference"], row["test_difference_sd"], signed=True),
        )
    return table


def marked_val(text: str, leaking: bool) -> str:
    """What is shown of val, and that it is none."""
    return f"{text} LEAKING" if leaking and text else text


def spread(mean: float, sd: float, *, signed: bool = False) -> str:
    """``83.1 ± 0.4``; empty for no number, without a spread for a single one."""
    if math.isnan(mean):
        return ""
    text = points(mean) if signed else f"{mean:.2f}"
    return text if math.isnan(sd) else f"{text} ± {sd:.2f}"


def claim_table(claims: Sequence[Claim]) -> Table:
    """The study's answers: mean difference, its interval, the pairs, and what may be said."""
    table = Table(
        title="Differences in accuracy, points, paired by seed and split (mean [95 % interval])",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    for name in ("difference", "seeds", "val", "test", "test by seed", "verdict on test"):
        table.add_column(name)
    for claim in claims:
        by_seed = " ".join(points(value, digits=1) for value in claim.test.values)
        val = marked_val(interval(claim.val), claim.leaking)
        table.add_row(claim.text, str(len(claim.seeds)), val, interval(claim.test), by_seed, claim.verdict)
    return table


def interval(found: Estimate) -> str:
    """``+0.4 [-0.1, +0.9]``; without the brackets for a single value."""
    if math.isnan(found.mean):
        return ""
    return points(found.mean) + ("" if math.isnan(found.low) else f" [{points(found.low)}, {points(found.high)}]")


def points(value: float, *, digits: int = 2) -> str:
    """A signed number, without the minus of a zero."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"
