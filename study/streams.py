"""Keeps a command's standard streams usable: closed ones, readers that have gone, terminals that were closed."""

import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn


def run_command(main: Callable[[], int]) -> NoReturn:
    """Run a command as this process, and end the process with its exit code."""
    open_streams()
    try:
        code = main()
    except BrokenPipeError:  # the reader has ended, such as ``| head``
        code = 0
    end_streams()
    sys.exit(code)


def open_streams() -> None:
    """Let standard streams that are closed lead nowhere, and show what a stream's encoding lacks as escapes.

    A closed one would be the next file that is opened, and what is printed would be written into that.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                silence(number)
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a stream of other code's
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def end_streams() -> None:
    """Write what is left to the standard streams; one whose reader has gone leads nowhere from here on."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            silence(number)


def silence(number: int) -> None:
    """Let a file descriptor lead nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
    else:  # it was closed
        os.set_inheritable(number, True)


def leave_lost_terminal() -> None:
    """Let standard streams lead nowhere whose terminal is gone: every line written to it would be an error."""
    for number in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(number).st_mode) and not os.isatty(number):
                silence(number)
