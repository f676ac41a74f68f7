"""What a person at the terminal sees: one-line errors, the plan, one progress line, the tables; decides nothing."""

import argparse
import math
import sys
import time
from collections.abc import Container, Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, NoReturn

import pandas as pd
from rich.console import Console
from rich.table import Table

from proxy_attention.config import LEAKING
from proxy_attention.errors import ConfigError, ProxyAttentionError
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

    def read(self, argv: Sequence[str] | None, *, intermixed: bool = False) -> argparse.Namespace:
        """Parse.

        Args:
            intermixed: whether words may stand before and after options, where the last argument takes several.
        Raises: ConfigError, for an unknown option with the likeliest known ones.
        """
        args, rest = (self.parse_known_intermixed_args if intermixed else self.parse_known_args)(argv)
        if rest:
            known = sorted(option for action in self._actions for option in action.option_strings if option[:2] == "--")
            word = rest[0].split("=")[0]
            near = get_close_matches(word, known, n=2)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ConfigError(f"an option must be one of {', '.join(known)}; got {word!r}{hint}")
        return args


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


class ProgressLine:
    """One line that says how far a run is: rewritten in place on a terminal, a line a finished trial in a log.

    Args:
        trials: how many there are in all; those done before count as done.
        epochs: how many are left to train.
        seconds_per_epoch: what was expected, until enough was seen to say better.
        beside: what each trial that is left takes beside its epochs, counted in epochs, by trial_id: a method of
            explanation may take longer than the training. Of a trial that is not named, their mean.
    """

    def __init__(
        self,
        out: Console,
        *,
        trials: int,
        epochs: int,
        trials_done: int,
        seconds_per_epoch: float,
        beside: Mapping[str, float] | None = None,
    ) -> None:
        self.out, self.trials, self.epochs = out, trials, epochs
        self.trials_done, self.epochs_done, self.failed = trials_done, 0, 0
        self._expected = seconds_per_epoch
        self._beside = beside or {}
        self._usual = sum(self._beside.values()) / max(len(self._beside), 1)
        unknown = max(trials - trials_done - len(self._beside), 0)
        self._work = epochs + sum(self._beside.values()) + unknown * self._usual
        self._done = 0.0
        self._seen: list[tuple[float, float]] = []  # when work of this session was reported, and how much was done then
        self._val: dict[str, list[float]] = {}
        self._status = out.status("") if out.is_terminal else None

    def __enter__(self) -> "ProgressLine":
        if self._status is not None:
            self._status.start()
            self._show()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def epoch(self) -> None:
        """A trial has trained an epoch."""
        self.epochs_done += 1
        self._worked(1)
        self._show()

    def trial(self, trial_id: str, arm: str, val_accuracy: float) -> None:
        """A trial is complete."""
        self.trials_done += 1
        self._worked(self._beside.get(trial_id, self._usual))
        self._val.setdefault(arm, []).append(val_accuracy)
        if self._status is None:
            self.out.print(f"{trial_id}: val {val_accuracy:.1f} %   ({self.text(short=True)})", soft_wrap=True)
        self._show()

    def failure(self, trial_id: str) -> None:
        """A trial failed."""
        self.failed += 1
        self.out.print(f"[red]{trial_id} failed[/red]")
        self._show()

    def text(self, *, short: bool = False) -> str:
        """The line; in a log, where it stands after every trial, without what the trials themselves said."""
        each = self._expected
        if len(self._seen) > 8:  # the first reports come late: workers were starting
            (first, before), (last, done) = self._seen[0], self._seen[-1]
            each = (last - first) / (done - before)
        left = f"{duration(each * max(self._work - self._done, 0))} left"
        val = ", ".join(f"{arm} {sum(v) / len(v):.1f} %" for arm, v in sorted(self._val.items()))
        parts = [f"{self.trials_done}/{self.trials} trials", f"{self.epochs_done}/{self.epochs} epochs", left]
        parts += [f"val so far: {val}"] if val and not short else []
        parts += [f"[red]{self.failed} failed[/red]"] if self.failed else []
        return " · ".join(parts)

    def _worked(self, epochs: float) -> None:
        if epochs:
            self._done += epochs
            self._seen.append((time.monotonic(), self._done))

    def _show(self) -> None:
        if self._status is not None:
            self._status.update(self.text())


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
