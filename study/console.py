"""Reads command lines, prints errors as one line, and formats durations; knows no command."""

import argparse
import logging
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, NoReturn

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from proxy_attention.errors import ConfigError, ProxyAttentionError, unknown
from study.foreign_text import printable
from study.streams import silence

DONE, SOME_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
LONGEST_ERROR = 4000


class UsageError(ProxyAttentionError):
    """An argument breaks a rule. It is no ValueError, because argparse would replace the text of one."""


class PlainFormatter(logging.Formatter):
    """Shows the control characters of a log record, such as those of an error's text, as escapes."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the record; a traceback keeps its lines."""
        return printable(super().format(record), keep="\n")


class Parser(argparse.ArgumentParser):
    """A parser of command lines that answers bad input with a one-line error, without usage text."""

    def error(self, message: str) -> NoReturn:
        """Raise an error of argparse as one of this project.

        Raises: ConfigError with argparse's message.
        """
        raise ConfigError(message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Check that a value is one of the argument's choices.

        Raises: ConfigError that lists the choices.
        """
        if action.choices is not None and value not in action.choices:
            raise unknown("/".join(action.option_strings) or f"the {action.dest}", value, action.choices)

    def read(self, argv: Sequence[str] | None, *, intermixed: bool = False) -> argparse.Namespace:
        """Parse a command line.

        Args:
            argv: its words; None takes those of this process.
            intermixed: whether the values of one positional argument may stand before and after options.
        Raises: ConfigError for bad input; for an unknown option it names the most similar ones.
        """
        if logging.lastResort is not None:  # it prints warnings where nothing else was set up
            logging.lastResort.setFormatter(PlainFormatter())
        args, rest = (self.parse_known_intermixed_args if intermixed else self.parse_known_args)(argv)
        if rest:
            options = getattr(args, "parser", self)._actions  # of the sub-command, if there is one
            known = sorted(option for action in options for option in action.option_strings if option[:2] == "--")
            word = rest[0].split("=")[0]
            near = get_close_matches(word, known, n=2)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ConfigError(f"an option must be one of {', '.join(known)}; got {word!r}{hint}")
        return args

    def table(self) -> list[tuple[str, str]]:
        """Return a row for each argument: its name with that of its value, and its help text."""
        rows = []
        for action in self._actions:
            name = action.option_strings[-1] if action.option_strings else ""
            value = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
            if action.help != argparse.SUPPRESS:
                rows.append((f"{name} {value}".strip(), (action.help or "").replace("%%", "%")))
        return rows

    def sub_commands(self) -> "dict[str, Parser]":
        """Return the parser of every sub-command, by name."""
        groups = [action.choices for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        return {word: command for group in groups for word, command in group.items()}


def add_max_pixels(add: Callable[..., Any], effect: str, *, default: int | None) -> None:
    """Add the option ``--max-pixels``.

    Args:
        add: the ``add_argument`` of a parser.
        effect: what becomes of an image with more pixels, for the help text.
    """
    from proxy_attention.data.image_files import MAX_PIXELS, MAX_PIXELS_ASKED  # here: tables need no Pillow

    add(
        "--max-pixels",
        metavar="N",
        type=whole("--max-pixels", low=1, high=MAX_PIXELS_ASKED),
        default=default,
        help=f"an image with more pixels {effect} (default: {MAX_PIXELS})",
    )


def whole(option: str, *, low: int, high: int = 1_000_000) -> Any:
    """Make an argparse type for whole numbers in [low, high]."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise UsageError(f"{option} must be a whole number in [{low}, {high}]; got {text!r}")
        return value

    return convert


def _number(text: str) -> float:
    """Read a number; return NaN, which no bound admits, for other text."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def positive(option: str) -> Any:
    """Make an argparse type for finite numbers > 0."""

    def convert(text: str) -> float:
        value = _number(text)
        if not 0 < value < math.inf:
            raise UsageError(f"{option} must be a finite number > 0; got {text!r}")
        return value

    return convert


def share(option: str) -> Any:
    """Make an argparse type for a fraction of a GPU, or a whole number of GPUs."""

    def convert(text: str) -> float:
        value = _number(text)
        if not (0 <= value <= 1 or (value > 1 and value.is_integer())):
            raise UsageError(f"{option} must be a fraction in [0, 1] or a whole number; got {text!r}")
        return value

    return convert


class PlainConsole(Console):
    """A console on which no text acts: it has no markup, no emoji codes, and shows control characters as escapes."""

    def __init__(self, *, on_reader_gone: Callable[[], None] | None = None, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)
        self._on_reader_gone = on_reader_gone
        self.reader_is_gone = False

    def on_broken_pipe(self) -> None:
        """Write nothing more, because nobody reads, and tell whom it concerns.

        Raises: BrokenPipeError if it concerns nobody, for standard output.
        """
        self.quiet = self.reader_is_gone = True
        silence(2 if self.stderr else 1)
        if self._on_reader_gone is not None:
            self._on_reader_gone()
        elif not self.stderr:  # that nobody reads how far it is stops nothing
            raise BrokenPipeError

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Render as rich does; only its own control codes, such as those that move the cursor, stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text, keep="\n"), segment.style)


def console(*, width: int | None = None, on_reader_gone: Callable[[], None] | None = None) -> PlainConsole:
    """Make the console of standard output: 120 columns wide if it is not a terminal, so that tables fit.

    Args:
        on_reader_gone: called once if what reads the output has ended; if None, that is a BrokenPipeError.
    """
    return PlainConsole(width=width or (None if sys.stdout.isatty() else 120), on_reader_gone=on_reader_gone)


def shown(text: str, style: str = "") -> Text:
    """Make text for a console's line or table: one line, on which nothing acts."""
    return Text(printable(text), style)


def say(text: str, *, error: bool = False) -> None:
    """Print text as one line, on which nothing acts.

    Args:
        error: print it on the error stream.
    """
    print(printable(text), file=sys.stderr if error else sys.stdout)


def print_data(text: str) -> None:
    """Print lines for a program to read; on a terminal, control characters are shown as escapes."""
    print(
        printable(text, keep="\n") if sys.stdout.isatty() else text, end="" if text.endswith("\n") else "\n", flush=True
    )


def fail(program: str, error: Exception) -> None:
    """Print an error as one line on the error stream; of a long one, which quotes a file, its two ends."""
    line = " ".join(str(error).split())
    if len(line) > LONGEST_ERROR:
        line = f"{line[: LONGEST_ERROR // 2]} ... {line[-LONGEST_ERROR // 4 :]}"
    say(f"{program}: {line}", error=True)


def duration(seconds: float) -> str:
    """Format seconds as 0:42, 3:05 or 2:10:00; NaN and infinity as ``?``."""
    if not math.isfinite(seconds):
        return "?"
    text = str(timedelta(seconds=round(seconds)))
    return text.removeprefix("0:").removeprefix("0") if seconds < 3600 else text
